"""The commands about configurations: `init` and `check-config`."""

from __future__ import annotations

import shlex
from pathlib import Path

import click


@click.command("init")
@click.argument(
    "config_file", metavar="[FILE]", type=click.Path(path_type=Path), default=Path("recorder.toml")
)
@click.option(
    "--profile", default="kucoin-classic", show_default=True, help="The exchange's dialect."
)
@click.option(
    "--symbols",
    default="BTC-USDT,ETH-USDT",
    show_default=True,
    help='Names, patterns ("*-USDT"), "all" or "top:50", with commas between.',
)
@click.option(
    "--archive", default="archive", show_default=True, help="Folder to record into, beside FILE."
)
def init_command(config_file: Path, profile: str, symbols: str, archive: str) -> None:
    """Write a commented configuration to FILE; nothing is overwritten."""
    from recorder.config_template import format_template, write_template

    write_template(config_file, format_template(profile, symbols, archive))
    name = shlex.quote(str(config_file))
    click.echo(f"{config_file} is written. Next:")
    click.echo(f"  recorder check-config {name}")
    click.echo(f"  recorder run {name}")


@click.command("check-config")
@click.argument("config_file", metavar="CONFIG", type=click.Path(path_type=Path))
def check_config_command(config_file: Path) -> None:
    """Check CONFIG and print what the recorder would run with, defaults included.

    Each line says where its value comes from: default, file, or a variable of the environment.
    """
    from recorder.api_key import load_api_key
    from recorder.config import load_config, origins
    from recorder.config_text import format_config
    from recorder.subscriptions import plan_connections

    config = load_config(config_file)
    api_key = load_api_key(config)
    venue, names = config.venue, config.selection.names
    plan = plan_connections(names, venue.streams, config.profile, venue.topics_per_connection)
    click.echo(format_config(config, origins(config_file)))
    topics = sum(len(wish.symbols) for wishes in plan for wish in wishes)
    told = [f"{topics} topics on {len(plan)} connection{'s' * (len(plan) != 1)}"] if names else []
    if len(names) < len(venue.symbols):
        entries = ", ".join(entry for entry in venue.symbols if entry not in names)
        told.append(f"{entries}: the exchange is asked at the start")
    if api_key is not None:
        told.append("with an API key")
    click.echo(f"{config_file} holds: {'; '.join(told)}", err=True)
