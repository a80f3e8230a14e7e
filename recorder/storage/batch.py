"""Rows → Arrow: the columns of the pipeline brought to a dataset's schema, exactly."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from recorder.pipeline.output import NO_SCALE, NO_TIME, Rows
from schemas.datasets import DATASETS, SIDES, TIME, WORD


def table_of(batches: list[Rows], run_id: str) -> pa.Table:
    """Join batches of one dataset and symbol into a table with the dataset's schema."""
    schema = DATASETS[batches[0].dataset].schema
    n = sum(map(len, batches))
    constants = {"symbol": batches[0].symbol, "run_id": run_id}
    columns = []
    for field in schema:
        if field.name in constants:
            columns.append(_constant(constants[field.name], n))
        else:
            columns.append(_column(field, [batch.columns for batch in batches]))
    return pa.Table.from_arrays(columns, schema=schema)


def _column(field: pa.Field, batches: list[dict[str, Any]]) -> pa.Array:
    name = field.name
    first = batches[0][name]
    if isinstance(first, list):
        values = [value for batch in batches for value in batch[name]]
        if field.type == WORD:
            return pa.array(values, pa.string()).dictionary_encode()
        return pa.array(values, field.type)
    array = _joined(batches, name)
    if name == "side":
        return _sides(array)
    if field.type == TIME:
        return pa.array(array, pa.int64(), mask=array == NO_TIME).view(TIME)
    if name.endswith("_scale"):
        return pa.array(array, field.type, mask=array == NO_SCALE)
    if name.endswith("_mantissa"):
        scale = _joined(batches, name.removesuffix("_mantissa") + "_scale")
        return pa.array(array, field.type, mask=scale == NO_SCALE)
    return pa.array(array, field.type)


def _joined(batches: list[dict[str, Any]], name: str) -> Any:
    if len(batches) == 1:
        return batches[0][name]
    return np.concatenate([batch[name] for batch in batches])


def _sides(codes: Any) -> pa.DictionaryArray:
    indices = pa.array(codes.astype(np.int32), pa.int32(), mask=codes < 0)
    return pa.DictionaryArray.from_arrays(indices, pa.array(SIDES))


def _constant(text: str, n: int) -> pa.DictionaryArray:
    indices = pa.array(np.zeros(n, np.int32))
    return pa.DictionaryArray.from_arrays(indices, pa.array([text]))
