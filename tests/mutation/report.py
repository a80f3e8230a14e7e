"""Tables of what was found out, as they stand in docs/RELIABILITY.md."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import click

from tests.mutation.outcomes import Outcome
from tests.mutation.subjects import Reason

_WORD = re.compile(r"\w+|\s+|[^\w\s]")
_AROUND = 8  # words and signs kept on either side of what differs
_LINE_MAX = 80


def show(outcome: Outcome) -> str:
    """Return one line about a change that no test noticed."""
    return f"{outcome.module} {outcome.place}: {outcome.before} → {outcome.after}"


def report(done: Mapping[str, Sequence[Outcome]], reasons: Sequence[Reason], *, whole: bool) -> int:
    """Print both tables and what is amiss.

    Parameters
    ----------
    done : module → its outcomes
    reasons : of these modules
    whole : bool   every change was tried: a reason that met none is amiss

    Returns
    -------
    int   exit code: 1 when a survivor has no reason, or a reason no survivor
    """
    unexplained = [
        outcome
        for outcomes in done.values()
        for outcome in outcomes
        if not outcome.killer and not any(_is_of(reason, outcome) for reason in reasons)
    ]
    click.echo(modules_table(done))
    click.echo()
    click.echo(reasons_table(reasons))
    seconds = sum(outcome.seconds for outcomes in done.values() for outcome in outcomes)
    click.echo(f"\n{seconds / 60:.1f} minutes of one processor")
    for outcome in unexplained:
        click.echo(f"no reason: {show(outcome)}", err=True)
    needless = _needless(done, reasons) if whole else []
    for line in needless:
        click.echo(f"no survivor: {line}", err=True)
    return 1 if unexplained or needless else 0


def modules_table(done: Mapping[str, Sequence[Outcome]]) -> str:
    """Return the table of modules in Markdown."""
    lines = ["| Module | Changes | Killed | Survived |", "|---|---|---|---|"]
    rows = {f"`{module}`": outcomes for module, outcomes in done.items()}
    if len(rows) > 1:
        rows["all"] = [outcome for outcomes in done.values() for outcome in outcomes]
    for name, outcomes in rows.items():
        killed = sum(bool(outcome.killer) for outcome in outcomes)
        lines.append(f"| {name} | {len(outcomes)} | {killed} | {len(outcomes) - killed} |")
    return "\n".join(lines)


def reasons_table(reasons: Sequence[Reason]) -> str:
    """Return the table of survivors in Markdown."""
    lines = ["| Survivor | Change | Reason |", "|---|---|---|"]
    for reason in reasons:
        name = reason.module.rpartition("/")[2].removesuffix(".py")
        changes = difference(reason.before, reason.after)
        lines.append(f"| {name}: `{reason.place}` | {changes} | {reason.reason} |")
    return "\n".join(lines)


def difference(before: str, after: Sequence[str]) -> str:
    """Return what a line was changed to, in Markdown; of long ones what differs and some words."""
    line = before.partition(" #")[0]
    if len(line) > _LINE_MAX:
        return "; ".join(_difference(line, text) for text in after)
    return f"{_code(line)} → {', '.join(map(_code, after))}"


def _difference(before: str, after: str) -> str:
    old, new = _WORD.findall(before), _WORD.findall(after)
    shorter = min(len(old), len(new))
    first = next((n for n in range(shorter) if old[n] != new[n]), shorter)
    rest = shorter - first
    same = next((n for n in range(rest) if old[-1 - n] != new[-1 - n]), rest)
    first, same = max(0, first - _AROUND), max(0, same - _AROUND)
    was, becomes = ("".join(words[first : len(words) - same]).strip() for words in (old, new))
    return f"… {_code(was)} … → {_code(becomes)}"


def _is_of(reason: Reason, outcome: Outcome) -> bool:
    return (
        reason.module == outcome.module
        and reason.place == outcome.place
        and reason.before == outcome.before
        and outcome.after in reason.after
    )


def _needless(done: Mapping[str, Sequence[Outcome]], reasons: Sequence[Reason]) -> list[str]:
    survived = {
        (outcome.module, outcome.place, outcome.before, outcome.after)
        for outcomes in done.values()
        for outcome in outcomes
        if not outcome.killer
    }
    return [
        f"{reason.module} {reason.place}: {reason.before} → {after}"
        for reason in reasons
        for after in reason.after
        if (reason.module, reason.place, reason.before, after) not in survived
    ]


def _code(text: str) -> str:
    return "nothing" if text == "pass" else "`" + text.replace("|", "\\|") + "`"
