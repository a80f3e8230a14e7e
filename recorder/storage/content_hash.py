"""A hash of rows, column by column, that knows nothing of files, row groups and dictionaries."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pyarrow as pa

_NULL_CODE = 0


class ContentHash:
    """Take in rows piece by piece; two that took in the same rows in order have equal digests."""

    def __init__(self, schema: pa.Schema) -> None:
        # Of each column: its values, and which of them there are. Both are fed row by row, so
        # that pieces of any length give the same bytes.
        self._hashes = {name: (hashlib.sha256(), hashlib.sha256()) for name in schema.names}

    def update(self, table: pa.Table) -> None:
        """Take in the next rows; the columns are those of the schema."""
        for name, (values, presence) in self._hashes.items():
            for chunk in table.column(name).chunks:
                if len(chunk):
                    content, present = _bytes_of(chunk)
                    values.update(content)
                    presence.update(present)

    def digests(self) -> dict[str, str]:
        """Return the digest of each column."""
        return {
            name: values.hexdigest() + presence.hexdigest()
            for name, (values, presence) in self._hashes.items()
        }


def _bytes_of(array: pa.Array) -> tuple[Any, Any]:
    """Return an array as two buffers: the values, and a byte or a length a row."""
    if pa.types.is_dictionary(array.type):
        return _codes(array), b""
    if pa.types.is_string(array.type):
        return _texts(array)
    if pa.types.is_timestamp(array.type):
        array = array.view(pa.int64())
    if array.null_count:
        present = array.is_valid().to_numpy(zero_copy_only=False).astype(np.uint8)
        array = array.fill_null(False if pa.types.is_boolean(array.type) else 0)
    else:
        present = np.ones(len(array), np.uint8)
    return np.ascontiguousarray(array.to_numpy(zero_copy_only=False)), present


def _codes(array: pa.DictionaryArray) -> Any:
    """Return an int64 a row that stands for its word whatever the dictionary."""
    words = array.dictionary.to_pylist()
    codes = np.array([*map(_code, words), _NULL_CODE], np.int64)
    indices = array.indices
    if indices.null_count:
        indices = indices.fill_null(len(words))
    return codes[indices.to_numpy(zero_copy_only=False)]


def _code(word: str | None) -> int:
    if word is None:
        return _NULL_CODE
    digest = hashlib.blake2b(word.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True) or 1


def _texts(array: pa.StringArray) -> tuple[Any, Any]:
    """Return the texts end to end, and the length of each in bytes, -1 for NULL."""
    valid = array.is_valid().to_numpy(zero_copy_only=False)
    offsets = np.frombuffer(array.buffers()[1], np.int32)[
        array.offset : array.offset + len(array) + 1
    ]
    lengths = np.where(valid, np.diff(offsets), -1).astype(np.int32)
    if array.null_count:
        array = array.fill_null("")  # whatever bytes stand behind a NULL are nobody's
        offsets = np.frombuffer(array.buffers()[1], np.int32)[
            array.offset : array.offset + len(array) + 1
        ]
    data = array.buffers()[2]
    return b"" if data is None else data[offsets[0] : offsets[-1]], lengths
