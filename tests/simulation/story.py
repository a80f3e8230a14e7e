"""One seed told: what it drew, what the recorder said, what it came to."""

from __future__ import annotations

import logging

import structlog

from tests.simulation.batch import warm_up
from tests.simulation.checks import check
from tests.simulation.digest import digest
from tests.simulation.seed import Seed


def tell(number: int, *, verbose: bool) -> int:
    """Play a seed and print it; 0 when it broke no promise."""
    warm_up()
    seed = Seed(number)

    def show(_: object, level: str, event: structlog.typing.EventDict) -> str:
        said = event.pop("event")
        fields = " ".join(f"{name}={value}" for name, value in event.items())
        print(f"{seed.now_s:9.3f} {level:<8} {said} {fields}")
        raise structlog.DropEvent

    level = logging.DEBUG if verbose else logging.CRITICAL
    structlog.configure(
        processors=[show], wrapper_class=structlog.make_filtering_bound_logger(level)
    )
    print(seed.plan)
    played = seed.play()
    problems = check(played, rebuild=True)
    for life in played.lives:
        print(f"process {life.number} {life.end} {life.why.splitlines()[0] if life.why else ''}")
    print(dict(sorted(played.faults.struck.items())))
    print(f"digest {digest(played)}")
    for problem in problems:
        print(f"BROKEN: {problem}")
    return 1 if problems else 0
