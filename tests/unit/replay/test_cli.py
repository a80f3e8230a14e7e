"""The `replay` command: what it prints, where, and its exit codes."""

from __future__ import annotations

import json
from decimal import Decimal

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from replay.cli import main
from tests.support.archive_builder import T0, ArchiveBuilder, S
from tests.unit.replay.conftest import SYMBOL


def ask(*args: object) -> Result:
    return CliRunner().invoke(main, [str(arg) for arg in args])


def test_a_book_as_json(builder):
    done = ask("book", builder.root, SYMBOL, "--at", "2026-11-22T10:00:02Z", "--depth", 1, "--json")
    assert (done.exit_code, done.stderr) == (0, "")
    assert json.loads(done.stdout) == {
        "symbol": SYMBOL,
        "sequence": 103,
        "ts_event": None,
        "ts_recv": "2026-11-22T10:00:02.000000000Z",
        "known_bid_from": "8",
        "known_ask_to": "13",
        "bids": [["10.5", "1"]],
        "asks": [["12", "3"]],
    }
    orders = ask("book", builder.root, SYMBOL, "--sequence", 102, "--level", 3, "--json")
    assert json.loads(orders.stdout)["bids"] == [
        ["10.5", "1", "d"], ["10", "1", "a"], ["9", "2", "b"],
    ]  # fmt: skip


def test_a_book_for_a_reader(builder):
    done = ask("book", builder.root, SYMBOL)
    assert done.exit_code == 0
    assert "12.125" in done.stdout
    assert "sequence 201" in done.stdout
    assert "?" not in done.stdout + done.stderr


def test_a_partial_book_says_to_a_reader_where_it_ends(builder):
    done = ask("book", builder.root, SYMBOL, "--at", "2026-11-22T10:00:03Z")
    rows = [line.split() for line in done.stdout.splitlines() if line.strip()]
    assert rows[-4:] == [
        ["1", "10.5", "12", "3"], ["1", "10", "14", "?", "1"], ["2", "9"], ["?", "?"],
    ]  # fmt: skip
    assert "bids are exact to 8; below that, at ?, some may be missing" in done.stderr
    assert "asks are exact to 13; above that" in done.stderr
    shallow = ask("book", builder.root, SYMBOL, "--at", "2026-11-22T10:00:03Z", "--depth", 1)
    assert "?" not in shallow.stdout


def test_sql_in_every_format(builder, tmp_path):
    query = (
        "SELECT symbol, ts_recv, price_mantissa, 1.50::DECIMAL(5, 2) AS exact, "
        "sum(1) OVER () AS n, [1, 2] AS list, NULL AS nothing, 'nan'::DOUBLE AS nan "
        "FROM trades ORDER BY sequence LIMIT 1"
    )
    as_json = ask("sql", builder.root, query, "--format", "json")
    assert json.loads(as_json.stdout) == [
        {
            "symbol": SYMBOL,
            "ts_recv": "2026-11-22T10:00:01.000000000Z",
            "price_mantissa": 1100,
            "exact": "1.50",
            "n": 3,
            "list": [1, 2],
            "nothing": None,
            "nan": None,
        }
    ]
    as_csv = ask("sql", builder.root, query, "--format", "csv")
    assert as_csv.stdout.splitlines()[1].startswith(
        f'"{SYMBOL}","2026-11-22T10:00:01.000000000Z",1100,1.50,3,"[1,2]"'
    )
    assert "2026-11-22T10:00:01.000000000Z" in ask("sql", builder.root, query).stdout
    target = tmp_path / "out.parquet"
    written = ask("sql", builder.root, query, "--format", "parquet", "--output", target)
    assert (written.exit_code, written.stdout) == (0, "")
    assert pq.read_table(target).column("exact").to_pylist() == [Decimal("1.50")]


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (
            ["book", "{root}", SYMBOL, "--at", "2026-11-22T10:00:05Z"],
            1,
            ["gap (sequence)", "next at"],
        ),
        (["book", "{root}", SYMBOL, "--at", "2026-11-22T10:00:05"], 2, ["time zone", "append Z"]),
        (["book", "{root}", SYMBOL, "--at", "2020-01-01T00:00:00Z"], 1, ["outside", "known from"]),
        (["book", "{root}", "BTC"], 2, ["'BTC'", SYMBOL]),
        (["book", "{root}", SYMBOL, "--level", "4"], 2, ["--level"]),
        (["sql", "{root}", "SELEC"], 2, ["SELEC", "correct the SQL"]),
        (["sql", "{root}/trades", "SELECT 1"], 2, ["not an archive", "catalog.db"]),
        (["coverage", "{root}", "--symbol", "ETH"], 2, ["'ETH'"]),
        (["coverage", "{root}", "--calendar", "--json"], 2, ["--json"]),
        (["coverage", "{root}", "--calendar", "--output", "a.png"], 2, ["a.png", ".svg"]),
        (
            ["coverage", "{root}", "--calendar", "--output", "{root}/none/x.svg"],
            2,
            ["none/x.svg cannot be written: No such file", "name a file in a folder that exists"],
        ),
        (
            ["coverage", "{root}", "--calendar", "--output", "{root}/trades/."],
            2,
            ["trades is no calendar", "ends .svg"],
        ),
        (["coverage", "{root}", "--from", "2026-11-22T10:00:00"], 2, ["2026-11-22T10:00:00"]),
        (["sql", "{root}", "SELECT 1", "--output", "{root}"], 3, ["directory"]),
    ],
)
def test_refusals_name_the_thing_and_the_remedy(builder, args, code, words):
    done = ask(*(arg.format(root=builder.root) for arg in args))
    assert (done.exit_code, done.stdout) == (code, "")
    for word in words:
        assert word in done.stderr


