"""When books are audited and looked at: the schedule, out of what healing leaves of the budget.

The pipeline copies a book at the line that says so and asks for the exchange's; what comes of it is
its business. Here is decided when: each book once an interval, spread over it; one that has been
quiet for long sooner, because silence is either a quiet market or a dead subscription, and only a
question tells. What stays quiet is asked about at longer and longer intervals. Trades are audited
for that alone, by the exchange's last trades: there is no book of them to be wrong.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection
from dataclasses import dataclass
from urllib.parse import quote

from recorder.clock import stamp_line
from recorder.logs import Log
from recorder.pipeline.output import AskAudit
from recorder.pipeline.routes import Key
from recorder.questions import Questions
from recorder.raw_line import AUDIT, CHECK, RawLine
from recorder.rest_log import LoggedRest
from recorder.transport.rest import RestFailed
from schemas.datasets import BOOK_STREAMS
from schemas.kucoin.profile import PRIVATE, PUBLIC, Profile

# Two checks make a crossed book, three a silent stream: 10 to 15 seconds.
CHECK_S = 5.0
TICK_S = 1.0
# Behind whatever heals, widens or fills in.
RANK = (4, 0)
# A question that waits keeps a copied book in memory: no more are begun while so many do.
WAITING_MAX = 2
# Decisions the pipeline has said nothing to: it is behind, or those books are not there. It copies
# a book at each, so a backlog of them would cost memory, and then their questions the budget.
UNHEARD_MAX = 10
UNHEARD_S = 60.0
# Audits wait while more streams than this wait for a book. Of a few each goes first anyway, and
# one that the exchange refuses for ever must not end all auditing.
HEALING_MAX = 5
# Where no interval is configured, a quiet book is asked about no more rarely than this.
QUIET_AGAIN_S = 3_600.0


@dataclass(frozen=True, slots=True)
class AuditRules:
    """How often, and at what cost.

    Attributes
    ----------
    interval_s : float      between audits of one book; 0: none by schedule
    rest_share : float      of the exchange's REST limit, at most
    stale_after_s : float   silence after which a book is audited; 0: never for that
    check_s : float         between looks at all books
    """

    interval_s: float = 0.0
    rest_share: float = 0.1
    stale_after_s: float = 0.0
    check_s: float = CHECK_S


@dataclass(slots=True)
class _Book:
    """What is known of one book; times are the loop's, seconds."""

    audited_at: float
    changed_at: float
    row_ts: int | None
    quiet_audits: int = 0  # since its last row


