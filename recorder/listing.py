"""What the exchange lists now, and what of it is meant: asked at the start and ever again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

from recorder.symbols import Resolution, Selection
from recorder.transport.rest import RestReply
from schemas.kucoin.control import WireError
from schemas.kucoin.profile import Profile
from schemas.kucoin.rest import (
    Instrument,
    parse_all_tickers,
    parse_answer,
    parse_instruments,
)


@dataclass(frozen=True, slots=True)
class Listing:
    """The exchange's symbols, and the selection among them."""

    instruments: tuple[Instrument, ...]
    resolution: Resolution


async def ask_listing(
    ask: Callable[[str], Awaitable[RestReply]],
    profile: Profile,
    selection: Selection,
    recorded: Iterable[str] = (),
) -> Listing:
    """Ask for the symbols, for the tickers where turnover is wanted, and resolve.

    Parameters
    ----------
    ask : callable        takes a path; logs question and answer, so that rows can depend on them
    recorded : iterable   symbols recorded now, as `Selection.resolve` takes them

    Raises
    ------
    RestFailed   as `ask`
    WireError    an answer that is not what the dialect says, or that lists nothing at all: that is
        an exchange in trouble, and no reason to end every stream
    """
    body = (await ask(profile.symbols_path)).body
    instruments = tuple(parse_instruments(parse_answer(body)))
    if not instruments:
        raise WireError("symbols lists nothing", body)
    tickers: list[dict[str, Any]] = []
    if selection.needs_tickers:
        _, tickers = parse_all_tickers(parse_answer((await ask(profile.tickers_path)).body))
    return Listing(instruments, selection.resolve(instruments, tickers, recorded))
