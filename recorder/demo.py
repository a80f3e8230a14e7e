"""The demo: an exchange and a recorder as two processes, two faults on purpose, then the proof.

Everything is asked of the installed commands, as anybody would ask: this module starts processes,
reads their output, and imports nothing of the reading side.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recorder.errors import RecorderError

SYMBOLS = ("BTC-USDT", "SHIB-BTC", "WIN-USDT")
SEED = 2019
# Of the matching engine, by symbol: a busy market, which two small cores carry with ease.
EVENTS_PER_SECOND = 600
# One book in so many is written down by the exchange: some hundred a symbol in a short demo.
TRUTH_EVERY = 40
# When what goes wrong: late enough that a slow machine has its first books by then.
CUT_SHARE, CUT_MIN_S = 0.35, 7.0
DROP_SHARE, DROP_AFTER_CUT_S = 0.65, 3.0
DROPPED_SYMBOL = SYMBOLS[0]
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 60.0
ANSWER_TIMEOUT_S = 300.0
# Both processes end by themselves so long after the demo should have: none is ever left behind.
ORPHAN_MARGIN_S = 120


class DemoFailed(RecorderError):
    """A process of the demo did not do its part."""

    exit_code = 3


class DemoFolderInUse(RecorderError):
    """The folder named holds something already."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path} is not empty",
            "the demo proves a fresh archive: name a folder that is new or empty",
        )


@dataclass(frozen=True, slots=True)
class DemoPlan:
    """What happens, and where.

    Attributes
    ----------
    seconds : float     of recording
    archive : Path      what is recorded
    work : Path         configuration, logs, and the exchange's own record of its books
    cut_s, drop_s : float   when the connection is cut, when a message is dropped
    """

    seconds: float
    archive: Path
    work: Path

    @property
    def cut_s(self) -> float:
        """Seconds after its start at which the exchange cuts every connection."""
        return round(max(self.seconds * CUT_SHARE, CUT_MIN_S), 1)

    @property
    def drop_s(self) -> float:
        """Seconds after its start at which the exchange drops one level-2 message."""
        return round(max(self.seconds * DROP_SHARE, self.cut_s + DROP_AFTER_CUT_S), 1)

    @property
    def truth(self) -> Path:
        """The exchange's own books."""
        return self.work / "truth.jsonl.zst"


def plan_demo(seconds: float, archive: Path | None) -> DemoPlan:
    """Choose the folders.

    Raises
    ------
    DemoFolderInUse   when the archive named is not empty
    """
    if archive is not None and archive.exists() and any(archive.iterdir()):
        raise DemoFolderInUse(archive)
    work = Path(tempfile.mkdtemp(prefix="booktape-demo-"))
    return DemoPlan(seconds, (archive or work / "archive").resolve(), work)


@dataclass(frozen=True, slots=True)
class Answers:
    """What the commands said afterwards, parsed."""

    coverage: list[dict[str, Any]]
    gaps: list[dict[str, Any]]
    book: dict[str, Any]
    query: str
    rows: list[dict[str, Any]]
    proof: dict[str, Any]

    def planned_faults_healed(self) -> bool:
        """Say whether both faults stand in the ledger, and every gap was healed by a snapshot."""
        found = {(gap["symbol"], gap["stream"], gap["reason"]) for gap in self.gaps}
        cut = {(symbol, stream, "disconnected") for symbol in SYMBOLS for stream in ("l2", "l3")}
        # "bridge" where the dropped message was the very first one after a snapshot.
        dropped = {(DROPPED_SYMBOL, "l2", reason) for reason in ("sequence", "bridge")}
        # A quiet symbol may have had no book yet that the cut could have interrupted.
        healed = all(gap["healed_by"] == "snapshot" and gap["ts_to"] for gap in self.gaps)
        return bool(cut & found) and bool(dropped & found) and healed

    def every_book_equal(self) -> bool:
        """Say whether each symbol's both books were compared, and all were equal."""
        compared = {
            (count["symbol"], count["book"])
            for count in self.proof["truth"]
            if count["compared"] and not count["unequal"] and not count["wrong"]
        }
        return bool(self.proof["ok"]) and compared >= {
            (s, book) for s in SYMBOLS for book in ("l2", "l3")
        }


