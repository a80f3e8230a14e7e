"""`recorder import`: a capture file becomes a run of the archive, raw log included."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import orjson

from recorder.errors import AlreadyImported, CaptureError
from recorder.raw_line import RawLine
from recorder.recovery import recover
from recorder.run_writer import RunWriter
from recorder.storage.archive_folder import ArchiveFolder
from recorder.storage.open_parts import RollRules
from recorder.storage.raw_log import RawLogWriter
from schemas.fixed_point import INT64_MAX
from schemas.kucoin.profile import Profile
from schemas.timestamps import NS_PER_S, TimeError, parse_epoch

_LINES_A_COMMIT = 5_000
_SEGMENT_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Imported:
    """What came of an import."""

    run_id: str
    lines: int
    counts: dict[str, int]


def import_capture(
    capture: Path, archive: Path, profile: Profile, rules: RollRules | None = None
) -> Imported:
    """Import a capture: one JSON object a line, `kind` rest or frame, `ts_recv`, `data`, `url`.

    Parameters
    ----------
    capture : Path
        `ts_recv` is epoch seconds as text; `data` the body or the websocket text, exactly.
    archive : Path
        Created where missing.

    Raises
    ------
    CaptureError      naming the line; nothing is written then
    AlreadyImported   when the archive holds this very file
    """
    content, lines = _read_capture(capture)
    sha256 = hashlib.sha256(content).hexdigest()
    rules = rules or RollRules()
    with ArchiveFolder(archive) as folder:
        recover(folder, rules)
        for run in folder.catalog.runs().values():
            if run["source_sha256"] == sha256:
                raise AlreadyImported(str(capture), run["run_id"])
        run_id = f"{lines[0].ts_recv}-{sha256[:8]}"
        start = RawLine(
            "run_start",
            lines[0].ts_recv,
            0,
            fields={
                "run_id": run_id,
                "version": version("booktape"),
                "profile": profile.name,
                "profile_hash": profile.hash,
                "symbols": [],
                "feeds": [],
                "limits": {},
                "source": capture.name,
                "source_sha256": sha256,
            },
        )
        stop = RawLine("run_stop", lines[-1].ts_recv, 0, fields={"reason": "source"})
        log = RawLogWriter(archive, run_id, _SEGMENT_BYTES)
        writer = RunWriter(archive, folder.catalog, rules)
        try:
            for commit in _commits([start, *lines, stop]):
                log.append(commit)
                writer.raw_position = (log.path, log.bytes)
                writer.process(commit)
            writer.finish()
        finally:
            log.close()
        return Imported(run_id, len(lines), dict(writer.pipeline.counts))


def _commits(lines: list[RawLine]) -> Iterator[list[RawLine]]:
    """Cut lines as a live recorder would have: no commit spans more than a second."""
    commit: list[RawLine] = []
    for line in lines:
        if commit and (
            len(commit) == _LINES_A_COMMIT or line.ts_recv - commit[0].ts_recv >= NS_PER_S
        ):
            yield commit
            commit = []
        commit.append(line)
    yield commit


def _read_capture(capture: Path) -> tuple[bytes, list[RawLine]]:
    try:
        content = capture.read_bytes()
    except OSError as error:
        raise CaptureError(
            str(capture), 0, error.strerror or str(error), "name a file that can be read"
        ) from None
    lines = []
    texts = content.split(b"\n")
    for number, text in enumerate(texts, start=1):
        if not text.strip():
            continue
        try:
            lines.append(_line_of(orjson.loads(text)))
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
            is_tail = number == len(texts)
            raise CaptureError(
                str(capture),
                number,
                "the file ends in the middle of this line"
                if is_tail
                else f"is not a capture line ({error!r})",
                "fetch the file again, or drop this line to import what stands before it"
                if is_tail
                else 'each line is {"kind": "rest" or "frame", "ts_recv": …, "data": …}',
            ) from None
        except TimeError as error:
            raise CaptureError(
                str(capture), number, str(error), "ts_recv is epoch seconds"
            ) from None
    if not lines:
        raise CaptureError(str(capture), 0, "the capture holds no line", "name another file")
    return content, lines


def _line_of(record: dict[str, Any]) -> RawLine:
    ts_recv = parse_epoch(str(record["ts_recv"]), NS_PER_S)
    if ts_recv > INT64_MAX:
        raise TimeError(str(record["ts_recv"]), "is beyond the year 2262", "give epoch seconds")
    data = record["data"].encode()
    if record["kind"] == "rest":
        return RawLine("rest_answer", ts_recv, 0, data=data, fields={"url": record["url"]})
    if record["kind"] == "frame":
        return RawLine("recv", ts_recv, 0, data=data)
    raise KeyError(f"kind {record['kind']!r}")
