"""Websocket sessions over real sockets: the protocol, the limits, the faults, a client."""

from __future__ import annotations

import asyncio
import socket as sockets
from decimal import Decimal
from itertools import pairwise
from typing import Any

import aiohttp
import orjson
import pytest

from replay.exchange.app import ServerLimits
from replay.exchange.session import SessionLimits
from tests.service.replay.exchange.conftest import Client, ask, ended, hear, running, subscribe

L2, L3, MATCH = "/market/level2", "/market/level3", "/market/match"


async def test_ping_is_answered_with_its_id(client: Client) -> None:
    socket = await client.connect()
    assert await ask(socket, id="17", type="ping") == {"id": "17", "type": "pong"}
    await socket.close()


async def test_a_token_not_issued_here_is_refused_in_band(client: Client) -> None:
    url = f"{client.url}/endpoint?token=made-up&connectId=me"
    socket = await client.http.ws_connect(url)
    assert await hear(socket) == {
        "id": "me",
        "type": "error",
        "code": 401,
        "data": "token is invalid or expired",
    }
    await ended(socket)


@pytest.mark.parametrize(
    ("request_", "code", "text"),
    [
        ({"topic": f"{L2}:BTC-USDT,NO-SUCH"}, 404, f"topic {L2}:BTC-USDT,NO-SUCH is not found"),
        ({"topic": f"{L2}:BTC-USDT,  "}, 404, f"topic {L2}:BTC-USDT,   is not found"),
        (
            {"topic": "/market/candles:BTC-USDT_7min"},
            404,
            "topic /market/candles:BTC-USDT_7min is not found",
        ),
        ({"topic": "/market/level9:BTC-USDT"}, 404, "topic /market/level9:BTC-USDT is not found"),
        ({"topic": L2}, 404, f"topic {L2} is not found"),
        ({"topic": f"{L2}:all"}, 404, f"topic {L2}:all is not found"),
        (
            {"topic": f"{L3}:BTC-USDT", "privateChannel": True},
            401,
            "a public token opens no private channel",
        ),
        ({"type": "error", "code": 1}, 400, "type error is not supported"),
        ({"type": "openTunnel", "newTunnelId": "bt1"}, 400, "type openTunnel is not supported"),
    ],
)
async def test_refusals_name_no_topic_field(
    client: Client, request_: dict[str, Any], code: int, text: str
) -> None:
    socket = await client.connect()
    answer = await ask(socket, **{"id": "5", "type": "subscribe", "response": True, **request_})
    assert answer == {"id": "5", "type": "error", "code": code, "data": text}
    # Nothing of a refused list was subscribed to: only the pong comes.
    await asyncio.sleep(0.2)
    await socket.send_str('{"id":"6","type":"ping"}')
    assert await hear(socket) == {"id": "6", "type": "pong"}
    await socket.close()


async def test_spaces_in_a_list_mean_nothing(client: Client) -> None:
    socket = await client.connect()
    await subscribe(socket, f"{L2}: BTC-USDT, WIN-USDT")
    topics = {(await hear(socket))["topic"] for _ in range(60)}
    assert topics == {f"{L2}:BTC-USDT", f"{L2}:WIN-USDT"}
    await socket.close()


async def test_what_is_no_json_is_refused_and_the_connection_stays(client: Client) -> None:
    socket = await client.connect()
    await socket.send_str("{nonsense")
    assert (await hear(socket))["code"] == 400
    assert (await ask(socket, id="6", type="ping"))["type"] == "pong"
    await socket.close()


async def test_a_hundred_topics_and_no_more() -> None:
    symbols = [f"C{n}-USDT" for n in range(21)]
    async with running(*symbols) as (_, client):
        socket = await client.connect()
        for prefix in (L2, L3, MATCH, "/market/ticker"):
            await subscribe(socket, f"{prefix}:{','.join(symbols)}")
        request = {"type": "subscribe", "response": True}
        answer = await ask(
            socket, id="1", topic=f"/market/snapshot:{','.join(symbols[:17])}", **request
        )
        assert (answer["code"], answer["data"]) == (
            509,
            "exceed max subscription count limitation of 100 per session",
        )
        await subscribe(socket, f"/market/snapshot:{','.join(symbols[:16])}")
        await subscribe(socket, f"{L2}:{symbols[0]}")  # again: it takes no new place
        await socket.close()


