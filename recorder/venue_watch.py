"""Follow the venue while it is recorded: what it lists, what is meant by it, whether it is open.

Whatever changes the symbols, a listing or a reload, goes through here: the collector is told, the
decision is a line of the raw log, and each symbol is named once in the log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from recorder.clock import stamp_line
from recorder.errors import RecorderError, VenueRefused, VenueUnreachable
from recorder.jobs import Done, JobFailed
from recorder.listing import Listing, ask_listing
from recorder.logs import Log
from recorder.raw_line import RawLine
from recorder.rest_log import LoggedRest
from recorder.startup import Greeting, check_symbols
from recorder.symbols import Selection, SymbolChanges, renames, symbol_changes
from recorder.transport.rest import RestFailed
from schemas.kucoin.control import WireError
from schemas.kucoin.profile import Profile
from schemas.kucoin.rest import ApiError, Instrument, parse_answer
from schemas.kucoin.venue_state import VenueStatus, parse_status

# Why symbols come and go: the venue's list, their rank among the most traded, or our configuration.
LISTED, DELISTED, RANKED, RELOAD = "listed", "delisted", "ranked", "reload"


class VenueWatch:
    """What of one venue is recorded now, and what the venue says of itself.

    Parameters
    ----------
    rest : LoggedRest        rows depend on the answers
    selection : Selection    what is meant
    feeds : sequence of str
    greeting : Greeting      what was said before the first connection
    set_symbols : callable   symbols, feeds → changes the subscriptions; ConfigError: too many
    append : callable        takes lines of the raw log

    Attributes
    ----------
    symbols, feeds : tuple   recorded now
    status : VenueStatus or None   None where the dialect has none, or it was not told
    """

    def __init__(
        self,
        rest: LoggedRest,
        profile: Profile,
        selection: Selection,
        feeds: Sequence[str],
        greeting: Greeting,
        set_symbols: Callable[[Sequence[str], Sequence[str]], object],
        append: Callable[[RawLine], None],
        log: Log,
    ) -> None:
        self.symbols = tuple(greeting.symbols)
        self.feeds = tuple(feeds)
        self.status: VenueStatus | None = greeting.venue_status
        self._rest = rest
        self._profile = profile
        self._selection = selection
        self._instruments = tuple(greeting.instruments)
        self._set_symbols = set_symbols
        self._append = append
        self._log = log
        self._turn = asyncio.Lock()

    async def follow_listing(self) -> Done:
        """Ask what is listed, and record what is meant of it now. The job `instruments`."""
        async with self._turn:
            try:
                listing = await self._ask(self._selection)
                changes = self._change(listing, self.feeds)
            except RecorderError as error:
                raise JobFailed(str(error)) from None
        if not changes:
            return Done(f"{len(listing.instruments)} symbols listed", is_nothing=True)
        return Done(f"{len(changes.added)} symbols added, {len(changes.removed)} removed")

    async def follow_status(self) -> Done:
        """Ask whether the venue is open. The job `status`."""
        path = self._profile.status_path
        if path is None:
            return Done(f"{self._profile.name} has no status to ask for", is_nothing=True)
        try:
            status = parse_status(parse_answer((await self._rest.ask(path)).body))
        except (RestFailed, WireError, ApiError) as error:
            raise JobFailed(f"the exchange does not say whether it is open: {error}") from None
        before, self.status = self.status, status
        if before == status:
            return Done(status.status, is_nothing=True)
        say = self._log.info if status.is_open else self._log.warning
        say("exchange changed its status", status=status.status, says=status.message)
        return Done(" ".join(filter(None, (status.status, status.message))))

    async def reload(self, selection: Selection, feeds: Sequence[str]) -> SymbolChanges:
        """Mean something else from now on; unchanged streams are not touched.

        Raises
        ------
        VenueError, ConfigError   then everything stays as it was
        """
        async with self._turn:
            listing = await self._ask(selection)
            names = [each.symbol for each in listing.instruments]
            known = {each.symbol for each in self._instruments} | set(self.symbols)
            check_symbols(listing.resolution, names, known)
            changes = self._change(listing, tuple(feeds), RELOAD)
            self._selection = selection
            return changes

    async def _ask(self, selection: Selection) -> Listing:
        try:
            return await ask_listing(self._rest.ask, self._profile, selection, self.symbols)
        except RestFailed as failure:
            raise VenueUnreachable(failure.url, failure.problem) from None
        except ApiError as error:
            raise VenueRefused("the list of symbols", error.code, error.message) from None
        except WireError as error:
            raise VenueRefused("the list of symbols", "none", str(error)) from None

    def _change(self, listing: Listing, feeds: tuple[str, ...], reason: str = "") -> SymbolChanges:
        """Record what a listing means; return what that changes."""
        symbols = listing.resolution.symbols
        changes = symbol_changes(self.symbols, symbols)
        if changes or feeds != self.feeds:
            self._set_symbols(symbols, feeds)
            self.symbols, self.feeds = symbols, feeds
        before, self._instruments = self._instruments, listing.instruments
        for rename in renames(before, listing.instruments):
            self._log.info(
                "symbol is shown under another name",
                symbol=rename.symbol,
                name_before=rename.name_before,
                name=rename.name_after,
            )
        was_trading, is_trading = _trading(before), _trading(listing.instruments)
        for why, group in _by_reason(changes.added, was_trading, LISTED, reason).items():
            self._decide(group, (), why)
        for why, group in _by_reason(changes.removed, is_trading, DELISTED, reason).items():
            self._decide((), group, why)
        return changes

    def _decide(self, added: Sequence[str], removed: Sequence[str], reason: str) -> None:
        fields = {
            "what": "symbols",
            "added": list(added),
            "removed": list(removed),
            "reason": reason,
        }
        self._append(stamp_line("decision", fields))
        for symbol in added:
            self._log.info("symbol is recorded from now on", symbol=symbol, reason=reason)
        for symbol in removed:
            self._log.warning("symbol is recorded no longer", symbol=symbol, reason=reason)


def _trading(instruments: Sequence[Instrument]) -> frozenset[str]:
    return frozenset(each.symbol for each in instruments if each.enable_trading)


def _by_reason(
    symbols: Sequence[str], trades_anyway: frozenset[str], by_list: str, given: str
) -> dict[str, list[str]]:
    """Group symbols by why they come or go: a reason given, the venue's list, or their rank."""
    found: dict[str, list[str]] = {}
    for symbol in symbols:
        reason = given or (RANKED if symbol in trades_anyway else by_list)
        found.setdefault(reason, []).append(symbol)
    return found
