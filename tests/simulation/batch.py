"""Many seeds, one after the other or side by side, and what they came to."""

from __future__ import annotations

import gc
import json
import logging
import multiprocessing
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from tests.simulation.cells import Cell, counted
from tests.simulation.checks import check
from tests.simulation.market import SYMBOLS, truth_of
from tests.simulation.seed import FEEDS, Played, Seed

REBUILT_EVERY = 4


@dataclass
class Outcome:
    """What some seeds came to.

    Attributes
    ----------
    seeds : int
    failures : dict      seed → the first promises it broke
    struck : Counter     faults
    met : Counter        gaps and audits
    cells : Counter      (state, event) → visits
    ends : Counter       how processes ended
    virtual_s : float    seconds of market
    cpu_s : float        seconds of work
    steps : int          touches of the disk
    """

    seeds: int = 0
    failures: dict[int, list[str]] = field(default_factory=dict)
    struck: Counter[str] = field(default_factory=Counter)
    met: Counter[str] = field(default_factory=Counter)
    cells: Counter[Cell] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    virtual_s: float = 0.0
    cpu_s: float = 0.0
    steps: int = 0

    def add(self, other: Outcome) -> None:
        """Take in what others came to."""
        self.seeds += other.seeds
        self.failures.update(other.failures)
        self.struck += other.struck
        self.met += other.met
        self.cells += other.cells
        self.ends += other.ends
        self.virtual_s += other.virtual_s
        self.cpu_s += other.cpu_s
        self.steps += other.steps

    def as_json(self) -> str:
        """Write it down, to be gone on with."""
        return json.dumps(
            {
                "seeds": self.seeds,
                "failures": {str(seed): found for seed, found in self.failures.items()},
                "struck": self.struck,
                "met": self.met,
                "cells": {"/".join(cell): visits for cell, visits in self.cells.items()},
                "ends": self.ends,
                "virtual_s": self.virtual_s,
                "cpu_s": self.cpu_s,
                "steps": self.steps,
            },
            indent=1,
        )

    @classmethod
    def of_json(cls, text: str) -> Outcome:
        """Read what was written down."""
        read = json.loads(text)
        cells = {tuple(name.split("/")): visits for name, visits in read["cells"].items()}
        return cls(
            read["seeds"],
            {int(seed): found for seed, found in read["failures"].items()},
            Counter(read["struck"]),
            Counter(read["met"]),
            Counter(cells),  # type: ignore[arg-type]
            Counter(read["ends"]),
            read["virtual_s"],
            read["cpu_s"],
            read["steps"],
        )


@contextmanager
def quiet() -> Iterator[None]:
    """Let nobody write logs: thousands of seeds fail on purpose all the time."""
    before, level = structlog.get_config(), logging.root.manager.disable
    structlog.configure(
        processors=[_drop], wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL)
    )
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        structlog.configure(**before)
        logging.disable(level)


def _drop(*_: object) -> structlog.typing.EventDict:
    raise structlog.DropEvent


def warm_up() -> None:
    """Make every market; what they are made of is for the collector to leave alone."""
    for profile in FEEDS:
        for symbol in SYMBOLS:
            for epoch in (0, 1):
                truth = truth_of(profile, symbol, epoch)
                assert truth.by_frame
                assert len(truth.change_table[0])
    gc.collect()
    gc.freeze()


def play(seed: int, *, rebuild: bool | None = None) -> tuple[Played, list[str]]:
    """Play a seed and check it; return what was played and the promises broken."""
    played = Seed(seed).play()
    return played, check(played, rebuild=seed % REBUILT_EVERY == 0 if rebuild is None else rebuild)


def play_all(seeds: Iterable[int]) -> Outcome:
    """Play some seeds in this process."""
    outcome = Outcome()
    began = time.process_time()
    with quiet(), counted(outcome.cells):
        for seed in seeds:
            try:
                played, problems = play(seed)
            except Exception:
                outcome.failures[seed] = [traceback.format_exc(limit=-4)]
                outcome.seeds += 1
                continue
            outcome.seeds += 1
            outcome.struck += played.faults.struck
            outcome.met += played.met
            outcome.ends.update(life.end for life in played.lives)
            outcome.virtual_s += played.virtual_s
            outcome.steps += played.disk.steps
            if problems:
                outcome.failures[seed] = problems[:5]
            played.disk.close()
    outcome.cpu_s = time.process_time() - began
    return outcome


def play_many(
    seeds: range, jobs: int, resume: Path | None = None, chunk: int = 50
) -> Iterator[Outcome]:
    """Play seeds side by side; yield all that is known after each chunk.

    Parameters
    ----------
    resume : Path or None   file that holds how far it has come, and is gone on from
    """
    total, first = Outcome(), seeds.start
    if resume is not None and resume.exists():
        state = json.loads(resume.read_text())
        if state["first"] != seeds.start:
            raise ValueError(f"{resume} began with seed {state['first']}, not {seeds.start}")
        total, first = Outcome.of_json(state["outcome"]), state["next"]
        yield total  # also where nothing is left to play: what failed before has failed
    chunks = [range(at, min(at + chunk, seeds.stop)) for at in range(first, seeds.stop, chunk)]
    warm_up()
    pool = multiprocessing.get_context("fork").Pool(jobs) if jobs > 1 else None
    outcomes = pool.imap(play_all, chunks) if pool else map(play_all, chunks)
    try:
        for played, outcome in zip(chunks, outcomes, strict=True):
            total.add(outcome)
            if resume is not None:
                state = json.dumps(
                    {"first": seeds.start, "next": played.stop, "outcome": total.as_json()}
                )
                beside = resume.with_name(f"{resume.name}.new")
                beside.write_text(state)
                beside.replace(resume)
            yield total
    finally:
        if pool is not None:
            pool.terminate()
            pool.join()
