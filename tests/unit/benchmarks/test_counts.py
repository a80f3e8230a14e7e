"""Numbers that mean nothing are refused by name, by every benchmark, before anything is started."""

from __future__ import annotations

import sys
from argparse import ArgumentTypeError
from importlib import import_module

import pytest

from benchmarks.counts import positive, whole_number


def test_numbers_above_zero() -> None:
    assert (positive("0.5"), positive("3"), whole_number("1")) == (0.5, 3.0, 1)
    for text in ("0", "-1", "nan", "inf", "ten", ""):
        with pytest.raises(ArgumentTypeError, match=f"{text!r} is no number above 0"):
            positive(text)
    for text in ("0", "-1", "1.5", "ten", ""):
        with pytest.raises(ArgumentTypeError, match=f"{text!r} is no whole number from 1 on"):
            whole_number(text)


@pytest.mark.parametrize(
    "command",
    [
        "compaction --rows 0",
        "firehose --port-file unused --rate 0",
        "healing --seconds 0",
        "healing --seconds -3",
        "kills --kills 0",
        "kills --rate -1",
        "lazy_sql --parts 0",
        "restart --frames 0",
        "restart --symbols -1",
        "soak --minutes 0",
        "soak --frames 0",
        "soak --minutes 4 --slow-minutes 3",
        "unseen --interval 0",
        "whole_exchange --symbols 0",
    ],
)
def test_every_benchmark_refuses_them(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name, *words = command.split()
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *words])
    with pytest.raises(SystemExit) as ended:
        import_module(f"benchmarks.{name}").main()
    assert ended.value.code == 2
    assert words[-2] in capsys.readouterr().err