QUERY = f"""
SELECT t.aggressor_side AS aggressor, count(*) AS trades,
       round(sum(t.price * t.size), 2) AS turnover_usdt,
       round(avg(abs(t.price / ((b.best_bid + b.best_ask) / 2) - 1)) * 1e4, 3) AS bps_from_mid
FROM trades t
ASOF JOIN bbo('{DROPPED_SYMBOL}') b ON t.symbol = b.symbol AND t.sequence > b.sequence
WHERE b.valid GROUP BY ALL ORDER BY ALL
""".strip()

GAPS_QUERY = """
SELECT symbol, stream, reason, healed_by, ts_from::VARCHAR AS ts_from, ts_to::VARCHAR AS ts_to,
       sequence_expected, sequence_received,
       (epoch_ns(ts_to) - epoch_ns(ts_from)) / 1e6 AS unknown_ms
FROM gaps WHERE stream IN ('l2', 'l3') ORDER BY ts_detected, symbol, stream
""".strip()


def ask_everything(plan: DemoPlan) -> Answers:
    """Ask the reading commands, two at a time.

    Raises
    ------
    DemoFailed   when one of them fails
    """
    archive = str(plan.archive)
    with ExitStack() as asked:

        def ask(*words: str, may_say_no: bool = False) -> _Question:
            return asked.enter_context(_Question(*words, may_say_no=may_say_no))

        proof = ask("verify", archive, "--truth", str(plan.truth), "--json", may_say_no=True)
        coverage = ask("coverage", archive, "--json").answer()
        gaps = ask("sql", archive, GAPS_QUERY, "--format", "json").answer()
        rows = ask("sql", archive, QUERY, "--format", "json").answer()
        book = ask("book", archive, DROPPED_SYMBOL, "--depth", "3", "--json").answer()
        return Answers(coverage, gaps, book, QUERY, rows, proof.answer())


