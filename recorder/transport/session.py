"""The HTTP session that REST and websockets of one process share."""

from __future__ import annotations

import aiohttp

Session = aiohttp.ClientSession


def open_session() -> Session:
    """Open a session, to be used as an async context; it keeps no cookie of the venue's."""
    return aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
