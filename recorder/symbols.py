"""Which symbols are meant: names, patterns, all, or the most traded. Pure.

| entry | means |
|---|---|
| `BTC-USDT` | this symbol, also while it does not trade |
| `*-USDT`, `BTC-*`, `ET?-BTC` | every trading symbol of this shape |
| `all` | every trading symbol |
| `top:50`, `top:50:*-USDT` | the trading symbols of the largest turnover in 24 h |

Symbols are matched as the exchange spells them. A name that was given to one later
(`GALA-USDT` for the symbol `GALAX-USDT`) selects nothing: topics and books know the symbol.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from enum import Enum
from itertools import islice
from typing import Any

from schemas.kucoin.rest import Instrument

# The currency turnover is compared in, where the exchange trades it at all.
COMMON_CURRENCY = "USDT"
# A symbol that is recorded keeps its place until it has fallen so far behind the last of the top.
_SLACK_SHARE = 10
_NAME = re.compile(r"[^\s,:/]+")
_TOP = re.compile(r"top:(?P<count>[1-9]\d{0,5})(?::(?P<pattern>[^\s,:/]+))?")
_ZERO = Decimal(0)
_EXPONENT_MAX = 1_000


class BadSelection(ValueError):
    """An entry that means nothing.

    Attributes
    ----------
    entry : str
    """

    def __init__(self, entry: str) -> None:
        self.entry = entry
        needs = "a symbol has no space, comma, colon or slash"
        if entry.lower().startswith("top"):
            needs = "top:N needs a number from 1 on"
        super().__init__(
            f"{entry!r} selects nothing: {needs}; "
            "write BTC-USDT, *-USDT, all, top:50 or top:50:*-USDT"
        )


class _Kind(Enum):
    NAME = "name"
    PATTERN = "pattern"
    TOP = "top"


@dataclass(frozen=True, slots=True)
class _Entry:
    text: str
    kind: _Kind
    pattern: re.Pattern[str]
    count: int = 0


@dataclass(frozen=True, slots=True)
class Resolution:
    """What a selection means at one moment.

    Attributes
    ----------
    symbols : tuple[str, ...]       to record, in the exchange's order, each once
    not_trading : tuple[str, ...]   of those, named ones that do not trade now: they may be silent
    unknown : tuple[str, ...]       names that are not listed now
    unmatched : tuple[str, ...]     patterns that match nothing now, and may later
    """

    symbols: tuple[str, ...]
    not_trading: tuple[str, ...]
    unknown: tuple[str, ...]
    unmatched: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SymbolChanges:
    """Symbols to begin and to end with, each in its list's order."""

    added: tuple[str, ...]
    removed: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.added or self.removed)


@dataclass(frozen=True, slots=True)
class Rename:
    """A symbol that is shown under another name from now on."""

    symbol: str
    name_before: str
    name_after: str


@dataclass(frozen=True, slots=True)
class Selection:
    """What is to be recorded, as it was asked for."""

    entries: tuple[_Entry, ...]

    @classmethod
    def parse(cls, entries: Iterable[str]) -> Selection:
        """Parse the entries of `venue.symbols`.

        Raises
        ------
        BadSelection   naming the entry
        """
        return cls(tuple(_parse_entry(entry) for entry in entries))

    @property
    def needs_tickers(self) -> bool:
        """Whether an entry ranks by turnover."""
        return any(entry.kind is _Kind.TOP for entry in self.entries)

    @property
    def names(self) -> tuple[str, ...]:
        """The entries that name one symbol."""
        return tuple(entry.text for entry in self.entries if entry.kind is _Kind.NAME)

    def resolve(
        self,
        instruments: Sequence[Instrument],
        tickers: Sequence[Mapping[str, Any]],
        recorded: Iterable[str] = (),
    ) -> Resolution:
        """Say which symbols are meant now.

        Parameters
        ----------
        instruments : sequence   as the exchange lists them
        tickers : sequence       of `allTickers`; may be empty where `needs_tickers` is false
        recorded : iterable      symbols recorded now: one of these leaves a top only when it is
            clearly out of it, so that two neighbours in rank do not take turns
        """
        trading = dict.fromkeys(each.symbol for each in instruments if each.enable_trading)
        listed = {each.symbol for each in instruments}
        ranked = _rank(instruments, tickers) if self.needs_tickers else []
        held = frozenset(recorded)
        chosen: set[str] = set()
        unmatched: list[str] = []
        for entry in self.entries:
            if entry.kind is _Kind.NAME:
                chosen |= {entry.text} & listed
                continue
            if entry.kind is _Kind.PATTERN:
                found = [symbol for symbol in trading if entry.pattern.fullmatch(symbol)]
            else:
                found = [symbol for symbol in ranked if entry.pattern.fullmatch(symbol)]
                found = _best(found, entry.count, held)
            chosen.update(found)
            if not found:
                unmatched.append(entry.text)
        symbols = tuple(dict.fromkeys(i.symbol for i in instruments if i.symbol in chosen))
        return Resolution(
            symbols,
            tuple(symbol for symbol in symbols if symbol not in trading),
            tuple(name for name in self.names if name not in listed),
            tuple(unmatched),
        )


