"""The file `recorder init` writes: whole, commented, and what the model says."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from recorder.config import NOT_YET, Config, load_config
from recorder.config_sections import VenueConfig
from recorder.config_template import ConfigNotWritten, format_template, write_template
from recorder.errors import ConfigError
from schemas.kucoin.profiles import PROFILES


def uncommented(text: str) -> str:
    """Set every key that is shown with its default."""
    return re.sub(r"(?m)^#(?=\w+ = )", "", text)


@pytest.mark.parametrize("profile", list(PROFILES))
def test_it_loads_to_the_defaults(tmp_path: Path, profile: str) -> None:
    path = tmp_path / "recorder.toml"
    write_template(path, format_template(profile, "BTC-USDT, top:5:*-BTC", "my archive"))
    config = load_config(path)
    assert config == Config(
        archive=tmp_path / "my archive",
        venue=VenueConfig(profile=profile, symbols=("BTC-USDT", "top:5:*-BTC")),
    )


@pytest.mark.parametrize("profile", list(PROFILES))
def test_what_is_commented_out_is_the_default(tmp_path: Path, profile: str) -> None:
    text = format_template(profile, "all", "archive")
    path = tmp_path / "plain.toml"
    write_template(path, text)
    plain = load_config(path)
    whole = tmp_path / "whole.toml"
    write_template(whole, uncommented(text).replace('api_key_file = "api-key.toml"\n', ""))
    config = load_config(whole)
    assert config.rest_url == plain.rest_url, "the profile's own"
    venue = config.venue.model_copy(update={"rest_url": None})
    assert config.model_copy(update={"venue": venue}) == plain


def test_every_key_that_does_something_stands_there_once_with_its_description() -> None:
    text = format_template("kucoin-classic", "all", "archive")
    document = tomllib.loads(uncommented(text))
    flowing = re.sub(r"\n# ", " ", text)
    for name, field in Config.model_fields.items():
        below = getattr(field.annotation, "model_fields", None)
        if below is None:
            assert (name in document) == (name not in NOT_YET)
            continue
        for key, inner in below.items():
            dotted = f"{name}.{key}"
            assert (key in document.get(name, {})) == (dotted not in NOT_YET), dotted
            if dotted not in NOT_YET:
                assert inner.description in flowing, dotted
    assert all(len(line) <= 100 for line in text.splitlines() if line.startswith("# "))


def test_what_is_there_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "recorder.toml"
    path.write_text("mine")
    with pytest.raises(ConfigNotWritten, match="is there already") as caught:
        write_template(path, "text")
    assert path.read_text() == "mine"
    assert caught.value.exit_code == 2
    with pytest.raises(ConfigNotWritten, match="No such file"):
        write_template(tmp_path / "no" / "folder.toml", "text")


@pytest.mark.parametrize(
    ("profile", "symbols", "key", "says"),
    [
        ("kucoin-classik", "all", "venue.profile", "did you mean 'kucoin-classic'?"),
        ("kucoin-classic", "BTC USDT", "venue.symbols", "selects nothing"),
        ("kucoin-classic", "A-B,A-B", "venue.symbols", "more than once"),
    ],
)
def test_values_that_do_not_do_are_refused_before_anything_is_written(
    profile: str, symbols: str, key: str, says: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        format_template(profile, symbols, "archive")
    assert caught.value.key == key
    assert says in str(caught.value)
