"""Two configurations compared: every key is one a reload changes, or one it refuses by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from recorder.config import Config
from recorder.config_changes import LIVE, RESTART, Change, RestartNeeded, compare, is_live
from recorder.config_sections import VenueConfig

VENUE: dict[str, Any] = {"profile": "kucoin-classic", "symbols": ["BTC-USDT"]}


def config(venue: dict[str, Any] | None = None, **sections: Any) -> Config:
    return Config(**{"archive": Path("/a"), "venue": VENUE | (venue or {}), **sections})


def keys() -> list[str]:
    """Every key of the model, in its order."""
    found = []
    for name, field in Config.model_fields.items():
        below = getattr(field.annotation, "model_fields", None)
        found += [f"{name}.{key}" for key in below] if below else [name]
    return found


def test_every_key_is_either_live_or_needs_a_restart() -> None:
    assert "venue.symbols" in keys()
    assert set(VenueConfig.model_fields) <= {key.partition(".")[2] for key in keys()}
    for key in keys():
        rules = [rule for rule in (*LIVE, *RESTART) if f"{key}.".startswith(f"{rule.rstrip('.')}.")]
        assert len(rules) == 1, f"{key} is in {rules}"
    for rule in (*LIVE, *RESTART):
        assert any(key.startswith(rule) for key in keys()), f"{rule} is no key"


def test_equal_ones_do_not_differ() -> None:
    assert not compare(config(), config())


def test_what_a_reload_applies() -> None:
    new = config(
        {"symbols": ["*-USDT"], "streams": ["level2"], "status_interval_s": 5},
        retention={"trades_days": 30},
        raw_log={"keep_days": 7},
        jobs={"backup_at": ""},
        log={"level": "debug"},
    )
    changes = compare(config(), new)
    changes.refuse_restart()
    assert [change.key for change in changes.live] == [
        "venue.symbols", "venue.streams", "venue.status_interval_s", "raw_log.keep_days",
        "retention.trades_days", "jobs.backup_at", "log.level",
    ]  # fmt: skip
    assert changes.live[0] == Change("venue.symbols", '["BTC-USDT"]', '["*-USDT"]')
    assert changes.changed("venue.symbols")
    assert changes.changed("retention.")
    assert not changes.changed("parts.")


def test_what_needs_a_restart_is_named_with_what_it_was() -> None:
    new = config(
        {"rest_url": "http://127.0.0.1:1", "symbols": ["ETH-USDT"]},
        archive=Path("/b"),
        http={"listen": "127.0.0.1:9464"},
    )
    changes = compare(config(), new)
    assert [change.key for change in changes.live] == ["venue.symbols"]
    with pytest.raises(RestartNeeded) as caught:
        changes.refuse_restart()
    assert caught.value.keys == ("archive", "venue.rest_url", "http.listen")
    assert "archive, venue.rest_url, http.listen: cannot change while recording" in str(
        caught.value
    )
    assert 'archive = "/a"' in caught.value.remedy
    assert "venue.rest_url = (left out)" in caught.value.remedy
    assert caught.value.exit_code == 2


def test_sections_and_keys_are_told_apart() -> None:
    assert is_live("parts.rows_min")
    assert is_live("log.level")
    assert not is_live("log.format")
    assert not is_live("raw_log.segment_mib")
