"""The `replay` command: asks an archive.

Data goes to stdout, messages to stderr. Exit: 0 done, 1 the answer is no (a book is unknown, a
proof failed), 2 bad input, 3 reading failed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import wraps
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec

import click

from replay.errors import BadInput, BookUnknown, ReplayError

if TYPE_CHECKING:
    from replay.book import Book, BookSide

P = ParamSpec("P")

NO, BAD_INPUT, FAILED = 1, 2, 3
ELSEWHERE = {"exchange": ("replay.exchange.cli", "exchange_command")}


class ReplayGroup(click.Group):
    """Commands of this file, and commands that live with what they start."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands that are installed."""
        there = [name for name, (module, _) in ELSEWHERE.items() if _is_there(module)]
        return sorted([*super().list_commands(ctx), *there])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, importing its module when it lives elsewhere."""
        if cmd_name in ELSEWHERE and _is_there(ELSEWHERE[cmd_name][0]):
            module, name = ELSEWHERE[cmd_name]
            command = getattr(import_module(module), name)
            assert isinstance(command, click.Command), "a command lives there"
            return command
        return super().get_command(ctx, cmd_name)


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _answers(function: Callable[P, int | None]) -> Callable[P, None]:
    """Turn errors into a message on stderr and an exit code."""

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            code = function(*args, **kwargs) or 0
        except BookUnknown as error:
            code = _say(error, NO)
        except BadInput as error:
            code = _say(error, BAD_INPUT)
        except (ReplayError, OSError) as error:
            code = _say(error, FAILED)
        sys.exit(code)

    return run


def _say(error: Exception, code: int) -> int:
    click.echo(f"replay: {error}", err=True)
    return code


archive_argument = click.argument("archive", type=click.Path(path_type=Path))


@click.group(cls=ReplayGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="booktape", prog_name="replay")
def main() -> None:
    """Ask an archive: books, SQL, coverage, proof."""


@main.command()
@archive_argument
@click.argument("query")
@click.option(
    "--format",
    "kind",
    type=click.Choice(["table", "csv", "json", "parquet"]),
    default="table",
    show_default=True,
)
@click.option("--output", type=click.Path(path_type=Path), help="Write to this file.")
@_answers
def sql(archive: Path, query: str, kind: str, output: Path | None) -> int | None:
    """Run DuckDB SQL over an archive.

    Views: l2_updates l2_updates_all l3_events trades tickers market_snapshots book_snapshots runs
    parts gaps coverage instruments audits removals jobs. Macros: book_at(symbol, ts)
    book_at_sequence(symbol, n) l3_book_at(symbol, ts) bbo(symbol) depth(symbol, ts_from, ts_to)
    bars(symbol, ts_from, ts_to, every) coverage().
    """
    from replay.archive import Archive
    from replay.output import write

    if kind == "parquet" and output is None and sys.stdout.isatty():
        raise BadInput("Parquet is nothing for a terminal", "add --output FILE")
    with ExitStack() as stack:
        table = stack.enter_context(Archive(archive)).sql(query)
        into = sys.stdout.buffer if output is None else stack.enter_context(output.open("wb"))
        write(table, kind, into)
        into.flush()
    return None


@main.command()
@archive_argument
@click.argument("symbol")
@click.option("--at", help="Time: ISO 8601 with Z or an offset, or ns. Default: the newest book.")
@click.option("--sequence", type=int, help="After the last message ending at or before it.")
@click.option("--depth", type=click.IntRange(min=1), help="Levels a side. [text: 10, JSON: all]")
@click.option("--level", type=click.Choice(["2", "3"]), default="2", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Exact decimal text as JSON.")
@_answers
def book(
    archive: Path,
    symbol: str,
    at: str | None,
    sequence: int | None,
    depth: int | None,
    level: str,
    as_json: bool,
) -> int | None:
    """Show the book of a symbol at a time or sequence."""
    import orjson

    from replay.archive import Archive

    with Archive(archive) as tape:
        found = tape.book(symbol, at, sequence=sequence, level=int(level))
    if as_json:
        shown = found if depth is None else found.depth(depth)
        click.echo(orjson.dumps(shown.to_json()).decode())
    else:
        _draw_book(found, depth or 10)
    return None


def _draw_book(book: Book, depth: int) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    from replay.times import to_text

    shown = book.depth(depth)
    table = Table(
        title=f"{book.symbol}  sequence {book.sequence}  known {to_text(book.ts_recv)}",
        box=SIMPLE_HEAD,
    )
    for name in ("bid size", "bid", "ask", "ask size"):
        table.add_column(name, justify="right", no_wrap=True)
    sides = [_marked_rows(side, depth) for side in (shown.bids, shown.asks)]
    for row in range(max(map(len, sides))):
        (bid, bid_size), (ask, ask_size) = (
            side[row] if row < len(side) else ("", "") for side in sides
        )
        table.add_row(bid_size, bid, ask, ask_size)
    Console(highlight=False, soft_wrap=True).print(table)
    click.echo(f"{len(book.bids)} bid and {len(book.asks)} ask levels", err=True)
    for name, side, beyond in (("bids", book.bids, "below"), ("asks", book.asks, "above")):
        if side.known_to is not None:
            click.echo(
                f"{name} are exact to {side.known_to:f}; {beyond} that, at ?, some may be missing",
                err=True,
            )


def _marked_rows(side: BookSide, depth: int) -> list[tuple[str, str]]:
    """Return (price, size) texts; `?` marks a level around which others may be missing."""
    inside = {
        price for (price, _), known in zip(side.texts(), side.known_mask, strict=True) if known
    }
    rows = (
        side.texts()
        if side.order_sizes is None
        else [(price, f"{size} ({order_id})") for price, size, order_id in side.order_texts()]
    )
    marked = [(price if price in inside else f"{price} ?", size) for price, size in rows]
    if side.known_to is not None and len(side) < depth and len(inside) == len(side):
        marked.append(("?", "?"))
    return marked


@main.command()
@archive_argument
@click.option("--symbol", help="Only this one.")
@click.option("--from", "start", help="Time: ISO 8601 with Z or an offset, or ns.")
@click.option("--to", "end", help="Up to, not including, this time.")
@click.option("--json", "as_json", is_flag=True)
@click.option("--calendar", is_flag=True, help="A picture: a row a stream, a column a day.")
@click.option(
    "--days",
    type=click.IntRange(min=1),
    default=31,
    show_default=True,
    help="Of the calendar, the last ones.",
)
@click.option("--output", type=click.Path(path_type=Path), help="The calendar as FILE.svg.")
@_answers
def coverage(
    archive: Path,
    symbol: str | None,
    start: str | None,
    end: str | None,
    as_json: bool,
    calendar: bool,
    days: int,
    output: Path | None,
) -> int | None:
    """Show what is known and what is not: by symbol, stream and UTC day."""
    from replay.archive import Archive
    from replay.calendar import calendar_of, footer, lines, svg
    from replay.coverage import why_nothing
    from replay.output import write

    if calendar and as_json:
        raise BadInput("a calendar is no JSON", "leave out --json or --calendar")
    if output is not None and not (calendar and output.suffix == ".svg"):
        raise BadInput(f"{output} is no calendar", "add --calendar and name a file that ends .svg")
    with Archive(archive) as tape:
        if not calendar:
            write(tape.coverage(symbol, start, end), "json" if as_json else "table",
                  sys.stdout.buffer)  # fmt: skip
            sys.stdout.buffer.flush()
        picture = calendar_of(tape.covered_time(symbol, start, end), days if calendar else 2**31)
        if not picture.rows:
            click.echo(f"replay: {why_nothing(tape.snapshot, tape.path)}", err=True)
    if not calendar:
        if not as_json:
            click.echo(footer(picture.total))
    elif output is not None:
        _write_picture(svg(picture), output)
    else:
        for line in lines(picture, coloured=sys.stdout.isatty()):
            click.echo(line)
    return None


def _write_picture(picture: str, output: Path) -> None:
    try:
        output.write_text(picture, encoding="utf-8")
    except OSError as error:
        raise BadInput(
            f"{output} cannot be written: {error.strerror}",
            "name a file in a folder that exists and that you may write to",
        ) from None


@main.command()
@archive_argument
@click.option(
    "--truth",
    type=click.Path(path_type=Path),
    help="Compare with these books too: what `replay exchange --truth` wrote.",
)
@click.option("--json", "as_json", is_flag=True)
@_answers
def verify(archive: Path, truth: Path | None, as_json: bool) -> int | None:
    """Replay every book and compare it with every full book of the record."""
    import orjson

    from replay.archive import Archive
    from replay.truth_check import check_truth

    with Archive(archive) as tape:
        report = tape.verify()
        told = None if truth is None else check_truth(tape.engine(), truth)
    ok = report.ok and (told is None or told.ok)
    if as_json:
        answer = report.to_json() | ({} if told is None else told.to_json()) | {"ok": ok}
        click.echo(orjson.dumps(answer).decode())
    else:
        for line in (*report.lines(), *(() if told is None else told.lines())):
            click.echo(line)
    return None if ok else NO


@main.command("sql-init")
@archive_argument
@_answers
def sql_init(archive: Path) -> int | None:
    """Print plain SQL that shows the archive to any DuckDB, without this program."""
    from replay.archive import Archive
    from replay.sql_init import script

    with Archive(archive) as tape:
        click.echo(script(tape.path, tape.snapshot), nl=False)
    return None


if __name__ == "__main__":
    main()
