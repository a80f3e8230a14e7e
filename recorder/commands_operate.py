"""The commands of a recorder's day: `status`, `reload` and `job`.

Each takes the archive, or the configuration that names it. A running recorder answers through the
socket in its archive; without one, the archive itself is asked.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from recorder.config import Config, load_config
from recorder.errors import RecorderError
from schemas.timestamps import NS_PER_S

DONE, FAILED, BAD_INPUT = 0, 1, 2
OK, NOT_FOUND = 200, 404
# What the recorder does about too little room, in words.
DISK_STAGES = {
    "parts_held": "little room: parts wait, the raw log goes on",
    "full": "FULL: recording is paused until there is room",
}
# Decoding is always some moments behind; more than this is told.
DECODE_LAG_TOLD_S = 1.0
# More is read on the page, or as JSON.
UNREADY_SHOWN = 20

_WHERE = click.argument(
    "where",
    metavar="[ARCHIVE|CONFIG]",
    type=click.Path(path_type=Path),
    default=Path("recorder.toml"),
)


def _locate(where: Path) -> tuple[Path, Config | None]:
    """Return the archive, and the configuration where that was named."""
    if where.is_dir():
        return where, None
    config = load_config(where)
    return config.archive, config


@click.command("status")
@_WHERE
@click.option("--json", "as_json", is_flag=True, help="As JSON, with every stream.")
def status_command(where: Path, as_json: bool) -> None:
    """Say how recording goes.

    Without an argument, ./recorder.toml says where. Exit code 0: a recorder runs and every
    symbol is in step; 1: it does not, or not all are.
    """
    from recorder.transport.control_client import NobodyThere, ask_recorder

    archive, _ = _locate(where)
    try:
        reply = asyncio.run(ask_recorder(archive, "GET", "/status", timeout_s=10.0))
    except NobodyThere:
        said = _last_words(archive)
        _print(said, as_json, _format_last_words)
        sys.exit(FAILED)
    _print({"running": True, **reply.content}, as_json, format_running)
    sys.exit(DONE if reply.content["ready"] else FAILED)


@click.command("reload")
@_WHERE
def reload_command(where: Path) -> None:
    """Have the running recorder read its configuration again.

    Without an argument, ./recorder.toml says where the recorder is. All of the file is applied, or
    nothing: a mistake, or a change that needs a restart, leaves everything as it was. Streams that
    stay wanted are not touched.
    """
    from recorder.transport.control_client import NobodyThere, ask_recorder

    archive, _ = _locate(where)
    try:
        reply = asyncio.run(ask_recorder(archive, "POST", "/reload"))
    except NobodyThere:
        raise RecorderError(
            f"no recorder runs on {archive}: there is nothing to reload",
            "start it with `recorder run CONFIG`",
        ) from None
    if reply.status != OK:
        click.echo(f"recorder: not reloaded: {reply.content['error']}", err=True)
        sys.exit(BAD_INPUT)
    for key, value in reply.content["changed"].items():
        click.echo(f"{key} = {value}")
    for word in ("added", "removed"):
        if reply.content[word]:
            click.echo(f"{word}: {', '.join(reply.content[word])}")
    if not reply.content["changed"]:
        click.echo("nothing has changed")


@click.command("job")
@click.argument("name")
@_WHERE
def job_command(name: str, where: Path) -> None:
    """Run job NAME now and wait for it.

    NAME is one of roll, compaction, retention, repack, backup, instruments, status. A running
    recorder does it; without one, the archive is opened for it. An ARCHIVE named without its
    CONFIG has no retention rules. Without either, ./recorder.toml is CONFIG.
    """
    from recorder.hand_jobs import run_by_hand
    from recorder.jobs import UnknownJob
    from recorder.logs import configure_logs
    from recorder.transport.control_client import NobodyThere, ask_recorder

    archive, config = _locate(where)
    try:
        reply = asyncio.run(ask_recorder(archive, "POST", f"/job/{name}"))
    except NobodyThere:
        configure_logs("warning", "text")
        try:
            run = asyncio.run(run_by_hand(archive, name, config)).row
        except UnknownJob as error:
            raise RecorderError(str(error)) from None
    else:
        run = reply.content
        if problem := run.get("error"):
            click.echo(f"recorder: {problem}", err=True)
            sys.exit(BAD_INPUT if reply.status == NOT_FOUND else FAILED)
    seconds = (run["ts_stop"] - run["ts_start"]) / NS_PER_S
    text = f"{name}: {run['outcome']} in {seconds:.1f} s"
    click.echo(f"{text}: {run['detail']}" if run["detail"] else text)
    sys.exit(FAILED if run["outcome"] == "failed" else DONE)


def _last_words(archive: Path) -> dict[str, Any]:
    """Say what the catalog knows of an archive nobody records into."""
    from recorder.storage.catalog_reader import CatalogReader
    from recorder.storage.raw_log import list_segments

    with closing(CatalogReader.open(archive)) as catalog:
        by_id = catalog.runs()
        runs = sorted(by_id.values(), key=lambda run: run["ts_start"])
        names = ("run_id", "profile", "version", "ts_start", "ts_stop", "stop_reason", "frames")
        return {
            "running": False,
            "archive": str(archive),
            "last_run": {name: runs[-1][name] for name in names} if runs else None,
            # The catalog hears of a run with its first parts; until then its raw log has it.
            "unfinished_runs": [run_id for run_id in list_segments(archive) if run_id not in by_id],
            "streams": catalog.spans(),
            "jobs": catalog.last_jobs(),
        }


def _print(said: dict[str, Any], as_json: bool, format_text: Any) -> None:
    import orjson

    if as_json:
        click.echo(orjson.dumps(said, option=orjson.OPT_INDENT_2).decode())
        return
    for line in format_text(said):
        click.echo(line)


def format_running(said: dict[str, Any]) -> list[str]:
    """Return the lines that say how a running recorder is, of what `/status` answered."""
    writer, decode, disk = said["writer"], said["decode"], said["disk"]
    unready = [each for each in said["streams"] if not each["ready"] and each["reason"]]
    durable = sum(each["durable"] for each in said["connections"])
    opened = sum(each["open"] for each in said["connections"])
    verdict = "in step" if said["ready"] else f"{said['symbols_unsynced']} not in step"
    lines = [
        f"{said['phase']} for {said['uptime_s']:.0f} s as run {said['run_id']}",
        f"symbols      {said['symbols_recorded']}, {verdict}",
        f"connections  {opened} of {said['connections_planned']}, {durable} frames durable",
        f"writer       {writer['problem'] or 'writes'}, {writer['queue_lines']} lines wait",
    ]
    if decode["from_raw_log"] or decode["lag_s"] >= DECODE_LAG_TOLD_S:
        source = ", from the raw log" if decode["from_raw_log"] else ""
        lines.append(
            f"decoding     {decode['lag_lines']} lines and {decode['lag_s']:.1f} s behind{source}"
        )
    if stage := DISK_STAGES.get(said["disk_stage"]):
        lines.append(f"disk         {stage}")
    if disk is not None:
        runway = "" if disk["runway_s"] is None else f", full in {disk['runway_s'] / 86_400:.1f} d"
        lines.append(
            f"disk         {disk['free_bytes'] / 1e9:.1f} GB free{runway}; "
            f"archive {disk['archive_bytes'] / 1e9:.3f} GB"
        )
    if said["venue_open"] is not None:
        state = "open" if said["venue_open"] else "not open"
        lines.append(f"exchange     {' '.join(filter(None, (state, said['venue_message'])))}")
    lines += [_format_job(job) for job in said["jobs"] if job["ts_start"]]
    lines += [
        f"not in step  {each['symbol']} {each['stream']}: {each['reason']}"
        for each in unready[:UNREADY_SHOWN]
    ]
    if len(unready) > UNREADY_SHOWN:
        lines.append(f"             and {len(unready) - UNREADY_SHOWN} more: --json lists them")
    return lines


def _format_last_words(said: dict[str, Any]) -> list[str]:
    lines = [f"no recorder runs on {said['archive']}"]
    run, not_ended = said["last_run"], "was not ended: the next start finishes it"
    if run is None and not said["unfinished_runs"]:
        return [*lines, "nothing has been recorded yet"]
    if run is not None:
        end = not_ended
        if run["ts_stop"] is not None:
            end = f"ended {_moment(run['ts_stop'])}: {run['stop_reason']}"
        lines.append(f"last run     {run['run_id']} {end}")
    lines += [f"crashed run  {run_id} {not_ended}" for run_id in said["unfinished_runs"]]
    lines += [
        f"recorded     {each['symbol']} {each['stream']}: {_moment(each['ts_from'])} to "
        f"{_moment(each['ts_to'])}, {each['rows']} rows, {each['gaps']} gaps"
        for each in said["streams"]
    ]
    lines += [_format_job(job) for job in said["jobs"]]
    return lines


def _format_job(job: dict[str, Any]) -> str:
    when = _moment(job["ts_start"])
    return f"job          {job['name']} {job['outcome']} at {when}: {job['detail']}"


def _moment(ts: int) -> str:
    return f"{datetime.fromtimestamp(ts // NS_PER_S, UTC):%Y-%m-%d %H:%M:%S}"
