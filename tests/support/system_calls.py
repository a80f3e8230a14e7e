"""What a process asked of the kernel, as strace wrote it down, and whether the order was right.

`strace -f -y` names the file behind each descriptor. A call that another thread's call overtook is
on two lines, "unfinished" and "resumed": it counts from the first and is done at the second.
"""

from __future__ import annotations

import io
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import orjson
import zstandard

TRACED = "openat,mkdir,mkdirat,rename,renameat,renameat2,fsync,fdatasync,write,pwrite64,sendto,sendmsg,writev"  # noqa: E501
# A whole page of the catalog, and a whole answer of the control socket.
TEXT_MAX = 65_536

_LINE = re.compile(r"^(\d+)\s+(?:\d\d:\d\d:\d\d\.\d+ )?(.*)$")
_CALL = re.compile(r"^(\w+)\((.*)$", re.DOTALL)
_RESUMED = re.compile(r"^<\.\.\. (\w+) resumed>(.*)$", re.DOTALL)
_RESULT = re.compile(r"^.*\) += (-?\d+)", re.DOTALL)
_FILE = re.compile(r"^\d+<([^>]*)>")
_PATH = re.compile(r'"((?:[^"\\]|\\.)*)"')
_ACKNOWLEDGED = re.compile(
    r'\\"number\\": (\d+),(?:(?!\\"number\\").)*?\\"durable\\": (\d+)', re.DOTALL
)


@dataclass
class Call:
    """One system call.

    Attributes
    ----------
    begun, done : int   places in the order of everything that was written down
    words : str         its arguments, as strace shows them
    result : int        what it returned; -1 is a failure
    """

    name: str
    begun: int
    done: int
    words: str
    result: int

    @property
    def file(self) -> str:
        """Path behind the descriptor that is the first argument."""
        found = _FILE.match(self.words)
        return found.group(1) if found else ""

    @property
    def paths(self) -> list[str]:
        """Paths among the arguments."""
        return _PATH.findall(self.words)


def why_no_strace() -> str:
    """Say why processes cannot be watched here; "" where they can."""
    if shutil.which("strace") is None:
        return "no strace on this machine"
    tried = subprocess.run(
        ["strace", "-f", "-o", "/dev/null", "true"], capture_output=True, text=True, check=False
    )
    return f"strace may not trace here: {tried.stderr.strip()[:100]}" if tried.returncode else ""


def strace(trace: Path, fsync_delay_us: int) -> list[str]:
    """Return the words that put a command under strace.

    Parameters
    ----------
    fsync_delay_us : int   how long each fsync waits before it begins: time enough for whoever
        does not wait for it to be seen
    """
    return [
        *("strace", "-f", "-y", "-s", str(TEXT_MAX), "-o", str(trace)),
        *("-e", f"trace={TRACED}", "-e", "signal=none"),
        *("-e", f"inject=fsync:delay_enter={fsync_delay_us}", "--"),
    ]


def read_calls(trace: Path) -> list[Call]:
    """Read a trace; calls that failed are left out."""
    calls, open_calls = [], {}
    with trace.open(encoding="utf-8", errors="replace") as lines:
        for place, line in enumerate(lines):
            match = _LINE.match(line.rstrip("\n"))
            if match is None:
                continue
            thread, text = match.groups()
            if text.endswith("<unfinished ...>") and (begun := _CALL.match(text)):
                words = begun.group(2).removesuffix("<unfinished ...>").rstrip()
                open_calls[thread] = (begun.group(1), place, words)
                continue
            if resumed := _RESUMED.match(text):
                name, begun_at, words = open_calls.pop(thread)
                words += resumed.group(2)
            elif call := _CALL.match(text):
                name, begun_at, words = call.group(1), place, call.group(2)
            else:
                continue
            result = _RESULT.match(words)
            if result is not None and int(result.group(1)) >= 0:
                calls.append(Call(name, begun_at, place, words, int(result.group(1))))
    return sorted(calls, key=lambda call: call.begun)


@dataclass
class Findings:
    """What was looked at, and what was out of order."""

    commits: int = 0
    answers: int = 0
    acknowledged: int = 0
    parts: int = 0
    folders: int = 0
    problems: list[str] = field(default_factory=list)


@dataclass
class _Synced:
    """A piece of the raw log that is on disk from a place in the trace on."""

    done: int
    frames: Counter[int]
    ts_last: int


def check_order(calls: Sequence[Call], archive: Path) -> Findings:
    """Check one short run: raw frame, fsync, answer; part, fsync, rename, folder, catalog."""
    findings = Findings()
    synced = list(_synced_pieces(calls, archive, findings))
    _check_answers(calls, synced, findings)
    _check_parts(calls, synced, archive, findings)
    return findings


def _is_raw(path: str, archive: Path) -> bool:
    return path.startswith(f"{archive}/raw/") and path.endswith(".jsonl.zst")


