"""API keys: where they come from, what is refused, and that none is ever shown."""

from __future__ import annotations

import ast
import logging
import os
import pickle
import re
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from recorder.api_key import (
    ENVIRONMENT,
    ApiKey,
    ApiKeyError,
    KeyRefused,
    load_api_key,
    permissions_warning,
)
from recorder.config import Config
from recorder.logs import configure_logs, get_log
from schemas.kucoin.profiles import PROFILES
from schemas.kucoin.signing import sign_headers

ROOT = Path(__file__).resolve().parents[3]
KEY, SECRET, PASSPHRASE = "made-up-key-000111222", "made-up-secret-333", "made-up passphrase"
GOOD = f'key = "{KEY}"\nsecret = "{SECRET}"\npassphrase = "{PASSPHRASE}"\n'


@pytest.fixture(autouse=True)
def _no_keys_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ENVIRONMENT.values():
        monkeypatch.delenv(variable, raising=False)


def config(path: Path | None = None, profile: str = "kucoin-classic") -> Config:
    venue: dict[str, Any] = {"profile": profile, "symbols": ["all"], "api_key_file": path}
    return Config(archive=Path("a"), venue=venue)


def write(folder: Path, text: str = GOOD, mode: int = 0o600) -> Path:
    path = folder / "key.toml"
    path.write_text(text)
    path.chmod(mode)
    return path


def assert_hidden(text: str) -> None:
    for hidden in (KEY, SECRET, PASSPHRASE):
        assert hidden not in text


def test_no_key_is_no_error() -> None:
    assert load_api_key(config()) is None


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_private_file_is_read(tmp_path: Path, mode: int) -> None:
    path = write(tmp_path, mode=mode)
    assert load_api_key(config(path)) == ApiKey(KEY, SECRET, PASSPHRASE, "3")
    assert load_api_key(config(path, "kucoin-2019")) == ApiKey(KEY, SECRET, PASSPHRASE, "1")


@pytest.mark.parametrize("version", ['"2"', "2"])
def test_a_version_of_its_own(tmp_path: Path, version: str) -> None:
    found = load_api_key(config(write(tmp_path, GOOD + f"version = {version}")))
    assert found is not None
    assert found.version == "2"


def test_a_link_to_a_private_file_will_do(tmp_path: Path) -> None:
    link = tmp_path / "link.toml"
    link.symlink_to(write(tmp_path))
    assert load_api_key(config(link)) is not None


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666, 0o644])
def test_a_file_others_can_get_at_is_refused_with_the_remedy(tmp_path: Path, mode: int) -> None:
    path = write(tmp_path, mode=mode)
    with pytest.raises(ApiKeyError, match=f"{mode:04o}") as caught:
        load_api_key(config(path))
    assert caught.value.source == str(path)
    assert f"`chmod 600 {path}`" in caught.value.remedy
    assert caught.value.exit_code == 2


def test_a_file_of_somebody_else_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path)
    owner = path.stat().st_uid
    real = os.fstat

    def fstat(descriptor: int) -> os.stat_result:
        fields = list(real(descriptor))
        fields[4] = 4242
        return os.stat_result(fields)

    monkeypatch.setattr("recorder.api_key.os.fstat", fstat)
    with pytest.raises(ApiKeyError, match="belongs to user 4242") as caught:
        load_api_key(config(path))
    assert f"chown {owner}" in caught.value.remedy


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "lacks key, secret, passphrase"),
        (GOOD.replace(SECRET, ""), "lacks secret"),
        (GOOD + 'remark = "x"', "has remark, which means nothing"),
        (GOOD + "version = true", "version is no text"),
        (GOOD + "version = 9", "version is none of 1, 2, 3"),
        (GOOD.replace(f'"{KEY}"', "17"), "key is no text"),
        (GOOD.replace(SECRET, f"{SECRET}\\n{SECRET}"), "secret has letters that no key has"),
        (GOOD.replace(KEY, f"„{KEY}“"), "key has letters that no key has"),
        (f"{SECRET} {PASSPHRASE}", "is not TOML"),
        (GOOD.replace(f'"{SECRET}"', SECRET), "is not TOML"),
        ("x = 1 #" + "x" * 20_000, "is too long"),
    ],
)
def test_a_file_that_is_no_key_is_told_without_quoting_it(
    tmp_path: Path, text: str, says: str
) -> None:
    with pytest.raises(ApiKeyError) as caught:
        load_api_key(config(write(tmp_path, text)))
    assert says in str(caught.value)
    assert caught.value.remedy
    assert_hidden("".join(traceback.format_exception(caught.value)))


def test_no_file_a_folder_and_a_pipe(tmp_path: Path) -> None:
    with pytest.raises(ApiKeyError, match="No such file"):
        load_api_key(config(tmp_path / "none.toml"))
    with pytest.raises(ApiKeyError, match="is no file"):
        load_api_key(config(tmp_path))
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe, 0o600)
    with pytest.raises(ApiKeyError, match="is no file"):
        load_api_key(config(pipe))


def test_the_environment_wins_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path)
    monkeypatch.setenv("BOOKTAPE_API_KEY", "other")
    monkeypatch.setenv("BOOKTAPE_API_SECRET", "thing\n")
    monkeypatch.setenv("BOOKTAPE_API_PASSPHRASE", "entirely")
    assert load_api_key(config(path)) == ApiKey("other", "thing", "entirely", "3")
    monkeypatch.setenv("BOOKTAPE_API_KEY_VERSION", "2")
    assert load_api_key(config(path)) == ApiKey("other", "thing", "entirely", "2")