def symbol_changes(before: Sequence[str], after: Sequence[str]) -> SymbolChanges:
    """Compare what is recorded with what is meant now."""
    old, new = frozenset(before), frozenset(after)
    return SymbolChanges(
        tuple(symbol for symbol in after if symbol not in old),
        tuple(symbol for symbol in before if symbol not in new),
    )


def renames(before: Iterable[Instrument], after: Iterable[Instrument]) -> tuple[Rename, ...]:
    """Find symbols that stayed and changed their name; their record goes on unbroken."""
    names = {each.symbol: each.name for each in before}
    return tuple(
        Rename(each.symbol, names[each.symbol], each.name)
        for each in after
        if names.get(each.symbol, each.name) != each.name
    )


def _parse_entry(entry: str) -> _Entry:
    if entry == "all":
        return _Entry(entry, _Kind.PATTERN, _pattern("*"))
    top = _TOP.fullmatch(entry)
    if top:
        return _Entry(entry, _Kind.TOP, _pattern(top["pattern"] or "*"), int(top["count"]))
    if not _NAME.fullmatch(entry):
        raise BadSelection(entry)
    kind = _Kind.PATTERN if set(entry) & {"*", "?"} else _Kind.NAME
    return _Entry(entry, kind, _pattern(entry))


def _pattern(text: str) -> re.Pattern[str]:
    """Translate `*` and `?`; everything else, brackets too, stands for itself."""
    wild = {"*": ".*", "?": "."}
    return re.compile("".join(wild.get(letter) or re.escape(letter) for letter in text))


def _best(ranked: Sequence[str], count: int, recorded: frozenset[str]) -> list[str]:
    """Take the first `count`, those recorded before newcomers where ranks are close."""
    slack = max(1, count // _SLACK_SHARE)
    staying = [symbol for symbol in ranked[: count + slack] if symbol in recorded][:count]
    kept = frozenset(staying)
    coming = (symbol for symbol in ranked if symbol not in kept)
    return staying + list(islice(coming, count - len(staying)))


def _rank(instruments: Sequence[Instrument], tickers: Sequence[Mapping[str, Any]]) -> list[str]:
    """Order the trading symbols by turnover in one currency, the largest first, ties by name."""
    of_symbol = {str(ticker.get("symbol")): ticker for ticker in tickers}
    last = {symbol: _number(ticker.get("last")) for symbol, ticker in of_symbol.items()}
    worth = _worth_of_currencies(instruments, last)
    turnover: dict[str, Decimal] = {}
    for each in instruments:
        if not each.enable_trading:
            continue
        ticker = of_symbol.get(each.symbol, {})
        # The document of 2019 gives no volValue: volume at the last price is close enough to rank.
        in_quote = _number(ticker.get("volValue")) or (
            _number(ticker.get("vol")) * last.get(each.symbol, _ZERO)
        )
        turnover[each.symbol] = in_quote * worth.get(each.quote_currency, _ZERO)
    return sorted(turnover, key=lambda symbol: (-turnover[symbol], symbol))


def _worth_of_currencies(
    instruments: Sequence[Instrument], last: Mapping[str, Decimal]
) -> dict[str, Decimal]:
    """Value each currency in the common one, over the fewest trades from it.

    What no chain of last prices reaches has no value here, and ranks last.
    """
    worth = {_common_currency(instruments): Decimal(1)}
    while True:
        reached: dict[str, Decimal] = {}
        for each in instruments:
            price = last.get(each.symbol, _ZERO)
            if price <= 0:
                continue
            base, quote = each.base_currency, each.quote_currency
            if quote in worth and base not in worth:
                reached.setdefault(base, worth[quote] * price)
            elif base in worth and quote not in worth:
                reached.setdefault(quote, worth[base] / price)
        if not reached:
            return worth
        worth |= reached


def _common_currency(instruments: Sequence[Instrument]) -> str:
    """Return the currency to compare in: USDT, or else what most symbols are quoted in."""
    quotes = Counter(each.quote_currency for each in instruments)
    if COMMON_CURRENCY in quotes or not quotes:
        return COMMON_CURRENCY
    return min(quotes, key=lambda currency: (-quotes[currency], currency))


def _number(value: object) -> Decimal:
    """Read a figure of a ticker; a new symbol has null where others have text."""
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return _ZERO
    # Beyond any market; products of such numbers would overflow.
    sane = number.is_finite() and abs(number.adjusted()) <= _EXPONENT_MAX
    return number if sane else _ZERO
