"""What clients asked, written down."""

from pathlib import Path

import orjson

from replay.exchange.line_file import LineFile
from replay.exchange.request_log import RequestLog


def test_lines_say_when_and_what(tmp_path: Path) -> None:
    with LineFile(tmp_path / "requests.jsonl") as file:
        RequestLog(file).write("rest", 5, path="/x", status=200)
        RequestLog().write("rest", 6)
    assert orjson.loads((tmp_path / "requests.jsonl").read_bytes()) == {
        "time": 5,
        "kind": "rest",
        "path": "/x",
        "status": 200,
    }
