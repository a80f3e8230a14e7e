"""Missed trades on request: the exchange's last trades are asked for, behind everything else.

The pipeline decides that trades are missing and whether an answer will do; asking again is how it
says no. A question that follows an answer at once is such a retry and waits its turn, longer each
time: what a cache serves is no newer for being asked often.

Books come first. After a reconnect of hundreds of symbols only a few of these questions stand in
the queue for the budget at any time, so that no book waits behind more than those.
"""

from __future__ import annotations

import asyncio
import random
from urllib.parse import quote

from recorder.logs import Log
from recorder.pipeline.output import Backfill
from recorder.questions import Questions, Spacing
from recorder.raw_line import BACKFILL
from recorder.rest_log import LoggedRest
from recorder.transport.rest import RestFailed
from schemas.kucoin.profile import Profile

RETRY_FIRST_S = 0.5
RETRY_CAP_S = 30.0
# A commit and a verdict later an answer of no use has been asked again; what comes later is new.
RETRY_MEMORY_S = 1.0
AT_ONCE = 2
# Behind what neither hurries nor can wait, and behind what widens a partial book.
RANK = (3, 0)


class Backfills:
    """Carry out `Backfill` commands.

    Parameters
    ----------
    rest : LoggedRest
    profile : Profile       says where the last trades are
    draw : random.Random    jitter of the delays

    Attributes
    ----------
    crashed : asyncio.Future   fails when a request ended by a mistake of ours; else never done
    """

    def __init__(self, rest: LoggedRest, profile: Profile, draw: random.Random, log: Log) -> None:
        self._rest = rest
        self._profile = profile
        self._log = log
        self._wanted: set[str] = set()
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._spacing = Spacing[str](RETRY_FIRST_S, RETRY_CAP_S, RETRY_MEMORY_S, draw)
        self._questions = Questions(BACKFILL, self._serve)
        self.crashed = self._questions.crashed

    def request(self, command: Backfill) -> None:
        """Ask as soon as allowed; of a symbol one question is on its way at a time."""
        self._wanted.add(command.symbol)
        self._questions.begin(command.symbol)

    async def stop(self) -> None:
        """Give up everything not answered yet."""
        await self._questions.stop()

    async def _serve(self, symbol: str) -> None:
        while symbol in self._wanted:
            await asyncio.sleep(self._spacing.delay_s(symbol))
            async with self._turns:
                await self._ask(symbol)

    async def _ask(self, symbol: str) -> None:
        path = self._profile.histories_path.format(symbol=quote(symbol, safe=""))
        log = self._log.bind(symbol=symbol, purpose=BACKFILL)
        await self._rest.wait_turn(path, rank=lambda: RANK)
        # Taken only now: what was wished for while this waited is answered by it, too.
        self._wanted.discard(symbol)
        try:
            await self._rest.ask_now(path, symbol=symbol, purpose=BACKFILL)
        except RestFailed as failure:  # logged; the pipeline asks again
            log.warning("missed trades not obtained, asking again", problem=failure.problem)
        else:
            log.debug("last trades obtained")
        self._spacing.note_answered(symbol)