class _Question:
    """A reading command under way; leaving its context ends it."""

    def __init__(self, *words: str, may_say_no: bool = False) -> None:
        self._words = words
        self._codes = {0, 1} if may_say_no else {0}
        self._process = subprocess.Popen(
            [*_python("replay.cli"), *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def __enter__(self) -> _Question:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()

    def answer(self) -> Any:
        """Wait for its JSON."""
        try:
            out, err = self._process.communicate(timeout=ANSWER_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            raise DemoFailed(f"replay {self._words[0]} did not answer in time") from None
        if self._process.returncode not in self._codes:
            raise DemoFailed(f"replay {self._words[0]} failed: {err.decode().strip()}")
        return json.loads(out)


def record_live(plan: DemoPlan, watch: Callable[[float, dict[str, Any]], None]) -> None:
    """Run exchange and recorder side by side, then stop both.

    Parameters
    ----------
    watch : callable   told every log line of the recorder as it comes, and `{}` ten times a
        second, with the seconds since the recorder began

    Raises
    ------
    DemoFailed, KeyboardInterrupt   both processes have been stopped then
    """
    lifetime = f"{plan.seconds + ORPHAN_MARGIN_S:g}s"
    with _running("exchange", _exchange_command(plan, lifetime), plan.work) as exchange:
        port = _await_port(plan.work / "port", exchange, plan.work / "exchange.log")
        config = plan.work / "recorder.toml"
        config.write_text(_config_text(plan, port))
        command = [*_python("recorder.cli"), "run", str(config)]
        command += ["--for", lifetime, "--status-every", "1s"]
        with _running("recorder", command, plan.work) as recorder:
            log = _follow(plan.work / "recorder.log")
            _watch_until_over(plan, recorder, log, watch)
            _stop("recorder", recorder, plan.work)
        _stop("exchange", exchange, plan.work)


def _watch_until_over(
    plan: DemoPlan,
    recorder: subprocess.Popen[bytes],
    log: Iterator[dict[str, Any]],
    watch: Callable[[float, dict[str, Any]], None],
) -> None:
    began: float | None = None
    deadline = time.monotonic() + START_TIMEOUT_S
    while began is None or time.monotonic() - began < plan.seconds:
        if recorder.poll() is not None or (began is None and time.monotonic() > deadline):
            raise DemoFailed(f"the recorder did not go on: {_tail(plan.work / 'recorder.log')}")
        for line in log:
            if not line:  # nothing new at the moment
                break
            if line.get("event") == "recording":
                began = time.monotonic()
            watch(time.monotonic() - (began or time.monotonic()), line)
        if began is not None:
            watch(time.monotonic() - began, {})
        time.sleep(0.1)


def _exchange_command(plan: DemoPlan, lifetime: str) -> list[str]:
    return [
        *_python("replay.cli"),
        *("exchange", "--port", "0", "--port-file", str(plan.work / "port")),
        *("--symbols", ",".join(SYMBOLS), "--seed", str(SEED)),
        *("--rate", str(EVENTS_PER_SECOND), "--for", lifetime),
        *("--truth", str(plan.truth), "--truth-every", str(TRUTH_EVERY)),
        *("--fault", f"disconnect@{plan.cut_s:g}s"),
        *("--fault", f"drop@{plan.drop_s:g}s:topic=level2:symbol={DROPPED_SYMBOL}"),
    ]


def _config_text(plan: DemoPlan, port: int) -> str:
    return f"""\
archive = {json.dumps(str(plan.archive))}

[venue]
profile = "kucoin-2019"
rest_url = "http://127.0.0.1:{port}"
symbols = {json.dumps(SYMBOLS)}
streams = ["level2", "level3", "match", "snapshot", "ticker"]

[stitch]
first_update_timer_s = 0.5

[log]
format = "json"
"""


def _python(module: str) -> list[str]:
    """Run a module of this installation; -P keeps the folder one stands in out of it."""
    return [sys.executable, "-P", "-m", module]


@contextmanager
def _running(name: str, command: Sequence[str], work: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start a process that logs to a file, in a session of its own; end it in any case.

    Ctrl-C reaches the demo alone then, and the demo stops both in the right order.
    """
    environment = {k: v for k, v in os.environ.items() if not k.startswith("BOOKTAPE__")}
    with (work / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOP_TIMEOUT_S)
        if process.poll() is None:
            process.kill()
            process.wait()


def _stop(name: str, process: subprocess.Popen[bytes], work: Path) -> None:
    """Ask a process to stop, and expect that it does so cleanly."""
    process.terminate()
    try:
        code = process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise DemoFailed(f"the {name} did not stop within {STOP_TIMEOUT_S:g} s") from None
    if code != 0:
        raise DemoFailed(f"the {name} ended with {code}: {_tail(work / f'{name}.log')}")


def _await_port(path: Path, exchange: subprocess.Popen[bytes], log: Path) -> int:
    deadline = time.monotonic() + START_TIMEOUT_S
    while not path.exists():
        if exchange.poll() is not None or time.monotonic() > deadline:
            raise DemoFailed(f"the exchange did not start: {_tail(log)}")
        time.sleep(0.05)
    return int(path.read_text())


def _follow(path: Path) -> Iterator[dict[str, Any]]:
    """Yield each JSON line of a growing log, and an empty one where there is no more yet."""
    with path.open("rb") as log:
        rest = b""
        while True:
            *lines, rest = (rest + log.read()).split(b"\n")
            for line in lines:
                with suppress(json.JSONDecodeError):
                    yield json.loads(line)
            yield {}


def _tail(log: Path) -> str:
    return "\n  ".join(log.read_text(errors="replace").strip().splitlines()[-5:])