def test_half_an_environment_names_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOOKTAPE_API_KEY", KEY)
    monkeypatch.setenv("BOOKTAPE_API_SECRET", SECRET)
    monkeypatch.setenv("BOOKTAPE_API_PASSPHRASE", "")
    with pytest.raises(ApiKeyError) as caught:
        load_api_key(config())
    assert "BOOKTAPE_API_KEY, BOOKTAPE_API_SECRET is set and BOOKTAPE_API_PASSPHRASE is not" in str(
        caught.value
    )
    assert_hidden(str(caught.value))
    monkeypatch.setenv("BOOKTAPE_API_KEY", "")
    monkeypatch.setenv("BOOKTAPE_API_SECRET", "")
    assert load_api_key(config()) is None, "empty is not set"


@pytest.fixture
def _logs_as_they_are() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


@pytest.mark.usefixtures("_logs_as_they_are")
@pytest.mark.parametrize("form", ["text", "json"])
def test_nothing_shows_a_key(capsys: pytest.CaptureFixture[str], form: Any) -> None:
    key = ApiKey(KEY, SECRET, PASSPHRASE, "3")
    shown = [repr(key), str(key), f"{key}", f"{key!r}", f"{[key]}", "%s" % key]  # noqa: UP031
    for text in shown:
        assert_hidden(text)
        assert "made…" in text, "enough to tell two keys apart"
    configure_logs("debug", form)
    log = get_log("recorder", key=key)
    log.warning("a key in a log", held={"inside": [key]})

    def fail(taken: ApiKey) -> None:
        raise RuntimeError(f"no good: {taken}")

    try:
        fail(key)
    except RuntimeError:
        log.exception("a key in a traceback")
    written = capsys.readouterr().err
    assert "a key in a traceback" in written
    assert "ApiKey(made" in written
    assert_hidden(written)
    assert key.redact(f"you sent {KEY}, {SECRET} and {PASSPHRASE}") == "you sent …, … and …"


def _paths_in_code() -> set[str]:
    """Every API path that stands in the code, docstrings aside."""
    found: set[str] = set()
    for package in ("recorder", "replay", "schemas"):
        for file in sorted((ROOT / package).rglob("*.py")):
            tree = ast.parse(file.read_text(encoding="utf-8"))
            said = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
            found |= {
                node.value
                for node in ast.walk(tree)
                if isinstance(node, ast.Constant)
                and isinstance(node.value, str)
                and id(node) not in said
                and re.match(r"/?api/", node.value)
            }
    return found


def test_no_endpoint_that_orders_or_moves_funds_is_in_the_code() -> None:
    paths = _paths_in_code()
    assert "/api/v1/user/api-key" in paths, "the search finds what is there"
    acting = re.compile(r"order(?!book)|transfer|withdraw|deposit|account|fills|margin|convert")
    assert {path for path in paths if acting.search(path)} == set()


def test_whatever_is_signed_is_a_question() -> None:
    signed = {
        path
        for profile in PROFILES.values()
        for path in (profile.key_path, *(book.path for book in profile.books if book.signed))
        if path is not None
    }
    assert signed == {
        "/api/v1/user/api-key",
        "/api/v3/market/orderbook/level2?symbol={symbol}",
    }
    client = ast.parse((ROOT / "recorder" / "transport" / "rest.py").read_text(encoding="utf-8"))
    requests = [
        ast.unparse(node)
        for node in ast.walk(client)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "self._request"
    ]
    assert sorted(requests) == [
        "self._request('GET', path, signed=signed)",
        "self._request('POST', path, signed=False)",
    ], "only a GET is ever signed"


def test_a_key_goes_to_no_child_process() -> None:
    with pytest.raises(TypeError, match="stays in this process"):
        pickle.dumps(ApiKey(KEY, SECRET, PASSPHRASE, "3"))


def test_signing_is_now_and_of_this_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recorder.api_key.wall_ns", lambda: 1_547_015_186_532_999_999)
    headers = ApiKey(KEY, SECRET, PASSPHRASE, "2").sign("GET", "/api/v1/user/api-key?a=b")
    assert headers == sign_headers(
        KEY, SECRET, PASSPHRASE, "2", "GET", "/api/v1/user/api-key?a=b", "", 1_547_015_186_532
    )


@pytest.mark.parametrize(
    ("permissions", "named"),
    [
        (["General"], None),
        ([], None),
        (["General", "Spot"], "Spot"),
        (["General", "Trade", "Transfer"], "Trade, Transfer"),
        (["Withdrawal"], "Withdrawal"),
        (["General", "SomethingNew"], "SomethingNew"),
    ],
)
def test_a_key_that_may_more_than_read_earns_a_warning(
    permissions: list[str], named: str | None
) -> None:
    warning = permissions_warning(permissions)
    if named is None:
        assert warning is None
    else:
        assert warning is not None
        assert f"may do more than read: {named};" in warning
        assert "make a key with that permission only" in warning


@pytest.mark.parametrize(
    ("code", "remedy", "exit_code"),
    [
        ("400001", "does a proxy stand before http://x?", 2),
        ("400002", "clock is off by -6000 ms", 3),
        ("400003", "knows no such key", 2),
        ("400004", "the key's version is not 3", 2),
        # It is encoded by the secret: a wrong one is found there first.
        ("400004", "or the secret", 2),
        ("400005", "compare the secret", 2),
        ("400006", "address is not on the key's list", 2),
        ("400007", "lacks the permission General", 2),
        ("411100", "account is frozen", 2),
        ("499999", "what the exchange's documentation says", 2),
    ],
)
def test_each_documented_refusal_says_what_to_do(code: str, remedy: str, exit_code: int) -> None:
    error = KeyRefused("http://x", code, "no", version="3", skew_ms=-6000)
    assert error.code == code
    assert remedy in error.remedy
    assert "or record without one" in error.remedy
    assert f"code {code} no" in str(error)
    assert error.exit_code == exit_code
