"""One recorder process from its first question to its last part: start, watch, stop.

Two ways out. A stop that was asked for closes the sockets, commits what is pending, writes
`run_stop` and publishes every open part. A writer that fails ends the process at once and loudly:
collecting what nobody keeps is the worst a recorder can do.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from importlib.metadata import version
from typing import Any, TypeVar

from recorder.api_key import ApiKey, load_api_key
from recorder.clock import monotonic_ns, wall_ns
from recorder.config import Config
from recorder.disk_policy import TELL_AGAIN_S
from recorder.errors import RecorderError, VenueError
from recorder.health.app import Commands, make_app
from recorder.health.monitor import Monitor, Subject
from recorder.health.status import STOPPING
from recorder.live import Live
from recorder.logs import Log, get_log
from recorder.raw_line import RawLine
from recorder.rest_log import LoggedRest
from recorder.startup import Greeting, greet_venue
from recorder.storage.disk import disk
from recorder.storage.known_symbols import known_symbols
from recorder.storage.last_trades import LastTrades, last_trades
from recorder.storage.room import is_disk_full
from recorder.subscriptions import Plan
from recorder.tape import Tape
from recorder.transport.http_server import CONTROL_SOCKET, HttpServer
from recorder.transport.notify import READY, STOPPING_NOW, WATCHDOG, Notifier
from recorder.transport.rate_limit import open_budgets
from recorder.transport.rest import RestClient
from recorder.transport.session import open_session
from schemas.archive_layout import CATALOG_DB

STATUS_EVERY_S = 10.0
# A whole archive opens in less; minutes of a busy market do not.
RECOVERY_TELL_S = 2.0
# Said with every word of a long recovery, or of a long end: the manager shall wait on.
PATIENCE_S = 60.0
# A try asks the exchange for its symbols and may read a crashed run again.
ROOM_AGAIN_S = 10.0
# A manager that watches us is told twice as often as it wants to hear.
WATCHDOG_SHARE = 0.5

T = TypeVar("T")


async def record(
    config: Config,
    open_tape: Callable[[], Tape],
    *,
    for_s: float | None = None,
    status_every_s: float = STATUS_EVERY_S,
    reread: Callable[[], Config] | None = None,
    notifier: Notifier | None = None,
) -> None:
    """Record until SIGTERM, SIGINT, or `for_s` seconds after the first connection was asked for.

    Parameters
    ----------
    open_tape : callable   opens the archive; called in the writer's thread, after the venue
        answered and listed every symbol
    reread : callable      reads the configuration again, for SIGHUP and `recorder reload`
    notifier : Notifier    tells the service manager

    Raises
    ------
    RecorderError   bad input, a venue that is not there, or a writer that failed
    """
    daemon = _Daemon(config, open_tape, reread, notifier or Notifier())
    with _Signals(daemon.stop, daemon.hang_up):
        await daemon.run(for_s, status_every_s)


class _Signals:
    """SIGTERM and SIGINT set an event, once; a second one has its usual, harsher effect."""

    def __init__(self, stop: asyncio.Event, hang_up: Callable[[], None]) -> None:
        self._stop = stop
        self._hang_up = hang_up
        self._loop = asyncio.get_running_loop()

    def __enter__(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._heard)
        self._loop.add_signal_handler(signal.SIGHUP, self._hang_up)

    def __exit__(self, *_: object) -> None:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            self._loop.remove_signal_handler(number)

    def _heard(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.remove_signal_handler(number)
        self._stop.set()


class _Daemon:
    """The process around a recording: what it asks first, who may look at it, how it ends."""

    def __init__(
        self,
        config: Config,
        open_tape: Callable[[], Tape],
        reread: Callable[[], Config] | None,
        notifier: Notifier,
    ) -> None:
        self.stop = asyncio.Event()
        self._config = config
        self._profile = config.profile
        self._open_tape = open_tape
        self._reread = reread
        self._notifier = notifier
        self._log: Log = get_log("recorder", venue=self._profile.venue)
        self._monitor = Monitor(self._subject)
        self._live: Live | None = None
        self._reloads: set[asyncio.Task[None]] = set()
        self._told_full_at = float("-inf")
        self._key: ApiKey | None = None

    async def run(self, for_s: float | None, status_every_s: float) -> None:
        """Answer, ask, open, record, close."""
        server = HttpServer()
        worker, appender = ThreadPoolExecutor(1, "writer"), ThreadPoolExecutor(1, "raw log")
        watching = asyncio.create_task(self._watch())
        try:
            if (address := self._config.http.address) is not None:
                url = await server.listen(make_app(self._monitor), *address)
                self._log.info("health pages", url=url)
            await self._record(server, worker, appender, for_s, status_every_s)
        finally:
            for task in (watching, *self._reloads):
                task.cancel()
            await asyncio.gather(watching, *self._reloads, return_exceptions=True)
            await server.stop()
            for thread in (worker, appender):
                thread.shutdown(wait=False, cancel_futures=True)

    def hang_up(self) -> None:
        """Reload: what SIGHUP means."""
        reloading = asyncio.create_task(self._reload_and_tell())
        self._reloads.add(reloading)
        reloading.add_done_callback(self._reloads.discard)

    async def _record(
        self,
        server: HttpServer,
        worker: ThreadPoolExecutor,
        appender: ThreadPoolExecutor,
        for_s: float | None,
        status_every_s: float,
    ) -> None:
        config = self._config
        first_lines: list[RawLine] = []
        async with open_session() as session:
            self._key = key = load_api_key(config)
            limits = self._profile.limits
            budgets = open_budgets(limits)
            client = RestClient(
                session, config.rest_url, budgets, limits, key.sign if key else None
            )
            while True:
                first_lines.clear()
                started = (wall_ns(), monotonic_ns())
                greeting = await self._greet(LoggedRest(client, first_lines.append), client, worker)
                if greeting is None:
                    return
                tape = await self._open(worker)
                if tape is not None:
                    break
                # What the exchange said by now is old when there is room again.
                await self._unless_stopped(self._wait_for_room())
            self._monitor.has_no_room = False
            self._monitor.api_key_can_trade = bool(greeting.key_can_trade)
            plan = Plan(self._profile, config.venue.topics_per_connection)
            plan.change(greeting.symbols, config.venue.streams)
            self._log = self._log.bind(run_id=tape.run_id)
            self._tell_recovered(tape)
            run_start = RawLine("run_start", *started, fields=self._start_fields(tape, greeting))
            live = Live(
                config, greeting, plan, session, client, worker, appender, tape, self._monitor,
                self._log, status_every_s,
            )  # fmt: skip
            reason = "internal"
            try:
                await live.start([run_start, *first_lines])
                self._live = live
                await self._open_control(server)
                self._notifier.say(READY, status=f"recording {len(greeting.symbols)} symbols")
                await live.until(self.stop, for_s)
                reason = "stopped"
            finally:
                self._live = None
                self._monitor.phase = STOPPING
                self._notifier.say(STOPPING_NOW, status="publishing what is open")
                await self._patiently(live.close(reason))

    async def _greet(
        self, rest: LoggedRest, client: RestClient, worker: ThreadPoolExecutor
    ) -> Greeting | None:
        """Ask the venue what there is to know before a run begins; None when stopped meanwhile."""
        config = self._config
        try:
            return await self._unless_stopped(
                greet_venue(
                    rest, client, config, self._key, known_symbols(config.archive), self._log
                )
            )
        except VenueError:
            # What a crash left needs no exchange, be it away or unwilling, and whoever reads shall
            # not wait for one.
            if disk().is_file(config.archive / CATALOG_DB):
                tape = await self._open(worker)
                if tape is not None:
                    self._tell_recovered(tape)
                    await asyncio.get_running_loop().run_in_executor(worker, tape.abandon)
            raise

    def _tell_recovered(self, tape: Tape) -> None:
        for run in tape.recovered:
            self._log.warning(
                "a crashed run was finished from its raw log",
                crashed_run_id=run.run_id,
                lines=run.lines,
                checkpoint_lines=run.checkpoint_lines,
                torn_bytes_cut=run.bytes_cut,
                **({"damage": run.damage} if run.damage else {}),
            )

    async def _open_control(self, server: HttpServer) -> None:
        if not self._config.archive.is_dir():
            return  # a stand-in without a disk
        path = self._config.archive / CONTROL_SOCKET
        app = make_app(self._monitor, Commands(self._reload, self._run_job))
        try:
            await server.listen_control(app, path)
        except OSError as error:
            # Recording comes first: what cannot be had is a convenience.
            self._log.warning("no control socket", path=str(path), problem=str(error))

    async def _open(self, worker: ThreadPoolExecutor) -> Tape | None:
        """Open the archive; what takes long there is a crashed run, and is told as it goes on.

        Returns
        -------
        Tape or None   None where there is no room: for a crashed run, the reserve or the catalog
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        opening = loop.run_in_executor(worker, self._open_tape)
        while not (await asyncio.wait({opening}, timeout=RECOVERY_TELL_S))[0]:
            self._log.warning(
                "finishing a crashed run from its raw log, recording starts after it",
                archive=str(self._config.archive),
                seconds=round(loop.time() - began),
            )
            self._notifier.extend(PATIENCE_S, "finishing a crashed run from its raw log")
        try:
            return opening.result()
        except Exception as error:
            if not is_disk_full(error):
                raise
            self._monitor.has_no_room = True
            if loop.time() - self._told_full_at >= TELL_AGAIN_S:
                self._told_full_at = loop.time()
                self._log.critical(
                    "the disk is full: recording starts once there is room",
                    archive=str(self._config.archive),
                    problem=str(error),
                )
            return None

    async def _wait_for_room(self) -> None:
        """Wait before another try, and have the manager wait with us."""
        self._notifier.extend(PATIENCE_S, "waiting for room on the disk")
        await asyncio.sleep(ROOM_AGAIN_S)

    async def _patiently(self, ending: Coroutine[Any, Any, None]) -> None:
        """Await the end of the recording, and have the manager wait with us while it goes on."""
        task = asyncio.create_task(ending)
        try:
            while not (await asyncio.wait({task}, timeout=RECOVERY_TELL_S))[0]:
                # For a disk that does not answer it would wait for ever.
                if not self._monitor.trouble():
                    self._notifier.extend(PATIENCE_S, "publishing what is open")
            task.result()
        finally:
            task.cancel()

    async def _unless_stopped(self, work: Coroutine[Any, Any, T]) -> T | None:
        """Await some work; None when a stop came first."""
        task = asyncio.create_task(work)
        stopped = asyncio.create_task(self.stop.wait())
        try:
            await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
            return task.result() if task.done() else None
        finally:
            for each in (task, stopped):
                each.cancel()
            await asyncio.gather(task, stopped, return_exceptions=True)

    def _start_fields(self, tape: Tape, greeting: Greeting) -> dict[str, object]:
        config = self._config
        last = LastTrades({}, [])
        if tape.archive is not None:
            last = last_trades(tape.archive.catalog, self._profile.name)
        return {
            "run_id": tape.run_id,
            "version": version("booktape"),
            "profile": self._profile.name,
            "profile_hash": self._profile.hash,
            "symbols": list(greeting.symbols),
            "signed": greeting.signed,
            "feeds": list(config.venue.streams),
            "last_trades": last.numbers,
            "last_trades_unproven": last.unproven,
            "limits": {
                **asdict(self._profile.limits),
                "buffer_updates_max": config.stitch.buffer_updates_max,
                "first_update_timer_s": config.stitch.first_update_timer_s,
            },
        }

    def _subject(self) -> Subject:
        watch = self._live.watch if self._live is not None else None
        return Subject(
            self._profile.venue,
            self._profile.name,
            version("booktape"),
            self._config.archive,
            watch.symbols if watch is not None else (),
            watch.feeds if watch is not None else self._config.venue.streams,
        )

    # Watched and commanded

    async def _watch(self) -> None:
        """Tell the service manager that we live, for as long as that is so."""
        if self._notifier.watchdog_s is None:
            return
        while True:
            await asyncio.sleep(self._notifier.watchdog_s * WATCHDOG_SHARE)
            if trouble := self._monitor.trouble():
                self._log.critical("not well, the watchdog is not told", problem=trouble)
            else:
                self._notifier.say(WATCHDOG)

    async def _run_job(self, name: str) -> Any:
        return await self._recording().jobs.run(name)

    async def _reload(self) -> dict[str, Any]:
        live = self._recording()
        if self._reread is None:
            raise RecorderError("this recorder has no configuration file to read again")
        self._notifier.reloading()
        try:
            return await live.reload(await asyncio.to_thread(self._reread))
        finally:
            self._notifier.say(READY, status=f"recording {len(live.watch.symbols)} symbols")

    async def _reload_and_tell(self) -> None:
        try:
            await self._reload()
        except RecorderError as error:
            self._log.error("configuration not reloaded, the old one stays", problem=str(error))

    def _recording(self) -> Live:
        if self._live is None:
            raise RecorderError("the recorder is not recording: it starts or stops just now")
        return self._live
