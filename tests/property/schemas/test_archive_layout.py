"""Names of files and folders survive the way there and back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from schemas.archive_layout import (
    parse_raw_segment_name,
    part_folder,
    raw_segment_path,
    symbol_of_folder,
)


@given(st.text(st.characters(exclude_categories=("Cs",)), min_size=1))
def test_any_symbol_is_one_folder_that_reads_back(symbol: str) -> None:
    dataset, date, folder = part_folder("trades", "2026-11-22", symbol).split("/")
    assert (dataset, date) == ("trades", "date=2026-11-22")
    assert folder not in {".", ".."}
    assert symbol_of_folder(folder) == symbol


@given(st.from_regex(r"[0-9A-Za-z.\-]{1,40}", fullmatch=True), st.integers(0, 10**7))
def test_any_segment_name_reads_back(run_id: str, number: int) -> None:
    name = raw_segment_path("2026-11-22", run_id, number).rpartition("/")[2]
    assert parse_raw_segment_name(name) == (run_id, number)
