"""The truth file and the order log, against each other by way of the naive book."""

import ast
from pathlib import Path

import pytest

import replay.exchange.synthetic.truth as truth_module
from replay.exchange.line_file import LineFile
from replay.exchange.synthetic.instruments import instrument_for
from replay.exchange.synthetic.market import SyntheticMarket
from replay.exchange.synthetic.orders import EngineEvent
from replay.exchange.synthetic.truth import OrderLogWriter, TruthWriter
from tests.support.order_log_book import books_at, read_lines


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[str, int]]:
    """Trade three scales of symbols for 4,000 events each and write everything down."""
    folder = tmp_path_factory.mktemp("truth")
    truth_path, log_path = folder / "truth.jsonl.zst", folder / "orders.jsonl"
    counts: dict[str, int] = {}

    def count(market: SyntheticMarket, _event: EngineEvent) -> None:
        counts[market.instrument.symbol] = counts.get(market.instrument.symbol, 0) + 1

    with LineFile(truth_path) as truth_file, LineFile(log_path) as log_file:
        truth, log = TruthWriter(truth_file, 50, 1), OrderLogWriter(log_file)
        markets = [
            SyntheticMarket(instrument_for(symbol), 1)
            for symbol in ("BTC-USDT", "SHIB-BTC", "WIN-USDT")
        ]
        for market in markets:
            log.write_instrument(market.instrument)
            market.observe(log)
            market.open_market(0)
            market.observe(truth)
            market.observe(count)
        for n in range(1_800):
            for market in markets:
                market.step(n)
    return truth_path, log_path, counts


def test_sequences_are_drawn_one_in_so_many_for_both_books(
    files: tuple[Path, Path, dict[str, int]],
) -> None:
    rows = list(read_lines(files[0]))
    for symbol, events in files[2].items():
        l2 = [row["sequence"] for row in rows if (row["symbol"], row["book"]) == (symbol, "l2")]
        l3 = [row["sequence"] for row in rows if (row["symbol"], row["book"]) == (symbol, "l3")]
        assert l2 == l3 == sorted(set(l2))
        assert 0.6 < len(l2) / (events / 50) < 1.4


def test_truth_equals_the_naive_book_of_the_order_log(
    files: tuple[Path, Path, dict[str, int]],
) -> None:
    rows = list(read_lines(files[0]))
    wanted: dict[str, set[int]] = {}
    for row in rows:
        wanted.setdefault(row["symbol"], set()).add(row["sequence"])
    naive = books_at(read_lines(files[1]), wanted)
    compared = 0
    for row in rows:
        book = naive[row["symbol"], row["sequence"]]
        expected = book.l2() if row["book"] == "l2" else book.l3()
        assert {"bids": row["bids"], "asks": row["asks"]} == expected
        compared += 1
    assert compared > 200


def test_truth_and_all_behind_it_share_nothing_with_the_wire() -> None:
    folder = Path(truth_module.__file__).parent
    # fmt: off
    translators = {
        "source.py", "wire.py", "wording.py", "level2.py", "coalesced.py", "listing.py",
        "__init__.py",
    }
    # fmt: on
    evidence = [path for path in folder.glob("*.py") if path.name not in translators]
    evidence.append(folder.parent / "line_file.py")
    assert len(evidence) >= 10
    for path in evidence:
        for node in ast.walk(ast.parse(path.read_text())):
            modules = [getattr(node, "module", None) or ""]
            modules += [
                alias.name for alias in getattr(node, "names", []) if hasattr(alias, "name")
            ]
            assert not any(name.split(".")[0] in {"schemas", "recorder"} for name in modules), path


def test_an_exchange_without_level_3_has_no_truth_about_it(tmp_path: Path) -> None:
    market = SyntheticMarket(instrument_for("AA-BB"), 1)
    market.open_market(0)
    with LineFile(tmp_path / "truth.jsonl") as file:
        market.observe(TruthWriter(file, 5, 1, ("l2",)))
        for n in range(100):
            market.step(n)
    assert {row["book"] for row in read_lines(tmp_path / "truth.jsonl")} == {"l2"}
