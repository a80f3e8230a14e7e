"""Where things lie in an archive folder: names and paths as text, no I/O.

catalog.db  catalog.parquet/<n>/<table>.parquet  catalog.parquet/CURRENT
catalog.backup/20261122T022000.000000Z.db
<dataset>/date=2026-11-22/symbol=BTC-USDT/<ts_first>-<ts_last>-<id>.parquet
raw/<date>/<run_id>-<n>.jsonl.zst
reserve            room for the last lines of a disk that is full, while a recorder runs
checkpoints/<run_id>/<n>-<segment>.state.zst  checkpoints/<run_id>/<n>.rows.zst
set_aside/<path>   parts that the catalog does not know and that nothing else can replace
"""

from __future__ import annotations

from urllib.parse import quote, unquote

CATALOG_DB = "catalog.db"
CATALOG_PARQUET = "catalog.parquet"
CURRENT = "CURRENT"
CATALOG_BACKUP = "catalog.backup"
BACKUP_SUFFIX = ".db"
RAW = "raw"
CHECKPOINTS = "checkpoints"
LOCK = "writer.lock"
RESERVE = "reserve"
SET_ASIDE = "set_aside"
UNFINISHED_SUFFIX = ".unfinished"
RAW_SUFFIX = ".jsonl.zst"


def part_folder(dataset: str, date: str, symbol: str) -> str:
    """Return the folder of a part, relative to the archive."""
    return f"{dataset}/date={date}/symbol={quote(symbol, safe='')}"


def part_path(
    dataset: str, date: str, symbol: str, ts_first: int, ts_last: int, part_id: str
) -> str:
    """Return the path of a part, relative to the archive; times are known times, ns."""
    folder = part_folder(dataset, date, symbol)
    return f"{folder}/{ts_first}-{ts_last}-{part_id}.parquet"


def raw_segment_path(date: str, run_id: str, number: int) -> str:
    """Return the path of a raw-log segment, relative to the archive."""
    return f"{RAW}/{date}/{run_id}-{number:06d}{RAW_SUFFIX}"


def parse_raw_segment_name(name: str) -> tuple[str, int]:
    """Split a segment's file name into run_id and number.

    Raises
    ------
    ValueError   when the name is not one of ours
    """
    stem, _, number = name.removesuffix(RAW_SUFFIX).rpartition("-")
    if not name.endswith(RAW_SUFFIX) or not stem or not number.isdecimal():
        raise ValueError(f"{name!r} is not the name of a raw-log segment")
    return stem, int(number)


def symbol_of_folder(folder: str) -> str:
    """Return the symbol of a folder name `symbol=…`."""
    return unquote(folder.removeprefix("symbol="))
