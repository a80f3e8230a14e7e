"""Arrow tables as plain rows: times as int ns, which datetime cannot hold."""

from __future__ import annotations

from typing import Any

import pyarrow as pa


def rows_of(table: pa.Table) -> list[dict[str, Any]]:
    """Return rows as dicts; every timestamp is int ns since the epoch."""
    for at, field in enumerate(table.schema):
        if pa.types.is_timestamp(field.type):
            stamps = table.column(at).cast(pa.timestamp("ns", field.type.tz)).cast(pa.int64())
            table = table.set_column(at, field.name, stamps)
    return list(table.to_pylist())
