"""The command `replay exchange`."""

import asyncio
import contextlib
import errno
import ipaddress
import signal
import ssl
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import click

from replay.exchange.api_keys import ApiKeys
from replay.exchange.app import ExchangeServer, ServerLimits, listening
from replay.exchange.dialects import DIALECTS, WORDINGS
from replay.exchange.duration import NS, parse_duration
from replay.exchange.errors import (
    BadCertificate,
    BadOption,
    ExchangeError,
    NotLoopback,
    PortInUse,
    UnwritableFile,
)
from replay.exchange.events import EventPlan
from replay.exchange.faults import FaultPlan, parse_fault
from replay.exchange.frame_log import FrameLog
from replay.exchange.line_file import LineFile
from replay.exchange.request_log import RequestLog
from replay.exchange.synthetic.flow import USUAL_LEVELS
from replay.exchange.synthetic.instruments import (
    DEFAULT_SYMBOLS,
    instrument_for,
    made_up_symbols,
)
from replay.exchange.synthetic.source import SyntheticSource
from replay.exchange.synthetic.truth import OrderLogWriter, TruthWriter
from schemas.kucoin.profiles.kucoin_2019 import KUCOIN_2019

BAD_INPUT, FAILED = 2, 3

_HELP = f"""Serve a synthetic exchange that speaks KuCoin's public protocol.

A matching engine with seeded order flow trades the SYMBOLS; REST and websocket answer as the
exchange did, on a loopback port, until SIGTERM, SIGINT or the end of --for.

\b
Faults, any number of them (--fault …):
  KIND=RATE[:key=value…]   each message or request is struck with this chance
  KIND@TIME[:key=value…]   once, so long after the start (500ms, 8s, 2m)
\b
  drop duplicate reorder   messages         topic= symbol= count=
  delay                    messages, order kept in a stream        … for=200ms
  garbage                  half a JSON text and a binary frame before a message
  disconnect               connections (@: all of them, or count=)
  silence                  connections stay open, nothing comes    topic= symbol= for=3s
  stale                    REST books at least events=300 old      topic= symbol= count=
  429 429000 200002 1015   every REST request refused: quota spent, server overloaded,
                           endpoint asked too often, the network in front        for=2s
\b
  --fault drop=0.001 --fault disconnect@8s
  --fault drop@5s:topic=level2:symbol=BTC-USDT:count=1

\b
Events, any number of them (--event …), each at its time:
  list@5s:NEW-USDT         rename@6s:WIN-USDT=WINK-USDT    disable@7s:WIN-USDT
  delist@8s:ETH-BTC        status@9s:close:for=3s          enable@9s:WIN-USDT

\b
Dialects (--dialect …): kucoin-2019 is the document of February 2019, level 3 and all;
kucoin-classic the exchange as it is today, where --api-key-file tells it the keys it knows:
  [[keys]]
  key = "k1"
  secret = "s1"
  passphrase = "p1"
  version = 3                # 1, 2 or 3
  permissions = ["General"]  # a key that may trade has Spot as well

\b
Clients of the real exchange need its address replaced by this one, and some need more:
  ccxt           options: "fetchMarkets": {{"types": ["spot"]}}, "uta": False; with a key also
                 "hf": True, and load_markets(params={{"marginables": False}})
  cryptofeed     https: --tls-cert; its topics have a space, which kucoin-classic refuses
  kucoin-python  https: --tls-cert
No order, transfer or withdrawal is answered to anybody: their paths are not found.

SYMBOLS may contain synthetic:N, that many made-up ones; without SYMBOLS it lists
{", ".join(DEFAULT_SYMBOLS)}.
"""


@dataclass(frozen=True, slots=True)
class Options:
    """What the command was asked for, already checked for form."""

    host: str
    port: int
    symbols: tuple[str, ...]
    seed: int
    rate: float
    l2_batch: int | None
    depth: int
    walk: float
    dialect: str
    faults: tuple[str, ...]
    events: tuple[str, ...]
    api_key_file: Path | None
    token_life_ns: int | None
    truth: Path | None
    truth_every: int
    order_log: Path | None
    fault_log: Path | None
    request_log: Path | None
    frame_log: Path | None
    number_frames: bool
    for_ns: int | None
    port_file: Path | None
    limits: bool
    tls: ssl.SSLContext | None
    ping_interval_ms: int | None
    ping_timeout_ms: int


