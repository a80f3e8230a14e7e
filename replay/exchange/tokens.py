"""Tokens a websocket connects with."""

import base64
import random

TOKENS_KEPT = 10_000
LIFE_NS = 24 * 3600 * 1_000_000_000


class Tokens:
    """Issue tokens and recognise them.

    Parameters
    ----------
    seed : int
        Tokens look like the exchange's and differ from each other; they protect nothing.
    """

    def __init__(self, seed: int) -> None:
        self._random = random.Random(f"{seed}/tokens")
        # Oldest first, because dicts keep order.
        self._issued: dict[str, int] = {}

    def issue(self, now: int) -> str:
        """Return a new token, valid for 24 hours from `now` (ns)."""
        body, mark = (
            base64.urlsafe_b64encode(self._random.randbytes(size)).decode() for size in (96, 16)
        )
        token = f"{body}.{mark}"
        self._issued[token] = now
        if len(self._issued) > TOKENS_KEPT:
            del self._issued[next(iter(self._issued))]
        return token

    def is_valid(self, token: str, now: int) -> bool:
        """Tell whether `token` was issued here less than 24 hours ago."""
        issued = self._issued.get(token)
        return issued is not None and now - issued < LIFE_NS
