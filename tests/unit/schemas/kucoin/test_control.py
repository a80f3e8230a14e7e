"""Control messages of the websocket."""

from __future__ import annotations

import json

import pytest

from schemas.kucoin.control import (
    Control,
    ErrorMessage,
    Subscription,
    WireError,
    format_control,
    parse_control,
    parse_frame,
)

EXAMPLES = {
    "welcome": ('{"id":"hQvf8jkno","type":"welcome"}', Control("welcome", "hQvf8jkno")),
    "ping": ('{"id":"1545910590801","type":"ping"}', Control("ping", "1545910590801")),
    "pong": ('{"id":"1545910590801","type":"pong"}', Control("pong", "1545910590801")),
    "ack": ('{"id":"1545910660739","type":"ack"}', Control("ack", "1545910660739")),
    "error": (
        '{"id":"1","type":"error","code":404,"data":"topic /market/x is not found"}',
        ErrorMessage("1", 404, "topic /market/x is not found"),
    ),
    "unsubscribe": (
        (
            '{"id":"1545910840805","type":"unsubscribe","topic":"/market/ticker:BTC-USDT,ETH-USDT",'
            '"privateChannel":false,"response":true}'
        ),
        Subscription(
            "unsubscribe", "1545910840805", "/market/ticker:BTC-USDT,ETH-USDT", response=True
        ),
    ),
}


@pytest.mark.parametrize(("text", "message"), EXAMPLES.values(), ids=EXAMPLES)
def test_an_example_is_parsed_and_formats_back_to_equal_json(text: str, message: object) -> None:
    parsed = parse_control(parse_frame(text))
    assert parsed == message
    assert json.loads(format_control(parsed)) == json.loads(text)


def test_a_numeric_id_is_taken_and_sent_back_as_text() -> None:
    # The document subscribes with a number and is answered with a text.
    text = '{"id":1545910660739,"type":"subscribe","topic":"/market/level2:BTC-USDT"}'
    assert parse_control(parse_frame(text)) == Subscription(
        "subscribe", "1545910660739", "/market/level2:BTC-USDT", False, False
    )


@pytest.mark.parametrize(
    ("code", "number"), [(401, 401), ("401", 401), (None, 0), ("x", 0), ("", 0)]
)
def test_an_error_code_is_a_number_or_zero(code: object, number: int) -> None:
    message = parse_control({"id": "1", "type": "error", "code": code, "data": "no"})
    assert message == ErrorMessage("1", number, "no")


@pytest.mark.parametrize("frame", [{}, {"type": None}, {"type": 7}, {"type": []}, {"id": "1"}])
def test_a_frame_without_type_is_refused(frame: dict[str, object]) -> None:
    with pytest.raises(WireError, match="frame has no type"):
        parse_control(frame)


@pytest.mark.parametrize("topic", [None, 7, ["/market/level2:X"]])
@pytest.mark.parametrize("kind", ["subscribe", "unsubscribe"])
def test_a_subscription_names_its_topic(kind: str, topic: object) -> None:
    with pytest.raises(WireError, match=f"{kind} names no topic"):
        parse_control({"type": kind, "id": "1", "topic": topic})


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "frame is not JSON"),
        (b"\xff\xfe", "frame is not JSON"),
        (b'{"a":', "frame is not JSON"),
        (b'{"a":NaN}', "frame is not JSON"),
        (b"[1]", "frame is not a JSON object"),
        (b'"hello"', "frame is not a JSON object"),
    ],
)
def test_garbage_is_refused_with_the_first_of_it(data: bytes, problem: str) -> None:
    with pytest.raises(WireError) as caught:
        parse_frame(data)
    payload = data.decode(errors="replace")
    assert str(caught.value) == f"{problem}: {payload!r}"
    assert caught.value.payload == payload


def test_a_long_payload_is_cut() -> None:
    with pytest.raises(WireError) as caught:
        parse_frame("x" * 1000)
    assert caught.value.payload == "x" * 200