@click.command("exchange", help=_HELP)
@click.option("--host", default="127.0.0.1", show_default=True, help="Loopback address.")
@click.option("--port", type=click.IntRange(0, 65_535), required=True, help="0: a free port.")
@click.option("--symbols", help="Comma list, such as BTC-USDT,ETH-BTC.")
@click.option("--seed", type=int, default=1, show_default=True, help="Decides every order.")
@click.option(
    "--rate",
    type=click.FloatRange(0.01, 1_000_000),
    default=200.0,
    show_default=True,
    help="Engine events per second and symbol.",
)
@click.option(
    "--l2-batch",
    type=click.IntRange(1, 10_000),
    help="Most engine events in one level2 message; 1 in 2019, 8 in classic.",
)
@click.option(
    "--dialect",
    type=click.Choice(list(DIALECTS)),
    default=KUCOIN_2019.name,
    show_default=True,
    help="What is spoken.",
)
@click.option(
    "--depth",
    type=click.IntRange(30, 5_000),
    default=USUAL_LEVELS,
    show_default=True,
    help="Levels a side the books return to, about.",
)
@click.option(
    "--walk",
    type=click.FloatRange(0, 10_000),
    default=0.0,
    show_default=True,
    help="Ticks a second the price walks one way before it turns; 0: it trembles.",
)
@click.option("--event", "events", multiple=True, metavar="SPEC", help="See above; repeatable.")
@click.option(
    "--api-key-file", type=click.Path(path_type=Path), help="TOML with [[keys]], mode 0600."
)
@click.option("--token-life", metavar="TIME", help="Age at which tokens and connections end.")
@click.option("--fault", "faults", multiple=True, metavar="SPEC", help="See above; repeatable.")
@click.option("--truth", type=click.Path(path_type=Path), help="Whole books, JSON lines [.zst].")
@click.option(
    "--truth-every",
    type=click.IntRange(1),
    default=1_000,
    show_default=True,
    help="One sequence in so many, at random.",
)
@click.option("--order-log", type=click.Path(path_type=Path), help="Every event [.zst].")
@click.option("--fault-log", type=click.Path(path_type=Path), help="Every fault [.zst].")
@click.option("--request-log", type=click.Path(path_type=Path), help="Every request [.zst].")
@click.option("--frame-log", type=click.Path(path_type=Path), help="Every frame's crc32 [.zst].")
@click.option("--number-frames", is_flag=True, help="Tell each message its number, as `frame`.")
@click.option("--for", "for_", metavar="TIME", help="Stop by itself after 30s, 5m …")
@click.option("--port-file", type=click.Path(path_type=Path), help="Write the port there.")
@click.option("--no-limits", is_flag=True, help="Lift the dialect's request limits.")
@click.option("--tls-cert", type=click.Path(path_type=Path), help="PEM: https and wss instead.")
@click.option("--tls-key", type=click.Path(path_type=Path), help="PEM, if not in the same file.")
@click.option("--ping-interval-ms", type=click.IntRange(1), help="50000 in 2019, 18000 in classic.")
@click.option("--ping-timeout-ms", type=click.IntRange(1), default=10_000, show_default=True)
def exchange_command(
    host: str,
    port: int,
    symbols: str | None,
    seed: int,
    rate: float,
    l2_batch: int | None,
    dialect: str,
    depth: int,
    walk: float,
    events: tuple[str, ...],
    api_key_file: Path | None,
    token_life: str | None,
    faults: tuple[str, ...],
    truth: Path | None,
    truth_every: int,
    order_log: Path | None,
    fault_log: Path | None,
    request_log: Path | None,
    frame_log: Path | None,
    number_frames: bool,
    for_: str | None,
    port_file: Path | None,
    no_limits: bool,
    tls_cert: Path | None,
    tls_key: Path | None,
    ping_interval_ms: int | None,
    ping_timeout_ms: int,
) -> None:
    """Run the exchange; exit 0 when stopped, 2 on bad input, 3 when the port is taken."""
    try:
        options = Options(
            _loopback(host),
            port,
            DEFAULT_SYMBOLS if symbols is None else _symbols(symbols),
            seed,
            rate,
            l2_batch,
            depth,
            walk,
            dialect,
            faults,
            events,
            api_key_file,
            None if token_life is None else parse_duration(token_life),
            truth,
            truth_every,
            order_log,
            fault_log,
            request_log,
            frame_log,
            number_frames,
            None if for_ is None else parse_duration(for_),
            port_file,
            not no_limits,
            _tls(tls_cert, tls_key),
            ping_interval_ms,
            ping_timeout_ms,
        )
        asyncio.run(run_exchange(options))
    except BadOption as problem:
        click.echo(f"replay exchange: {problem}", err=True)
        sys.exit(BAD_INPUT)
    except (ExchangeError, OSError) as problem:
        click.echo(f"replay exchange: {problem}", err=True)
        sys.exit(FAILED)


