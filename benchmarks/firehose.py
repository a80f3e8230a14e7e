"""Sends level-2 updates at a steady pace and spends next to nothing on it.

    python benchmarks/firehose.py --rate 10000 --symbols 10 --port-file FILE

Measuring a recorder on a small machine asks for a sender that takes none of its processor time. So
each frame is a template with the sequence written into it, its websocket header included, and many
go to the socket in one call. Every symbol has forty levels a side that are set to a new size one
after the other: the book at any sequence follows from the sequence, and REST answers it.

`GET /stop-sending` stops the frames and says how many of them there were.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from pathlib import Path

import orjson
from aiohttp import WSMsgType, web

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a file, it finds its like

from benchmarks.counts import positive, whole_number
from replay.exchange.frames import encode_frame
from schemas.kucoin.control import Control, format_control
from schemas.kucoin.rest import (
    BookAnswer,
    Bullet,
    Instrument,
    format_book,
    format_bullet,
    format_instruments,
    format_timestamp,
)

SIDES = ("bids", "asks")
LEVELS = 40
SLOTS = LEVELS * len(SIDES)
FIRST_SEQUENCE = 1_000_000_000_000  # so many digits to the end, so that frames keep their length
EVERY_S = 0.01
# What the client has not taken; beyond, the sender waits instead of filling memory.
UNSENT_MAX = 4 << 20


def names(count: int) -> list[str]:
    """Return made-up symbols."""
    return [f"HOSE{number}-USDT" for number in range(count)]


def price(slot: int) -> str:
    """Return the price of a slot: bids down from 100.00, asks up from 100.01."""
    level = slot // 2
    cents = 10_000 - level if slot % 2 == 0 else 10_001 + level
    return f"{cents // 100}.{cents % 100:02d}"


def size_digits(sequence: int) -> int:
    """Return the three digits behind the point of the size that a sequence sets."""
    return sequence * 7 % 1_000


def template(symbol: str, slot: int) -> bytes:
    """Return a frame to be filled with sequence, sequence, digits of the size, sequence."""
    change = [[price(slot), "1.%03d", "%d"]]
    text = orjson.dumps(
        {
            "type": "message",
            "topic": f"/market/level2:{symbol}",
            "subject": "trade.l2update",
            "data": {
                "sequenceStart": 0,
                "sequenceEnd": 1,
                "symbol": symbol,
                "changes": {side: change if SIDES[slot % 2] == side else [] for side in SIDES},
            },
        }
    )
    text = text.replace(b'"sequenceStart":0', b'"sequenceStart":%d')
    text = text.replace(b'"sequenceEnd":1', b'"sequenceEnd":%d')
    filled = text % (FIRST_SEQUENCE, FIRST_SEQUENCE, 0, FIRST_SEQUENCE)
    header = encode_frame(filled).removesuffix(filled)
    return header.replace(b"%", b"%%") + text


def book_at(sequence: int) -> BookAnswer:
    """Return the book of any symbol after a sequence."""
    sides: tuple[list[tuple[str, ...]], ...] = ([], [])
    for slot in range(SLOTS):
        last = sequence - (sequence - slot) % SLOTS
        sides[slot % 2].append((price(slot), f"1.{size_digits(last):03d}"))
    return BookAnswer(sequence, None, *sides)


class Hose:
    """One client's frames.

    Parameters
    ----------
    symbols : int   how many
    rate : float    frames a second, all symbols together

    Attributes
    ----------
    sent : int      update frames handed to the socket
    late : int      of these, sent later than planned because the client did not take them
    """

    def __init__(self, symbols: int, rate: float) -> None:
        self.symbols = names(symbols)
        self.rate = rate
        self.sent = 0
        self.late = 0
        self._is_open = True
        self._wanted: list[str] = []
        self._sequences = dict.fromkeys(self.symbols, FIRST_SEQUENCE)
        self._templates = {
            symbol: [template(symbol, slot) for slot in range(SLOTS)] for symbol in self.symbols
        }

    def app(self) -> web.Application:
        """Return the routes of the dialect of 2019 that a recorder of level 2 needs."""
        app = web.Application()
        app.add_routes(
            [
                web.post("/api/v1/bullet-public", self._bullet),
                web.get("/api/v1/timestamp", self._timestamp),
                web.get("/api/v1/symbols", self._listing),
                web.get("/api/v2/market/orderbook/level2", self._book),
                web.get("/stop-sending", self._stop),
                web.get("/endpoint", self._serve),
            ]
        )
        return app

    async def _bullet(self, request: web.Request) -> web.Response:
        return _json(
            format_bullet(Bullet("token", f"ws://{request.host}/endpoint", 50_000, 10_000))
        )

    async def _timestamp(self, _request: web.Request) -> web.Response:
        return _json(format_timestamp(time.time_ns()))

    async def _listing(self, _request: web.Request) -> web.Response:
        numbers = ("0.001", "0.01", "1000000", "1000000", "0.001", "0.01", "0.01")
        return _json(
            format_instruments(
                [
                    Instrument(symbol, symbol, *symbol.split("-"), *numbers, enable_trading=True)
                    for symbol in self.symbols
                ]
            )
        )

    async def _book(self, request: web.Request) -> web.Response:
        return _json(format_book(book_at(self._sequences[request.query["symbol"]])))

    async def _stop(self, _request: web.Request) -> web.Response:
        self._is_open = False
        return web.json_response({"sent": self.sent, "late": self.late})

    async def _serve(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(compress=False)
        await socket.prepare(request)
        transport = request.transport
        assert transport is not None
        assert isinstance(transport, asyncio.Transport)
        sending: asyncio.Task[None] | None = None
        transport.write(encode_frame(format_control(Control("welcome", "hose"))))
        try:
            async for message in socket:
                if message.type not in {WSMsgType.TEXT, WSMsgType.BINARY}:
                    break
                said = orjson.loads(message.data)
                if said["type"] == "ping":
                    transport.write(encode_frame(format_control(Control("pong", said["id"]))))
                elif said["type"] == "subscribe":
                    self._wanted += said["topic"].partition(":")[2].split(",")
                    transport.write(encode_frame(format_control(Control("ack", said["id"]))))
                    if sending is None:
                        sending = asyncio.create_task(self._send(transport))
        finally:
            if sending is not None:
                sending.cancel()
            self._wanted = []
        return socket

    async def _send(self, transport: asyncio.Transport) -> None:
        began, done = time.monotonic(), 0
        while True:
            await asyncio.sleep(EVERY_S)
            due = int((time.monotonic() - began) * self.rate) - done
            if not self._is_open or transport.is_closing():
                return
            if transport.get_write_buffer_size() > UNSENT_MAX:
                self.late += due
                done += due  # the pace is kept, the past is not made up for
                continue
            transport.write(b"".join(self._next_frames(due)))
            done += due

    def _next_frames(self, count: int) -> list[bytes]:
        frames = []
        wanted, sequences, templates = self._wanted, self._sequences, self._templates
        for number in range(self.sent, self.sent + count):
            symbol = wanted[number % len(wanted)]
            sequence = sequences[symbol] = sequences[symbol] + 1
            frames.append(
                templates[symbol][sequence % SLOTS]
                % (sequence, sequence, size_digits(sequence), sequence)
            )
        self.sent += count
        return frames


def _json(body: bytes) -> web.Response:
    return web.Response(body=body, content_type="application/json")


async def serve(hose: Hose, port_file: Path) -> None:
    """Serve until cancelled."""
    runner = web.AppRunner(hose.app(), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    beside = port_file.with_name(f".{port_file.name}")
    beside.write_text(json.dumps(runner.addresses[0][1]))
    beside.replace(port_file)
    try:
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rate", type=positive, default=10_000.0, help="frames a second")
    parser.add_argument("--symbols", type=whole_number, default=10)
    parser.add_argument("--port-file", type=Path, required=True)
    args = parser.parse_args()
    try:
        asyncio.run(serve(Hose(args.symbols, args.rate), args.port_file))
    except KeyboardInterrupt:
        return


if __name__ == "__main__":
    main()
