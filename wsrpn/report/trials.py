"""The trials of a search on paper: a table in Markdown, and all of them as CSV."""

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from wsrpn.errors import counted

Outcome = Literal["complete", "pruned", "failed", "running"]
STATES: tuple[Outcome, ...] = ("complete", "pruned", "failed", "running")
COLUMNS = ("number", "state", "value", "epochs", "seconds")
MOST = 10  # trials in the table of Markdown; the CSV has all of them


@dataclass(frozen=True)
class Span:
    """Numbers that were searched, from `low` to `high`.

    Attributes:
        low: smallest.
        high: largest.
        log: whether the logarithm is what counts.
    """

    low: float
    high: float
    log: bool = False


Scale = tuple[Any, ...] | Span


@dataclass(frozen=True)
class Trial:
    """One trial of a search.

    Attributes:
        number: counted from 0 over all processes of the study.
        state: `pruned` was stopped because others did better at the same epoch.
        value: the figure at the kept epoch, mean over seeds; of a pruned trial the last one seen.
        epochs: trained, over all seeds.
        seconds: of training, over all seeds.
        chosen: key of the config → value.
        reason: why it failed.
    """

    number: int
    state: Outcome
    value: float | None
    epochs: int
    seconds: float
    chosen: Mapping[str, Any]
    reason: str = ""


@dataclass(frozen=True)
class Found:
    """What a search has found so far.

    Attributes:
        title: of table and picture.
        figure: what the trials are measured by, a figure of the validation split.
        lower: whether less of it is better.
        scales: searched key → its choices in order, or the span of its numbers.
        trials: in order of their numbers.
        notes: what must be said with the numbers.
    """

    title: str
    figure: str
    lower: bool
    scales: Mapping[str, Scale]
    trials: tuple[Trial, ...]
    notes: tuple[str, ...] = ()

    def best(self) -> list[Trial]:
        """Complete trials, best first; of equal ones the earlier, of the same values one."""
        sign = 1 if self.lower else -1
        known = [(t.value, t) for t in self.trials if t.state == "complete" and t.value is not None]
        ranked = [t for _, t in sorted(known, key=lambda pair: (sign * pair[0], pair[1].number))]
        distinct: dict[str, Trial] = {}
        for trial in ranked:
            distinct.setdefault(repr(sorted(trial.chosen.items())), trial)
        return list(distinct.values())

    def count(self, state: Outcome) -> int:
        """How many trials are in a state."""
        return sum(trial.state == state for trial in self.trials)

    def failures(self) -> list[str]:
        """A line for each trial that failed."""
        return [f"trial {t.number} failed: {t.reason}" for t in self.trials if t.state == "failed"]


def text(value: Any) -> str:
    """A value of a config in a table.

    Example:
        >>> text(0.1 + 0.2), text("tiny"), text(None), text([1, 2])
        ('0.3', 'tiny', 'null', '[1, 2]')
    """
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def table(found: Found) -> str:
    """CSV with a row per trial; the value of a trial that failed is empty."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*COLUMNS, *found.scales, "reason"])
    for trial in found.trials:
        value = "" if trial.value is None else f"{trial.value:.6g}"
        chosen = [_cell(trial.chosen, key) for key in found.scales]
        numbers = [trial.number, trial.state, value, trial.epochs, f"{trial.seconds:.1f}"]
        writer.writerow([*numbers, *chosen, trial.reason])
    return out.getvalue()


def _cell(chosen: Mapping[str, Any], key: str) -> str:
    if key not in chosen:
        return ""
    return repr(chosen[key]) if isinstance(chosen[key], float) else text(chosen[key])


def summary(found: Found) -> str:
    """How many trials there are, by what became of them.

    Example:
        >>> one = Trial(0, "complete", 0.5, 3, 1.0, {})
        >>> summary(Found("", "auroc", False, {}, (one,)))
        '1 trial (1 complete)'
    """
    states = [f"{found.count(state)} {state}" for state in STATES if found.count(state)]
    return f"{counted(len(found.trials), 'trial')} ({', '.join(states) or 'none yet'})"


def markdown(found: Found) -> str:
    """The best trials and everything that must be said with them."""
    order = "lower" if found.lower else "higher"
    lines = [
        f"# {found.title}",
        "",
        f"`val/{found.figure}`, {order} is better: {summary(found)}.",
        "",
        f"| | trial | {found.figure} | epochs | {' | '.join(_escaped(k) for k in found.scales)} |",
        f"|-|-|-|-|{'-|' * len(found.scales)}",
    ]
    for place, trial in enumerate(found.best()[:MOST], start=1):
        values = [_escaped(text(trial.chosen[key])) for key in found.scales]
        cells = [place, trial.number, f"{trial.value:.4g}", trial.epochs, *values]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    lines += ["", "All trials: `trials.csv`.", ""]
    lines += [f"- {note}" for note in (*found.notes, *found.failures())]
    return "\n".join(lines) + "\n"


def _escaped(cell: str) -> str:
    return cell.replace("|", "\\|")
