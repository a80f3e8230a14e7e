"""What a full disk looks like, and the reserve for its last lines."""

from __future__ import annotations

import errno
import os
import sqlite3
from pathlib import Path

import pytest

from recorder.errors import DiskFull
from recorder.storage.room import Reserve, is_disk_full
from schemas.archive_layout import RESERVE


def test_a_full_disk_is_told_from_a_broken_one() -> None:
    for code, is_full in ((errno.ENOSPC, True), (errno.EDQUOT, True), (errno.EIO, False)):
        assert is_disk_full(OSError(code, os.strerror(code))) is is_full
    assert is_disk_full(DiskFull("archive", "a line"))
    assert not is_disk_full(ValueError("28"))


def test_sqlite_tells_of_a_full_disk_in_its_own_way(tmp_path: Path) -> None:
    db = sqlite3.connect(tmp_path / "small.db", isolation_level=None)
    try:
        db.execute("PRAGMA max_page_count = 2")
        db.execute("CREATE TABLE t (x)")
        with pytest.raises(sqlite3.OperationalError) as full:
            db.execute("INSERT INTO t VALUES (zeroblob(100000))")
        assert is_disk_full(full.value)
        with pytest.raises(sqlite3.OperationalError) as wrong:
            db.execute("SELECT * FROM nothing")
        assert not is_disk_full(wrong.value)
    finally:
        db.close()


def test_the_reserve_takes_room_and_gives_it_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reserve, path = Reserve(tmp_path, 1 << 20), tmp_path / RESERVE
    reserve.make()
    reserve.make()
    assert path.stat().st_blocks * 512 >= 1 << 20, "really taken, not promised"
    reserve.release()
    reserve.release()
    assert not path.exists()

    def no_room(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", no_room)
    with pytest.raises(DiskFull, match="in reserve"):
        reserve.make()
    assert not path.exists()
    Reserve(tmp_path, 0).make()
    assert not path.exists()
