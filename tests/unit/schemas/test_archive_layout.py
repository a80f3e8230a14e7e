"""Names and paths of an archive."""

from __future__ import annotations

import pytest

from schemas.archive_layout import (
    parse_raw_segment_name,
    part_folder,
    part_path,
    raw_segment_path,
    symbol_of_folder,
)

RUN_ID = "20261122T100000.000000Z-host-1-4711"


def test_a_part_lies_under_its_dataset_day_and_symbol() -> None:
    path = part_path("l2_updates", "2026-11-22", "BTC-USDT", 5, 9, "0123456789ab")
    assert path == "l2_updates/date=2026-11-22/symbol=BTC-USDT/5-9-0123456789ab.parquet"


@pytest.mark.parametrize("symbol", ["BTC-USDT", "../../etc", "A/B", "Ü 1", "x=y", "50%"])
def test_no_symbol_leaves_its_folder_and_each_reads_back(symbol: str) -> None:
    folder = part_folder("trades", "2026-11-22", symbol)
    assert folder.count("/") == 2
    assert symbol_of_folder(folder.rpartition("/")[2]) == symbol


def test_a_segment_is_named_after_its_run_and_number() -> None:
    path = raw_segment_path("2026-11-22", RUN_ID, 7)
    assert path == f"raw/2026-11-22/{RUN_ID}-000007.jsonl.zst"
    assert parse_raw_segment_name(path.rpartition("/")[2]) == (RUN_ID, 7)


@pytest.mark.parametrize(
    "name", ["", "x", f"{RUN_ID}-000007.jsonl", f"{RUN_ID}-.jsonl.zst", "-1.jsonl.zst",
             "7.jsonl.zst", f"{RUN_ID}-000007.jsonl.zst.unfinished"],
)  # fmt: skip
def test_a_stranger_among_the_segments_is_named(name: str) -> None:
    with pytest.raises(ValueError, match="is not the name of a raw-log segment") as caught:
        parse_raw_segment_name(name)
    assert repr(name) in str(caught.value)
