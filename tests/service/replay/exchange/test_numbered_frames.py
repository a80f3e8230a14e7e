"""Every frame a client is sent has a number, and stands in the exchange's log as it was sent."""

from __future__ import annotations

import zlib
from pathlib import Path

import aiohttp
import orjson

from replay.exchange.app import ExchangeServer, ServerLimits, listening
from replay.exchange.faults import FaultPlan, parse_fault
from replay.exchange.frame_log import FrameLog
from replay.exchange.line_file import LineFile
from replay.exchange.synthetic.source import SyntheticSource
from tests.service.replay.exchange.conftest import Client

FRAMES = 150


async def read_frames(client: Client, connection: str, count: int) -> list[bytes]:
    """Subscribe as `connection` and return its first frames, control messages and all."""
    async with client.http.post(f"{client.url}/api/v1/bullet-public") as answer:
        bullet = orjson.loads(await answer.read())["data"]
    endpoint = bullet["instanceServers"][0]["endpoint"]
    url = f"{endpoint}?token={bullet['token']}&connectId={connection}"
    async with client.http.ws_connect(url) as socket:
        request = {"id": "1", "type": "subscribe", "topic": "/market/level2:BTC-USDT"}
        await socket.send_str(orjson.dumps({**request, "response": True}).decode())
        frames = []
        while len(frames) < count:
            data = (await socket.receive(timeout=10.0)).data
            frames.append(data.encode() if isinstance(data, str) else data)
        return frames


async def test_frames_are_counted_from_one_on_each_connection(tmp_path: Path) -> None:
    faults = FaultPlan([parse_fault("duplicate=0.1"), parse_fault("garbage=0.05")])
    with LineFile(tmp_path / "frames.jsonl") as file:
        server = ExchangeServer(
            SyntheticSource(["BTC-USDT"]),
            faults=faults,
            limits=ServerLimits.lifted(),
            frame_log=FrameLog(file, writes_numbers=True),
        )
        async with listening(server) as port, aiohttp.ClientSession() as http:
            client = Client(port, http)
            got = {name: await read_frames(client, name, FRAMES) for name in ("a", "b")}
    sent: dict[str, list[int]] = {}
    for row in map(orjson.loads, file.path.read_bytes().splitlines()):
        sums = sent.setdefault(row["connection"], [])
        assert row["first"] == len(sums) + 1
        sums += row["crc32"]
    assert faults.carried_out.keys() == {"duplicate", "garbage"}
    for name, frames in got.items():
        assert [zlib.crc32(data) for data in frames] == sent[name][:FRAMES]
        said = {
            number: orjson.loads(data).get("frame")
            for number, data in enumerate(frames, 1)
            if data.endswith(b"}")
        }
        assert list(said) == list(said.values())
        assert FRAMES / 2 < len(said) < FRAMES, "garbage has its place, and no number in it"
