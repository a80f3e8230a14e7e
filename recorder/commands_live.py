"""The commands that record live: `run` and `demo`."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from recorder.clock import BadDuration, parse_duration
from recorder.errors import RecorderError


class Duration(click.ParamType[float]):
    """A duration like 30s, 5m or 1h, in seconds."""

    name = "duration"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Parse, or fail with what would be right."""
        if isinstance(value, float):
            return value
        try:
            return parse_duration(str(value))
        except BadDuration as error:
            self.fail(str(error), param, ctx)


@contextmanager
def _ending_by_error() -> Iterator[None]:
    """Print an error of ours as its message and remedy, and exit by its code."""
    try:
        yield
    except RecorderError as error:
        click.echo(f"recorder: {error}", err=True)
        sys.exit(error.exit_code)


@click.command("run")
@click.argument("config_file", metavar="CONFIG", type=click.Path(path_type=Path))
@click.option("--for", "for_s", type=Duration(), help="Stop by itself after so long, e.g. 30s.")
@click.option(
    "--status-every",
    "status_every_s",
    type=Duration(),
    default="10s",
    show_default=True,
    help="How often to log what is recorded.",
)
def run_command(config_file: Path, for_s: float | None, status_every_s: float) -> None:
    """Record an exchange as CONFIG says, until SIGTERM, Ctrl-C or --for."""
    with _ending_by_error():
        from recorder.config import load_config
        from recorder.daemon import record
        from recorder.logs import configure_logs
        from recorder.tape import open_tape
        from recorder.transport.notify import notifier_of_process

        config = load_config(config_file)
        configure_logs(config.log.level, config.log.format)
        asyncio.run(
            record(
                config,
                lambda: open_tape(config),
                for_s=for_s,
                status_every_s=status_every_s,
                reread=lambda: load_config(config_file),
                notifier=notifier_of_process(),
            )
        )


@click.command("demo")
@click.option(
    "--seconds",
    type=click.FloatRange(min=12, max=600),
    default=20.0,
    show_default=True,
    help="How long to record.",
)
@click.option(
    "--archive",
    type=click.Path(file_okay=False, path_type=Path),
    help="New or empty folder to record into. [default: a temporary one, named at the end]",
)
def demo_command(seconds: float, archive: Path | None) -> None:
    """Record a synthetic exchange with faults, and prove every rebuilt book."""
    with _ending_by_error():
        from recorder.demo import ask_everything, plan_demo, record_live
        from recorder.demo_report import Progressing, make_console, print_opening, print_report

        # As Ctrl-C does: out through every `finally`, which ends what was started.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
        plan = plan_demo(seconds, archive)
        console = make_console()
        print_opening(console, plan)
        with Progressing(console, plan) as progressing:
            record_live(plan, progressing.watch)
        with console.status("replaying every book from Parquet"):
            answers = ask_everything(plan)
        if not print_report(console, plan, answers):
            sys.exit(1)