def test_coverage_and_verify(builder):
    rows = json.loads(ask("coverage", builder.root, "--json").stdout)
    assert [row["stream"] for row in rows] == ["l2", "l3", "trades"]
    done = ask("verify", builder.root, "--json")
    assert done.exit_code == 0
    assert json.loads(done.stdout)["ok"] is True
    part = next((builder.root / "l2_updates").rglob("*.parquet"))
    part.unlink()
    broken = ask("verify", builder.root)
    assert broken.exit_code == 1
    assert part.name in broken.stdout


def test_coverage_as_a_calendar(builder, tmp_path):
    shown = ask("coverage", builder.root, "--calendar").stdout.splitlines()
    assert f"{SYMBOL} l2" in shown[3]
    assert "\x1b" not in "".join(shown)
    assert shown[-1].startswith("complete: ")
    assert ask("coverage", builder.root).stdout.splitlines()[-1] == shown[-1]
    drawing = tmp_path / "calendar.svg"
    done = ask("coverage", builder.root, "--calendar", "--output", drawing, "--symbol", SYMBOL)
    assert (done.exit_code, done.stdout) == (0, "")
    assert drawing.read_text().startswith("<svg")
    late = ask("coverage", builder.root, "--from", T0 + 2 * S, "--to", T0 + 4 * S, "--json")
    (l2,) = (row for row in json.loads(late.stdout) if row["stream"] == "l2")
    assert l2["messages"] == 3


@pytest.mark.parametrize("how", [[], ["--json"], ["--calendar"]])
def test_coverage_of_nothing_says_why_beside_the_answer(builder, tmp_path, how):
    later = ["--from", "2026-11-23T00:00:00Z"]
    assert "leave out --from" in ask("coverage", builder.root, *later, *how).stderr
    # A run that has published no part yet: all there is of it is its raw log.
    folder = tmp_path / "just begun"
    ArchiveBuilder(folder).write()
    assert "nothing was recorded" in ask("coverage", folder, *how).stderr
    segment = folder / "raw" / "2026-11-22" / "20261122T100000.000000Z-host-1-000001.jsonl.zst"
    segment.parent.mkdir(parents=True)
    segment.write_bytes(b"")
    done = ask("coverage", folder, *how)
    assert "no part is published yet" in done.stderr
    assert f"recorder job roll {folder}" in done.stderr
    assert done.exit_code == 0
    if "--json" in how:
        assert json.loads(done.stdout) == []
    else:
        assert done.stdout.splitlines()[-1] == "complete: no time was wanted, 0 gaps"
    assert ask("coverage", builder.root, *how).stderr == ""


def test_time_as_ns_and_version(builder):
    assert ask("book", builder.root, SYMBOL, "--at", T0 + S, "--json").exit_code == 0
    assert ask("--version").stdout.startswith("replay, version ")
    assert "sql-init" in ask("--help").stdout