def _synced_pieces(calls: Sequence[Call], archive: Path, findings: Findings) -> Iterator[_Synced]:
    """Yield each piece of the raw log as its fsync ends, with what had been received until then."""
    contents: dict[str, io.BytesIO] = {}
    waiting: list[tuple[str, int]] = []
    frames: Counter[int] = Counter()
    ts_last = 0
    named_from: dict[str, int] = {}
    for call in calls:
        if call.name == "write" and _is_raw(call.file, archive):
            waiting.append((call.file, call.result))
        elif call.name == "fsync" and _is_raw(call.file, archive):
            if call.file not in named_from:
                named_from[call.file] = _name_durable(calls, call.file, archive, findings)
            for path, size in waiting:
                file = contents.setdefault(path, io.BytesIO(Path(path).read_bytes()))
                for line in _lines(file.read(size)):
                    ts_last = line["ts_recv"]
                    if line["kind"] == "recv":
                        frames[line["connection"]] += 1
            waiting.clear()
            findings.commits += 1
            yield _Synced(max(call.done, named_from[call.file]), frames.copy(), ts_last)


def _lines(commit: bytes) -> list[dict]:
    content = zstandard.ZstdDecompressor().decompressobj().decompress(commit)
    return [orjson.loads(line) for line in content.splitlines()]


def _name_durable(calls: Sequence[Call], path: str, archive: Path, findings: Findings) -> int:
    """Return from when a power loss cannot take a file's name any more: all its folders' fsyncs."""
    made = next(
        (call.done for call in calls if call.name == "openat" and path in call.paths),
        None,
    )
    if made is None:
        made = next(call.done for call in calls if call.name[:6] == "rename" and path in call.paths)
    named = [_synced_after(calls, Path(path).parent, made)]
    for folder in Path(path).parents:
        if not folder.is_relative_to(archive) or folder == archive:
            break
        created = [c for c in calls if c.name[:5] == "mkdir" and str(folder) in c.paths]
        if created:
            findings.folders += 1
            named.append(_synced_after(calls, folder.parent, created[0].done))
    return max(named)


NEVER = 1 << 62


def _synced_after(calls: Sequence[Call], path: Path, place: int) -> int:
    """Return when the first fsync of a file or folder that began after `place` was done."""
    return next(
        (
            call.done
            for call in calls
            if call.name == "fsync" and call.begun > place and call.file == str(path)
        ),
        NEVER,
    )


def _check_answers(calls: Sequence[Call], synced: Sequence[_Synced], findings: Findings) -> None:
    """Note each number of frames that was told before they, and their file's name, were on disk."""
    for call in calls:
        if call.name not in {"sendto", "sendmsg", "write", "writev"}:
            continue
        told = [(int(a), int(b)) for a, b in _ACKNOWLEDGED.findall(call.words)]
        if not told:
            continue
        findings.answers += 1
        on_disk: Counter[int] = Counter()
        for piece in synced:
            if piece.done < call.begun:
                on_disk = piece.frames
        for connection, count in told:
            findings.acknowledged = max(findings.acknowledged, count)
            if count > on_disk[connection]:
                findings.problems.append(
                    f"{count} frames of connection {connection} told as durable, "
                    f"{on_disk[connection]} were"
                )


def _check_parts(
    calls: Sequence[Call], synced: Sequence[_Synced], archive: Path, findings: Findings
) -> None:
    catalog = [
        call for call in calls if call.name == "pwrite64" and call.file.endswith("catalog.db-wal")
    ]
    for call in calls:
        if call.name[:6] != "rename":
            continue
        source, target = call.paths[-2:]
        if "/date=" not in target or not target.endswith(".parquet"):
            continue
        findings.parts += 1
        name = Path(target).name
        written = [
            earlier.done
            for earlier in calls
            if earlier.name == "write"
            and earlier.begun < call.begun
            and _was(earlier.file, source, calls)
        ]
        synced_at = _synced_after(calls, Path(source), max(written, default=0))
        if not written or synced_at > call.begun:
            findings.problems.append(f"{name} was renamed before its bytes were synced")
        durable = _name_durable(calls, target, archive, findings)
        told = [c.begun for c in catalog if name in c.words]
        if not told or min(told) < durable:
            findings.problems.append(f"the catalog named {name} before its folder was synced")
        elif _committed_after(calls, told[0]) == NEVER:
            findings.problems.append(f"the catalog's word of {name} was not synced")
        ts_last = int(name.split("-")[1])
        raw = max((piece.ts_last for piece in synced if piece.done < call.begun), default=0)
        if raw < ts_last:
            findings.problems.append(f"{name} has rows whose frames were not durable")


def _was(file: str, source: str, calls: Sequence[Call]) -> bool:
    """Say whether a file was called so before it was given the name it has now."""
    if file == source:
        return True
    earlier = [c.paths[-2] for c in calls if c.name[:6] == "rename" and c.paths[-1] == source]
    return file in earlier


def _committed_after(calls: Sequence[Call], place: int) -> int:
    return next(
        (
            call.done
            for call in calls
            if call.name == "fdatasync"
            and call.begun > place
            and call.file.endswith("catalog.db-wal")
        ),
        NEVER,
    )


def without(calls: Sequence[Call], unwanted: Callable[[Call], bool]) -> list[Call]:
    """Return the calls of a program that never made some of them."""
    return [call for call in calls if not unwanted(call)]
