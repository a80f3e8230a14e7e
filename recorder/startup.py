"""Before the first frame: whether the venue is there and lists what we are to record.

The questions are asked before an archive is touched, so that a mistyped address leaves nothing
behind; their lines become the first of the run.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from difflib import get_close_matches

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    stop_after_attempt,
    wait_exponential,
    wait_random,
)

from recorder.errors import UnknownSymbols, VenueRefused, VenueUnreachable
from recorder.logs import Log
from recorder.rest_log import LoggedRest
from recorder.transport.rest import RestFailed, RestReply
from schemas.kucoin.control import WireError
from schemas.kucoin.profile import Profile
from schemas.kucoin.rest import ApiError, parse_answer, parse_instruments, parse_timestamp
from schemas.timestamps import NS_PER_MS

# Enough for an exchange that is just coming up; a supervisor does the long waiting.
TRIES = 4
RETRY_FIRST_S = 0.5
RETRY_CAP_S = 4.0
# Clocks further apart than this are worth a word: latencies computed from them are wrong.
SKEW_WORTH_SAYING_MS = 1_000
NEAR_NAMES_MAX = 5


async def greet_venue(
    rest: LoggedRest,
    base_url: str,
    profile: Profile,
    symbols: Sequence[str],
    log: Log,
) -> None:
    """Ask the venue for its clock and its symbols, and check ours against them.

    Raises
    ------
    VenueUnreachable   no answer after some tries
    VenueRefused       an answer that no retry will change
    UnknownSymbols     with the nearest names there are
    """
    reply = await _ask_patiently(rest, base_url, profile.timestamp_path, log)
    try:
        skew_ms = (parse_timestamp(parse_answer(reply.body)) - time.time_ns()) // NS_PER_MS
        reply = await _ask_patiently(rest, base_url, profile.symbols_path, log)
        listed = {instrument.symbol for instrument in parse_instruments(parse_answer(reply.body))}
    except ApiError as error:
        raise VenueRefused(reply.url, error.code, error.message) from None
    except WireError as error:
        raise VenueRefused(reply.url, "none", str(error)) from None
    if abs(skew_ms) > SKEW_WORTH_SAYING_MS:
        log.warning("clocks differ, latencies will be off by as much", skew_ms=skew_ms)
    check_symbols(symbols, listed)


def check_symbols(symbols: Sequence[str], listed: set[str]) -> None:
    """Compare what is wanted with what is listed.

    Raises
    ------
    UnknownSymbols   naming those not listed and the nearest that are
    """
    unknown = [symbol for symbol in symbols if symbol not in listed]
    if unknown:
        near: list[str] = []
        for symbol in unknown:
            near.extend(get_close_matches(symbol.upper(), sorted(listed), n=2, cutoff=0.5))
        raise UnknownSymbols(unknown, list(dict.fromkeys(near))[:NEAR_NAMES_MAX])


async def _ask_patiently(rest: LoggedRest, base_url: str, path: str, log: Log) -> RestReply:
    def tell(state: RetryCallState) -> None:
        failure = state.outcome.exception() if state.outcome else None
        log.warning("exchange does not answer, trying again", problem=str(failure))

    asking = AsyncRetrying(
        retry=retry_if_exception(_may_pass),
        stop=stop_after_attempt(TRIES),
        wait=wait_exponential(RETRY_FIRST_S, RETRY_CAP_S) + wait_random(0, RETRY_FIRST_S),
        before_sleep=tell,
        reraise=True,
    )
    try:
        return await asking(rest.ask, path)
    except RestFailed as failure:
        if failure.refused:
            status = "none" if failure.status is None else str(failure.status)
            raise VenueRefused(failure.url, status, failure.problem) from None
        raise VenueUnreachable(base_url, failure.problem) from None


def _may_pass(error: BaseException) -> bool:
    return isinstance(error, RestFailed) and not error.refused