async def test_a_hundred_and_twenty_subscribes_a_minute(client: Client) -> None:
    socket = await client.connect()
    request = {"type": "subscribe", "topic": "/market/snapshot:WIN-USDT", "response": True}
    answers = [await ask(socket, id=str(n), **request) for n in range(122)]
    assert [answer["type"] for answer in answers] == ["ack"] * 120 + ["error"] * 2
    assert answers[-1]["code"] == 429
    await socket.close()


async def test_without_response_there_is_no_ack_and_unsubscribe_ends_the_messages(
    client: Client,
) -> None:
    socket = await client.connect()
    await socket.send_str(f'{{"id":1545910660739,"type":"subscribe","topic":"{L2}:BTC-USDT"}}')
    first = await hear(socket)
    assert (first["type"], first["topic"]) == ("message", f"{L2}:BTC-USDT")
    await ask(socket, id="2", type="unsubscribe", topic=f"{L2}:BTC-USDT", response=True)
    with pytest.raises(TimeoutError):
        await hear(socket, timeout_s=0.3)
    await socket.close()


async def test_streams_continue_rest_books_of_both_levels_exactly(client: Client) -> None:
    socket = await client.connect()
    await subscribe(socket, f"{L2}:BTC-USDT,WIN-USDT")
    await subscribe(socket, f"{L3}:WIN-USDT")
    heard: list[Any] = [await hear(socket) for _ in range(50)]
    seed = await client.data("/api/v2/market/orderbook/level2?symbol=WIN-USDT")
    orders = await client.data("/api/v1/market/orderbook/level3?symbol=WIN-USDT")
    await asyncio.sleep(0.6)
    later = await client.data("/api/v2/market/orderbook/level2?symbol=WIN-USDT")
    later_orders = await client.data("/api/v1/market/orderbook/level3?symbol=WIN-USDT")
    reached = 0
    while reached < int(later_orders["sequence"]):
        heard.append(await hear(socket))
        if heard[-1]["topic"] == f"{L3}:WIN-USDT":
            reached = int(heard[-1]["data"]["sequence"])
    book = {side: dict(seed[side]) for side in ("bids", "asks")}
    for message in heard:
        if message["topic"] != f"{L2}:WIN-USDT":
            continue
        for side, changes in message["data"]["changes"].items():
            for price, size, sequence in changes:
                if not int(seed["sequence"]) < int(sequence) <= int(later["sequence"]):
                    continue
                if price != "0":
                    book[side][price] = size
    alive = {side: {p: s for p, s in book[side].items() if s != "0"} for side in book}
    assert alive == {side: dict(later[side]) for side in ("bids", "asks")}
    resting = {row[0]: Decimal(row[2]) for side in ("bids", "asks") for row in orders[side]}
    for message in heard:
        data = message["data"]
        if not (
            message["topic"] == f"{L3}:WIN-USDT"
            and int(orders["sequence"]) < int(data["sequence"]) <= int(later_orders["sequence"])
        ):
            continue
        if data["type"] == "open":
            resting[data["orderId"]] = Decimal(data["remainSize"])
        elif data["type"] == "match":
            resting[data["makerOrderId"]] -= Decimal(data["size"])
        elif data["type"] == "done":
            resting.pop(data["orderId"], None)
        elif data["type"] == "change" and data["orderId"] in resting:
            resting[data["orderId"]] = Decimal(data["newSize"])
    assert {k: v for k, v in resting.items() if v} == {
        row[0]: Decimal(row[2]) for side in ("bids", "asks") for row in later_orders[side]
    }
    await socket.close()


