"""Commands on archives: import, rebuild, verify."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click
import orjson

from recorder.errors import RecorderError
from recorder.importing import import_capture
from recorder.logs import configure_logs
from recorder.rebuilding import rebuild
from recorder.storage.open_parts import RollRules
from recorder.verification import verify
from schemas.kucoin.profiles import UnknownProfile, profile_named

_PATH = click.Path(path_type=Path)

# By the first word of a count's name: what to say of so many, with its other words.
_KEPT_RAW = {
    "topic": "messages of {} are kept raw: no dataset for them",
    "answer": "answers of {} are kept raw: no dataset for them",
    "field": "messages have a field that no column has, kept raw: {}",
    "time_implausible": "times of {} cannot be times and are left out",
    "message_malformed": "messages are not as the dialect says, kept raw",
    "frame_garbage": "frames cannot be read, kept raw",
    "rest_answer_malformed": "answers are not as the dialect says, kept raw",
    "rest_answer_refused": "answers are refusals, kept raw",
}


@click.command("import")
@click.argument("file", type=_PATH)
@click.argument("archive", type=_PATH)
@click.option("--profile", "profile_name", required=True, help="Dialect of the capture.")
def import_command(file: Path, archive: Path, profile_name: str) -> None:
    """Import a capture FILE into ARCHIVE: one JSON object a line, in order of receipt.

    Each line is {"kind": "frame" or "rest", "ts_recv": "1619378325.093176", "data": "…"}, a rest
    line with its "url". A file is imported whole or not at all, and only once.
    """
    try:
        profile = profile_named(profile_name)
    except UnknownProfile as error:
        raise RecorderError(str(error), "name one of these with --profile") from None
    configure_logs("warning", "text")
    imported = import_capture(file, archive, profile)
    click.echo(f"{imported.lines} lines imported as run {imported.run_id}")
    for told in _left_raw(imported.counts):
        click.echo(f"  {told}", err=True)


def _left_raw(counts: Mapping[str, int]) -> list[str]:
    """Say what of a capture became no row and stands in the raw log alone."""
    told = []
    for name, count in sorted(counts.items()):
        kind, _, what = name.partition(" ")
        if kind in _KEPT_RAW:
            told.append(f"{count} {_KEPT_RAW[kind].format(what)}")
    return told


@click.command("rebuild")
@click.argument("archive", type=_PATH)
@click.option("--into", type=_PATH, required=True, help="Folder of the new archive.")
@click.option(
    "--roll-interval-s",
    type=click.FloatRange(min=0, min_open=True),
    help="Close a part after so many seconds of log time, however few rows it has.",
)
def rebuild_command(archive: Path, into: Path, roll_interval_s: float | None) -> None:
    """Make ARCHIVE anew from its raw log alone, with today's decoder."""
    rules = RollRules()
    if roll_interval_s is not None:
        rules = RollRules(roll_interval_s=roll_interval_s, rows_min=1)
    done = rebuild(archive, into, rules)
    click.echo(f"{done.lines} lines of {done.runs} runs rebuilt into {into}")
    for damage in done.damage:
        click.echo(f"  {damage}", err=True)
    if done.damage:
        click.get_current_context().exit(1)


@click.command("verify")
@click.argument("archive", type=_PATH)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def verify_command(archive: Path, as_json: bool) -> None:
    """Check ARCHIVE: files, ledger, raw log against rows, and every rebuilt book."""
    report = verify(archive)
    if as_json:
        click.echo(
            orjson.dumps(
                {
                    "holds": report.holds,
                    "runs": report.runs,
                    "parts": report.parts,
                    "rows": report.rows,
                    "lines": report.lines,
                    "problems": report.problems,
                    "not_comparable": report.not_comparable,
                    "books": report.books,
                },
                option=orjson.OPT_INDENT_2,
            ).decode()
        )
    else:
        click.echo(
            f"{report.runs} runs, {report.parts} parts, {report.rows} rows compared with "
            f"{report.lines} raw-log lines: {'everything holds' if report.holds else 'NOT sound'}"
        )
        for line in [*report.problems, *report.not_comparable]:
            click.echo(f"  {line}")
    if not report.holds:
        click.get_current_context().exit(1)
