"""Signed requests: whom the exchange believes, and what it says to the others."""

from pathlib import Path

import pytest

from replay.exchange.api_keys import ApiKeys, ServedKey, Unauthorized
from replay.exchange.errors import BadKeyFile
from schemas.kucoin.signing import sign_headers

NOW = 1_700_000_000_123 * 1_000_000
PATH = "/api/v3/market/orderbook/level2?symbol=BTC-USDT"
OLD = ServedKey("old-key", "old-secret", "old-words", "1")
NEW = ServedKey("new-key", "new-secret", "new-words", "3", ("General", "Spot"))
BLIND = ServedKey("blind-key", "s", "p", "2", ("Spot",))
KEYS = ApiKeys([OLD, NEW, BLIND])


def signed(key: ServedKey, ts_ms: int = NOW // 1_000_000, **changed: str) -> dict[str, str]:
    """Return the headers of a request, some of them another's."""
    headers = sign_headers(key.key, key.secret, key.passphrase, key.version, "GET", PATH, "", ts_ms)
    return {**headers, **{name.replace("_", "-"): value for name, value in changed.items()}}


@pytest.mark.parametrize("key", [OLD, NEW])
@pytest.mark.parametrize("late_ms", [-5_000, 0, 5_000])
def test_a_signed_request_is_its_keys(key: ServedKey, late_ms: int) -> None:
    headers = signed(key, NOW // 1_000_000 + late_ms)
    assert KEYS.check(headers, "GET", PATH, "", NOW) is key


def test_keys_of_version_3_may_be_called_version_2() -> None:
    assert KEYS.check(signed(NEW, KC_API_KEY_VERSION="2"), "GET", PATH, "", NOW) is NEW


def test_an_address_may_be_signed_before_it_is_escaped() -> None:
    said, sent = "/api/v1/x?text=a b", "/api/v1/x?text=a%20b"
    ts_ms = NOW // 1_000_000
    headers = sign_headers(NEW.key, NEW.secret, NEW.passphrase, "3", "GET", said, "", ts_ms)
    assert KEYS.check(headers, "GET", sent, "", NOW) is NEW


@pytest.mark.parametrize(
    ("headers", "code", "words"),
    [
        ({}, "400001", "KC-API-KEY, KC-API-SIGN, KC-API-TIMESTAMP, KC-API-PASSPHRASE missing in"),
        (signed(NEW, KC_API_SIGN=""), "400001", "KC-API-SIGN missing in the request header: sign"),
        (signed(NEW, NOW // 1_000_000 - 5_001), "400002", "KC-API-TIMESTAMP Invalid: it differs"),
        (signed(NEW, NOW // 1_000_000 + 5_001), "400002", "KC-API-TIMESTAMP Invalid: it differs"),
        (signed(NEW, KC_API_TIMESTAMP="now"), "400002", "KC-API-TIMESTAMP Invalid: it differs"),
        (signed(NEW, KC_API_TIMESTAMP="nan"), "400002", "KC-API-TIMESTAMP Invalid: it differs"),
        (signed(NEW, KC_API_KEY="another"), "400003", "KC-API-KEY not exists: check the key"),
        (signed(NEW, KC_API_PASSPHRASE="x"), "400004", "KC-API-PASSPHRASE error: send the pass"),
        (signed(NEW, KC_API_PASSPHRASE="ä"), "400004", "KC-API-PASSPHRASE error: send the pass"),
        # Bytes that are no text, as an HTTP server hands them on.
        (signed(NEW, KC_API_PASSPHRASE="\udcff"), "400004", "KC-API-PASSPHRASE error: send the "),
        (signed(NEW, KC_API_SIGN="\udcff"), "400005", "Signature error: KC-API-SIGN is the base64"),
        (signed(NEW, KC_API_KEY="\udcff"), "400003", "KC-API-KEY not exists: check the key"),
        (signed(NEW, KC_API_KEY_VERSION="1"), "400004", "KC-API-PASSPHRASE error: send the pass"),
        (signed(NEW, KC_API_KEY_VERSION="9"), "400004", "KC-API-PASSPHRASE error: send the pass"),
        (signed(OLD, KC_API_KEY_VERSION="2"), "400004", "KC-API-PASSPHRASE error: send the pass"),
        (signed(NEW, KC_API_SIGN="x"), "400005", "Signature error: KC-API-SIGN is the base64 of"),
        (signed(BLIND), "400007", "Access denied, require more permission: the key needs General"),
    ],
)
def test_what_is_wrong_has_its_code_and_a_remedy_and_no_secret(
    headers: dict[str, str], code: str, words: str
) -> None:
    with pytest.raises(Unauthorized) as caught:
        KEYS.check(headers, "GET", PATH, "", NOW)
    assert caught.value.code == code
    assert caught.value.message.startswith(words)
    for key in (OLD, NEW, BLIND):
        for secret in (key.key, key.secret, key.passphrase):
            assert len(secret) == 1 or secret not in str(caught.value)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [("POST", PATH, ""), ("GET", PATH + "&x=1", ""), ("GET", PATH, "{}")],
)
def test_every_part_of_the_request_is_signed(method: str, path: str, body: str) -> None:
    with pytest.raises(Unauthorized) as caught:
        KEYS.check(signed(NEW), method, path, body, NOW)
    assert caught.value.code == "400005"


def test_keys_are_read_from_a_file_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    path.write_text(
        '[[keys]]\nkey = "new-key"\nsecret = "new-secret"\npassphrase = "new-words"\n'
        'permissions = ["General", "Spot"]\n'
        '[[keys]]\nkey = "old-key"\nsecret = "old-secret"\npassphrase = "old-words"\nversion = 1\n'
    )
    path.chmod(0o600)
    keys = ApiKeys.load(path)
    assert len(keys) == 2
    assert keys.check(signed(OLD), "GET", PATH, "", NOW) == OLD
    assert keys.check(signed(NEW), "GET", PATH, "", NOW) == NEW
    assert "new" not in repr(keys.check(signed(NEW), "GET", PATH, "", NOW))
    path.chmod(0o640)
    with pytest.raises(BadKeyFile, match="its mode is 0640, so others can read it; chmod 600"):
        ApiKeys.load(path)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("keys = ", "it is not TOML"),
        ("", r"it has no \[\[keys\]\]"),
        ("keys = 5", r"it has no \[\[keys\]\]"),
        ("[[keys]]\nsecret = 'hidden'", "its key number 1 lacks key, secret or passphrase"),
        ("[[keys]]\nhidden = 'hidden'", "its key number 1 has a field that means nothing"),
        (
            "[[keys]]\nkey='k'\nsecret='hidden'\npassphrase='p'\nversion='hidden'",
            "its key number 1 has no version of 1, 2, 3",
        ),
        (
            "[[keys]]\nkey='k'\nsecret='hidden'\npassphrase='p'\npermissions='hidden'",
            "its key number 1 has permissions that are no list of texts",
        ),
    ],
)
def test_a_bad_file_is_named_and_not_repeated(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "keys.toml"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(BadKeyFile, match=problem) as caught:
        ApiKeys.load(path)
    assert "hidden" not in str(caught.value)
    # Whatever its mode: nobody is told to chmod 600 a folder.
    with pytest.raises(BadKeyFile, match="it is no file; name a TOML file"):
        ApiKeys.load(tmp_path)
    with pytest.raises(BadKeyFile, match="No such file"):
        ApiKeys.load(tmp_path / "none.toml")
