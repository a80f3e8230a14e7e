"""Log lines for people and for machines."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from recorder.logs import configure_logs, get_log


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


def fail(token: str) -> None:
    raise ValueError("no good")


def test_json_is_one_object_a_line_with_what_is_bound(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logs("info", "json")
    log = get_log("recorder", venue="kucoin").bind(symbol="BTC-USDT")
    log.debug("not this one")
    log.warning("book not obtained", problem="late")
    logging.getLogger("aiohttp").warning("from a library")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["event"] for line in lines] == ["book not obtained", "from a library"]
    assert lines[0]["venue"] == "kucoin"
    assert lines[0]["symbol"] == "BTC-USDT"
    assert lines[0]["problem"] == "late"
    assert lines[0]["level"] == "warning"
    assert lines[0]["timestamp"].endswith("Z")


def test_a_skipped_turn_of_the_schedule_is_no_news(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("debug", "text")
    logging.getLogger("apscheduler.scheduler").warning("skipped: maximum number of instances")
    assert "skipped" not in capsys.readouterr().err


@pytest.mark.parametrize("form", ["text", "json"])
def test_tracebacks_tell_no_local_variables(capsys: pytest.CaptureFixture[str], form: str) -> None:
    configure_logs("info", form)  # type: ignore[arg-type]
    try:
        fail("secret")
    except ValueError:
        get_log("recorder").exception("it broke")
    said = capsys.readouterr().err
    assert "no good" in said
    assert "secret" not in said.replace('fail("secret")', "")


def test_text_is_plain_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("warning", "text")
    get_log("recorder").info("too quiet")
    get_log("recorder").error("loud", symbol="A-B")
    said = capsys.readouterr().err
    assert "too quiet" not in said
    assert "symbol=A-B" in said
    assert "\x1b" not in said
