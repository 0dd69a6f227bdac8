"""A study in words: its arms, their changes and seeds, for people and for `study.json`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from wsrpn import config as configs
from wsrpn.errors import counted
from wsrpn.study import plan
from wsrpn.study.ablate import Study
from wsrpn.study.training import Training


def document(study: Study) -> dict[str, Any]:
    """The plan as plain values: arms with their changes, seeds, number of trainings."""
    return {
        "title": study.plan.title,
        "base": study.plan.base,
        "data": study.plan.data,
        "split": study.plan.split,
        "set": dict(study.plan.set),
        "baseline": study.baseline,
        "arms": {name: merged(over) for name, over in plan.arms(study.plan).items()},
        "seeds": list(plan.seeds(study.plan.seeds)),
        "trainings": len(study.trainings),
    }


def merged(over: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The changes of an arm as one mapping, written as in the study."""
    found: dict[str, Any] = {}
    for key, value in (pair for changes in over for pair in changes.items()):
        old = found.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            value = configs.laid_over(old, value)
        found[key] = value
    return found


def changes(over: Mapping[str, Any]) -> str:
    """Changes in one line.

    Example:
        >>> changes({"train.epochs": 5, "model": {"beta": 4.0}}), changes({})
        ('train.epochs: 5, model: {beta: 4.0}', '–')
    """
    lines = (
        f"{key}: {yaml.safe_dump(value, default_flow_style=True, width=10**6, sort_keys=False)}"
        for key, value in over.items()
    )
    return ", ".join(line.removesuffix("\n...\n").strip() for line in lines) or "–"


def head(study: Study, waiting: Sequence[Training]) -> list[str]:
    """What stands above the tables in Markdown: the arms with their changes, and what is not done.

    Args:
        study: the plan.
        waiting: trainings that are not in the tables because they are not done.
    """
    seeds = ", ".join(map(str, plan.seeds(study.plan.seeds)))
    lines = [f"# {study.plan.title or 'Ablation'}", ""]
    common = f"; all arms: {changes(study.plan.set)}" if study.plan.set else ""
    lines += [f"Base {Path(study.plan.base).name}, seeds {seeds}{common}.", ""]
    lines += ["| arm | changes | runs |", "|-|-|-|"]
    folders = plan.slugs(study.arms)
    for name, over in plan.arms(study.plan).items():
        told = changes(merged(over)).replace("|", "¦")
        lines.append(f"| {name} | {told} | {folders[name]}/seed-… |")
    if waiting:
        lines += ["", f"Not done: {', '.join(t.name for t in waiting)}."]
    return lines


def lines(study: Study) -> list[str]:
    """The plan for people: arms with their changes, seeds, number of trainings."""
    told = document(study)
    width = max(map(len, told["arms"]))
    about = [told["title"]] if told["title"] else []
    about.append(f"base: {told['base']}" + (f", data: {told['data']}" if told["data"] else ""))
    if told["set"]:
        about.append(f"all arms: {changes(told['set'])}")
    rows = [f"  {name:<{width}}  {changes(over)}" for name, over in told["arms"].items()]
    seeds = ", ".join(map(str, told["seeds"]))
    count = f"{counted(len(told['arms']), 'arm')} × {counted(len(told['seeds']), 'seed')}"
    return [*about, *rows, f"seeds: {seeds}", f"{count}: {counted(told['trainings'], 'training')}"]
