"""The soak in small: a slow decoder holds nobody up, loses nothing, and catches up."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

from benchmarks import soak
from benchmarks.firehose import FIRST_SEQUENCE, SLOTS, book_at, price, size_digits, template


def test_a_slow_decoder_lags_and_catches_up_and_nothing_is_missing(tmp_path: Path) -> None:
    slow = (3.0, 4.0)
    result, samples = soak.measure(tmp_path, rate=2_000.0, seconds=8.0, slow=slow)
    assert result["frames_sent"] > 4_000
    assert result["frames_missing"] == 0
    assert result["frames_late"] == 0, "the recorder read on while its decoder was slow"
    assert result["lag_lines_max"] > 1_000
    assert result["caught_up"]
    assert (result["recorder_exit"], result["verified"]) == (0, True), result
    assert all(sample.rss_bytes > 0 for sample in samples)
    picture = ElementTree.fromstring(soak.plot(samples, slow, "a title"))
    lines = picture.findall("{http://www.w3.org/2000/svg}polyline")
    assert [len(line.attrib["points"].split()) for line in lines] == [len(samples)] * 2


def test_flat_means_no_more_than_before_and_bounded_meanwhile() -> None:
    def result(before: float, slow: float, after: float) -> dict:
        return {
            f"rss_mib_{when}": {"median": most, "p99": most, "max": most}
            for when, most in (("before", before), ("slow", slow), ("after", after))
        }

    assert soak.is_flat(result(200, 500, 230))
    assert not soak.is_flat(result(200, 500, 260)), "it has grown"
    assert not soak.is_flat(result(200, 600, 200)), "what waits is not bounded"
    assert not soak.is_flat({**result(200, 200, 200), "rss_mib_after": None})


def test_the_firehose_answers_with_the_book_its_frames_make() -> None:
    levels = {side: dict(rows) for side, rows in _sides(FIRST_SEQUENCE).items()}
    for sequence in range(FIRST_SEQUENCE + 1, FIRST_SEQUENCE + 3 * SLOTS + 7):
        slot = sequence % SLOTS
        levels[("bids", "asks")[slot % 2]][price(slot)] = f"1.{size_digits(sequence):03d}"
        assert {side: dict(rows) for side, rows in _sides(sequence).items()} == levels
    frame = template("A-B", 5) % (7, 7, 42, 7)
    assert b'"changes":{"bids":[],"asks":[["100.03","1.042","7"]]}' in frame


def _sides(sequence: int) -> dict[str, list[tuple[str, ...]]]:
    book = book_at(sequence)
    return {"bids": book.bids, "asks": book.asks}
