"""Books on request: one question at a time per stream, spaced, for ever.

The stitcher decides that a book is wanted and whether an answer will do; asking again is how it
says no. So a request that follows an answer at once is a retry and waits its turn, longer each
time; one that comes after a while is a new need and goes out immediately.

A partial book is asked for again to know more of it (a re-seed). That can wait, and is spaced in
the same way; a stream without a book cannot, so its question takes the place of the other.

After a reconnect every stream wants a book at once and the budget gives a few a second: the busiest
streams go first, by the rows recorded of them so far. Before anything is recorded that is the order
of the symbols as they are configured, or of their turnover.
"""

from __future__ import annotations

import asyncio
import random
from urllib.parse import quote

from recorder.logs import Log
from recorder.pipeline.output import RequestBook, Reseed
from recorder.questions import Questions, Spacing
from recorder.raw_line import RESEED
from recorder.rest_log import LoggedRest
from recorder.transport.rest import RestFailed
from schemas.kucoin.profile import BookSource, Profile

RETRY_FIRST_S = 0.2
# A venue's cache may serve an old book for seconds; asking more often than this changes nothing.
RETRY_CAP_S = 8.0
# A commit and a verdict later a rejected answer has been asked again; what comes later is new.
# Longer than that, and a stream that breaks again soon after it healed would wait for nothing.
RETRY_MEMORY_S = 0.5

Key = tuple[str, str]
SEED = "seed"


class BookRequests:
    """Carry out `RequestBook` and `Reseed` commands.

    Parameters
    ----------
    rest : LoggedRest
    profile : Profile     says where books are
    signed : bool         there is an API key: whole books may be asked
    draw : random.Random        jitter of the delays

    Attributes
    ----------
    crashed : asyncio.Future   fails when a request ended by a mistake of ours; else never done
    """

    def __init__(
        self,
        rest: LoggedRest,
        profile: Profile,
        draw: random.Random,
        log: Log,
        *,
        signed: bool = False,
    ) -> None:
        self._rest = rest
        self._profile = profile
        self._signed = signed
        self._log = log
        self._wanted: dict[Key, RequestBook] = {}
        self._deeper: dict[Key, Reseed] = {}
        # Set when a stream comes to want a book: a re-seed that waits then lets it go first.
        self._seed_wanted: dict[Key, asyncio.Event] = {}
        self._spacing = Spacing[tuple[Key, str]](RETRY_FIRST_S, RETRY_CAP_S, RETRY_MEMORY_S, draw)
        self._questions = Questions("book", self._serve)
        self.crashed = self._questions.crashed

    @property
    def waiting(self) -> int:
        """How many streams without a book wait to ask for one."""
        return len(self._wanted)

    def request(self, command: RequestBook | Reseed) -> None:
        """Ask as soon as allowed; a newer request for a stream replaces one not sent yet.

        A stream that wants a book has none any more to be re-seeded.
        """
        key = (command.symbol, command.stream)
        if isinstance(command, RequestBook):
            self._wanted[key] = command
            self._deeper.pop(key, None)
            if key in self._seed_wanted:
                self._seed_wanted[key].set()
        else:
            self._deeper[key] = command
        self._questions.begin(key)

    async def stop(self) -> None:
        """Give up everything not answered yet."""
        await self._questions.stop()

    async def _serve(self, key: Key) -> None:
        while True:
            if key in self._wanted:
                await self._serve_seed(key)
            elif key in self._deeper:
                await self._serve_reseed(key)
            else:
                return

    async def _serve_seed(self, key: Key) -> None:
        await asyncio.sleep(self._spacing.delay_s((key, SEED)))
        await self._wait_turn(key)
        await self._ask_seed(key)

    async def _serve_reseed(self, key: Key) -> None:
        wanted = self._seed_wanted[key] = asyncio.Event()
        try:
            async with asyncio.timeout(self._spacing.delay_s((key, RESEED))):
                await wanted.wait()
                return
        except TimeoutError:
            await self._wait_turn(key)
        finally:
            del self._seed_wanted[key]
        if key in self._wanted:  # it needs the turn more
            await self._ask_seed(key)
        else:
            del self._deeper[key]
            await self._ask(key, RESEED, {"purpose": RESEED})

    async def _ask_seed(self, key: Key) -> None:
        # Taken only now: a turn can take long, and the answer to an older wish is of no use.
        command = self._wanted.pop(key)
        await self._ask(key, SEED, {"request_id": command.request_id})

    async def _wait_turn(self, key: Key) -> None:
        source, path = self._source(key)
        await self._rest.wait_turn(path, signed=source.signed, rank=lambda: self._rank(key))

    def _rank(self, key: Key) -> tuple[int, int]:
        """Rank a question that waits: before everything else without a book, after it with one."""
        if (seed := self._wanted.get(key)) is not None:
            return 0, -seed.traffic
        reseed = self._deeper.get(key)
        return 2, 0 if reseed is None else -reseed.traffic

    def _source(self, key: Key) -> tuple[BookSource, str]:
        """Return where the book of a stream is asked, and the path for its symbol."""
        symbol, stream = key
        source = self._profile.book_source(stream, signed=self._signed)
        assert source is not None, "a stream without a book is not stitched"
        return source, source.path.format(symbol=quote(symbol, safe=""))

    async def _ask(self, key: Key, purpose: str, fields: dict[str, object]) -> None:
        symbol, stream = key
        source, path = self._source(key)
        log = self._log.bind(symbol=symbol, stream=stream, purpose=purpose)
        try:
            await self._rest.ask_now(
                path, signed=source.signed, symbol=symbol, stream=stream, **fields
            )
        except RestFailed as failure:  # logged; the pipeline asks again
            log.warning("book not obtained, asking again", problem=failure.problem)
        else:
            log.debug("book obtained")
        self._spacing.note_answered((key, purpose))
