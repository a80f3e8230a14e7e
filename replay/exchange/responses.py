"""Answers as the exchange words them: an envelope with a code, a refusal, a missing parameter."""

from collections.abc import Mapping

from aiohttp import web

from schemas.kucoin.rest import format_api_error

URL_NOT_FOUND, BAD_REQUEST, PARAMETER_ERROR = "404000", "400000", "400100"


class BadParameter(Exception):
    """A request with a parameter that is missing or means nothing; answered 400100."""


def json_response(
    body: bytes, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """Return a JSON answer."""
    return web.Response(body=body, status=status, content_type="application/json", headers=headers)


def error_response(
    status: int, code: str, message: str, headers: Mapping[str, str] | None = None
) -> web.Response:
    """Return an envelope that says no."""
    return json_response(format_api_error(code, message), status, headers)


def refusal(kind: str, headers: Mapping[str, str]) -> web.Response:
    """Return how a request too many is refused.

    Parameters
    ----------
    kind : str
        429: the quota is spent, `headers` say until when. 429000: the server is overloaded, and
        says nothing of a quota. 200002: one endpoint is asked too often. 1015: the network in
        front of the exchange, which speaks no JSON.
    """
    if kind == "1015":
        # As that network words it: no envelope, and the pause as HTTP has it.
        page = "<!doctype html><title>Error 1015</title>You are being rate limited: error code 1015"
        return web.Response(
            text=page, status=429, content_type="text/html", headers={"Retry-After": "30"}
        )
    if kind == "429000":
        return error_response(429, "429000", "Too many requests. System-level rate limit exceeded.")
    if kind == "200002":
        return error_response(
            200, "200002", "Too many requests in a short period of time, please retry later"
        )
    return error_response(429, "429000", "Too Many Requests", headers)
