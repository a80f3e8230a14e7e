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
    life_ns : int
        How long a token is good to connect with.
    """

    def __init__(self, seed: int, life_ns: int = LIFE_NS) -> None:
        self._life_ns = life_ns
        self._random = random.Random(f"{seed}/tokens")
        # Oldest first, because dicts keep order.
        self._issued: dict[str, int] = {}

    def issue(self, now: int) -> str:
        """Return a new token, issued at `now` (ns)."""
        body, mark = (
            base64.urlsafe_b64encode(self._random.randbytes(size)).decode() for size in (96, 16)
        )
        token = f"{body}.{mark}"
        self._issued[token] = now
        if len(self._issued) > TOKENS_KEPT:
            del self._issued[next(iter(self._issued))]
        return token

    def is_valid(self, token: str, now: int) -> bool:
        """Tell whether `token` was issued here and is not too old."""
        issued = self._issued.get(token)
        return issued is not None and now - issued < self._life_ns
