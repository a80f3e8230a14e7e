"""Questions to a running recorder, through the Unix socket of its archive."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from recorder.transport.http_server import CONTROL_SOCKET, short_address

CONNECT_TIMEOUT_S = 5.0
# What one command may take: a compaction of a large day, with much room.
ANSWER_TIMEOUT_S = 6 * 3600.0
# No recorder: the socket is not there, or nobody listens on what a crash left behind.
_NOBODY = frozenset({errno.ENOENT, errno.ECONNREFUSED, errno.ENOTDIR})


class NobodyThere(Exception):
    """No recorder runs on this archive."""


@dataclass(frozen=True, slots=True)
class ControlReply:
    """An answer: HTTP status and the JSON it carries."""

    status: int
    content: dict[str, Any]


async def ask_recorder(
    archive: Path, method: str, path: str, timeout_s: float = ANSWER_TIMEOUT_S
) -> ControlReply:
    """Ask the recorder of an archive.

    Raises
    ------
    NobodyThere   when none runs there
    OSError       when it is there and cannot be asked, or does not answer in time
    """
    timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=CONNECT_TIMEOUT_S)
    try:
        with short_address(archive / CONTROL_SOCKET) as address:
            connector = aiohttp.UnixConnector(path=address)
            async with (
                aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
                session.request(method, f"http://recorder{path}") as response,
            ):
                return ControlReply(response.status, orjson.loads(await response.read()))
    except aiohttp.ClientConnectorError as error:
        if error.os_error.errno in _NOBODY:
            raise NobodyThere from None
        raise OSError(error.os_error.errno, str(error.os_error)) from None
    except FileNotFoundError:
        raise NobodyThere from None
    except TimeoutError:
        raise OSError(errno.ETIMEDOUT, "the recorder does not answer") from None
    except orjson.JSONDecodeError:
        # Something of ours failed there; its own log says what.
        raise OSError(errno.EPROTO, f"the recorder answers HTTP {response.status}") from None
    except aiohttp.ClientError as error:
        raise OSError(errno.EIO, f"the recorder broke off: {error}") from None
