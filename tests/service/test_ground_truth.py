"""The main promise: whatever was lost, every book given back is the exchange's own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.ground_truth import compare
from tests.support.recorded_market import record_market

SYMBOLS = ["BTC-USDT", "SHIB-BTC", "WIN-USDT"]  # around 60,000; around 1e-8; sizes around 1e9
SEQUENCES = 220

# Enough loss that refusals are tested, little enough that the record is mostly whole.
FAULTS = [
    "drop@4s:topic=level2:count=2",
    "drop@5s:topic=level3:count=2",
    "duplicate=0.002",
    "reorder@7s:topic=level2:symbol=SHIB-BTC:count=1",
    "delay@8s:topic=level3:for=300ms:count=20",
    "disconnect@9s",
    "stale=0.1",
    "garbage@6s",
]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("l2_batch", [1, 7], ids=["one change a message", "coalesced messages"])
def test_every_book_equals_the_exchanges_or_is_refused_in_a_gap(
    tmp_path: Path, l2_batch: int
) -> None:
    market = record_market(
        tmp_path,
        symbols=SYMBOLS,
        seconds=38,
        rate=600,
        faults=FAULTS,
        l2_batch=l2_batch,
        seed=20 + l2_batch,
    )
    assert market.fault_log.read_text().count('"kind"') >= 5, "the faults were carried out"
    for result in compare(market.archive, market.order_log, SYMBOLS, SEQUENCES, seed=l2_batch):
        assert not result.wrong, result.wrong[:3]
        assert result.asked == SEQUENCES
        assert result.answered >= 0.95 * result.asked, result
        assert result.far >= result.asked / 2, result
        assert result.gap_probes, "the connection was cut: each book has a gap to be refused in"
    told = subprocess.run(
        [
            *(sys.executable, "-m", "replay.cli", "verify", str(market.archive)),
            *("--truth", str(market.truth)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stdout + told.stderr


CLASSIC = "kucoin-classic"
CLASSIC_FAULTS = [
    "drop@5s:topic=level2:count=2",
    "duplicate=0.002",
    "reorder@9s:topic=level2:symbol=SHIB-BTC:count=1",
    "delay@11s:topic=level2:for=300ms:count=20",
    "disconnect@13s",
    "stale=0.1",
    "garbage@7s",
]
KEY = {"key": "k-of-a-test", "secret": "s-of-a-test", "passphrase": "p-of-a-test"}


def key_files(folder: Path) -> tuple[Path, Path]:
    """Write the key as the exchange and as the recorder want it, for nobody else to read."""
    own = "\n".join(f'{name} = "{value}"' for name, value in KEY.items()) + '\nversion = "3"\n'
    served, used = folder / "served.toml", folder / "used.toml"
    served.write_text(f'[[keys]]\n{own}permissions = ["General"]\n')
    used.write_text(own)
    for path in (served, used):
        path.chmod(0o600)
    return served, used


@pytest.mark.timeout(300)
@pytest.mark.parametrize("signed", [False, True], ids=["keyless", "signed"])
def test_todays_books_are_exact_as_far_as_they_are_known(tmp_path: Path, signed: bool) -> None:
    served, used = key_files(tmp_path)
    market = record_market(
        tmp_path,
        symbols=SYMBOLS,
        seconds=38,
        rate=500,
        faults=CLASSIC_FAULTS,
        l2_batch=6,
        seed=30 + signed,
        streams=["level2", "match", "snapshot", "ticker"],
        profile=CLASSIC,
        # The books are four times as deep as a seed without a key, and the price walks out of it.
        exchange_options=[
            *("--depth", "400", "--walk", "40"),
            *("--api-key-file", str(served)),
        ],
        api_key_file=used if signed else None,
    )
    assert market.fault_log.read_text().count('"kind"') >= 5, "the faults were carried out"
    results = compare(market.archive, market.order_log, SYMBOLS, SEQUENCES, 5, CLASSIC)
    assert [result.symbol for result in results] == sorted(SYMBOLS)
    for result in results:
        assert not result.wrong, result.wrong[:3]
        assert result.asked == SEQUENCES
        assert result.answered >= 0.95 * result.asked, result
        # Each re-seed of a partial book ends in a full book, so that fewer lie far behind one.
        assert result.far >= result.asked / (2 if signed else 5), result
        assert result.gap_probes, "the connection was cut: each book has a gap to be refused in"
        if signed:
            assert result.partial == 0, "with a key whole books are the seeds"
        else:
            assert result.partial == result.answered
            assert result.crossed >= result.answered / 2, "the price walked beyond the bounds"
    told = subprocess.run(
        [
            *(sys.executable, "-m", "replay.cli", "verify", str(market.archive)),
            *("--truth", str(market.truth)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stdout + told.stderr
    for name in (market.recorder_log, *(path.read_text() for path in [market.fault_log])):
        assert not any(value in name for value in (KEY["secret"], KEY["passphrase"]))
