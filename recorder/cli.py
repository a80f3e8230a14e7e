"""The `recorder` command: each subcommand imports its heavy half only when it runs.

Exit codes: 0 done, 1 the answer is no, 2 bad input, 3 venue or I/O failed after retries.
Data goes to stdout, messages to stderr.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import version

import click

from recorder.errors import RecorderError

BAD_INPUT, IO_FAILED = 2, 3

_COMMANDS: Mapping[str, tuple[str, str, str]] = {
    "demo": ("recorder.commands_live", "demo_command", "Record a synthetic exchange, prove it."),
    "run": ("recorder.commands_live", "run_command", "Record until stopped."),
    "status": ("recorder.commands_operate", "status_command", "Say how recording goes."),
    "reload": ("recorder.commands_operate", "reload_command", "Read the configuration again."),
    "job": ("recorder.commands_operate", "job_command", "Run a job now, e.g. compaction."),
    "import": ("recorder.commands_archive", "import_command", "Import a capture file."),
    "rebuild": ("recorder.commands_archive", "rebuild_command", "Rebuild from the raw log."),
    "verify": ("recorder.commands_archive", "verify_command", "Check an archive as a whole."),
    "init": ("recorder.commands_config", "init_command", "Write a commented configuration."),
    "check-config": ("recorder.commands_config", "check_config_command", "Check a configuration."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called, not when they are listed."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the names in the order of a day's work."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import one command."""
        if cmd_name not in _COMMANDS:
            return None
        module, name, _ = _COMMANDS[cmd_name]
        command = getattr(import_module(module), name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the commands without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in _COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("booktape"), prog_name="recorder")
def group() -> None:
    """Record an exchange's order books tick by tick, and never lie about what was missed."""


def main() -> None:
    """Run the command line; turn our errors into their exit codes."""
    try:
        code = group.main(prog_name="recorder", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except click.ClickException as error:
        error.show()
        sys.exit(BAD_INPUT)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except RecorderError as error:
        click.echo(f"recorder: {error}", err=True)
        sys.exit(error.exit_code)
    except OSError as error:
        click.echo(f"recorder: {error}", err=True)
        sys.exit(IO_FAILED)


if __name__ == "__main__":
    main()
