"""What `check-config` prints loads to the same configuration."""

from __future__ import annotations

import tomllib
from pathlib import Path

from recorder.config import Config
from recorder.config_text import format_config


def test_the_text_is_toml_of_the_same_configuration() -> None:
    config = Config(
        archive=Path('/a "quoted" folder'),
        venue={"profile": "kucoin-2019", "symbols": ["A-B", "C-D"], "streams": ["level2"]},
        stitch={"first_update_timer_s": 0.5},
    )
    text = format_config(config)
    assert Config(**tomllib.loads(text)) == config
    assert "roll_interval_s = 900  # seconds" in text
    assert "# api_key_file" in text, "a key without a value is told all the same"


def test_each_line_says_where_its_value_came_from() -> None:
    config = Config(
        archive=Path("a"), venue={"profile": "kucoin-classic", "symbols": ["all"]}, parts={}
    )
    origins = {"archive": "file", "parts.rows_min": "BOOKTAPE__PARTS__ROWS_MIN"}
    text = format_config(config, origins)
    assert 'archive = "a"  # (file) folder' in text
    assert "rows_min = 5000  # (BOOKTAPE__PARTS__ROWS_MIN) rows" in text
