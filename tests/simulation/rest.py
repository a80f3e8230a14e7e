"""The venue's REST, as bad as a seed wants it: refusals, limits, old books, cut answers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import aiohttp
import orjson
from multidict import CIMultiDict
from yarl import URL

from schemas.kucoin.rest import (
    Bullet,
    format_answer,
    format_api_error,
    format_bullet,
    format_histories,
    format_instruments,
    format_timestamp,
)
from schemas.kucoin.venue_state import VenueStatus, format_status
from tests.simulation.market import listed
from tests.simulation.shallow import DEPTH, cut_off

if TYPE_CHECKING:
    from tests.simulation.network import Venue

# Short, so that a connection that died is noticed inside a seed.
PING_INTERVAL_MS, PING_TIMEOUT_MS = 6_000, 3_000
EMPTY = format_answer({"sequence": "0", "bids": None, "asks": None})


class Rest:
    """Answer requests out of the truth.

    Attributes
    ----------
    stale_books : set   (symbol, stream, sequence) of books told that were old or empty
    """

    def __init__(self, venue: Venue) -> None:
        self.stale_books: set[tuple[str, str, int]] = set()
        self._venue = venue
        self._tokens = 0

    async def answer(self, path: str, timeout_s: float) -> tuple[int, CIMultiDict[str], bytes]:
        """Answer a request: status, headers, body.

        Raises
        ------
        aiohttp.ClientError, TimeoutError
        """
        faults, draw = self._venue.faults, self._venue.draw
        url = f"http://venue{path}"
        if faults.strikes("slow_answer"):
            await asyncio.sleep(draw.uniform(0.2, 6.0))
        else:
            await asyncio.sleep(draw.uniform(0.005, 0.15))
        if faults.strikes("rest_refused"):
            raise refused(url)
        if faults.strikes("rest_reset"):
            raise aiohttp.ServerDisconnectedError
        if faults.strikes("rest_timeout"):
            await asyncio.sleep(timeout_s)
            raise TimeoutError
        headers: CIMultiDict[str] = CIMultiDict()
        if faults.strikes("limit_429"):
            return 429, headers, format_api_error("429", "too many requests")
        if faults.strikes("limit_429_stated"):
            headers["gw-ratelimit-reset"] = str(draw.randrange(100, 6_000))
            return 429, headers, format_api_error("429000", "too many requests")
        if faults.strikes("overload_429000"):
            return 429, headers, format_api_error("429000", "server overload")
        if faults.strikes("crowded_200002"):
            return 429, headers, format_api_error("200002", "too many requests in a short period")
        if faults.strikes("wall_1015"):
            return 429, headers, b"<html><title>Access denied</title>error code: 1015</html>"
        if faults.strikes("server_error"):
            return draw.choice((500, 502, 503, 504)), headers, b"<html>bad gateway</html>"
        body = self._body(path)
        if faults.strikes("truncated_json"):
            # The front of it says that all is well.
            body = body[: draw.randrange(min(len(body) - 1, 40), len(body))]
        return 200, headers, body

    def _body(self, path: str) -> bytes:
        venue = self._venue
        address, profile = urlsplit(path), venue.profile
        if address.path == profile.bullet_path:
            self._tokens += 1
            bullet = Bullet(f"t{self._tokens}", "ws://venue", PING_INTERVAL_MS, PING_TIMEOUT_MS)
            return format_bullet(bullet)
        if address.path == profile.symbols_path:
            return format_instruments(listed())
        if address.path == profile.timestamp_path:
            return format_timestamp(venue.now_ns())
        if address.path == profile.status_path:
            return format_status(VenueStatus("open"))
        symbol = parse_qs(address.query).get("symbol", [""])[0]
        if symbol not in venue.told:
            return format_api_error("900001", "symbol does not exist")
        if address.path == urlsplit(profile.histories_path).path:
            return format_histories(venue.truth(symbol).history[max(0, venue.told[symbol] - 1)])
        source = profile.source_of_path(address.path)
        if source is None:
            return format_api_error("404000", "Url Not Found")
        book = self._book(symbol, source.stream)
        return cut_off(book) if source.depth == DEPTH and book != EMPTY else book

    def _book(self, symbol: str, stream: str) -> bytes:
        """Answer a book: as it is, or as it was."""
        venue = self._venue
        answers = venue.truth(symbol).books[stream]
        at = max(0, venue.told[symbol] - 1)
        if venue.faults.strikes("empty_book"):
            self.stale_books.add((symbol, stream, 0))
            return EMPTY
        older = 0
        if venue.faults.strikes("stale_book"):
            older = venue.draw.randrange(1, 60)
        elif venue.faults.strikes("book_far_behind"):
            older = venue.draw.randrange(200, 1_000)
        body = answers[max(0, at - older)]
        if older:
            sequence = int(orjson.loads(body)["data"]["sequence"])
            self.stale_books.add((symbol, stream, sequence))
        return body


def request_info(url: str) -> aiohttp.RequestInfo:
    """Return what an answer that failed was an answer to."""
    return aiohttp.RequestInfo(URL(url), "GET", CIMultiDict(), URL(url))  # type: ignore[arg-type]


def refused(url: str) -> aiohttp.ClientConnectorError:
    """Return the error of a connection that nobody takes."""
    key = aiohttp.client_reqrep.ConnectionKey(
        URL(url).host or "", 80, False, True, None, None, None
    )
    return aiohttp.ClientConnectorError(key, ConnectionRefusedError(111, "connection refused"))
