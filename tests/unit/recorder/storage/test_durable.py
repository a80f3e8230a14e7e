"""Names that survive power loss: what is synced, in which order, and once more after a kill."""

from __future__ import annotations

from pathlib import Path

import pytest

from recorder.storage import durable
from recorder.storage.disk import Disk, use_disk
from recorder.storage.durable import make_folder, write_file


class _Noted(Disk):
    """The disk, and what was asked of it."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    def make_folder(self, folder: Path) -> None:
        self.calls.append(f"make {folder.name}")
        super().make_folder(folder)

    def sync_file(self, path: Path) -> None:
        self.calls.append(f"sync {path.name}")
        super().sync_file(path)

    def sync_folder(self, folder: Path) -> None:
        self.calls.append(f"sync names in {folder.name}")
        super().sync_folder(folder)

    def rename(self, path: Path, target: Path) -> None:
        self.calls.append(f"rename {path.name}")
        super().rename(path, target)


def test_each_new_name_is_synced_before_anything_is_put_below_it(tmp_path: Path) -> None:
    disk = _Noted()
    with use_disk(disk):
        make_folder(tmp_path)
        disk.calls.clear()
        make_folder(tmp_path / "a" / "b")
        make_folder(tmp_path / "a" / "b")
    top = f"sync names in {tmp_path.name}"
    assert disk.calls == ["make a", top, "make b", "sync names in a"]


def test_a_folder_that_is_there_is_synced_once_by_each_process(tmp_path: Path) -> None:
    # A process killed between the two steps leaves a name that is seen and not durable.
    (tmp_path / "a").mkdir()
    disk = _Noted()
    with use_disk(disk):
        make_folder(tmp_path / "a")
        make_folder(tmp_path / "a")
    assert disk.calls == [f"sync names in {tmp_path.name}"]


def test_what_has_been_synced_is_not_remembered_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(durable, "_FOLDERS_REMEMBERED", 3)
    disk = _Noted()
    with use_disk(disk):
        for number in range(10):
            make_folder(tmp_path / str(number))
    assert len(disk.folders_synced) <= 3


def test_a_folder_made_by_others_needs_no_right_to_read_its_parent(tmp_path: Path) -> None:
    class Locked(_Noted):
        def sync_folder(self, folder: Path) -> None:
            raise PermissionError(13, "no", str(folder))

    (tmp_path / "a").mkdir()
    with use_disk(Locked()):
        make_folder(tmp_path / "a")
        with pytest.raises(PermissionError):
            make_folder(tmp_path / "b")


def test_a_file_is_synced_before_its_name_and_its_name_after(tmp_path: Path) -> None:
    disk = _Noted()
    with use_disk(disk):
        write_file(tmp_path / "a", b"1")
    unfinished = "a.unfinished"
    assert disk.calls == [
        f"sync {unfinished}",
        f"rename {unfinished}",
        f"sync names in {tmp_path.name}",
    ]
