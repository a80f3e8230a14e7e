"""Files of JSON lines."""

from pathlib import Path

import pytest
import zstandard

from replay.exchange.errors import UnwritableFile
from replay.exchange.line_file import LineFile


def test_plain_and_compressed_hold_the_same(tmp_path: Path) -> None:
    for name in ("a.jsonl", "a.jsonl.zst"):
        with LineFile(tmp_path / name) as file:
            file.write({"n": 1})
            file.write({"n": "two"})
            assert file.lines == 2
    plain = (tmp_path / "a.jsonl").read_bytes()
    packed = (tmp_path / "a.jsonl.zst").read_bytes()
    assert plain == b'{"n":1}\n{"n":"two"}\n'
    assert zstandard.ZstdDecompressor().stream_reader(packed).read() == plain


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = tmp_path / "no" / "a.jsonl"
    with pytest.raises(UnwritableFile) as caught:
        LineFile(path)
    assert str(caught.value) == (
        f"cannot write {path}: No such file or directory; "
        "choose a path in a folder that exists and is writable"
    )
