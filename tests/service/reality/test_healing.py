"""How long books stay unknown is read from the archive, and every gap of a fault is healed."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import healing


def test_dropped_messages_are_seen_and_healed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(healing, "LINGER_S", 2.0)
    kind = healing.KINDS[0]
    # Long enough that some are dropped behind the start of a recorder on a slow machine.
    result = healing.measure(tmp_path, kind, seconds=8.0, rate=150, seed=3)
    assert healing.is_good(result), result
    assert result["faults"] >= 5
    assert result["gaps"] >= 4
    assert 0 < result["detect_ms"]["median"] < 1_000, "the next message of the book shows it"
    assert 0 < result["heal_ms"]["median"] < 5_000, "a snapshot comes at once"
    assert "| dropped message |" in healing.table([result])


def test_a_gap_nobody_explains_is_told() -> None:
    result = {"gaps": 3, "not_healed": 0, "unexplained": [], "verified": True}
    assert healing.is_good(result)
    for key, value in {
        "gaps": 0,
        "not_healed": 1,
        "unexplained": ["decode"],
        "verified": False,
    }.items():
        assert not healing.is_good({**result, key: value})
