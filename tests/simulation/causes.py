"""Gaps asked for the fault they come from: one without any is invented."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.simulation.covered_books import truth_of_number
from tests.simulation.process import CRASHED, STOPPED, Life
from tests.simulation.seed import Played

FEED_OF_STREAM = {"l2": "level2", "l3": "level3"}
LOSSES = {"sequence", "decode", "garbage", "bridge"}
BREAKS = {"disconnected", "silent"}
# A silent topic is subscribed anew: what it had for a book by then ends with the old subscription.
ANEW = {"silent", "stopped"}
MOMENT_NS = 5_000_000
# The longest that a connection is on its way out, and that the next one's frames are held back.
HANDOVER_NS = 10_000_000_000
HELD_BACK_NS = 60_000_000_000
# The longest that a frame is on its way.
LATEST_NS = 5_000_000_000
NUMBERS = ("price_mantissa", "price_scale", "size_mantissa", "size_scale")


def cause_known(played: Played, lives: dict[str, Life], gap: dict[str, Any]) -> Iterator[str]:
    """Ask a gap for the fault it comes from."""
    symbol, stream, reason = gap["symbol"], gap["stream"], gap["reason"]
    what = f"{symbol} {stream}: the gap {reason} at {gap['ts_detected']}"
    life = lives[gap["run_id"]]
    healed = {"next_run", "backfill"} if stream == "trades" else {"next_run"}
    is_anew = gap["healed_by"] == "backfill" and reason in ANEW and _is_mute(life, gap)
    if gap["healed_by"] in healed and reason in {"stopped", "crashed"} and not is_anew:
        # One that fails or crashes while it publishes has said that it stops, in the raw log.
        if (reason == "stopped" and life.end == CRASHED and not life.was_stopping) or (
            reason == "crashed" and life.end == STOPPED
        ):
            yield f"{what} says how process {life.number} ended, and it {life.end}"
    elif reason in BREAKS or reason == "stopped":
        # A book that stands still for a message that was lost, and no other comes, is silent, too.
        is_still = reason == "silent" and stream in FEED_OF_STREAM and _has_loss(played, gap)
        is_mute = reason in ANEW and _is_mute(life, gap)
        if not (_has_break(played, life, gap) or is_mute or is_still):
            yield f"{what} has no connection that broke"
    elif reason in LOSSES and stream in FEED_OF_STREAM:
        if not _has_loss(played, gap):
            yield f"{what}: nothing was lost at {gap['sequence_expected']}"
    elif reason in {"garbage", "decode"}:
        if not _has_mishap(played, gap):
            yield f"{what}: all that was told could be read"
    elif reason == "drift":
        if not _was_spoilt(played, gap):
            yield f"{what}: the book was right, or the claim goes on where it was not"
    elif reason == "disk_full":
        if not _was_full(played, gap):
            yield f"{what}: there was room"
    else:
        yield f"{what} is none that can come of these faults"


def _has_break(played: Played, life: Life, gap: dict[str, Any]) -> bool:
    """Ask for a connection that broke then.

    Or, in a handover, for one that broke shortly before: the one it was to replace was on its way
    out already.
    """
    back_ns = played.stepped_back_ns
    since_ns = HANDOVER_NS if played.plan.rotate_after_s else MOMENT_NS
    return any(
        socket.troubles
        and -MOMENT_NS <= gap["ts_detected"] - socket.closed_ts <= since_ns + back_ns
        for socket in life.sockets
    )


def _is_mute(life: Life, gap: dict[str, Any]) -> bool:
    """Say whether a topic of a gap was acknowledged and brought nothing, as an audit finds."""
    feeds = [FEED_OF_STREAM[gap["stream"]]] if gap["stream"] != "trades" else ["level3", "match"]
    topics = {(feed, gap["symbol"]) for feed in feeds}
    return any(topics & s.ever_silent or "half_open" in s.troubles for s in life.sockets)


def _has_loss(played: Played, gap: dict[str, Any]) -> bool:
    symbol, stream, expected = gap["symbol"], gap["stream"], gap["sequence_expected"]
    feed = FEED_OF_STREAM[stream]
    lost = played.faults.lost.get((symbol, feed), set())
    truth = truth_of_number(played, symbol, expected)
    if truth is None:
        return (symbol, stream, expected - 1) in played.venue.rest.stale_books
    received = gap["sequence_received"]
    if (
        truth is not played.venue.epochs[symbol][-1]
        and (received is None or truth_of_number(played, symbol, received) is not truth)
        and played.venue.epoch_ts[symbol] <= gap["ts_detected"] + played.stepped_back_ns
    ):
        return True  # numbers had begun anew
    if played.plan.rotate_after_s and symbol in played.venue.epoch_ts:
        # They had, and another connection was still to tell of those before.
        since_ns = gap["ts_detected"] - played.venue.epoch_ts[symbol]
        if 0 <= since_ns + played.stepped_back_ns <= HELD_BACK_NS:
            return True
    if (symbol, stream, expected - 1) in played.venue.rest.stale_books:
        return True
    return not lost.isdisjoint(truth.messages_with(feed, expected))


def _has_mishap(played: Played, gap: dict[str, Any]) -> bool:
    """Ask for what could not be read, and was sent on a socket that brings the stream too."""
    topic = (FEED_OF_STREAM.get(gap["stream"], "match"), gap["symbol"])
    since_ns = HELD_BACK_NS if played.plan.rotate_after_s else LATEST_NS
    return any(
        mishap.kind in {"garbage", "garbage_beside", "malformed", "bad_frame"}
        and topic in mishap.topics
        and _is_between(played, mishap.ts, gap["ts_detected"] - since_ns, gap["ts_detected"])
        for mishap in played.faults.mishaps
    )


def _was_spoilt(played: Played, gap: dict[str, Any]) -> bool:
    """Ask for the book that went wrong in memory, and that what is claimed ends before."""
    key = (gap["symbol"], gap["stream"], gap["run_id"])
    places = [s.ordinal for s in played.spoilt if (s.symbol, s.stream, s.run_id) == key]
    return any(gap["ordinal_from"] <= ordinal for ordinal in places)


def _was_full(played: Played, gap: dict[str, Any]) -> bool:
    return any(
        mishap.kind in {"disk_full", "catalog_full"}
        and _is_between(played, mishap.ts, gap["ts_from"], gap["ts_detected"])
        for mishap in played.faults.mishaps
    )


def _is_between(played: Played, ts: int, first: int, last: int) -> bool:
    """Say whether a moment lies between two others, on a clock that may have been stepped.

    What is known stands still while the clock makes up for a step back.
    """
    since = first - played.stepped_ns - played.stepped_back_ns - MOMENT_NS
    return since <= ts <= last + played.stepped_back_ns + MOMENT_NS
