"""Jobs by hand and by the clock: outcomes, one at a time, and a failure that stays with its run."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from recorder.jobs import Done, Job, JobFailed, JobRun, Jobs, Schedule, UnknownJob
from recorder.logs import get_log


class Kept:
    """Where runs are kept, and jobs that do what a test says."""

    def __init__(self) -> None:
        self.runs: list[JobRun] = []
        self.twice = asyncio.Event()
        self.fails = False

    async def keep(self, run: JobRun) -> None:
        if self.fails:
            raise OSError("no room")
        self.runs.append(run)
        if len(self.runs) == 2:
            self.twice.set()

    def jobs(self, *jobs: Job) -> Jobs:
        return Jobs({job.name: job for job in jobs}, self.keep, get_log("test"))


async def ok() -> Done:
    return Done("3 parts")


async def nothing() -> Done:
    return Done("no closed day", is_nothing=True)


async def fails() -> Done:
    raise JobFailed("the exchange does not answer")


async def breaks() -> Done:
    raise ZeroDivisionError


async def test_outcomes_and_what_is_kept_of_them() -> None:
    kept = Kept()
    jobs = kept.jobs(Job("a", ok), Job("b", nothing), Job("c", fails), Job("d", breaks))
    jobs.plan("b", Schedule(every_s=3_600))
    with capture_logs() as said:
        runs = {name: await jobs.run(name) for name in jobs.names}
    told = {name: (run.outcome, run.detail) for name, run in runs.items()}
    assert told == {
        "a": ("ok", "3 parts"),
        "b": ("nothing", "no closed day"),
        "c": ("failed", "the exchange does not answer"),
        "d": ("failed", "ZeroDivisionError"),
    }
    assert [run.name for run in kept.runs] == ["a", "c", "d"], "nothing, every hour, is no news"
    errors = [line for line in said if line["log_level"] == "error"]
    assert [(line["job"], line["exc_info"]) for line in errors] == [("c", False), ("d", True)]
    facts = {each.name: each for each in jobs.facts()}
    assert facts["b"].outcome == "nothing"
    assert facts["a"].ts_start == runs["a"].ts_start > 0
    jobs.plan("b", Schedule(daily_at="00:20"))
    await jobs.run("b")
    assert kept.runs[-1].outcome == "nothing", "once a day it is"
    assert runs["a"].row.keys() == {"name", "ts_start", "ts_stop", "outcome", "detail"}


async def test_an_unknown_job_names_those_there_are() -> None:
    with pytest.raises(UnknownJob, match="no job is called 'rol'; there are: roll, backup"):
        await Kept().jobs(Job("roll", ok), Job("backup", ok)).run("rol")


async def test_a_run_that_cannot_be_kept_is_told_and_no_more() -> None:
    kept = Kept()
    kept.fails = True
    with capture_logs() as said:
        assert (await kept.jobs(Job("a", ok)).run("a")).outcome == "ok"
    assert any("not kept" in line["event"] for line in said)


async def test_runs_of_an_earlier_process_are_remembered() -> None:
    jobs = Kept().jobs(Job("a", ok))
    row = {"name": "a", "ts_start": 5, "ts_stop": 7, "outcome": "failed", "detail": "no room"}
    jobs.remember([row, {**row, "name": "gone"}])
    (facts,) = jobs.facts()
    assert (facts.ts_start, facts.outcome, facts.detail) == (5, "failed", "no room")


async def test_asking_for_a_job_under_way_waits_for_it() -> None:
    gate, began = asyncio.Event(), 0

    async def slow() -> Done:
        nonlocal began
        began += 1
        await gate.wait()
        return Done()

    jobs = Kept().jobs(Job("slow", slow))
    both = [asyncio.create_task(jobs.run("slow")) for _ in range(2)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert jobs.facts()[0].is_running
    both[0].cancel()  # who asked goes away; the job goes on
    gate.set()
    assert (await both[1]).outcome == "ok"
    assert began == 1
    assert not jobs.facts()[0].is_running


async def test_heavy_jobs_take_turns_and_light_ones_do_not_wait() -> None:
    order: list[str] = []
    gate = asyncio.Event()

    def named(name: str, *, waits: bool) -> Job:
        async def work() -> Done:
            order.append(f"{name} begins")
            if waits:
                await gate.wait()
            order.append(f"{name} ends")
            return Done()

        return Job(name, work, is_heavy=name != "light")

    jobs = Kept().jobs(
        named("one", waits=True), named("two", waits=False), named("light", waits=False)
    )
    tasks = [asyncio.create_task(jobs.run(name)) for name in jobs.names]
    await tasks[2]
    assert order == ["one begins", "light begins", "light ends"]
    gate.set()
    await asyncio.gather(*tasks)
    assert order[3:] == ["one ends", "two begins", "two ends"]


async def test_schedules_run_can_change_and_end() -> None:
    kept = Kept()
    jobs = kept.jobs(Job("often", ok), Job("daily", ok), Job("by hand", ok))
    jobs.plan("often", Schedule(every_s=0.02))
    jobs.plan("daily", Schedule(daily_at="00:20"))
    jobs.plan("by hand", Schedule())
    jobs.start()
    try:
        facts = {each.name: each for each in jobs.facts()}
        assert facts["by hand"].ts_next is None
        ts_next = facts["daily"].ts_next
        assert ts_next is not None
        assert ts_next // 10**9 % 86_400 == 20 * 60, "UTC"
        await asyncio.wait_for(kept.twice.wait(), 10)
        jobs.plan("often", Schedule(every_s=3_600))
        await asyncio.sleep(0.03)
        had = len(kept.runs)
        await asyncio.sleep(0.1)
        assert len(kept.runs) == had
        jobs.plan("daily", Schedule())
        assert {each.name: each.ts_next for each in jobs.facts()}["daily"] is None
    finally:
        await jobs.stop()


async def test_stopping_breaks_off_what_runs() -> None:
    async def for_ever() -> Done:
        await asyncio.sleep(3_600)
        return Done()

    kept = Kept()
    jobs = kept.jobs(Job("long", for_ever))
    asked = asyncio.create_task(jobs.run("long"))
    await asyncio.sleep(0.01)
    await jobs.stop()
    with pytest.raises(asyncio.CancelledError):
        await asked
    assert kept.runs == []
