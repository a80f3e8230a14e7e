"""The grammar of faults and when they strike."""

from pathlib import Path

import orjson
import pytest

from replay.exchange.errors import BadFault
from replay.exchange.faults import Fault, FaultPlan, parse_fault
from replay.exchange.line_file import LineFile

S = 1_000_000_000


@pytest.mark.parametrize(
    ("spec", "fault"),
    [
        ("drop=0.001", Fault("", "drop", 0.001, None, left=1)),
        ("disconnect@8s", Fault("", "disconnect", None, 8 * S, left=1)),
        (
            "drop@5s:topic=level2:symbol=BTC-USDT:count=3",
            Fault("", "drop", None, 5 * S, "level2", "BTC-USDT", 3, left=3),
        ),
        ("delay=1:for=50ms", Fault("", "delay", 1.0, None, for_ns=S // 20, left=1)),
        ("delay=1", Fault("", "delay", 1.0, None, for_ns=S // 5, left=1)),
        (
            "silence@1m:topic=level3:for=1.5s",
            Fault("", "silence", None, 60 * S, "level3", for_ns=3 * S // 2, left=1),
        ),
        (
            "stale=0.5:events=900:topic=level3",
            Fault("", "stale", 0.5, None, "level3", events=900, left=1),
        ),
        ("429@3s", Fault("", "429", None, 3 * S, for_ns=2 * S, left=1)),
    ],
)
def test_parse_fault(spec: str, fault: Fault) -> None:
    fault.spec = spec
    assert parse_fault(spec) == fault


@pytest.mark.parametrize(
    ("spec", "word", "hint"),
    [
        ("dorp=0.1", "dorp", "the kinds are drop, duplicate, reorder, delay, garbage, "),
        ("drop", "drop", "give a rate (drop=0.01) or a time (drop@5s)"),
        ("drop=", "drop=", "give a rate (drop=0.01) or a time (drop@5s)"),
        ("drop=2", "2", "a rate is a number from 0 to 1, as in 0.001"),
        ("drop=often", "often", "a rate is a number from 0 to 1, as in 0.001"),
        ("drop=nan", "nan", "a rate is a number from 0 to 1, as in 0.001"),
        ("drop@5", "5", "give it a unit, as in 500ms, 8s or 2m"),
        ("drop@5s:topc=level2", "topc=level2", "drop knows the words topic, symbol, count"),
        ("drop@5s:topic=level4", "level4", "the topics are level2, level3, match, ticker, sn"),
        ("stale=1:topic=match", "match", "the topics are level2, level3"),
        ("drop@5s:count=0", "0", "give a whole number from 1"),
        ("drop@5s:count", "count", "give it a value: count=…"),
        ("drop=0.1:count=2", "count=2", "a rate has no count: give a time, as in drop@5s"),
    ],
)
def test_bad_faults_name_the_word(spec: str, word: str, hint: str) -> None:
    with pytest.raises(BadFault) as caught:
        parse_fault(spec)
    assert caught.value.word == word
    assert caught.value.hint.startswith(hint)
    assert str(caught.value).startswith(
        f"cannot read the fault {spec!r}: {word!r} is not understood; "
    )


def plan(*specs: str) -> FaultPlan:
    """Return a plan that started at 100 s."""
    made = FaultPlan([parse_fault(spec) for spec in specs], seed=1)
    made.start(100 * S)
    return made


def test_a_rate_strikes_about_so_often_and_only_what_it_covers() -> None:
    faults = plan("drop=0.1:topic=level2:symbol=AA-BB")
    struck = sum(faults.draw("drop", "level2", "AA-BB", 0) is not None for _ in range(5_000))
    assert 400 < struck < 600
    assert all(faults.draw("drop", "level3", "AA-BB", 0) is None for _ in range(100))
    assert all(faults.draw("drop", "level2", "CC-BB", 0) is None for _ in range(100))
    assert all(faults.draw("delay", "level2", "AA-BB", 0) is None for _ in range(100))


def test_a_fault_at_a_time_strikes_its_count_from_then_on() -> None:
    faults = plan("drop@5s:count=2")
    times = [104 * S, 105 * S, 106 * S, 107 * S]
    assert [faults.draw("drop", "match", "AA-BB", t) is not None for t in times] == [
        False,
        True,
        True,
        False,
    ]


def test_connections_are_struck_by_the_clock_once() -> None:
    faults = plan("disconnect@5s", "silence@6s")
    assert faults.draw("disconnect", "match", "AA-BB", 200 * S) is None
    assert not faults.due("disconnect", 104 * S)
    assert len(faults.due("disconnect", 105 * S)) == 1
    assert not faults.due("disconnect", 105 * S)
    assert len(faults.due("silence", 300 * S)) == 1


@pytest.mark.parametrize("kind", ["429", "429000", "200002", "1015"])
def test_refusals_for_a_time_or_at_a_rate(kind: str) -> None:
    faults = plan(f"{kind}@3s:for=2s")
    assert [faults.refusal((100 + t) * S) for t in (2, 3, 4, 5)] == [
        None,
        (kind, 2 * S),
        (kind, S),
        None,
    ]
    faults = plan(f"{kind}=0.5")
    struck = [faults.refusal(0) for _ in range(100)]
    assert 40 < struck.count((kind, 0)) < 60
    assert set(struck) == {None, (kind, 0)}


def test_the_network_in_front_refuses_first() -> None:
    faults = plan("429@0s:for=9s", "1015@1s:for=1s")
    assert faults.refusal(101 * S) == ("1015", S)
    assert faults.refusal(103 * S) == ("429", 6 * S)


def test_what_is_carried_out_is_written_at_once(tmp_path: Path) -> None:
    with LineFile(tmp_path / "faults.jsonl") as log:
        faults = FaultPlan([], log=log)
        faults.write("drop", 5, connection="c#1", topic="level2")
        assert orjson.loads((tmp_path / "faults.jsonl").read_bytes()) == {
            "time": 5,
            "kind": "drop",
            "connection": "c#1",
            "topic": "level2",
        }
    assert faults.carried_out == {"drop": 1}


def test_a_plan_says_what_it_needs() -> None:
    assert not plan().strikes_messages
    assert not plan("stale=1", "429=1", "429000=1", "200002=1", "1015=1").strikes_messages
    assert plan("stale=1").needs_old_books
    assert plan("drop=0").strikes_messages
