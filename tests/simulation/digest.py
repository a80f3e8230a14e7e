"""All that came of a seed in one number: two runs of it must agree to the last byte."""

from __future__ import annotations

import hashlib

from schemas.catalog import TABLES
from tests.simulation.archive import Archive
from tests.simulation.seed import Played


def digest(played: Played) -> str:
    """Return a sha256 of files, catalog, faults and ends of a seed."""
    archive = Archive(played.disk, played.archive)
    digest = hashlib.sha256()
    for path, data in sorted(archive.files.items()):
        digest.update(f"{path} {len(data)}\n".encode())
        digest.update(data)
    for name in TABLES:
        digest.update(repr(sorted(map(repr, archive.table(name)))).encode())
    digest.update(repr(sorted(played.faults.struck.items())).encode())
    digest.update(repr([(life.end, life.why, life.durable) for life in played.lives]).encode())
    digest.update(repr((played.virtual_s, played.disk.steps)).encode())
    return digest.hexdigest()
