"""Run tests with one module changed, in a process forked from this one.

The libraries are imported before the fork; the project's own modules are imported behind it, the
changed one from memory: no file is written, so the tree stays as it is. What a test may take is
counted in the processor's time, so that a busy machine does not make a loop of what is only slow.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import importlib.machinery
import importlib.util
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib.abc import Loader, MetaPathFinder
from pathlib import Path
from types import CodeType, FrameType, ModuleType
from typing import NoReturn

import pytest
from hypothesis import Phase, settings

# The libraries are imported before pytest would prepare them; their own assertions stay plain.
OPTIONS = (
    *("-q", "-x", "--tb=no", "--assert=plain"),  # nobody reads how a test failed
    *("-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning"),
)
TEST_MAX_S = 2.0  # and ten times what the test takes when nothing is changed
TIMES_SLOWER = 10.0
WALL_MAX_S = 300.0
MEMORY_MAX_BYTES = 2 * 1024**3  # beside what the parent has: a loop may fill a list
POLL_S = 0.005
STRANGE = 70


@dataclass(slots=True)
class Result:
    """What became of the tests.

    Attributes
    ----------
    passed : bool
    killer : str             the test that failed, or what else ended the run
    took_s : dict[str, float]   processor time of each test that passed
    libraries : list[str]    modules that were imported and are not the project's
    """

    passed: bool
    killer: str = ""
    took_s: dict[str, float] = field(default_factory=dict)
    libraries: list[str] = field(default_factory=list)


def run_tests(module: Path, source: str, tests: Sequence[str], took_s: dict[str, float]) -> Result:
    """Run tests in the order given, with `source` in place of a module, up to the first failure.

    Parameters
    ----------
    took_s : dict[str, float]   processor time of each test when nothing is changed; empty: unknown
    """
    _folder()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        code = STRANGE  # whatever happens to the child, it never returns into its parent's loop
        with suppress(BaseException):
            os.close(reader)
            code = _run_in_child(writer, module, source, tests, took_s)
        os._exit(code)
    os.close(writer)
    deadline = time.monotonic() + WALL_MAX_S
    os.set_blocking(reader, False)
    told = b""
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        with suppress(BlockingIOError):
            while chunk := os.read(reader, 1 << 16):
                told += chunk
        if done:
            break
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            deadline = float("inf")
        time.sleep(POLL_S)
    os.close(reader)
    return Result(**json.loads(told)) if told else Result(False, f"process, with status {status}")


def _run_in_child(
    writer: int, module: Path, source: str, tests: Sequence[str], took_s: dict[str, float]
) -> int:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY_MAX_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    name = ".".join(module.with_suffix("").parts)
    sys.meta_path.insert(0, _Instead(name, module.absolute(), compile(source, str(module), "exec")))
    os.environ.pop("PYTEST_ADDOPTS", None)  # meant for who runs us: a floor of coverage, say
    watch = _Watch(writer, took_s)
    try:
        code = int(pytest.main([*OPTIONS, f"--basetemp={_folder()}", *tests], plugins=[watch]))
    except BaseException as error:
        watch.killed_by(f"pytest, by {type(error).__name__}")
    if code:
        watch.killed_by(f"pytest, with {code}")
    _tell(writer, Result(True, "", watch.took_s, _libraries()))
    return 0


def _tell(writer: int, result: Result) -> None:
    os.write(writer, json.dumps(asdict(result)).encode())


@cache
def _folder() -> Path:
    """Return where tests may write, of this process and its children; removed at its end."""
    memory = Path("/dev/shm")
    made = tempfile.mkdtemp(prefix="mutation-", dir=memory if memory.is_dir() else None)
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return Path(made, "tests")


def _libraries() -> list[str]:
    here = str(Path.cwd())
    return [
        name
        for name, module in sys.modules.items()
        if not (getattr(module, "__file__", None) or here).startswith(here)
    ]


class _Instead(MetaPathFinder, Loader):
    """Gives one module other code than its file holds."""

    def __init__(self, name: str, path: Path, code: CodeType) -> None:
        self._name, self._path, self._code = name, path, code

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: ModuleType | None = None,
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self._name:
            return None
        return importlib.util.spec_from_file_location(fullname, self._path, loader=self)

    def exec_module(self, module: ModuleType) -> None:
        exec(self._code, module.__dict__)


class _TooLong(Exception):
    """A test took many times what it takes when nothing is changed."""


class _Watch:
    """Notes how long each test took and which one failed, and ends one that loops."""

    def __init__(self, writer: int, expected_s: dict[str, float]) -> None:
        self.took_s: dict[str, float] = {}
        self._writer = writer
        self._expected_s = expected_s

    def killed_by(self, name: str) -> NoReturn:
        """Tell who noticed and end the process at once: nothing is left to be found out."""
        _tell(self._writer, Result(False, name))
        os._exit(0)

    def pytest_configure(self) -> None:
        # A failure is enough: nobody reads a smaller one.
        settings.register_profile("mutants", phases=(Phase.explicit, Phase.generate))
        settings.load_profile("mutants")
        signal.signal(signal.SIGPROF, self._stop)

    def _stop(self, signum: int, frame: FrameType | None) -> None:
        raise _TooLong

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> object:
        began = time.process_time()
        if self._expected_s:
            allowed = TEST_MAX_S + TIMES_SLOWER * self._expected_s.get(item.nodeid, 0.0)
            signal.setitimer(signal.ITIMER_PROF, allowed, 0.1)
        try:
            return (yield)
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            self.took_s[item.nodeid] = time.process_time() - began

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.killed_by(report.nodeid)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.killed_by(report.nodeid or "collecting the tests")


def import_libraries(names: Sequence[str]) -> None:
    """Import what every run imports and no change touches."""
    for name in names:
        with suppress(Exception):
            importlib.import_module(name)
    gc.freeze()  # children look for what is unreachable among their own objects only
