"""Segments become smaller and keep every byte."""

from __future__ import annotations

import pickle
import shutil
import subprocess
from pathlib import Path

import pytest
import zstandard

from recorder.errors import RawLogDamaged
from recorder.rebuilding import rebuild
from recorder.storage import repacking
from recorder.storage.archive_folder import ArchiveFolder
from recorder.storage.open_parts import RollRules
from recorder.storage.raw_log import is_repacked, list_segments, read_run, segment_content
from recorder.storage.repacking import repack
from recorder.verification import verify
from tests.support.archive_content import assert_same_content
from tests.support.jobs_archive import days_archive, record, run_repack
from tests.support.market_log import RUN


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of some days."""
    archive = tmp_path_factory.mktemp("recorded") / "archive"
    days_archive(archive, steps=100)
    return archive


@pytest.fixture
def archive(recorded: Path, tmp_path: Path) -> Path:
    """A copy to change."""
    return Path(shutil.copytree(recorded, tmp_path / "archive"))


def _paths(archive: Path) -> list[Path]:
    return [segment.path for segment in list_segments(archive)[RUN]]


def _frames(path: Path) -> list[int]:
    return [len(content) for content in segment_content(path)]


def test_the_same_bytes_in_fewer_frames(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repacking, "FRAME_BYTES", 250_000)
    fewer = 0
    for path in _paths(archive):
        content, frames = b"".join(segment_content(path)), _frames(path)
        before = path.stat().st_size
        done = repack(path)
        assert is_repacked(path)
        assert b"".join(segment_content(path)) == content
        fewer += len(frames) - len(_frames(path))
        most = max(250_000, *frames)
        assert all(size <= most for size in _frames(path))
        assert all(c.endswith(b"\n") for c in segment_content(path))
        assert (done.path, done.bytes_before, done.bytes_after) == (
            path, before, path.stat().st_size,
        )  # fmt: skip
        assert done.bytes_after < before
    assert fewer > 5


def test_each_frame_has_its_checksum(archive: Path) -> None:
    path = _paths(archive)[0]
    repack(path)
    content = path.read_bytes()
    at = content.index(b"\x28\xb5\x2f\xfd")
    assert zstandard.get_frame_parameters(content[at:]).has_checksum


@pytest.mark.skipif(shutil.which("zstdcat") is None, reason="no zstdcat on this machine")
def test_zstdcat_reads_what_it_read_before(archive: Path) -> None:
    for path in _paths(archive):
        texts = []
        for _ in range(2):
            done = subprocess.run(["zstdcat", path], capture_output=True, check=True)
            texts.append(done.stdout)
            if not is_repacked(path):
                repack(path)
        assert texts[0] == texts[1] != b""


def test_it_is_done_once_and_never_to_what_may_be_open(tmp_path: Path, archive: Path) -> None:
    lines = [line for commit in read_run(list_segments(archive)[RUN]) for line in commit]
    record(tmp_path / "crashed", lines[:-1], ends=False)
    for place, closed in ((archive, None), (tmp_path / "crashed", -1)):
        with ArchiveFolder(place) as folder:
            assert repacking.plan(place, folder.catalog) == _paths(place)[:closed]
            assert run_repack(folder) == len(_paths(place)[:closed])
            assert repacking.plan(place, folder.catalog) == []


def test_what_a_decoder_may_read_on_from_stays(archive: Path) -> None:
    paths = _paths(archive)
    (segments,) = list_segments(archive).values()
    run_id = segments[0].run_id
    with ArchiveFolder(archive) as folder:
        for number in range(1, len(paths) + 1):
            planned = repacking.plan(archive, folder.catalog, (run_id, number))
            assert planned == paths[: number - 1]
        assert repacking.plan(archive, folder.catalog, ("another", 1)) == paths


def test_an_empty_segment_stays(archive: Path) -> None:
    last = _paths(archive)[-1]
    empty = last.with_name(last.name.replace("-00000", "-00001"))
    empty.write_bytes(b"")
    with ArchiveFolder(archive) as folder:
        assert empty not in repacking.plan(archive, folder.catalog)


def test_a_damaged_segment_stays_as_it_is(archive: Path) -> None:
    path = _paths(archive)[1]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(RawLogDamaged) as raised:
        repack(path)
    sent = pickle.loads(pickle.dumps(raised.value))
    assert (type(sent), str(sent), vars(sent)) == (
        RawLogDamaged, str(raised.value), vars(raised.value),
    )  # fmt: skip
    assert path.read_bytes() == content
    assert [p.name for p in path.parent.iterdir() if "unfinished" in p.name] == []


def test_a_copy_that_reads_back_otherwise_is_not_swapped_in(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _paths(archive)[0]
    before = path.read_bytes()
    calls = []

    def content(of: Path):
        calls.append(of)
        yield from segment_content(of)
        if len(calls) == 2:
            yield b"one line more\n"

    monkeypatch.setattr(repacking, "segment_content", content)
    with pytest.raises(RawLogDamaged, match="did not read back"):
        repack(path)
    assert path.read_bytes() == before


def test_rebuild_verify_and_recovery_read_repacked_segments(archive: Path, tmp_path: Path) -> None:
    lines = [line for commit in read_run(list_segments(archive)[RUN]) for line in commit]
    with ArchiveFolder(archive) as folder:
        run_repack(folder)
    assert [line for commit in read_run(list_segments(archive)[RUN]) for line in commit] == lines
    assert verify(archive, with_books=False).problems == []
    rebuild(archive, tmp_path / "rebuilt", RollRules())
    assert_same_content(archive, tmp_path / "rebuilt")
    assert all(map(is_repacked, _paths(tmp_path / "rebuilt")))
    crashed = tmp_path / "crashed"
    record(crashed, lines, ends=False)
    with ArchiveFolder(crashed) as folder:
        assert run_repack(folder) > 3
    record(crashed, [], run_id="later", ends=False)
    assert_same_content(crashed, archive)


def test_a_frame_damaged_after_repacking_costs_itself_alone(archive: Path) -> None:
    with ArchiveFolder(archive) as folder:
        run_repack(folder)
    path = _paths(archive)[1]
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)
    (problem,) = verify(archive, with_books=False).problems
    assert str(path) in problem
    assert "damaged at byte" in problem
