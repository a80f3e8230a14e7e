"""Where the recorder listens: Unix sockets of any length that only their owner opens."""

from __future__ import annotations

import socket
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from recorder.transport.control_client import NobodyThere, ask_recorder
from recorder.transport.http_server import CONTROL_SOCKET, HttpServer, ListenFailed
from tests.support.live_recorder import free_port


@pytest.fixture
async def server() -> AsyncIterator[HttpServer]:
    server = HttpServer()
    yield server
    await server.stop()


def echo_app() -> web.Application:
    async def echo(request: web.Request) -> web.Response:
        return web.json_response({"method": request.method, "path": request.path}, status=202)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", echo)
    return app


def deep(folder: Path) -> Path:
    """Return a new folder whose path fits no socket address."""
    while len(str(folder)) < 200:
        folder /= "a-rather-long-name-of-a-folder"
    folder.mkdir(parents=True)
    return folder


async def test_asks_and_is_answered_whatever_the_length_of_the_path(
    tmp_path: Path, server: HttpServer
) -> None:
    for archive in (tmp_path, deep(tmp_path)):
        await server.listen_control(echo_app(), archive / CONTROL_SOCKET)
        reply = await ask_recorder(archive, "POST", "/job/roll")
        assert (reply.status, reply.content) == (202, {"method": "POST", "path": "/job/roll"})
        mode = (archive / CONTROL_SOCKET).stat().st_mode
        assert (stat.S_ISSOCK(mode), stat.S_IMODE(mode)) == (True, 0o600)
        await server.stop()
        assert not (archive / CONTROL_SOCKET).exists()


async def test_an_answer_that_is_no_json_is_no_traceback(
    tmp_path: Path, server: HttpServer
) -> None:
    async def fail(request: web.Request) -> web.Response:
        return web.Response(status=500, text=f"{request.path} met a mistake")

    app = web.Application()
    app.router.add_post("/reload", fail)
    await server.listen_control(app, tmp_path / CONTROL_SOCKET)
    with pytest.raises(OSError, match="the recorder answers HTTP 500"):
        await ask_recorder(tmp_path, "POST", "/reload")


async def test_a_socket_left_behind_is_replaced(tmp_path: Path, server: HttpServer) -> None:
    path = tmp_path / CONTROL_SOCKET
    with socket.socket(socket.AF_UNIX) as crashed:
        crashed.bind(str(path))
    with pytest.raises(NobodyThere):
        await ask_recorder(tmp_path, "GET", "/status")
    await server.listen_control(echo_app(), path)
    assert (await ask_recorder(tmp_path, "GET", "/status")).status == 202


async def test_another_file_of_that_name_is_left_alone(tmp_path: Path, server: HttpServer) -> None:
    path = tmp_path / CONTROL_SOCKET
    path.write_text("mine")
    with pytest.raises(OSError, match="in use"):
        await server.listen_control(echo_app(), path)
    await server.stop()
    assert path.read_text() == "mine"


async def test_nobody_is_there_without_socket_or_archive(tmp_path: Path) -> None:
    for archive in (tmp_path, tmp_path / "none", deep(tmp_path), deep(tmp_path / "b") / "none"):
        with pytest.raises(NobodyThere):
            await ask_recorder(archive, "GET", "/status")


async def test_a_taken_port_is_named(server: HttpServer) -> None:
    port = free_port()
    assert await server.listen(echo_app(), "127.0.0.1", port) == f"http://127.0.0.1:{port}"
    with pytest.raises(ListenFailed, match=f"cannot listen on 127.0.0.1:{port}: another process"):
        await HttpServer().listen(echo_app(), "127.0.0.1", port)
