"""What the service manager hears."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from recorder.transport.notify import READY, WATCHDOG, Notifier

ABSTRACT = f"@booktape-test-{os.getpid()}"


class Manager:
    """A service manager that writes down what it is told."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(f"\0{address[1:]}" if address.startswith("@") else address)
        self._socket.settimeout(5)

    def hear(self) -> str:
        return self._socket.recv(4096).decode()

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["file", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(ABSTRACT if request.param == "abstract" else str(tmp_path / "notify"))
    yield manager
    manager.close()


def test_it_hears_lines(manager: Manager) -> None:
    notifier = Notifier(manager.address)
    notifier.say(READY, status="recording 3 symbols")
    assert manager.hear() == "READY=1\nSTATUS=recording 3 symbols"
    notifier.say(WATCHDOG)
    assert manager.hear() == "WATCHDOG=1"
    notifier.extend(1.5, "finishing")
    assert manager.hear() == "EXTEND_TIMEOUT_USEC=1500000\nSTATUS=finishing"
    notifier.reloading()
    assert re.fullmatch(r"RELOADING=1\nMONOTONIC_USEC=\d+", manager.hear())


def test_without_a_manager_nothing_is_said(tmp_path: Path) -> None:
    Notifier().say(READY)
    Notifier(str(tmp_path / "gone")).say(READY)


@pytest.mark.parametrize(
    ("environment", "watchdog_s"),
    [
        ({"NOTIFY_SOCKET": "@a", "WATCHDOG_USEC": "3000000"}, 3.0),
        ({"NOTIFY_SOCKET": "@a", "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "7"}, 3.0),
        # Meant for another process, or for nobody who listens.
        ({"NOTIFY_SOCKET": "@a", "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "8"}, None),
        ({"WATCHDOG_USEC": "3000000"}, None),
        ({"NOTIFY_SOCKET": "@a", "WATCHDOG_USEC": "0"}, None),
        ({"NOTIFY_SOCKET": "@a", "WATCHDOG_USEC": "soon"}, None),
        ({"NOTIFY_SOCKET": "@a"}, None),
    ],
)
def test_the_watchdog_is_told_when_it_watches_us(
    environment: dict[str, str], watchdog_s: float | None
) -> None:
    assert Notifier.of_environment(environment, 7).watchdog_s == watchdog_s
