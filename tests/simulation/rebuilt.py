"""The raw log once more: parts are what the pipeline makes of it."""

from __future__ import annotations

from collections.abc import Iterator, Set

import pyarrow as pa

from recorder.pipeline.output import Rows
from recorder.pipeline.pipeline import Pipeline
from recorder.storage.batch import table_of
from tests.simulation.archive import Archive, read_table

Stream = tuple[str, str, str]  # symbol, stream, run


def rebuilt_equal(archive: Archive, spoilt: Set[Stream] = frozenset()) -> Iterator[str]:
    """Compare the parts of each run with what the pipeline makes of its raw log.

    Parameters
    ----------
    spoilt : set of (symbol, stream, run)   left out: of what went wrong in memory the raw log knows
        nothing
    """
    for run_id, lines in archive.raw_lines.items():
        pipeline = Pipeline()
        batches = list(pipeline.feed(lines).rows)
        if not pipeline.stop_reason:
            batches += pipeline.finish("crashed").rows
        made: dict[tuple[str, str, str], list[Rows]] = {}
        for rows in batches:
            if (rows.symbol, rows.stream, run_id) not in spoilt:
                made.setdefault((rows.dataset, rows.symbol, rows.stream), []).append(rows)
        kept: dict[tuple[str, str, str], list[pa.Table]] = {}
        for part in archive.parts:
            stream = (part["symbol"], part["stream"], run_id)
            if part["run_id"] == run_id and stream not in spoilt:
                key = (part["dataset"], part["symbol"], part["stream"])
                kept.setdefault(key, []).append(read_table(archive.files[part["path"]], None))
        if made.keys() != kept.keys():
            yield f"{run_id}: parts of {sorted(kept)}, rows of {sorted(made)}"
            continue
        for key, pieces in kept.items():
            expected = _plain(table_of(made[key], run_id))
            found = pa.concat_tables([_plain(piece) for piece in pieces])
            if not found.equals(expected):
                yield (
                    f"{run_id}: {' '.join(key)} has {found.num_rows} rows in parts, the raw log "
                    f"gives {expected.num_rows}, and they differ"
                )


def _plain(table: pa.Table) -> pa.Table:
    fields = [
        pa.field(f.name, pa.string() if pa.types.is_dictionary(f.type) else f.type)
        for f in table.schema
    ]
    return table.cast(pa.schema(fields)).replace_schema_metadata(None)
