"""Every command of the documents is executed, or named here with what holds it instead.

The fenced `sh` blocks of README.md, docs/ and deploy/RUNBOOK.md are run as they stand, each in one
shell, in a sandbox: a folder with a recorded archive, a configuration, an exchange and a recorder
under way. Only the places are others: see `PLACES`. Two programs are stood in for, because no
service manager runs here: `systemctl` starts, stops and reloads the sandbox's recorder, and
`journalctl` shows its log.
"""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "deploy" / "RUNBOOK.md",
]
SYMBOLS = ("BTC-USDT", "ETH-BTC")
RECORD_S = 6
WAIT_S = 60.0
BLOCK_S = 100.0

# Lines that cannot run in a sandbox → the test or script that holds them instead.
ELSEWHERE = {
    "pip install . && recorder demo": ".ci/run: installs; tests/unit/recorder/test_demo.py",
    "pip install -e '.[test]' && pytest -n 3 --dist worksteal -q": ".ci/run: runs this very line",
    "python3 -m venv /opt/booktape": ".ci/run: makes an environment so",
    "/opt/booktape/bin/pip install .": ".ci/run: installs so",
    "/opt/booktape/bin/pip install --upgrade .": ".ci/run: installs so",
    "systemd-sysusers": "tests/service/deploy/test_unit_file.py: a dry run of the same file",
    "docker compose --file deploy/compose.yaml up --build --detach": (
        "tests/service/deploy/test_containers.py: what can be held without an engine"
    ),
}
# Commands that run until they are told to stop: they get so many seconds, then SIGTERM.
ENDLESS = ("recorder run ", "replay exchange ")
ENDLESS_S = 5

# Not part of Booktape, and not on every machine.
TOOLS = ("promtool", "curl", "zstdcat", "jq")

FENCE = re.compile(
    r"(?ms)^(?:<!-- command: (?P<name>\w+) -->\n)?```(?:sh|bash|shell|console)\n(?P<text>.*?)^```$"
)


@dataclass(frozen=True)
class Block:
    """One fenced block of a page."""

    page: str
    number: int
    text: str

    @property
    def lines(self) -> list[str]:
        """Its commands: comments gone, continued lines joined."""
        joined = self.text.replace("\\\n", " ")
        stripped = [re.sub(r"\s+#\s.*$", "", line).strip() for line in joined.splitlines()]
        return [line for line in stripped if line and not line.startswith("#")]


def blocks() -> list[Block]:
    found = []
    for page in PAGES:
        for number, match in enumerate(FENCE.finditer(page.read_text(encoding="utf-8")), 1):
            found.append(Block(str(page.relative_to(ROOT)), number, match["text"]))
    return found


class Sandbox:
    """A machine as the documents take it for granted, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port, self.http_port = free_port(), free_port()
        self.places = {
            "http://127.0.0.1:8765": f"http://127.0.0.1:{self.port}",
            "--port 8765": f"--port {free_port()}",
            "http://127.0.0.1:9464": f"http://127.0.0.1:{self.http_port}",
            "/etc/": f"{folder}/etc/",
            "/var/lib/booktape/": f"{folder}/lib/",
            "/opt/booktape/bin/": f"{folder}/bin/",
        }
        self._exchange: subprocess.Popen[bytes] | None = None

    def in_place(self, text: str) -> str:
        """Return a text with the documents' places exchanged for the sandbox's."""
        for there, here in self.places.items():
            text = text.replace(there, here)
        return text

    def set_up(self) -> None:
        for name in ("bin", "etc/booktape", "etc/systemd/system", "etc/sysusers.d", "lib"):
            (self.folder / name).mkdir(parents=True)
        for name in ("deploy", "recorder"):
            (self.folder / name).symlink_to(ROOT / name)
        for program in ("recorder", "replay"):
            self._program(program, f'exec {sys.executable} -P -m {program}.cli "$@"')
        self._stand_ins()
        command = [sys.executable, "-m", "replay.cli", "exchange", "--port", str(self.port)]
        command += ["--symbols", ",".join(SYMBOLS), "--rate", "40", "--for", "15m"]
        self._exchange = subprocess.Popen(command, cwd=self.folder, stderr=subprocess.DEVNULL)
        wait_for(lambda: can_connect(self.port), "the exchange listens")
        self.write_configurations()
        done = self.run(f"recorder run recorder.toml --for {RECORD_S}s")
        assert done.returncode == 0, done.stderr
        assert self.run("systemctl start booktape-recorder@ten").returncode == 0

    def write_configurations(self) -> None:
        """Write what is recorded: `archive` once, and `ten` as a service."""
        body = (
            f'[venue]\nprofile = "kucoin-2019"\nrest_url = "http://127.0.0.1:{self.port}"\n'
            f"symbols = {list(SYMBOLS)!r}\n[stitch]\nfirst_update_timer_s = 0.3\n"
        )
        (self.folder / "recorder.toml").write_text(f'archive = "archive"\n{body}')
        (self.folder / "etc/booktape/ten.toml").write_text(
            f'archive = "{self.folder}/lib/ten"\n{body}'
            f'[http]\nlisten = "127.0.0.1:{self.http_port}"\n'
        )
        (self.folder / "etc/booktape/ten.env").touch()

    def tear_down(self) -> None:
        with suppress(subprocess.TimeoutExpired):
            self.run("systemctl stop booktape-recorder@ten")
        if self._exchange is not None:
            self._exchange.kill()
            self._exchange.wait()

    def run(self, script: str) -> subprocess.CompletedProcess[str]:
        """Run a script with the sandbox's programs first."""
        path = f"{self.folder / 'bin'}:{Path(sys.executable).parent}"
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", f'export PATH="{path}:$PATH"\n{script}'],
            cwd=self.folder,
            check=False,
            capture_output=True,
            text=True,
            timeout=BLOCK_S,
            stdin=subprocess.DEVNULL,
        )

    def _program(self, name: str, body: str) -> None:
        path = self.folder / "bin" / name
        path.write_text(f"#!/usr/bin/env bash\nset -euo pipefail\n{body}\n")
        path.chmod(0o755)

    def _stand_ins(self) -> None:
        log, pid = self.folder / "ten.log", self.folder / "ten.pid"
        self._program(
            "systemctl",
            textwrap.dedent(f"""\
            start() {{
              "{self.folder}/bin/recorder" run "{self.folder}/etc/booktape/ten.toml" \\
                </dev/null >/dev/null 2>>"{log}" &
              echo $! >"{pid}"
              for _ in $(seq 300); do
                kill -0 "$(cat "{pid}")" || {{ tail -n 20 "{log}" >&2; exit 1; }}
                [ -S "{self.folder}/lib/ten/control.sock" ] &&
                  recorder status "{self.folder}/lib/ten" >/dev/null 2>&1 && return
                sleep 0.2
              done
              exit 1
            }}
            stop() {{
              [ -f "{pid}" ] || return 0
              kill -TERM "$(cat "{pid}")" 2>/dev/null || true
              while kill -0 "$(cat "{pid}")" 2>/dev/null; do sleep 0.1; done
              rm -f "{pid}"
            }}
            case "$1" in
              daemon-reload) ;;
              enable) [ -f "{pid}" ] || start ;;
              start) start ;;
              stop) stop ;;
              restart) stop; start ;;
              reload) recorder reload "{self.folder}/lib/ten" ;;
              status) kill -0 "$(cat "{pid}")" ;;
              *) echo "systemctl $1 is not stood in for" >&2; exit 1 ;;
            esac"""),
        )
        self._program("journalctl", f'test -s "{log}" && tail -n 50 "{log}"')


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def can_connect(port: int) -> bool:
    with socket.socket() as line:
        return line.connect_ex(("127.0.0.1", port)) == 0