async def run_exchange(options: Options) -> None:
    """Serve until a signal or the time asked for, then finish every file.

    Raises
    ------
    BadOption
        A symbol, a fault, an event or a file cannot be used.
    PortInUse
        Somebody else listens there.
    """
    stop = asyncio.Event()
    dialect = DIALECTS[options.dialect]
    keys = ApiKeys() if options.api_key_file is None else ApiKeys.load(options.api_key_file)
    events = EventPlan.parse(options.events, options.symbols)
    for symbol in events.listings:
        instrument_for(symbol)  # a name that cannot be listed is said now, not when it is due
    with ExitStack() as files, _stopping_on_signals(stop):
        plan = FaultPlan(
            [parse_fault(spec) for spec in options.faults],
            options.seed,
            _open(files, options.fault_log),
        )
        truth, order_log = _open(files, options.truth), _open(files, options.order_log)
        books = ("l2", "l3") if "level3" in dialect.profile.topics else ("l2",)
        source = SyntheticSource(
            options.symbols,
            seed=options.seed,
            rate=options.rate,
            l2_batch=options.l2_batch,
            truth=TruthWriter(truth, options.truth_every, options.seed, books) if truth else None,
            order_log=OrderLogWriter(order_log) if order_log else None,
            keep_books=plan.needs_old_books,
            wording=WORDINGS[options.dialect],
            levels=options.depth,
            walk_ticks=options.walk,
        )
        limits = dialect.profile.limits
        server = ExchangeServer(
            source,
            faults=plan,
            limits=ServerLimits.of(limits) if options.limits else ServerLimits.lifted(),
            seed=options.seed,
            dialect=dialect,
            events=events,
            keys=keys,
            token_life_ns=options.token_life_ns,
            request_log=RequestLog(_open(files, options.request_log)),
            frame_log=FrameLog(
                _open(files, options.frame_log), writes_numbers=options.number_frames
            ),
            ping_interval_ms=options.ping_interval_ms,
            ping_timeout_ms=options.ping_timeout_ms,
        )
        try:
            async with listening(server, options.host, options.port, options.tls) as port:
                if options.port_file is not None:
                    _write_port(options.port_file, port)
                scheme = "http" if options.tls is None else "https"
                click.echo(f"listening on {scheme}://{_in_url(options.host)}:{port}", err=True)
                await _until(stop, server, options.for_ns)
        except OSError as problem:
            if problem.errno != errno.EADDRINUSE:
                raise
            raise PortInUse(options.host, options.port) from problem
    if server.failure is not None:
        raise server.failure


async def _until(stop: asyncio.Event, server: ExchangeServer, for_ns: int | None) -> None:
    """Wait for a signal, the end of the time, or the market's failure."""
    waits = [asyncio.create_task(event.wait()) for event in (stop, server.failed)]
    timeout = None if for_ns is None else for_ns / NS
    _, pending = await asyncio.wait(waits, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)


@contextlib.contextmanager
def _stopping_on_signals(stop: asyncio.Event) -> Iterator[None]:
    """Set `stop` on SIGTERM and SIGINT while the context lasts."""
    loop = asyncio.get_running_loop()
    signals = (signal.SIGTERM, signal.SIGINT)
    for number in signals:
        loop.add_signal_handler(number, stop.set)
    try:
        yield
    finally:
        for number in signals:
            loop.remove_signal_handler(number)


def _loopback(host: str) -> str:
    """Return `host` if it is this machine alone."""
    if host == "localhost":
        return "127.0.0.1"
    try:
        if ipaddress.ip_address(host).is_loopback:
            return host
    except ValueError:
        pass
    raise NotLoopback(host)


def _symbols(text: str) -> tuple[str, ...]:
    """Return the symbols of a comma list; ``synthetic:N`` stands for so many made-up ones."""
    symbols: list[str] = []
    for word in text.split(","):
        made_up, _, count = word.partition(":")
        if made_up == "synthetic" and count.isascii() and count.isdigit():
            symbols += made_up_symbols(int(count))
        else:
            symbols.append(word)
    return tuple(symbols)


def _tls(certificate: Path | None, key: Path | None) -> ssl.SSLContext | None:
    """Return what a certificate and its key make possible, if there is one."""
    if certificate is None:
        if key is not None:
            raise BadCertificate(key, "a key without --tls-cert")
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(certificate, key)
    except OSError as problem:
        raise BadCertificate(certificate, problem.strerror or str(problem)) from problem
    return context


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _open(files: ExitStack, path: Path | None) -> LineFile | None:
    return None if path is None else files.enter_context(LineFile(path))


def _write_port(path: Path, port: int) -> None:
    """Write the port; the file appears with its content, never empty."""
    try:
        beside = path.with_name(f".{path.name}.part")
        beside.write_text(f"{port}\n")
        beside.replace(path)
    except OSError as problem:
        raise UnwritableFile(path, problem.strerror or str(problem)) from problem
