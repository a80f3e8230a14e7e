"""Each frame that was counted as durable is in the raw log, byte for byte and in order."""

from __future__ import annotations

from collections.abc import Iterator

from tests.simulation.archive import Archive
from tests.simulation.seed import Played


def frames_kept(played: Played, archive: Archive) -> Iterator[str]:
    for life in played.lives:
        kept: dict[int, list[bytes | None]] = {}
        for line in archive.raw_lines.get(life.run_id, []):
            if line.kind == "recv":
                kept.setdefault(line.connection, []).append(line.data)
            if line.kind == "close" and line.fields.get("rotated"):
                played.faults.struck["rotation"] += 1
        for socket in life.sockets:
            frames = kept.pop(socket.number, [])
            if frames != socket.delivered[: len(frames)]:
                what = f"frames of connection {socket.number}"
                yield f"run {life.number}: {what} are not as they came"
            if (durable := life.durable.get(socket.number, 0)) > len(frames):
                yield (
                    f"run {life.number}: {durable} frames of connection {socket.number} were "
                    f"acknowledged, {len(frames)} are kept"
                )
        if kept:
            yield f"run {life.number}: frames of connections nobody opened: {sorted(kept)}"
