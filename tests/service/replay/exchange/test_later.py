"""What today's clients ask for beyond the document, and TLS, which some cannot do without."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from click.testing import CliRunner

from replay.exchange.app import ExchangeServer, listening
from replay.exchange.cli import exchange_command
from replay.exchange.synthetic.source import SyntheticSource
from tests.service.replay.exchange.conftest import Client, ask, hear, running, subscribe

BOOK = "market/orderbook"


def still() -> Any:
    """Run an exchange on which nothing happens."""
    return running("BTC-USDT", "WIN-USDT", "ETH-BTC", rate=0.01)


async def test_the_later_paths_tell_the_same_as_the_documented_ones() -> None:
    async with still() as (_, client):
        symbols = await client.data("/api/v1/symbols")
        later = await client.data("/api/v2/symbols")
        assert [entry | symbol for entry, symbol in zip(later, symbols, strict=True)] == later
        assert {entry["symbol"]: entry["market"] for entry in later} == {
            "BTC-USDT": "USDT",
            "WIN-USDT": "USDT",
            "ETH-BTC": "BTC",
        }
        assert await client.data("/api/v2/symbols/WIN-USDT") == later[1]
        assert await client.data("/api/v2/symbols?market=BTC") == later[2:]
        currency = await client.data("/api/v1/currencies/BTC")
        for version in (2, 3):
            found = await client.data(f"/api/v{version}/currencies/BTC")
            assert found | currency == found
            assert (found["chains"], found["isMarginEnabled"]) == ([], False)
        assert found in await client.data("/api/v3/currencies")
        assert await client.data("/api/v1/status") == {"status": "open", "msg": ""}
        assert await client.data("/api/v1/my-ip") == "127.0.0.1"
        for level, old in (("level2", "v2"), ("level3", "v1")):
            full = await client.data(f"/api/v3/{BOOK}/{level}?symbol=WIN-USDT")
            known = await client.data(f"/api/{old}/{BOOK}/{level}?symbol=WIN-USDT")
            assert {**full, "time": 0} == {**known, "time": 0}
        status, answer = await client.get("/api/v2/symbols/NO-SUCH")
        assert (status, answer["msg"]) == (400, "symbol NO-SUCH does not exist")


async def test_prices_follow_the_last_trades() -> None:
    async with still() as (_, client):
        last = {
            entry["symbol"]: entry["last"]
            for entry in (await client.data("/api/v1/market/allTickers"))["ticker"]
        }
        prices = await client.data("/api/v1/prices")
        assert set(prices) == {"USDT", "BTC", "WIN", "ETH"}
        assert (prices["BTC"], prices["WIN"]) == (last["BTC-USDT"], last["WIN-USDT"])
        chosen = await client.data("/api/v1/prices?base=USD&currencies=ETH,USDT,XYZ")
        assert chosen == {"ETH": prices["ETH"], "USDT": "1"}
        assert (await client.get("/api/v1/prices?base=EUR"))[0] == 400


async def test_the_later_topics_show_the_engines_own_book_and_candles() -> None:
    async with still() as (_, client):
        socket = await client.connect()
        topics = {
            "/spotMarket/level1:WIN-USDT",
            "/spotMarket/level2Depth5:WIN-USDT",
            "/spotMarket/level2Depth50:WIN-USDT",
            "/market/candles:WIN-USDT_1week",
        }
        came: dict[str, Any] = {}
        for topic in sorted(topics):
            await subscribe(socket, topic)
            came[topic] = await hear(socket)
        assert {message["topic"] for message in came.values()} == topics
        full = await client.data(f"/api/v2/{BOOK}/level2?symbol=WIN-USDT")
        best = came["/spotMarket/level1:WIN-USDT"]
        assert best["subject"] == "level1"
        assert (best["data"]["bids"], best["data"]["asks"]) == (full["bids"][0], full["asks"][0])
        for depth in (5, 50):
            message = came[f"/spotMarket/level2Depth{depth}:WIN-USDT"]
            assert message["subject"] == "level2"
            for side in ("bids", "asks"):
                assert message["data"][side] == full[side][:depth]
        candle = came["/market/candles:WIN-USDT_1week"]
        assert (candle["subject"], candle["data"]["symbol"]) == ("trade.candles.update", "WIN-USDT")
        weeks = await client.data("/api/v1/market/candles?symbol=WIN-USDT&type=1week")
        assert candle["data"]["candles"] == weeks[0]
        # Nothing changes, so nothing more comes.
        with pytest.raises(TimeoutError):
            await hear(socket, timeout_s=0.4)
        await socket.close()


async def test_later_topics_end_with_their_subscription(client: Client) -> None:
    socket = await client.connect()
    await subscribe(socket, "/spotMarket/level1:BTC-USDT")
    await hear(socket)
    topic = "/spotMarket/level1:BTC-USDT"
    ack = await ask(socket, id="2", type="unsubscribe", topic=topic, response=True)
    assert ack == {"id": "2", "type": "ack"}
    with pytest.raises(TimeoutError):
        await hear(socket, timeout_s=0.4)
    await socket.close()


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for 127.0.0.1 with its key in the same file, made for this test."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed: no certificate to try TLS with")
    made = tmp_path / "both.pem"
    command = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost"
    address = "subjectAltName=IP:127.0.0.1"
    subprocess.run(
        [openssl, *command.split(), "-addext", address, "-keyout", made, "-out", tmp_path / "c"],
        check=True,
        capture_output=True,
    )
    made.write_bytes(made.read_bytes() + (tmp_path / "c").read_bytes())
    return made


async def test_over_tls_the_token_leads_to_a_secure_websocket(
    certificate: Path, caplog: pytest.LogCaptureFixture
) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    trusting = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=str(certificate)))
    server = ExchangeServer(SyntheticSource(["BTC-USDT", "WIN-USDT"], rate=6_000.0))
    async with (
        listening(server, tls=context) as port,
        aiohttp.ClientSession(connector=trusting) as http,
    ):
        client = Client(port, http)
        client.url = client.url.replace("http:", "https:")
        async with http.post(f"{client.url}/api/v1/bullet-public") as answer:
            told = orjson.loads(await answer.read())["data"]["instanceServers"][0]
        assert (told["encrypt"], told["endpoint"]) == (True, f"wss://127.0.0.1:{port}/endpoint")
        socket = await client.connect()
        await subscribe(socket, "/market/level3:BTC-USDT")
        sequences = [int((await hear(socket))["data"]["sequence"]) for _ in range(50)]
        assert sequences == list(range(sequences[0], sequences[0] + 50))
        # The library may close a transport twice while much is queued: nobody's failure.
        rude = await client.connect("rude")
        await subscribe(rude, "/market/level3:BTC-USDT,WIN-USDT")
        await socket.close()
        session = next(one for one in server.sessions if one.connection == "rude")
        async with asyncio.timeout(30):
            while session.waiting < 2_000:
                await client.get("/api/v1/timestamp")
                await asyncio.sleep(0.2)
        session.transport.close()
        session.transport.close()
        await asyncio.sleep(0.1)
        session.transport.abort()
        await rude.close()
        async with asyncio.timeout(5):
            while server.sessions:
                await client.get("/api/v1/timestamp")
                await asyncio.sleep(0.1)
    assert [record.message for record in caplog.records] == []


def test_a_certificate_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_text("")
    for arguments in (["--tls-cert", str(empty)], ["--tls-key", str(empty)]):
        result = CliRunner().invoke(exchange_command, ["--port", "0", *arguments])
        assert result.exit_code == 2
        assert f"cannot use the certificate {empty}: " in result.stderr
