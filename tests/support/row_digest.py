"""A digest of an archive's rows that depends on their values alone.

It knows nothing of Parquet, Arrow's memory layout or part bounds: each row is one line of JSON,
its columns in the schema's order, times as ns.

To write the golden file anew after a change that is meant to change rows, and to commit the
difference with the reason:

    python -m tests.support.row_digest CAPTURE PROFILE GOLDEN
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa

from recorder.importing import import_capture
from schemas.datasets import DATASETS
from schemas.kucoin.profiles import profile_named
from tests.support.archive_content import archive_rows


def row_digests(archive: Path) -> dict[str, dict[str, Any]]:
    """Return rows and sha256 per dataset, rows in (symbol, stream, run_id, ordinal) order."""
    rows = archive_rows(archive)
    digests: dict[str, dict[str, Any]] = {}
    for dataset in DATASETS:
        digest, count = hashlib.sha256(), 0
        for key in sorted(key for key in rows if key[0] == dataset):
            for values in _lines(rows[key]):
                digest.update(json.dumps(values, separators=(",", ":")).encode() + b"\n")
                count += 1
        digests[dataset] = {"rows": count, "sha256": digest.hexdigest()}
    return digests


def _lines(table: pa.Table) -> zip:
    columns = [
        (column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column).to_pylist()
        for column in table.columns
    ]
    return zip(*columns, strict=True)


def main() -> None:
    """Write the golden digests of a capture."""
    capture, profile, golden = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "archive"
        import_capture(Path(capture), archive, profile_named(profile))
        text = json.dumps(row_digests(archive), indent=2) + "\n"
    Path(golden).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
