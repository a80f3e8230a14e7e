"""Lines of audits fed to a shell, and what came of them."""

from __future__ import annotations

from typing import Any

import orjson

from recorder.pipeline.output import Audited
from recorder.raw_line import AUDIT, CHECK
from tests.support.classic_shell import SYMBOL, URL, ClassicShell

S = 1_000_000_000


def decide(shell: Any, stream: str = "l2") -> list[object]:
    """Let the book be copied."""
    return shell.line("decision", what=AUDIT, symbol=SYMBOL, stream=stream)


def answer(shell: ClassicShell, body: bytes) -> list[object]:
    """Answer an audit of level 2."""
    fields = {"symbol": SYMBOL, "stream": "l2", "purpose": AUDIT}
    return shell.line("rest_answer", body, url=URL, **fields)


def check(shell: Any, times: int = 1) -> list[object]:
    """Look at every book."""
    commands: list[object] = []
    for _ in range(times):
        shell.ts += 5 * S
        commands += shell.line("decision", what=CHECK)
    return commands


def verdicts(shell: Any) -> list[tuple[str, int | None, int]]:
    """Return what became of each audit."""
    return [(a.result, a.sequence, a.compared) for a in shell.made.entries(Audited)]


def why(shell: Any) -> str:
    """Return the reason of the last audit."""
    return str(orjson.loads(shell.made.entries(Audited)[-1].detail)["why"])


def corrupt(shell: Any, stream: str = "l2", price: int = 100, size: int = 77) -> None:
    """Change a size in the live book, behind everybody's back."""
    live = shell.made.pipeline._streams.book((SYMBOL, stream)).book
    assert live._bids[price] != size
    live._bids[price] = size
