"""Killed at random moments with a busy exchange before it: nothing acknowledged is ever lost."""

from __future__ import annotations

import shutil
from pathlib import Path

import orjson
import pytest
import zstandard

from benchmarks import kills


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    folder = tmp_path_factory.mktemp("kills")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kills, "LATER_S", (0.2, 1.2))
        patch.setattr(kills, "LATE_SHARE", 0.0)
        # Some come early: in the start of a recorder, or in the recovery of the one before.
        return folder, kills.measure(folder, kills=4, rate=250, seed=4, early_share=0.3)


def test_every_acknowledged_frame_is_there_and_every_judge_is_content(
    session: tuple[Path, dict],
) -> None:
    _, result = session
    assert result["problems"] == []
    assert result["wrong"] == {}
    assert result["lost_after_acknowledgement"] == 0
    assert kills.is_good(result)
    assert result["kills"] == 4
    assert result["kills_before_recording"] >= 1
    assert result["frames_kept"] >= result["frames_acknowledged"] > 2_000
    assert result["frames_sent"] > result["frames_kept"], "a kill costs what nobody acknowledged"
    assert result["books_equal_to_the_exchange"] >= 2, "fewer are sampled on a slow machine"
    assert result["gaps"]["crashed"] > 0
    assert result["loss_window_ms"]["max"] < 5_000
    assert result["start_to_recording_s"]["max"] < 30


def test_the_judge_sees_a_frame_that_is_gone_or_another(
    session: tuple[Path, dict], tmp_path: Path
) -> None:
    folder, _ = session
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    segment = kills.raw_segments(copy / "archive").popitem()[1][0]
    lines = list(kills.read_lines(segment))
    places = [place for place, line in enumerate(lines) if line["kind"] == "recv"]
    watch = kills.Watch(copy / "archive")
    run_id = segment.name.removesuffix(".jsonl.zst").rpartition("-")[0]
    watch.durable[run_id, lines[places[-1]]["connection"]] = sum(
        lines[place]["connection"] == lines[places[-1]]["connection"] for place in places
    )

    def write(changed: list[dict]) -> kills.Loss:
        content = b"".join(orjson.dumps(line) + b"\n" for line in changed)
        segment.write_bytes(zstandard.ZstdCompressor().compress(content))
        return kills.count_loss(copy, [], watch)

    whole = write(lines)
    assert (whole.lost_acknowledged, whole.problems) == (0, [])
    shorter = write(lines[: places[-1]])
    assert shorter.lost_acknowledged == 1
    assert "frames acknowledged" in shorter.problems[-1]
    middle = places[len(places) // 2]
    other = write([*lines[:middle], {**lines[middle], "data": "{}"}, *lines[middle + 1 :]])
    assert other.lost_acknowledged == 0
    assert [problem.endswith("is not what was sent") for problem in other.problems] == [True]
