"""The one place that touches files: a file, a lock, a database, room; and a twin in its stead."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from recorder.storage.disk import Disk, disk, use_disk

pytestmark = pytest.mark.unit


def test_appends_every_byte_however_little_is_taken_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write
    file = disk().append_to(tmp_path / "a")
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, data[:3]))
    file.write(b"0123456789")
    file.sync()
    file.cut(8)
    file.close()
    file.close()
    assert disk().read(tmp_path / "a") == b"01234567"
    with pytest.raises(FileExistsError):
        disk().append_to(tmp_path / "a")


def test_settling_writes_what_stays_once_more_and_cuts_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"0123456789")
    written: list[bytes] = []
    real = os.pwrite

    def pwrite(descriptor: int, data: bytes, offset: int) -> int:
        written.append(data[:3])  # no more is taken at once
        return real(descriptor, data[:3], offset)

    monkeypatch.setattr(os, "pwrite", pwrite)
    disk().settle_file(path, 1, 8)
    assert path.read_bytes() == b"01234567"
    assert written == [b"123", b"456", b"7"]


def test_a_view_of_an_empty_file_is_empty(tmp_path: Path) -> None:
    with disk().create(tmp_path / "a"):
        pass
    with disk().view(tmp_path / "a") as data:
        assert len(data) == 0


def test_allocate_takes_room_or_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk().allocate(tmp_path / "a", 1 << 20)
    assert (tmp_path / "a").stat().st_blocks * 512 >= 1 << 20

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space"):
        disk().allocate(tmp_path / "b", 1)
    assert disk().names(tmp_path) == ["a"]


def test_a_lock_says_who_holds_it(tmp_path: Path) -> None:
    lock = disk().lock(tmp_path / "lock", "42\n")
    with pytest.raises(BlockingIOError) as held:
        disk().lock(tmp_path / "lock", "43\n")
    assert held.value.filename == "42"
    lock.release()
    disk().lock(tmp_path / "lock", "43\n").release()


def test_names_of_a_folder_that_is_not_there(tmp_path: Path) -> None:
    assert disk().names(tmp_path / "none") == []


def test_another_disk_takes_its_place_for_a_while() -> None:
    twin = Disk()
    before = disk()
    with use_disk(twin):
        assert disk() is twin
    assert disk() is before
