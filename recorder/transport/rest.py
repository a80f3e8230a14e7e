"""REST with the venue's budgets: an answer, or one error that says whether a retry can help."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import aiohttp
from yarl import URL

from recorder.transport.rate_limit import Budget, Hold, Rank, no_rank
from recorder.transport.rest_rules import (
    OK,
    OVERLOAD,
    Outcome,
    Rule,
    Scope,
    read_outcome,
    rule_for,
)
from recorder.transport.session import Session
from schemas.kucoin.profile import PRIVATE, PUBLIC, Limits
from schemas.kucoin.rest import SUCCESS

REQUEST_TIMEOUT_S = 10.0
# Permits count when they are given, the venue counts what arrives. While it stalls no more than
# these pile up, to arrive all at once when it goes on.
IN_FLIGHT_MAX = 16

# (method, path with query) → headers
Signer = Callable[[str, str], dict[str, str]]


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
    code : str | None     of the answer, None where it has none
    """

    def __init__(
        self,
        url: str,
        status: int | None,
        problem: str,
        *,
        refused: bool,
        code: str | None = None,
    ) -> None:
        self.url = url
        self.status = status
        self.problem = problem
        self.refused = refused
        self.code = code
        super().__init__(f"{url}: {problem}")


@dataclass(frozen=True, slots=True)
class PoolStatus:
    """One REST budget.

    Attributes
    ----------
    used_ratio : float    weight spent in the last window, share of the venue's limit
    weight_spent : int    since the start
    paused_s : float      seconds everything of the pool still waits
    requests : Mapping    outcome → count since the start
    waiting : int         requests that wait for their turn
    """

    used_ratio: float
    weight_spent: int
    paused_s: float
    requests: Mapping[str, int]
    waiting: int = 0


class _Endpoint(Hold):
    """One path of the venue: when it wants quiet, and how often it said so since it worked."""

    def __init__(self) -> None:
        super().__init__()
        self.repeats = 0


class RestClient:
    """Ask one venue, inside its budgets.

    Parameters
    ----------
    session : Session    owned by the caller
    base_url : str       without a slash at the end
    budgets : Mapping    pool → Budget, shared by everything that asks this venue
    limits : Limits      says what a path costs
    signer : callable | None   makes the headers of a signed request; None: no API key
    timeout_s : float    of one request, until its last byte
    """

    def __init__(
        self,
        session: Session,
        base_url: str,
        budgets: Mapping[str, Budget],
        limits: Limits,
        signer: Signer | None = None,
        timeout_s: float = REQUEST_TIMEOUT_S,
    ) -> None:
        self._session = session
        self._base_url = base_url
        self._budgets = budgets
        self._limits = limits
        self._signer = signer
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._endpoints: dict[str, _Endpoint] = defaultdict(_Endpoint)
        self._outcomes: Counter[tuple[str, str]] = Counter()
        self._in_flight: Counter[str] = Counter()
        self._answered = asyncio.Event()

    @property
    def is_signed(self) -> bool:
        """True with an API key: signed requests can be made."""
        return self._signer is not None

    def url(self, path: str) -> str:
        """Return the whole address of a path."""
        return f"{self._base_url}{path}"

    async def wait_turn(
        self, path: str, *, signed: bool = False, urgent: bool = False, rank: Rank = no_rank
    ) -> None:
        """Wait until a request of this path may go out; urgent ones do not queue for it."""
        pool = _pool(signed)
        await self._budgets[pool].take(
            self._limits.weight(path),
            urgent=urgent,
            rank=rank,
            hold=self._endpoints[_endpoint_of(path)],
            room=lambda: self._wait_room(pool),
        )

    async def _wait_room(self, pool: str) -> None:
        while self._in_flight[pool] >= IN_FLIGHT_MAX:
            self._answered.clear()
            await self._answered.wait()

    async def get(self, path: str, *, signed: bool = False) -> RestReply:
        """Send a GET now; the caller has waited for its turn.

        Raises
        ------
        RestFailed   without a usable answer; whom it concerns waits before the next turn
        """
        return await self._request("GET", path, signed=signed)

    async def post(self, path: str) -> RestReply:
        """Send a POST without a body now; the caller has waited for its turn.

        Raises
        ------
        RestFailed   as `get`
        """
        return await self._request("POST", path, signed=False)

    def status(self) -> dict[str, PoolStatus]:
        """Return what each pool has spent and met with."""
        return {
            pool: PoolStatus(
                budget.used_ratio,
                budget.spent_total,
                budget.paused_s,
                {name: n for (of, name), n in sorted(self._outcomes.items()) if of == pool},
                budget.waiting,
            )
            for pool, budget in self._budgets.items()
        }

    async def _request(self, method: str, path: str, *, signed: bool) -> RestReply:
        url = self.url(path)
        headers = None
        if signed:
            assert self._signer is not None, "a signed request needs a key"
            headers = self._signer(method, path)
        pool, endpoint = _pool(signed), self._endpoints[_endpoint_of(path)]
        self._in_flight[pool] += 1
        try:
            # As it stands: a path quoted anew would no longer be the one that was signed.
            async with self._session.request(
                method, URL(url, encoded=True), headers=headers, timeout=self._timeout
            ) as response:
                body = await response.read()
                outcome = read_outcome(
                    response.status,
                    response.headers,
                    body,
                    states_budget=self._limits.states_budget,
                )
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self._heed(Outcome(None), pool, endpoint)
            raise RestFailed(url, None, _name_trouble(error), refused=False) from None
        finally:
            self._in_flight[pool] -= 1
            self._answered.set()
        if outcome.status == 200 and outcome.code in {None, SUCCESS}:
            self._outcomes[pool, OK] += 1
            endpoint.repeats = 0
            return RestReply(url, 200, body)
        rule, pause_s = self._heed(outcome, pool, endpoint)
        problem = f"HTTP {outcome.status}: {body[:200].decode(errors='replace')}"
        if outcome.is_limit or outcome.is_wall:
            what = "the exchange is overloaded" if rule.name == OVERLOAD else "asked too often"
            problem = f"{what} (HTTP {outcome.status}), pausing {pause_s:g} s"
        raise RestFailed(url, outcome.status, problem, refused=rule.is_final, code=outcome.code)

    def _heed(self, outcome: Outcome, pool: str, endpoint: _Endpoint) -> tuple[Rule, float]:
        """Count an outcome that is no answer and hold whom it concerns; return rule and pause."""
        rule = rule_for(outcome)
        self._outcomes[pool, rule.name] += 1
        pause_s = rule.pause(outcome, self._limits.rest[pool].window_s, endpoint.repeats)
        if rule.scope is Scope.ENDPOINT:
            # Requests under way when the first was turned away say nothing new by being so too.
            if outcome.stated_s is not None or endpoint.paused_s <= 0:
                endpoint.pause(pause_s)
                endpoint.repeats += 1
        elif rule.scope is Scope.POOL:
            self._budgets[pool].pause(pause_s)
        elif rule.scope is Scope.ADDRESS:
            for budget in self._budgets.values():
                budget.pause(pause_s)
        return rule, pause_s


def _pool(signed: bool) -> str:
    return PRIVATE if signed else PUBLIC


def _endpoint_of(path: str) -> str:
    return path.partition("?")[0]


def _name_trouble(error: Exception) -> str:
    """Say in a few words why no answer came."""
    if isinstance(error, (TimeoutError, asyncio.TimeoutError)):
        return "no answer in time"
    if isinstance(error, aiohttp.ClientConnectorError):
        return error.os_error.strerror or str(error.os_error)
    return str(error) or type(error).__name__
