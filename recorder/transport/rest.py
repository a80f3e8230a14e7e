"""REST with the venue's budget: an answer, or one error that says whether a retry can help."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass

import aiohttp

from recorder.transport.rate_limit import Budget
from recorder.transport.session import Session
from schemas.kucoin.rest import SUCCESS

REQUEST_TIMEOUT_S = 10.0
# The document's window: "100 requests per 10 seconds"; a refusal is over once it has passed.
REFUSED_PAUSE_S = 10.0
# After a server error or a dead connection: enough not to hammer, too short to be felt.
TROUBLE_PAUSE_S = 0.5
PAUSE_MAX_S = 600.0
TOO_MANY_REQUESTS = 429
# "429000": the gateway is overloaded; "200002": too many requests to this endpoint.
_BUSY_CODES = frozenset({"429000", "200002"})
_CODE = re.compile(rb'"code"\s*:\s*"?(\d+)"?')
_HEAD = 64


@dataclass(frozen=True, slots=True)
class RestReply:
    """An answer the venue calls a success; its body is not looked into."""

    url: str
    status: int
    body: bytes


class RestFailed(Exception):
    """No usable answer.

    Attributes
    ----------
    url : str
    status : int | None   of the answer, None where none came
    problem : str
    refused : bool        the venue understood and said no: a retry will not help
    """

    def __init__(self, url: str, status: int | None, problem: str, *, refused: bool) -> None:
        self.url = url
        self.status = status
        self.problem = problem
        self.refused = refused
        super().__init__(f"{url}: {problem}")


class RestClient:
    """Ask one venue, inside its budget.

    Parameters
    ----------
    session : Session    owned by the caller
    base_url : str                    without a slash at the end
    budget : Budget                   shared by everything that asks this venue
    timeout_s : float                 of one request, until its last byte
    """

    def __init__(
        self,
        session: Session,
        base_url: str,
        budget: Budget,
        timeout_s: float = REQUEST_TIMEOUT_S,
    ) -> None:
        self._session = session
        self._base_url = base_url
        self._budget = budget
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)

    def url(self, path: str) -> str:
        """Return the whole address of a path."""
        return f"{self._base_url}{path}"

    async def wait_turn(self, path: str = "", *, signed: bool = False) -> None:
        """Wait until the budget has room for one request."""
        del path, signed  # one budget serves every request
        await self._budget.take()

    async def get(self, path: str, *, signed: bool = False) -> RestReply:
        """Send a GET now; the caller has waited for its turn.

        Raises
        ------
        RestFailed   without a usable answer; the budget is paused where the venue wants quiet
        """
        del signed  # no endpoint in use needs a key
        return await self._request("GET", path)

    async def post(self, path: str) -> RestReply:
        """Send a POST without a body now; the caller has waited for its turn.

        Raises
        ------
        RestFailed   as `get`
        """
        return await self._request("POST", path)

    async def _request(self, method: str, path: str) -> RestReply:
        url = self.url(path)
        try:
            async with self._session.request(method, url, timeout=self._timeout) as response:
                body = await response.read()
                status, headers = response.status, response.headers
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self._budget.pause(TROUBLE_PAUSE_S)
            raise RestFailed(url, None, _name_trouble(error), refused=False) from None
        code = _answer_code(body)
        if status == TOO_MANY_REQUESTS or code in _BUSY_CODES:
            pause_s = _stated_pause_s(headers) or REFUSED_PAUSE_S
            self._budget.pause(pause_s)
            problem = f"asked too often (HTTP {status}), pausing {pause_s:g} s"
            raise RestFailed(url, status, problem, refused=False)
        if status == 200 and code in {None, SUCCESS}:
            return RestReply(url, status, body)
        if status >= 500:
            self._budget.pause(TROUBLE_PAUSE_S)
        excerpt = body[:200].decode(errors="replace")
        raise RestFailed(url, status, f"HTTP {status}: {excerpt}", refused=200 <= status < 500)


def _answer_code(body: bytes) -> str | None:
    """Return the envelope's code where it stands at the front, as it does in every refusal."""
    match = _CODE.search(body[:_HEAD])
    return match[1].decode() if match else None


def _stated_pause_s(headers: Mapping[str, str]) -> float | None:
    """Read how long the venue wants quiet: `Retry-After` in s, `gw-ratelimit-reset` in ms."""
    for name, per_second in (("Retry-After", 1.0), ("gw-ratelimit-reset", 1000.0)):
        try:
            seconds = float(headers.get(name, "")) / per_second
        except ValueError:
            continue
        if 0 < seconds < float("inf"):
            return min(seconds, PAUSE_MAX_S)
    return None


def _name_trouble(error: Exception) -> str:
    """Say in a few words why no answer came."""
    if isinstance(error, (TimeoutError, asyncio.TimeoutError)):
        return "no answer in time"
    if isinstance(error, aiohttp.ClientConnectorError):
        return error.os_error.strerror or str(error.os_error)
    return str(error) or type(error).__name__
