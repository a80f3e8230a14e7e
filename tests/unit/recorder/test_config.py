"""Configuration: defaults, file, environment; each bad input names its key and the remedy."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from recorder.config import Config, ConfigUnreadable, load_config, origins
from recorder.errors import ConfigError

MINIMAL = """
archive = "archive"
[venue]
profile = "kucoin-2019"
rest_url = "http://127.0.0.1:8765"
symbols = ["BTC-USDT", "ETH-BTC"]
streams = ["level2", "level3", "match", "snapshot", "ticker"]
"""


@pytest.fixture
def load(tmp_path: Path):
    def load_text(text: str) -> Config:
        path = tmp_path / "recorder.toml"
        path.write_text(text)
        return load_config(path)

    return load_text


def test_the_minimal_configuration(load, tmp_path: Path) -> None:
    config = load(MINIMAL)
    assert config.archive == tmp_path / "archive", "relative to the file, wherever one stands"
    assert config.rest_url == "http://127.0.0.1:8765"
    assert config.profile.name == "kucoin-2019"
    assert config.venue.topics_per_connection == 95
    assert config.raw_log.commit_interval_ms == 50
    assert config.parts.roll_interval_s == 900


def test_three_keys_suffice(load) -> None:
    config = load('archive = "/a/../b"\nvenue = {profile = "kucoin-2019", symbols = ["A-B"]}')
    assert config.rest_url == "https://api.kucoin.com"
    assert config.venue.streams == ("level2", "level3", "match", "snapshot", "ticker")
    assert config.archive == Path("/b")


def test_the_environment_wins_over_the_file(load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOOKTAPE__PARTS__ROLL_INTERVAL_S", "60")
    monkeypatch.setenv("BOOKTAPE__VENUE__SYMBOLS", "X-Y, Z-Y")
    config = load(MINIMAL + "[parts]\nroll_interval_s = 30\nrows_min = 7")
    assert config.parts.roll_interval_s == 60
    assert config.parts.rows_min == 7, "the rest of the section stays"
    assert config.venue.symbols == ("X-Y", "Z-Y")


def test_it_is_frozen(load) -> None:
    config = load(MINIMAL)
    with pytest.raises(ValidationError):
        config.archive = Path("/elsewhere")
    with pytest.raises(ValidationError):
        config.parts.rows_min = 1


def test_a_slash_at_the_end_of_the_address_does_not_matter(load) -> None:
    assert load(MINIMAL.replace(":8765", ":8765/")).rest_url == "http://127.0.0.1:8765"


# text to replace, replacement, text to append → key, what the message must say
BAD = [
    ("", "", "[parts]\nroll_interval = 3", "parts.roll_interval", "parts.roll_interval_s?"),
    ("", "", "[prts]\nrows_min = 3", "prts", "did you mean parts?"),
    ("archive =", 'rest_url = "http://x"\narchive =', "", "rest_url", "venue.rest_url?"),
    ("symbols =", "symbol =", "", "venue.symbol", "did you mean venue.symbols?"),
    ("", "", "[xyz]\nq = 3", "xyz", "known here: archive, audit,"),
    ("", "", "[parts]\nrows_max = 'many'", "parts.rows_max", "must be a valid integer"),
    ("", "", "[parts]\nrows_max = true", "parts.rows_max", "true says nothing here"),
    ("", "", "[parts]\nrows_max = 0", "parts.rows_max", "greater than or equal to 1"),
    ("", "", "[log]\nlevel = 'loud'", "log.level", "'debug', 'info', 'warning' or 'error'"),
    ("kucoin-2019", "kucoin-2091", "", "venue.profile", "did you mean 'kucoin-2019'?"),
    ("level2", "levl2", "", "venue.streams", "did you mean 'level2'?"),
    ('"BTC-USDT", "ETH-BTC"', "", "", "venue.symbols", "must not be empty"),
    ('"ETH-BTC"', '"BTC-USDT"', "", "venue.symbols", "BTC-USDT stands there more than once"),
    ('"ETH-BTC"', "3", "", "venue.symbols", "must be a valid string"),
    ("http:", "htp:", "", "venue.rest_url", "not an http:// or https:// address"),
    ("127.0.0.1:8765", "", "", "venue.rest_url", "names no host"),
    (":8765", ":eight", "", "venue.rest_url", "is no address: Port could not be cast"),
    (":8765", ":8765/?a=b", "", "venue.rest_url", "has a query"),
    ('profile = "kucoin-2019"', "", "", "venue.profile", "one of: kucoin-2019"),
    ("[venue]", "[log]", "", "log.profile", "is unknown"),
    ('archive = "archive"', "", "", "archive", "is missing"),
    ("archive =", "workers = 2\narchive =", "", "workers", "not available yet"),
    ("", "", "[stitch]\nstale_after_s = -1", "stitch.stale_after_s", "greater than or equal to 0"),
    ("", "", "[audit]\nrest_share = 0.9", "audit.rest_share", "less than or equal to 0.5"),
    ("", "", "[http]\nlisten = ':1'", "http.listen", "127.0.0.1:1 is this machine alone"),
    ("", "", "[http]\nlisten = '9464'", "http.listen", "is not host:port"),
    ("", "", "[http]\nlisten = 'http://h:80'", "http.listen", "write no http://"),
    ("", "", "[http]\nlisten = 'h:65536'", "http.listen", "a port is at most 65535"),
    ("", "", "[http]\nlisten = '::1:80'", "http.listen", "stands in brackets"),
    ("", "", "[jobs]\nbackup_at = '24:00'", "jobs.backup_at", "write hh:mm"),
    ("", "", "[jobs]\nretention_at = '1:20'", "jobs.retention_at", "write hh:mm"),
    ("", "", "[jobs]\ncompaction_at = 'noon'", "jobs.compaction_at", "write hh:mm"),
    ("", "", "[jobs]\nbackups_kept = 0", "jobs.backups_kept", "greater than or equal to 1"),
    (
        "",
        "",
        "[retention]\ntrades_days = -1",
        "retention.trades_days",
        "greater than or equal to 0",
    ),
    ("", "", "[retention]\ntotal_gib = inf", "retention.total_gib", "finite number"),
    ("", "", "[raw_log]\nkeep_days = -1", "raw_log.keep_days", "greater than or equal to 0"),
    ("symbols =", "status_interval_s = 0\nsymbols =", "", "venue.status_interval_s", "equal to 1"),
    ('"ETH-BTC"', '"ETH BTC"', "", "venue.symbols", "'ETH BTC' selects nothing"),
    ('"ETH-BTC"', '"top:0"', "", "venue.symbols", "a number from 1 on"),
]


@pytest.mark.parametrize(("old", "new", "more", "key", "says"), BAD)
def test_bad_input_names_the_key_and_the_remedy(
    load, old: str, new: str, more: str, key: str, says: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(MINIMAL.replace(old, new, 1) + more if old else MINIMAL + more)
    assert caught.value.key == key
    assert f"configuration key {key}: " in str(caught.value)
    assert says in str(caught.value)
    assert caught.value.remedy
    assert caught.value.exit_code == 2


CLASSIC = 'archive = "a"\n[venue]\nprofile = "kucoin-classic"\nsymbols = ["all"]\n'


def test_streams_left_out_are_all_the_profile_has(load) -> None:
    assert load(CLASSIC).venue.streams == ("level2", "match", "snapshot", "ticker")


def test_a_stream_the_profile_lacks_names_profile_and_streams(load) -> None:
    with pytest.raises(ConfigError) as caught:
        load(CLASSIC + 'streams = ["level2", "level3"]')
    assert caught.value.key == "venue.streams"
    assert (
        "kucoin-classic has no stream 'level3'; it has: level2, match, snapshot, ticker"
    ) in str(caught.value)


def test_a_websocket_is_replaced_before_its_token_ends_or_not_at_all(load) -> None:
    assert load(CLASSIC).venue.rotate_after_s == 0
    assert load(CLASSIC + "rotate_after_s = 60").venue.rotate_after_s == 60
    assert load(MINIMAL.replace("rest_url", "rotate_after_s = 999999\nrest_url"))
    with pytest.raises(ConfigError) as caught:
        load(CLASSIC + "rotate_after_s = 86400")
    assert caught.value.key == "venue.rotate_after_s"
    assert "86400 s is too late: kucoin-classic cuts at 86400 s" in str(caught.value)


def test_the_key_file_lies_beside_the_configuration(load, tmp_path: Path) -> None:
    assert load(CLASSIC).venue.api_key_file is None
    assert load(CLASSIC + 'api_key_file = "key.toml"').venue.api_key_file == tmp_path / "key.toml"
    assert load(CLASSIC + 'api_key_file = "/k.toml"').venue.api_key_file == Path("/k.toml")


def test_jobs_run_at_times_of_day_or_never(load) -> None:
    jobs = load(CLASSIC + '[jobs]\nbackup_at = ""\nretention_at = "23:59"').jobs
    assert (jobs.compaction_at, jobs.retention_at, jobs.backup_at) == ("00:20", "23:59", "")
    assert (jobs.repack_interval_s, jobs.backups_kept) == (600, 7)


@pytest.mark.parametrize(
    ("listen", "address"),
    [
        ("", None),
        ("127.0.0.1:9464", ("127.0.0.1", 9464)),
        ("localhost:0", ("localhost", 0)),
        ("[::1]:80", ("::1", 80)),
    ],
)
def test_an_address_to_listen_on(load, listen: str, address: tuple[str, int] | None) -> None:
    assert load(CLASSIC + f'[http]\nlisten = "{listen}"').http.address == address


def test_the_keys_of_an_exchange_are_no_keys_of_ours(load, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KEY", "SECRET", "PASSPHRASE", "KEY_VERSION"):
        monkeypatch.setenv(f"BOOKTAPE_API_{name}", "made-up")
    assert load(CLASSIC).profile.name == "kucoin-classic"


def test_each_value_says_where_it_came_from(
    load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BOOKTAPE__PARTS__ROWS_MIN", "9")
    load(CLASSIC)
    found = origins(tmp_path / "recorder.toml")
    assert found["venue.symbols"] == "file"
    assert found["parts.rows_min"] == "BOOKTAPE__PARTS__ROWS_MIN"
    assert found["parts.rows_max"] == "default"
    assert "parts" not in found


@pytest.mark.parametrize(
    ("variable", "key", "says"),
    [
        ("BOOKTAPE__PARTS__ROL_INTERVAL_S", "parts.rol_interval_s", "parts.roll_interval_s?"),
        ("BOOKTAPE__PART__ROWS_MIN", "part.rows_min", "did you mean parts?"),
        ("BOOKTAPE__ARCHIV", "archiv", "did you mean archive?"),
    ],
)
def test_a_misspelt_variable_is_no_silence(
    load, monkeypatch: pytest.MonkeyPatch, variable: str, key: str, says: str
) -> None:
    monkeypatch.setenv(variable, "60")
    with pytest.raises(ConfigError) as caught:
        load(MINIMAL)
    assert caught.value.key == key
    assert variable in str(caught.value)
    assert says in str(caught.value)


def test_no_file_and_no_toml(load, tmp_path: Path) -> None:
    with pytest.raises(ConfigUnreadable, match="No such file"):
        load_config(tmp_path / "nowhere.toml")
    with pytest.raises(ConfigUnreadable, match=r"recorder\.toml is not TOML"):
        load("archive = ")
