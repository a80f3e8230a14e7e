"""Greeting a venue over a real socket: what is asked, what is logged, what a key may cost."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from recorder.api_key import ApiKey, KeyRefused
from recorder.config import Config
from recorder.errors import UnknownSymbols, VenueRefused, VenueUnreachable
from recorder.logs import get_log
from recorder.raw_line import RawLine
from recorder.rest_log import LoggedRest
from recorder.startup import Greeting, greet_venue
from recorder.transport.rate_limit import open_budgets
from recorder.transport.rest import RestClient
from recorder.transport.session import open_session
from schemas.kucoin.signing import format_passphrase, format_signature
from schemas.kucoin.venue_state import VenueStatus

KEY = ApiKey("made-up-key-000111222", "made-up-secret-333", "made-up-passphrase", "3")


def entry(symbol: str, *, trading: bool = True) -> dict[str, Any]:
    base, quote = symbol.split("-")
    return {
        "symbol": symbol, "name": symbol, "baseCurrency": base, "quoteCurrency": quote,
        "baseIncrement": "0.1", "quoteIncrement": "0.1", "priceIncrement": "0.1",
        "enableTrading": trading,
    }  # fmt: skip


class Venue:
    """Answers the questions of a greeting; written without the formatters of `schemas`.

    Attributes
    ----------
    answers : dict   path → (HTTP status, envelope); missing: the connection ends without an answer
    asked : list     paths, in order
    """

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, dict[str, Any]]] = {
            "/api/v1/timestamp": (200, {"code": "200000", "data": 1_547_015_186_532}),
            "/api/v2/symbols": self.good(
                [entry("BTC-USDT"), entry("OLD-USDT", trading=False), entry("ETH-USDT")]
            ),
            "/api/v1/market/allTickers": self.good(
                {
                    "time": 1,
                    "ticker": [
                        {"symbol": "BTC-USDT", "last": "1", "volValue": "1"},
                        {"symbol": "ETH-USDT", "last": "1", "volValue": "2"},
                    ],
                }
            ),
            "/api/v1/status": self.good({"status": "open", "msg": ""}),
            "/api/v1/user/api-key": self.good(
                {"remark": "of-my-account", "uid": 987654, "permission": "General", "apiVersion": 3}
            ),
        }
        self.asked: list[str] = []
        self.url = ""

    @staticmethod
    def good(data: object) -> tuple[int, dict[str, Any]]:
        return 200, {"code": "200000", "data": data}

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(request.path)
        if request.path not in self.answers:
            return web.Response(status=500)
        if request.path == "/api/v1/user/api-key":
            self._check(request)
        status, envelope = self.answers[request.path]
        return web.json_response(envelope, status=status)

    def _check(self, request: web.Request) -> None:
        """See that what came is what this key would send for this very request."""
        sent = request.headers
        assert sent["KC-API-KEY"] == KEY.key
        assert sent["KC-API-KEY-VERSION"] == "3"
        assert sent["KC-API-PASSPHRASE"] == format_passphrase(KEY.secret, KEY.passphrase, "3")
        assert sent["KC-API-SIGN"] == format_signature(
            KEY.secret, sent["KC-API-TIMESTAMP"], "GET", request.path_qs, ""
        )


@pytest.fixture
async def venue() -> AsyncIterator[Venue]:
    served = Venue()
    app = web.Application()
    app.router.add_get("/{path:.*}", served.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    served.url = f"http://{host}:{port}"
    yield served
    await runner.cleanup()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recorder.startup.RETRY_FIRST_S", 0.01)


class Said:
    """What a greeting left behind."""

    def __init__(self) -> None:
        self.lines: list[RawLine] = []
        self.logged: list[Any] = []

    @property
    def text(self) -> str:
        return str(self.logged) + str(self.lines)

    def warnings(self) -> list[str]:
        return [line["event"] for line in self.logged if line["log_level"] == "warning"]


async def greet(
    venue: Venue,
    said: Said,
    *symbols: str,
    key: ApiKey | None = None,
    known: tuple[str, ...] = (),
    profile: str = "kucoin-classic",
) -> Greeting:
    config = Config(
        archive=Path("unused"),
        venue={"profile": profile, "rest_url": venue.url, "symbols": symbols or ("all",)},
    )
    limits = config.profile.limits
    async with open_session() as session:
        client = RestClient(
            session, venue.url, open_budgets(limits), limits, key.sign if key else None
        )
        with capture_logs() as logged:
            try:
                rest = LoggedRest(client, said.lines.append)
                return await greet_venue(rest, client, config, key, known, get_log("test"))
            finally:
                said.logged = logged


async def test_without_a_key_everything_asked_is_logged(venue: Venue) -> None:
    said = Said()
    greeting = await greet(venue, said)
    assert greeting.symbols == ("BTC-USDT", "ETH-USDT")
    assert [each.symbol for each in greeting.instruments] == ["BTC-USDT", "OLD-USDT", "ETH-USDT"]
    assert (greeting.signed, greeting.key_can_trade) == (False, None)
    assert greeting.venue_status == VenueStatus("open")
    assert greeting.skew_ms < 0
    assert venue.asked == ["/api/v1/timestamp", "/api/v2/symbols", "/api/v1/status"]
    assert [line.kind for line in said.lines] == ["rest_request", "rest_answer"] * 3
    assert said.warnings() == ["clocks differ, latencies will be off by as much"]


async def test_tickers_are_asked_for_a_top(venue: Venue) -> None:
    said = Said()
    assert (await greet(venue, said, "top:1")).symbols == ("ETH-USDT",)
    assert "/api/v1/market/allTickers" in venue.asked
    assert len(said.lines) == 2 * len(venue.asked), "rows depend on them: they are in the log"


async def test_names_that_are_gone_new_or_halted(venue: Venue) -> None:
    said = Said()
    greeting = await greet(venue, said, "OLD-USDT", "GONE-USDT", "*-XYZ", known=("GONE-USDT",))
    assert greeting.symbols == ("OLD-USDT",)
    assert said.warnings()[1:] == [
        "symbol is not listed any more, recorded again once it is",
        "nothing of this shape trades now, recorded once it does",
        "symbol does not trade now, its book may be empty",
    ]
    with pytest.raises(UnknownSymbols) as caught:
        await greet(venue, Said(), "BTC-USTD", "GONE-USDT", known=("GONE-USDT",))
    assert caught.value.symbols == ("BTC-USTD",)
    assert "did you mean BTC-USDT" in caught.value.remedy


async def test_a_key_is_asked_what_it_may_do_and_its_answer_is_kept_nowhere(venue: Venue) -> None:
    said = Said()
    greeting = await greet(venue, said, key=KEY)
    assert (greeting.signed, greeting.key_can_trade) == (True, False)
    assert venue.asked[-1] == "/api/v1/user/api-key"
    for hidden in ("of-my-account", "987654", "api-key", KEY.key, KEY.secret, KEY.passphrase):
        assert hidden not in said.text


async def test_a_key_that_may_trade_earns_a_warning(venue: Venue) -> None:
    venue.answers["/api/v1/user/api-key"] = venue.good({"permission": "General,Spot,Transfer"})
    said = Said()
    assert (await greet(venue, said, key=KEY)).key_can_trade is True
    assert any("may do more than read: Spot, Transfer" in line for line in said.warnings())


async def test_a_profile_without_signed_books_uses_no_key(venue: Venue) -> None:
    venue.answers["/api/v1/symbols"] = venue.answers["/api/v2/symbols"]
    said = Said()
    greeting = await greet(venue, said, key=KEY, profile="kucoin-2019")
    assert (greeting.signed, greeting.key_can_trade, greeting.venue_status) == (False, None, None)
    assert "the API key is not used, all books are public" in said.warnings()
    assert venue.asked == ["/api/v1/timestamp", "/api/v1/symbols"]


@pytest.mark.parametrize(
    ("code", "message", "remedy", "exit_code"),
    [
        ("400003", "KC-API-KEY not exists", "no such key", 2),
        ("400004", "KC-API-PASSPHRASE error", "passphrase is not the one", 2),
        ("400005", "Signature error", "compare the secret", 2),
        ("400002", "KC-API-TIMESTAMP Invalid", "clock is off by -", 3),
    ],
)
@pytest.mark.parametrize("status", [200, 400, 401])
async def test_a_refused_key_says_the_code_and_what_to_do(
    venue: Venue, code: str, message: str, remedy: str, exit_code: int, status: int
) -> None:
    # Some servers quote what they were sent.
    envelope = {"code": code, "msg": f"{message}: {KEY.key}"}
    venue.answers["/api/v1/user/api-key"] = (status, envelope)
    said = Said()
    with pytest.raises(KeyRefused) as caught:
        await greet(venue, said, key=KEY)
    assert caught.value.code == code
    assert f"code {code}" in str(caught.value)
    assert message in str(caught.value)
    assert remedy in caught.value.remedy
    assert caught.value.exit_code == exit_code
    assert venue.asked.count("/api/v1/user/api-key") == 1, "no retry will change it"
    for hidden in (KEY.key, KEY.secret, KEY.passphrase):
        assert hidden not in str(caught.value) + said.text


def _server_error(venue: Venue, path: str) -> None:
    del venue.answers[path]


def _no_such_path(venue: Venue, path: str) -> None:
    venue.answers[path] = (404, {"code": "404000", "msg": "Url Not Found"})


def _nonsense(venue: Venue, path: str) -> None:
    venue.answers[path] = venue.good({"uid": 987654})


@pytest.mark.parametrize("trouble", [_server_error, _no_such_path, _nonsense])
async def test_status_and_permissions_are_good_to_know_and_no_condition(
    venue: Venue, trouble: Callable[[Venue, str], None]
) -> None:
    trouble(venue, "/api/v1/status")
    trouble(venue, "/api/v1/user/api-key")
    said = Said()
    greeting = await greet(venue, said, key=KEY)
    assert (greeting.signed, greeting.key_can_trade, greeting.venue_status) == (True, None, None)
    assert "exchange does not say whether it is open" in said.warnings()
    assert "exchange does not say what the API key may do" in said.warnings()


async def test_an_exchange_that_is_not_open_is_told(venue: Venue) -> None:
    venue.answers["/api/v1/status"] = venue.good({"status": "cancelonly", "msg": "upgrade"})
    said = Said()
    greeting = await greet(venue, said)
    assert greeting.venue_status == VenueStatus("cancelonly", "upgrade")
    told = next(line for line in said.logged if line["event"] == "exchange is not open")
    assert (told["status"], told["says"]) == ("cancelonly", "upgrade")


async def test_no_answer_and_a_wrong_one(venue: Venue) -> None:
    for data in ([], "symbols", [{"symbol": "A-B"}]):
        venue.answers["/api/v2/symbols"] = venue.good(data)
        with pytest.raises(VenueRefused):
            await greet(venue, Said())
    del venue.answers["/api/v2/symbols"]
    venue.asked.clear()
    said = Said()
    with pytest.raises(VenueUnreachable):
        await greet(venue, said)
    assert venue.asked.count("/api/v2/symbols") == 4
    failures = [line for line in said.lines if line.kind == "rest_failure"]
    assert len(failures) == 4
    assert failures[0].fields["url"] == f"{venue.url}/api/v2/symbols"
