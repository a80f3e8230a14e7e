"""Before the first frame: whether the venue is there, what it lists, and what our key may do.

The questions are asked before an archive is touched, so that a mistyped address leaves nothing
behind; their lines become the first of the run. What the exchange says about the key is asked past
the log: it is about an account, and no row depends on it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    stop_after_attempt,
    wait_exponential,
    wait_random,
)

from recorder.api_key import ApiKey, KeyRefused, permissions_warning
from recorder.clock import wall_ns
from recorder.config import Config
from recorder.errors import UnknownSymbols, VenueRefused, VenueUnreachable
from recorder.listing import ask_listing
from recorder.logs import Log
from recorder.rest_log import LoggedRest
from recorder.symbols import Resolution
from recorder.transport.rest import RestClient, RestFailed, RestReply
from schemas.kucoin.control import WireError
from schemas.kucoin.profile import Profile
from schemas.kucoin.rest import ApiError, Instrument, parse_answer, parse_timestamp
from schemas.kucoin.venue_state import VenueStatus, parse_key_info, parse_status
from schemas.timestamps import NS_PER_MS

# Enough for an exchange that is just coming up; a supervisor does the long waiting.
TRIES = 4
RETRY_FIRST_S = 0.5
RETRY_CAP_S = 4.0
# Clocks further apart than this are worth a word: latencies computed from them are wrong.
SKEW_WORTH_SAYING_MS = 1_000
NEAR_NAMES_MAX = 5
# "Url Not Found": a server that speaks the dialect without telling about keys.
_NO_SUCH_PATH = "404000"

Ask = Callable[[str], Awaitable[RestReply]]


@dataclass(frozen=True, slots=True)
class Greeting:
    """What the venue said before the first connection.

    Attributes
    ----------
    symbols : tuple[str, ...]            to record, in the exchange's order; may be empty
    instruments : tuple[Instrument, ...] all it lists
    skew_ms : int                        its clock less ours
    signed : bool                        whether a key is used: the profile has books that need one
    key_can_trade : bool | None          whether the key may do more than read; None: not known
    venue_status : VenueStatus | None    None where the dialect has none, or it was not told
    """

    symbols: tuple[str, ...]
    instruments: tuple[Instrument, ...]
    skew_ms: int
    signed: bool
    key_can_trade: bool | None
    venue_status: VenueStatus | None


async def greet_venue(
    rest: LoggedRest,
    client: RestClient,
    config: Config,
    api_key: ApiKey | None,
    known_symbols: Collection[str],
    log: Log,
) -> Greeting:
    """Ask the venue for its clock, its symbols, its status and our key, and check ours against it.

    Parameters
    ----------
    rest : LoggedRest             for everything rows may depend on
    client : RestClient           signs, where there is a key
    known_symbols : collection    symbols this archive has seen listed before

    Raises
    ------
    VenueUnreachable   no answer after some tries
    VenueRefused       an answer that no retry will change; `KeyRefused` where it is about the key
    UnknownSymbols     names never listed, with the nearest names there are
    """
    profile = config.profile
    ask = _patient(rest.ask, config.rest_url, log)
    try:
        reply = await ask(profile.timestamp_path)
        skew_ms = (parse_timestamp(parse_answer(reply.body)) - wall_ns()) // NS_PER_MS
        if abs(skew_ms) > SKEW_WORTH_SAYING_MS:
            log.warning("clocks differ, latencies will be off by as much", skew_ms=skew_ms)
        listing = await ask_listing(ask, profile, config.selection)
    except ApiError as error:
        raise VenueRefused(config.rest_url, error.code, error.message) from None
    except WireError as error:
        raise VenueRefused(config.rest_url, "none", str(error)) from None
    symbols = [instrument.symbol for instrument in listing.instruments]
    check_symbols(listing.resolution, symbols, known_symbols)
    tell_resolution(listing.resolution, log)
    venue_status = await _ask_status(rest, profile, log)
    signed = api_key is not None and any(source.signed for source in profile.books)
    key_can_trade = None
    if api_key is not None and not signed:
        log.warning("the API key is not used, all books are public", profile=profile.name)
    elif api_key is not None:
        key_can_trade = await _ask_key(client, profile, api_key, skew_ms, log)
    return Greeting(
        listing.resolution.symbols,
        listing.instruments,
        skew_ms,
        signed,
        key_can_trade,
        venue_status,
    )


def check_symbols(resolution: Resolution, listed: Sequence[str], known: Collection[str]) -> None:
    """Refuse names that were never listed; one that was may come back and is waited for.

    Raises
    ------
    UnknownSymbols   naming those, and the nearest that are listed
    """
    unknown = [symbol for symbol in resolution.unknown if symbol not in known]
    if unknown:
        near: list[str] = []
        for symbol in unknown:
            near.extend(get_close_matches(symbol.upper(), sorted(listed), n=2, cutoff=0.5))
        raise UnknownSymbols(unknown, list(dict.fromkeys(near))[:NEAR_NAMES_MAX])


def tell_resolution(resolution: Resolution, log: Log) -> None:
    """Log what of the selection is not, or not yet, there to be recorded."""
    for symbol in resolution.unknown:
        log.warning("symbol is not listed any more, recorded again once it is", symbol=symbol)
    for entry in resolution.unmatched:
        log.warning("nothing of this shape trades now, recorded once it does", symbols=entry)
    for symbol in resolution.not_trading:
        log.warning("symbol does not trade now, its book may be empty", symbol=symbol)
    if not resolution.symbols:
        log.warning("nothing to record now")


async def _ask_status(rest: LoggedRest, profile: Profile, log: Log) -> VenueStatus | None:
    """Ask whether the exchange is open: good to know, and nothing depends on it."""
    if profile.status_path is None:
        return None
    try:
        status = parse_status(parse_answer((await rest.ask(profile.status_path)).body))
    except (RestFailed, WireError) as error:
        log.warning("exchange does not say whether it is open", problem=str(error))
        return None
    if not status.is_open:
        log.warning("exchange is not open", status=status.status, says=status.message)
    return status


async def _ask_key(
    client: RestClient, profile: Profile, api_key: ApiKey, skew_ms: int, log: Log
) -> bool | None:
    """Ask what the key may do, past the log; True where it is more than reading.

    Raises
    ------
    KeyRefused   with the documented code
    """
    path = profile.key_path
    if path is None:
        return None

    async def ask_signed(path: str) -> RestReply:
        await client.wait_turn(path, signed=True)
        return await client.get(path, signed=True)

    try:
        reply: RestReply = await _retrying(log)(ask_signed, path)
        info = parse_key_info(parse_answer(reply.body))
    except RestFailed as failure:
        problem = api_key.redact(failure.problem)
        if failure.refused and failure.code not in {None, _NO_SUCH_PATH}:
            raise KeyRefused(
                failure.url, str(failure.code), problem, version=api_key.version, skew_ms=skew_ms
            ) from None
        log.warning("exchange does not say what the API key may do", problem=problem)
        return None
    except WireError:
        # Without the answer: it is about an account.
        log.warning("exchange does not say what the API key may do", problem="answer is malformed")
        return None
    warning = permissions_warning(info.permissions)
    if warning:
        log.warning(warning, permissions=",".join(info.permissions))
    return warning is not None


def _patient(ask: Ask, base_url: str, log: Log) -> Ask:
    """Make a question that is asked some times, and says in our terms that it failed."""

    async def ask_patiently(path: str) -> RestReply:
        try:
            reply: RestReply = await _retrying(log)(ask, path)
            return reply
        except RestFailed as failure:
            if failure.refused:
                status = "none" if failure.status is None else str(failure.status)
                raise VenueRefused(failure.url, status, failure.problem) from None
            raise VenueUnreachable(base_url, failure.problem) from None

    return ask_patiently


def _retrying(log: Log) -> AsyncRetrying:
    def tell(state: RetryCallState) -> None:
        failure = state.outcome.exception() if state.outcome else None
        log.warning("exchange does not answer, trying again", problem=str(failure))

    return AsyncRetrying(
        retry=retry_if_exception(_may_pass),
        stop=stop_after_attempt(TRIES),
        wait=wait_exponential(RETRY_FIRST_S, RETRY_CAP_S) + wait_random(0, RETRY_FIRST_S),
        before_sleep=tell,
        reraise=True,
    )


def _may_pass(error: BaseException) -> bool:
    return isinstance(error, RestFailed) and not error.refused
