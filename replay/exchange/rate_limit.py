"""Count what a client does within a sliding window of time. Pure: the caller says when now is."""

from collections import deque


class SlidingWindow:
    """Allow at most `limit` events in any `window_ns`.

    A refused event is not counted: a client that slows down is let in again.
    """

    def __init__(self, limit: int, window_ns: int) -> None:
        self.limit = limit
        self._window_ns = window_ns
        self._times: deque[int] = deque()

    def allow(self, now: int) -> bool:
        """Count an event at `now` (ns) unless there are too many already."""
        self._forget(now)
        if len(self._times) >= self.limit:
            return False
        self._times.append(now)
        return True

    def retry_after_ns(self, now: int) -> int:
        """Return how long until the next event is allowed, ns; 0 when it is allowed now."""
        self._forget(now)
        if len(self._times) < self.limit:
            return 0
        return self._times[0] + self._window_ns - now

    def _forget(self, now: int) -> None:
        while self._times and self._times[0] <= now - self._window_ns:
            self._times.popleft()
