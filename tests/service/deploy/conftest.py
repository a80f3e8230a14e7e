"""What the deployment is held against: the names of a recorder's own metrics."""

from __future__ import annotations

import re

import pytest

from recorder.health.metrics import Counted, View, format_metrics
from recorder.health.status import DiskFacts, JobFacts, PoolFacts
from recorder.meters import Meters
from tests.support.health_facts import make_facts


@pytest.fixture(scope="session")
def exposed() -> set[str]:
    """Names of every metric family a recorder shows once it knows everything about itself."""
    meters = Meters()
    meters.ts_frame = 1
    facts = make_facts(
        jobs=(JobFacts("roll", 1, 1.0, "ok"),),
        disk=DiskFacts(1, 1, 1, 100.0),
        pools={"public": PoolFacts(0.0, 0.0)},
        venue_open=True,
    )
    body, _ = format_metrics(View(facts, meters, Counted()), "text/plain")
    return set(re.findall(r"(?m)^# TYPE (booktape_\w+)", body.decode()))
