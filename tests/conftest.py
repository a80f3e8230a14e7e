"""What every test shares: its folder is its marker, generated cases are the same on every run."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent
KINDS = ("unit", "property", "playback", "fault", "service")
# Counting lines makes everything twice as slow. These go a thousand times over lines that other
# tests reach as well; processes that they start are not counted either.
UNCOUNTED = (
    "property",
    "playback",
    "fault/test_simulation.py",
    "service/deploy/test_alerts_fire.py",
    "service/reality",
    "service/test_documents.py",
    "service/test_ground_truth.py",
    "service/test_side_by_side.py",
)
COVERAGE_OF_PROCESSES = "COVERAGE_PROCESS_CONFIG"

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
        if any(item.path.is_relative_to(ROOT / "tests" / place) for place in UNCOUNTED):
            item.add_marker("no_cover")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Leave the processes of a test uncounted where its own lines are."""
    if item.get_closest_marker("no_cover") is None:
        return (yield)
    counting = os.environ.pop(COVERAGE_OF_PROCESSES, None)
    try:
        return (yield)
    finally:
        if counting is not None:
            os.environ[COVERAGE_OF_PROCESSES] = counting


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
