"""What the demo shows: progress while it records, then what was kept, lost, healed and proven."""

from __future__ import annotations

import io
import sys
from collections import defaultdict
from types import TracebackType
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from recorder.demo import DROPPED_SYMBOL, SYMBOLS, Answers, DemoPlan

# A pipe or a file has no width of its own; tables are drawn for this one.
PLAIN_WIDTH = 100
# Without a terminal nothing moves: one line in so many seconds says that it goes on.
PLAIN_EVERY_S = 5.0

_BOOK_NAME = {"l2": "level 2", "l3": "level 3"}


def make_console() -> Console:
    """Return a console that suits the terminal, or a plain one of fixed width without any."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal that knows no dashes and ticks shall show question marks, not a traceback.
        sys.stdout.reconfigure(errors="replace")
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=PLAIN_WIDTH)


class Progressing:
    """The recording as it goes on: a bar on a terminal, plain lines elsewhere."""

    def __init__(self, console: Console, plan: DemoPlan) -> None:
        self._console = console
        self._plan = plan
        self._status = "starting both processes"
        self._told_s = 0.0
        self._lines = 0
        self._bar = Progress(
            TextColumn("  [bold]{task.completed:4.0f} s[/]"),
            BarColumn(30),
            TextColumn("{task.description}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task(self._status, total=plan.seconds)

    def __enter__(self) -> Progressing:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def watch(self, seconds: float, line: dict[str, Any]) -> None:
        """Take in a log line of the recorder, or the mere passing of time."""
        event = line.get("event")
        if event == "status":
            self._lines = int(line["lines"])
            self._status = _describe(line)
        elif event == "recording":
            self._status = "waiting for the first books"
        elif event == "connection lost":
            self._note(seconds, f"[red]connection lost[/]: {line['problem']}")
        elif event == "subscribed" and line.get("connection", 1) > 1:
            self._note(seconds, "[green]connected again[/], books asked anew")
        elif line.get("level") in {"error", "critical"}:
            self._note(seconds, f"[red]{event}[/]")
        self._bar.update(self._task, completed=seconds, description=self._status)
        if not self._console.is_terminal and seconds - self._told_s >= PLAIN_EVERY_S:
            self._told_s = seconds
            self._note(seconds, self._status)

    def _note(self, seconds: float, text: str) -> None:
        self._console.print(f"  {seconds:4.0f} s  {text}")


def _describe(status: dict[str, Any]) -> str:
    streams = {str(state): int(count) for state, count in status["streams"].items()}
    books = sum(streams.get(state, 0) for state in ("synced", "bridging"))
    wanted = 2 * len(SYMBOLS)
    return (
        f"{int(status['lines']):,} lines durable · {books} of {wanted} books live · "
        f"{status['gaps']} gaps so far"
    )


def print_opening(console: Console, plan: DemoPlan) -> None:
    """Say what is going to happen."""
    console.print()
    console.print(
        f"[bold]Booktape demo[/]: an exchange is recorded for {plan.seconds:g} s, twice hurt on "
        "purpose,\nand every rebuilt book is compared with the exchange's own."
    )
    console.print()
    console.print(f"  exchange  synthetic, its own process: {', '.join(SYMBOLS)}")
    console.print("  recorder  another process; the two share nothing but a loopback socket")
    console.print(
        f"  faults    after {plan.cut_s:g} s every connection is cut, "
        f"after {plan.drop_s:g} s one {DROPPED_SYMBOL} level-2 message is dropped"
    )
    console.print()


def print_report(console: Console, plan: DemoPlan, answers: Answers) -> bool:
    """Print everything asked; return whether all of it is as it should be."""
    _print_coverage(console, answers)
    _print_gaps(console, answers)
    _print_book(console, answers)
    _print_query(console, answers)
    _print_proof(console, answers)
    ok = _print_verdict(console, answers)
    _print_farewell(console, plan)
    return ok


def _table(*columns: tuple[str, str]) -> Table:
    table = Table(box=SIMPLE_HEAD)
    for name, justify in columns:
        table.add_column(name, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    return table


def _print_coverage(console: Console, answers: Answers) -> None:
    by_key: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in answers.coverage:  # one a UTC day: a demo may run through midnight
        by_key[row["symbol"], row["stream"]].append(row)
    console.print("[bold]Recorded[/]")
    table = _table(
        ("symbol", "left"),
        ("stream", "left"),
        ("known", "right"),
        ("unknown", "right"),
        ("messages", "right"),
        ("rows", "right"),
        ("gaps", "right"),
    )
    told = ""
    for (symbol, stream), days in sorted(by_key.items()):
        total = {
            name: sum(day[name] or 0 for day in days)
            for name in ("seconds_covered", "seconds_unknown", "messages", "rows", "gaps")
        }
        table.add_row(
            symbol if symbol != told else "",
            stream,
            f"{total['seconds_covered']:.2f} s",
            f"{total['seconds_unknown']:.2f} s",
            f"{total['messages']:,}",
            f"{total['rows']:,}",
            str(total["gaps"]),
        )
        told = symbol
    console.print(table)


def _print_gaps(console: Console, answers: Answers) -> None:
    console.print("[bold]Lost, and said so: the gaps of the books[/]")
    table = _table(
        ("symbol", "left"),
        ("book", "left"),
        ("reason", "left"),
        ("from (UTC)", "left"),
        ("unknown for", "right"),
        ("changes missed", "right"),
        ("healed by", "left"),
    )
    for gap in answers.gaps:
        missed = None
        if gap["sequence_expected"] is not None and gap["sequence_received"] is not None:
            missed = max(0, gap["sequence_received"] - gap["sequence_expected"])
        table.add_row(
            gap["symbol"],
            _BOOK_NAME[gap["stream"]],
            gap["reason"],
            str(gap["ts_from"])[11:23],
            "still" if gap["unknown_ms"] is None else f"{gap['unknown_ms']:.0f} ms",
            "?" if missed is None else f"{missed:,}",
            gap["healed_by"] or "[red]not healed[/]",
        )
    console.print(table)


def _print_book(console: Console, answers: Answers) -> None:
    book = answers.book
    console.print(f"[bold]{book['symbol']} rebuilt from Parquet at sequence {book['sequence']}[/]")
    table = _table(
        ("bid size", "right"),
        ("bid", "right"),
        ("ask", "left"),
        ("ask size", "left"),
    )
    for at in range(max(len(book["bids"]), len(book["asks"]))):
        bid, bid_size = book["bids"][at] if at < len(book["bids"]) else ("", "")
        ask, ask_size = book["asks"][at] if at < len(book["asks"]) else ("", "")
        table.add_row(bid_size, f"[green]{bid}[/]", f"[red]{ask}[/]", ask_size)
    console.print(table)


def _print_query(console: Console, answers: Answers) -> None:
    console.print("[bold]SQL: how far from the middle of the rebuilt book do trades happen?[/]")
    console.print()
    for line in answers.query.splitlines():
        console.print(f"  [dim]{line}[/]", markup=True, soft_wrap=True)
    names = list(answers.rows[0]) if answers.rows else ["(no trade)"]
    table = _table(*((name, "right") for name in names))
    for row in answers.rows:
        table.add_row(*(f"{v:,}" if isinstance(v, int | float) else str(v) for v in row.values()))
    console.print(table)


def _print_proof(console: Console, answers: Answers) -> None:
    console.print("[bold]Proof: rebuilt books against the exchange's own[/]")
    console.print()
    for count in sorted(answers.proof["truth"], key=lambda c: (c["symbol"], c["book"])):
        good = count["compared"] and not count["unequal"] and not count["wrong"]
        mark = "[green]✓[/]" if good else "[red]✗[/]"
        refused = f"; {count['refused']} inside a gap, refused" * bool(count["refused"])
        console.print(
            f"  {mark} {count['symbol']:<9} {_BOOK_NAME[count['book']]}  "
            f"{count['compared']:,} books compared with the exchange at the same sequence, "
            f"{count['equal']:,} equal{refused}",
            soft_wrap=True,
        )
        for difference in count["differences"]:
            console.print(f"      [red]{difference}[/]", markup=True, soft_wrap=True)
    console.print()


def _print_verdict(console: Console, answers: Answers) -> bool:
    healed, equal = answers.planned_faults_healed(), answers.every_book_equal()
    total = sum(count["compared"] for count in answers.proof["truth"])
    if healed and equal:
        console.print(
            f"[bold green]All {total:,} books are equal, to the last digit;[/] both faults stand "
            "in the ledger, healed."
        )
    if not equal:
        console.print("[bold red]Not every book could be proven equal.[/]")
        for difference in answers.proof.get("differences", ()):
            console.print(f"  {difference}", markup=False, soft_wrap=True)
    if not healed:
        console.print("[bold red]A planned fault is missing among the healed gaps.[/]")
    return healed and equal


def _print_farewell(console: Console, plan: DemoPlan) -> None:
    console.print()
    console.print(f"  archive  {plan.archive}", soft_wrap=True)
    console.print(
        f"  the rest {plan.work}  (configuration, logs, the exchange's books)", soft_wrap=True
    )
    console.print()
    console.print("Go on from here:")
    console.print(
        f"  replay sql {plan.archive} \"SELECT * FROM bbo('{DROPPED_SYMBOL}') LIMIT 5\"",
        soft_wrap=True,
    )
    console.print(f"  recorder verify {plan.archive}", soft_wrap=True)