async def test_tickers_and_snapshots_come_by_themselves(client: Client) -> None:
    socket = await client.connect()
    for topic in ("ticker:WIN-USDT", "ticker:all", "snapshot:BTC-USDT", "snapshot:USDT"):
        await subscribe(socket, f"/market/{topic}")
    topics = set()
    async with asyncio.timeout(6):
        while len(topics) < 4:
            topics.add((await hear(socket))["topic"].removeprefix("/market/"))
    assert topics == {"ticker:WIN-USDT", "ticker:all", "snapshot:BTC-USDT", "snapshot:USDT"}
    await socket.close()


async def test_a_client_that_sends_no_ping_is_cut() -> None:
    limits = ServerLimits(session=SessionLimits(idle_ns=1_500_000_000))
    async with running(limits=limits) as (server, client):
        silent, polite = await client.connect("silent"), await client.connect("polite")
        for n in range(5):
            await ask(polite, id=str(n), type="ping")
            await asyncio.sleep(0.4)
        await ended(silent)
        assert server.cuts == {"no ping": 1}
        assert (await ask(polite, id="9", type="ping"))["type"] == "pong"
        await polite.close()


async def _connect_and_read_nothing(client: Client, topic: str) -> sockets.socket:
    """Subscribe over a bare socket with a small buffer, as a client that hangs."""
    async with client.http.post(f"{client.url}/api/v1/bullet-public") as answer:
        token = orjson.loads(await answer.read())["data"]["token"]
    made = sockets.socket()
    made.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4096)
    made.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(made, ("127.0.0.1", int(client.url.rpartition(":")[2])))
    upgrade = (
        f"GET /endpoint?token={token}&connectId=slow HTTP/1.1\r\nHost: x\r\n"
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    await loop.sock_sendall(made, upgrade.encode())
    wish = orjson.dumps({"id": "1", "type": "subscribe", "topic": topic})
    # A client's frame is masked; a mask of zeros changes nothing.
    await loop.sock_sendall(made, bytes((0x81, 0x80 | len(wish))) + bytes(4) + wish)
    return made


async def test_a_slow_client_is_cut_and_holds_up_nobody() -> None:
    limits = ServerLimits(session=SessionLimits(queue_max=2_000))
    async with running(rate=3_000.0, limits=limits) as (server, client):
        slow = await _connect_and_read_nothing(client, f"{L3}:BTC-USDT,WIN-USDT")
        quick = await client.connect("quick")
        await subscribe(quick, f"{L3}:BTC-USDT")
        last = 0
        async with asyncio.timeout(30):
            while not server.cuts:
                sequence = int((await hear(quick))["data"]["sequence"])
                assert last in (0, sequence - 1)
                last = sequence
        assert server.cuts == {"slow client": 1}
        assert [session.connection for session in server.sessions] == ["quick"]
        await quick.close()
        slow.close()


async def test_a_client_that_hangs_does_not_keep_the_exchange_from_stopping() -> None:
    # More than the system's buffers take, and room in the queue: stuck, yet not cut.
    limits = ServerLimits(session=SessionLimits(queue_max=1_000_000))
    loop = asyncio.get_running_loop()
    async with running(rate=6_000.0, limits=limits) as (server, client):
        slow = [await _connect_and_read_nothing(client, f"{L3}:BTC-USDT,WIN-USDT") for _ in "ab"]
        async with asyncio.timeout(30):
            while sum(session.waiting > 5_000 for session in server.sessions) < len(slow):
                await client.get("/api/v1/timestamp")
                await asyncio.sleep(0.2)
        began = loop.time()
    assert loop.time() - began < 5
    assert server.cuts == {"stopped": 2}
    for made in slow:
        made.close()


async def test_a_queue_is_bounded_in_bytes_too() -> None:
    limits = ServerLimits(session=SessionLimits(queue_max=10_000_000, queue_bytes_max=50_000))
    async with running(rate=3_000.0, limits=limits) as (server, client):
        slow = await _connect_and_read_nothing(client, f"{L3}:BTC-USDT,WIN-USDT")
        async with asyncio.timeout(30):
            while not server.cuts:
                await client.get("/api/v1/timestamp")
                await asyncio.sleep(0.2)
        assert server.cuts == {"slow client": 1}
        slow.close()


async def test_clients_that_leave_before_the_welcome_are_nobodys_mistake(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    port = int(client.url.rpartition(":")[2])
    for _ in range(5):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            b"GET /endpoint?token=x HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        writer.write_eof()
        await asyncio.wait_for(reader.read(), 5)
        writer.close()
    assert (await client.get("/api/v1/timestamp"))[0] == 200
    assert [record.message for record in caplog.records] == []


async def test_a_message_of_a_megabyte_ends_the_connection(client: Client) -> None:
    socket = await client.connect()
    await socket.send_str("x" * (1 << 20) + "x")
    await ended(socket)
    assert socket.close_code == 1009


async def _sequences(socket: aiohttp.ClientWebSocketResponse, count: int) -> list[int]:
    """Read so many level3 sequences."""
    return [int((await hear(socket))["data"]["sequence"]) for _ in range(count)]


async def test_dropped_doubled_and_swapped_messages() -> None:
    for kind, unusual in (("drop", [2]), ("duplicate", [0]), ("reorder", [2, -1, 2])):
        async with running("BTC-USDT", rate=400.0, faults=(f"{kind}@1s",)) as (server, client):
            socket = await client.connect()
            await subscribe(socket, f"{L3}:BTC-USDT")
            seen = await _sequences(socket, 20)
            while not server.faults.carried_out:
                seen += await _sequences(socket, 1)
            # What was struck may stand far behind in the queue of a machine that is busy.
            waiting = sum(session.waiting for session in server.sessions)
            seen += await _sequences(socket, 200 + waiting)
            steps = [two - one for one, two in pairwise(seen)]
            assert [step for step in steps if step != 1] == unusual
            assert server.faults.carried_out == {kind: 1}
            await socket.close()


async def test_disconnect_at_a_time_and_garbage() -> None:
    faults = ("garbage@0s", "disconnect@2s")
    async with running("BTC-USDT", rate=400.0, faults=faults) as (server, client):
        socket = await client.connect()
        await subscribe(socket, f"{L3}:BTC-USDT")
        text, binary = await socket.receive(), await socket.receive()
        assert text.type is aiohttp.WSMsgType.TEXT
        with pytest.raises(ValueError, match="unexpected"):
            orjson.loads(text.data)
        assert binary.type is aiohttp.WSMsgType.BINARY
        await ended(socket)
        assert server.cuts == {"fault": 1}
        again = await client.connect()
        await again.close()


async def test_silence_keeps_the_socket_open_and_loses_what_was_said() -> None:
    faults = ("silence@1s:for=500ms",)
    async with running("BTC-USDT", rate=400.0, faults=faults) as (server, client):
        socket = await client.connect()
        await subscribe(socket, f"{L3}:BTC-USDT")
        seen = await _sequences(socket, 20)
        while "silence_over" not in server.faults.carried_out:
            seen += await _sequences(socket, 1)
        seen += await _sequences(socket, 20)
        jumps = [two - one for one, two in pairwise(seen) if two - one != 1]
        assert len(jumps) == 1
        assert jumps[0] > 20
        assert server.faults.carried_out["silence"] == 1
        assert (await ask(socket, id="1", type="ping"))["type"] == "pong"
        await socket.close()


async def test_delay_keeps_the_order() -> None:
    faults = ("delay@300ms:for=300ms",)
    async with running("BTC-USDT", rate=400.0, faults=faults) as (server, client):
        socket = await client.connect()
        await subscribe(socket, f"{L3}:BTC-USDT")
        seen = await _sequences(socket, 400)
        assert seen == list(range(seen[0], seen[0] + 400))
        assert server.faults.carried_out == {"delay": 1}
        await socket.close()
