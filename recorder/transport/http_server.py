"""Where the recorder answers: an address for people and Prometheus, a Unix socket for commands."""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aiohttp import web

from recorder.errors import RecorderError

CONTROL_SOCKET = "control.sock"
# A Unix socket's address holds so many bytes, its closing zero included.
ADDRESS_BYTES_MAX = 108
# Whoever still reads the last answer gets so long.
SHUTDOWN_TIMEOUT_S = 1.0


class ListenFailed(RecorderError):
    """`http.listen` names an address that cannot be had."""

    def __init__(self, listen: str, error: OSError) -> None:
        self.listen = listen
        taken = error.errno == errno.EADDRINUSE
        problem = "another process listens there" if taken else error.strerror or str(error)
        super().__init__(
            f"configuration key http.listen: cannot listen on {listen}: {problem}",
            'name a free address, e.g. "127.0.0.1:9464", or "" for none',
        )


@contextmanager
def short_address(path: Path) -> Iterator[str]:
    """Give an address of a Unix socket that fits, however long its path is.

    A folder opened has a short name under /proc, which leads to the same socket.
    """
    if len(os.fsencode(path)) < ADDRESS_BYTES_MAX:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


class HttpServer:
    """Serve one application on a TCP address, another one on a Unix socket."""

    def __init__(self) -> None:
        self._runners: list[web.AppRunner] = []
        self._control: Path | None = None

    async def listen(self, app: web.Application, host: str, port: int) -> str:
        """Serve on an address; return it, with the real port where 0 was asked for.

        Raises
        ------
        ListenFailed   when the address cannot be had
        """
        runner = await self._runner(app)
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise ListenFailed(_shown(host, port), error) from None
        return f"http://{_shown(*runner.addresses[0][:2])}"

    async def listen_control(self, app: web.Application, path: Path) -> None:
        """Serve on a Unix socket that only this user may open.

        The caller holds the archive: a socket found there belonged to a recorder that is gone.

        Raises
        ------
        OSError   when there can be none, as on some network file systems
        """
        listener = _bind(path)
        try:
            await web.SockSite(await self._runner(app), listener).start()
        except BaseException:
            listener.close()
            raise
        self._control = path

    async def stop(self) -> None:
        """Answer nobody any more; the Unix socket is removed."""
        if self._control is not None:
            self._control.unlink(missing_ok=True)
            self._control = None
        while self._runners:
            await self._runners.pop().cleanup()

    async def _runner(self, app: web.Application) -> web.AppRunner:
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_TIMEOUT_S)
        await runner.setup()
        self._runners.append(runner)
        return runner


def _bind(path: Path) -> socket.socket:
    """Make the socket of an archive, in the place of one left behind."""
    if path.exists() and stat.S_ISSOCK(path.stat().st_mode):
        path.unlink()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with short_address(path) as address:
            listener.bind(address)
        # Nobody can connect before it listens, so nobody comes in between.
        path.chmod(0o600)
    except BaseException:
        listener.close()
        raise
    return listener


def _shown(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