def wait_for(condition: object, what: str) -> None:
    deadline = time.monotonic() + WAIT_S
    assert callable(condition)
    while not condition():
        assert time.monotonic() < deadline, f"never happened: {what}"
        time.sleep(0.1)


def executable(block: Block, sandbox: Sandbox) -> str:
    """Return the block as the sandbox's script: what is held elsewhere left out."""
    return "\n".join(
        sandbox.in_place(
            f"timeout --foreground --preserve-status --signal=TERM {ENDLESS_S} {line}"
            if line.startswith(ENDLESS) and "--for" not in line
            else line
        )
        for line in block.lines
        if line not in ELSEWHERE
    )


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    made = Sandbox(tmp_path_factory.mktemp("sandbox"))
    try:
        made.set_up()
        yield made
    finally:
        made.tear_down()


def missing_tool(script: str) -> str:
    """Return the tool a script wants and this machine has not, "" where it has all."""
    words = re.findall(rf"(?m)(?:^|\||&&|\$\()\s*({'|'.join(TOOLS)})\b", script)
    return next((word for word in words if shutil.which(word) is None), "")


@pytest.mark.timeout(400)
@pytest.mark.parametrize("page", sorted({block.page for block in blocks()}))
def test_every_command_of_a_page_runs(page: str, sandbox: Sandbox) -> None:
    passed_over = []
    for block in blocks():
        script = executable(block, sandbox) if block.page == page else ""
        if not script:
            continue
        if tool := missing_tool(script):
            passed_over.append(f"no {tool} on this machine for block {block.number} of {page}")
            continue
        done = sandbox.run(script)
        said = f"{page}, block {block.number}\n{script}\n{done.stdout}\n{done.stderr}"
        assert done.returncode == 0, said
        # An example may have been installed over it, as the page says.
        sandbox.write_configurations()
    if passed_over:
        pytest.skip("; ".join(passed_over))


def test_nothing_is_named_that_no_page_says() -> None:
    said = {line for block in blocks() for line in block.lines}
    assert set(ELSEWHERE) - said == set()


def test_what_holds_a_command_instead_exists() -> None:
    for place in ELSEWHERE.values():
        for name in re.findall(r"(?:\.ci/run|tests/[\w./]+)", place):
            assert (ROOT / name).is_file(), name


def test_blocks_are_found_as_readers_see_them() -> None:
    page = "<!-- command: x -->\n```sh\na \\\n  b   # why\n# no more\nc\n```\n```python\nd\n```\n"
    (match,) = FENCE.finditer(page)
    assert Block("page", 1, match["text"]).lines == ["a    b", "c"]


def test_a_command_that_fails_is_not_taken_for_one_that_ran(tmp_path: Path) -> None:
    empty = Sandbox(tmp_path)
    (tmp_path / "bin").mkdir()
    assert empty.run("true | false\ntrue").returncode != 0
    assert empty.run("no-such-program\ntrue").returncode != 0