class Auditor:
    """Write the decisions of audits and checks, and carry out `AskAudit`.

    Parameters
    ----------
    rest : LoggedRest
    append : callable       takes lines of the raw log
    profile : Profile       says where books and last trades are
    wanted : callable       the books and trades that are subscribed to now
    last_row : callable     when the newest row of a stream was received, ns; None before the first
    healing : callable      how many streams without a book wait to ask for one
    rules : AuditRules
    draw : random.Random    spreads first audits over the interval
    signed : bool           there is an API key: whole books may be asked

    Attributes
    ----------
    rules : AuditRules         in force from the next second on
    crashed : asyncio.Future   fails when a question ended by a mistake of ours; else never done
    """

    def __init__(
        self,
        rest: LoggedRest,
        append: Callable[[RawLine], None],
        profile: Profile,
        wanted: Callable[[], Collection[Key]],
        last_row: Callable[[Key], int | None],
        healing: Callable[[], int],
        rules: AuditRules,
        draw: random.Random,
        log: Log,
        *,
        signed: bool = False,
    ) -> None:
        self.rules = rules
        self._rest = rest
        self._append = append
        self._profile = profile
        self._wanted = wanted
        self._last_row = last_row
        self._healing = healing
        self._draw = draw
        self._log = log
        self._signed = signed
        self._books: dict[Key, _Book] = {}
        self._allowance = {PUBLIC: 0.0, PRIVATE: 0.0}
        self._turns = {PUBLIC: asyncio.Lock(), PRIVATE: asyncio.Lock()}
        self._asked_for: set[Key] = set()
        self._questions = Questions(AUDIT, self._serve)
        self.crashed = self._questions.crashed
        self._unheard: dict[Key, float] = {}  # decisions, since when

    async def run(self) -> None:
        """Decide for ever."""
        loop = asyncio.get_running_loop()
        ticked = checked = loop.time()
        while True:
            await asyncio.sleep(min(TICK_S, self.rules.check_s))
            now = loop.time()
            if now - checked >= self.rules.check_s:
                checked = now
                self._append(stamp_line("decision", {"what": CHECK}))
            self.decide(now, now - ticked)
            ticked = now

    async def stop(self) -> None:
        """Give up everything not answered yet."""
        await self._questions.stop()

    def ask(self, command: AskAudit) -> None:
        """Ask for the book of an audit, behind everything else and one at a time."""
        key = (command.symbol, command.stream)
        self._unheard.pop(key, None)
        self._asked_for.add(key)
        self._questions.begin(key)

    def decide(self, now: float, passed_s: float) -> None:
        """Begin the audits that are due and that the budget allows.

        Parameters
        ----------
        now : float        the loop's time
        passed_s : float   since the last call
        """
        rules = self.rules
        for pool, rate in self._profile.limits.rest.items():
            earned = passed_s * rules.rest_share * rate.count / rate.window_s
            # No more is saved up than the dearest question costs, or what a tick earns.
            most = max(earned, float(max(self._profile.limits.rest_weights.values(), default=1)))
            self._allowance[pool] = min(most, self._allowance[pool] + earned)
        self._look_at_rows(now)
        if self._healing() > HEALING_MAX:
            return
        self._unheard = {k: since for k, since in self._unheard.items() if now - since < UNHEARD_S}
        for key in self._due(now):
            if self._questions.under_way >= WAITING_MAX or len(self._unheard) >= UNHEARD_MAX:
                return
            path, signed = self._source(key)
            pool, cost = _pool(signed=signed), self._profile.limits.weight(path)
            if self._allowance[pool] < cost:
                return
            self._allowance[pool] -= cost
            self._begin(key, now)

    def _begin(self, key: Key, now: float) -> None:
        book = self._books[key]
        book.audited_at = now
        book.quiet_audits += 1
        self._unheard[key] = now
        self._append(stamp_line("decision", {"what": AUDIT, "symbol": key[0], "stream": key[1]}))

    def _look_at_rows(self, now: float) -> None:
        """Note which books are there, and which have changed since the last look."""
        wanted = set(self._wanted())
        for key in self._books.keys() - wanted:
            del self._books[key]
        for key in sorted(wanted):
            row_ts = self._last_row(key)
            book = self._books.get(key)
            if book is None:
                began = now - self._draw.random() * self.rules.interval_s
                self._books[key] = _Book(began, now, row_ts)
            elif row_ts != book.row_ts:
                book.row_ts, book.changed_at, book.quiet_audits = row_ts, now, 0

    def _due(self, now: float) -> list[Key]:
        """Return what is due, the most urgent first.

        Trades come behind all books: of most symbols they are quiet for minutes, which is no news.
        """
        urgencies = [(self._urgency(key, book, now), key) for key, book in self._books.items()]
        ranked = [(key[1] in BOOK_STREAMS, urgency, key) for urgency, key in urgencies]
        return [key for _, urgency, key in sorted(ranked, reverse=True) if urgency >= 1.0]

    def _urgency(self, key: Key, book: _Book, now: float) -> float:
        """Return how due an audit is: from 1 on it is, and a silence comes before a schedule."""
        rules = self.rules
        since = now - book.audited_at
        if rules.stale_after_s:
            most = max(rules.interval_s or QUIET_AGAIN_S, rules.stale_after_s)
            wait = min(most, rules.stale_after_s * 2.0 ** min(book.quiet_audits, 32))
            if min(since, now - book.changed_at) >= wait:
                return 1e6 + (now - book.changed_at)
        is_scheduled = rules.interval_s and key[1] in BOOK_STREAMS
        return since / rules.interval_s if is_scheduled else 0.0

    def _source(self, key: Key) -> tuple[str, bool]:
        """Return what is asked for a stream, and whether with the API key."""
        symbol, stream = quote(key[0], safe=""), key[1]
        if stream not in BOOK_STREAMS:
            return self._profile.histories_path.format(symbol=symbol), False
        source = self._profile.book_source(stream, signed=self._signed)
        assert source is not None, "a stream without a book is not stitched"
        return source.path.format(symbol=symbol), source.signed

    async def _serve(self, key: Key) -> None:
        while key in self._asked_for:
            await self._ask(key)

    async def _ask(self, key: Key) -> None:
        path, signed = self._source(key)
        symbol, stream = key
        async with self._turns[_pool(signed=signed)]:
            await self._rest.wait_turn(path, signed=signed, rank=lambda: RANK)
            # Taken only now: an audit begun while this waited is answered by it, too.
            self._asked_for.discard(key)
            try:
                await self._rest.ask_now(
                    path, signed=signed, symbol=symbol, stream=stream, purpose=AUDIT
                )
            except RestFailed as failure:  # logged; this audit ends without a verdict
                self._log.warning(
                    "nothing to compare with", symbol=symbol, stream=stream, problem=failure.problem
                )


def _pool(*, signed: bool) -> str:
    return PRIVATE if signed else PUBLIC
