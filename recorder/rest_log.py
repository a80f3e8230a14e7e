"""REST questions whose answers rows depend on: each one is two lines of the raw log.

Only tokens are asked past this: no row depends on one, and none must ever be written down.
"""

from __future__ import annotations

from collections.abc import Callable

from recorder.clock import stamp_line
from recorder.raw_line import RawLine
from recorder.transport.rate_limit import Rank, no_rank
from recorder.transport.rest import RestClient, RestFailed, RestReply


class LoggedRest:
    """Ask, and log the question when it is sent and the answer as it came.

    Parameters
    ----------
    client : RestClient
    append : callable   takes each line, in order
    """

    def __init__(self, client: RestClient, append: Callable[[RawLine], None]) -> None:
        self._client = client
        self._append = append

    async def ask(self, path: str, *, signed: bool = False, **fields: object) -> RestReply:
        """Wait for the budget, GET, and log both; `fields` stand in every line.

        Parameters
        ----------
        path : str      with its query
        signed : bool   asked with the API key, out of its budget

        Raises
        ------
        RestFailed   as the client; the failure has been logged
        """
        await self.wait_turn(path, signed=signed)
        return await self.ask_now(path, signed=signed, **fields)

    async def wait_turn(self, path: str, *, signed: bool = False, rank: Rank = no_rank) -> None:
        """Wait until the budget has room for one request of this path."""
        await self._client.wait_turn(path, signed=signed, rank=rank)

    async def ask_now(self, path: str, *, signed: bool = False, **fields: object) -> RestReply:
        """GET and log as `ask` does; the caller has waited for its turn.

        Raises
        ------
        RestFailed   as the client; the failure has been logged
        """
        asked = {"url": self._client.url(path), **fields}
        self._append(stamp_line("rest_request", asked))
        try:
            reply = await self._client.get(path, signed=signed)
        except RestFailed as failure:
            outcome = {**asked, "status": failure.status, "error": failure.problem}
            self._append(stamp_line("rest_failure", outcome))
            raise
        self._append(stamp_line("rest_answer", {**asked, "status": reply.status}, data=reply.body))
        return reply
