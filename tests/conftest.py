"""What every test shares: its folder is its marker, generated cases are the same on every run."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent
KINDS = ("unit", "property", "playback", "fault", "service")

settings.register_profile(
    "house",
    derandomize=True,  # the same cases everywhere: a red run can be repeated
    deadline=None,  # compiled kernels take their first seconds
    database=None,
    max_examples=100,
    suppress_health_check=[HealthCheck.too_slow],  # says something about the machine only
)
settings.load_profile("house")


def _kernel_cache() -> Path:
    """Return a cache folder for the kernels as they are written now.

    Numba looks at the file of the function it compiles, not at those of its callees: a kernel
    whose callee changed in another file would be loaded stale.
    """
    digest = hashlib.sha256()
    for path in sorted((ROOT / "replay" / "kernels").rglob("*.py")):
        digest.update(path.read_bytes())
    return ROOT / ".pytest_cache" / f"numba-{digest.hexdigest()[:12]}"


# Before anything imports numba; processes that tests start inherit it.
os.environ.setdefault("NUMBA_CACHE_DIR", str(_kernel_cache()))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test with the name of its folder under tests/."""
    for item in items:
        kind = item.path.relative_to(ROOT / "tests").parts[0]
        if kind not in KINDS:
            raise pytest.UsageError(f"{item.path} lies in none of {', '.join(KINDS)}")
        item.add_marker(kind)


@pytest.fixture(scope="session")
def shared_captures() -> Path:
    """Folder of the real captures; skips where a clone has none."""
    folder = ROOT.parent / "shared" / "captures"
    if not folder.is_dir():
        pytest.skip("no real captures beside this checkout (../shared/captures)")
    return folder


@pytest.fixture(scope="session")
def api_document() -> str:
    """Text of the exchange's API document of 2019; skips where a clone has none."""
    found = sorted((ROOT.parent / "shared" / "seeds").glob("*.txt"))
    if not found:
        pytest.skip("no API document beside this checkout (../shared/seeds)")
    return found[0].read_text(encoding="utf-8")
