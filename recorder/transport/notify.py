"""Messages to the service manager that started us: systemd's notification protocol.

Source: sd_notify(3) and sd_watchdog_enabled(3), read 2026-11-22. A datagram of `NAME=value` lines
goes to the Unix socket that `NOTIFY_SOCKET` names; a leading `@` means the abstract namespace.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import suppress

from recorder.clock import monotonic_ns

READY = "READY=1"
STOPPING_NOW = "STOPPING=1"
WATCHDOG = "WATCHDOG=1"
USEC_PER_S = 1_000_000


class Notifier:
    """Tell the service manager; without one, say nothing.

    Parameters
    ----------
    address : str              of the manager's socket; "" for none
    watchdog_s : float or None   it acts when it has not heard `WATCHDOG` for so long
    """

    def __init__(self, address: str = "", watchdog_s: float | None = None) -> None:
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self.watchdog_s = watchdog_s if address else None

    @classmethod
    def of_environment(cls, environment: Mapping[str, str], pid: int) -> Notifier:
        """Read what the service manager set for the process `pid`."""
        address = environment.get("NOTIFY_SOCKET", "")
        wanted = environment.get("WATCHDOG_USEC", "")
        meant_for = environment.get("WATCHDOG_PID", str(pid))
        watches = wanted.isdecimal() and int(wanted) > 0 and meant_for == str(pid)
        return cls(address, int(wanted) / USEC_PER_S if watches else None)

    def say(self, *messages: str, status: str = "") -> None:
        """Send messages, and a line for `systemctl status`; a manager that is gone is no error."""
        if not self._address:
            return
        lines = [*messages, *([f"STATUS={status}"] if status else [])]
        with (
            suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as connection,
        ):
            connection.sendto("\n".join(lines).encode(), self._address)

    def extend(self, seconds: float, status: str) -> None:
        """Ask for so many seconds more to start, or to stop."""
        self.say(f"EXTEND_TIMEOUT_USEC={int(seconds * USEC_PER_S)}", status=status)

    def reloading(self) -> None:
        """Say that a reload begins; `READY` ends it."""
        self.say("RELOADING=1", f"MONOTONIC_USEC={monotonic_ns() // 1000}")


def notifier_of_process() -> Notifier:
    """Return the notifier this process was started with."""
    return Notifier.of_environment(os.environ, os.getpid())
