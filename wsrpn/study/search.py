"""What a search is before it runs, and what it has found: its figure, its facts, its configs."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

from wsrpn import config as configs
from wsrpn.config import RunConfig
from wsrpn.errors import InputError, counted, nearest
from wsrpn.report.trials import Found, Trial
from wsrpn.study import outline, plan, ranges
from wsrpn.study.plan import Changes, Search
from wsrpn.study.training import FREE
from wsrpn.train import folder, run, validate
from wsrpn.types import Dataset

LOWER = ("loss", "entropy", "entropy_normalized", "alignment_error")
BOXES = tuple(name for names in validate.BOXES.values() for name in names)
FIGURES = (
    "auroc", "image_ap", "dice", "jaccard", "loss",
    *(n for m in validate.MAPS.values() for n in m), *BOXES,
)  # fmt: skip
WATCHED = (
    "Boxes of the validation split chose between the trials: what is trained with their values is "
    "not free of boxes any more."
)
CHOSEN = (
    "The best value of many trials flatters: it was chosen on the validation split. What it is "
    "worth, other images tell."
)


def revised(
    study: Search,
    *,
    where: Path = Path(),
    data: str = "",
    changes: Sequence[str] = (),
    trials: int | None = None,
    sampler: Literal["tpe", "random"] | None = None,
) -> Search:
    """The study with what the command line says of it.

    Args:
        study: what the file says.
        where: its folder, from which a config file as its base is looked for.
        data: other data.
        changes: `a.b=value` for all trials, over `set`.
        trials: another number of them.
        sampler: another one.

    Raises:
        InputError: a change is not written so, or its key is searched.
    """
    over = configs.changes(changes)
    for key in over:
        for searched in study.ranges:
            if f"{key}.".startswith(f"{searched}."):
                raise InputError(f"--set {key}: the study searches {searched}; take it out there.")
    kept = {key: value for key, value in study.set.items() if key not in over}
    base = Path(study.base)
    return replace(
        study,
        base=str((where / base).resolve()) if base.suffix in {".yaml", ".yml"} else study.base,
        data=data or study.data,
        set={**kept, **over},
        trials=study.trials if trials is None else trials,
        sampler=sampler or study.sampler,
    )


def over(study: Search, drawn: Changes) -> tuple[Changes, ...]:
    """The changes of a trial: what its figure needs to be there, and what was drawn."""
    return (({"train.watch_boxes": True},) if study.figure in BOXES else ()) + (drawn,)


def check(study: Search) -> None:
    """Look at everything that can be told without data.

    Raises:
        InputError: a figure that is not logged, or a range or one of its values that does not fit.
    """
    if study.figure not in FIGURES:
        raise InputError(
            f"figure: {study.figure} is not logged on the validation split. "
            f"{nearest(study.figure, FIGURES)}"
        )
    ranges.check(study, over(study, {}))


def plain(study: Search) -> RunConfig:
    """The config that drawn values lie over, with the first seed."""
    return plan.config(study, over(study, {}), seed=plan.seeds(study.seeds)[0], where=Path())


def refuse_boxless(study: Search, dataset: Dataset) -> None:
    """Stop where the figure needs boxes and the validation images have none.

    Raises:
        InputError: names the figure and the data.
    """
    if study.figure in BOXES and not validate.watches_boxes(plain(study), dataset.split("val")):
        raise InputError(
            f"figure: {study.figure} needs boxes in split val, and {dataset.name} has none there; "
            "choose image_ap, auroc or loss, or data with boxes."
        )


def facts(study: Search, dataset: Dataset | None) -> dict[str, Any]:
    """What all trials share, as plain values.

    Args:
        study: what is searched.
        dataset: its data, where they were looked at.
    """
    found: dict[str, Any] = {
        "config": configs.document(plain(study)),
        "ranges": {key: asdict(values) for key, values in study.ranges.items()},
        "figure": study.figure,
        "seeds": plan.seeds(study.seeds),
    }
    if dataset is not None:
        parts = {"data set": dataset, "split val": dataset.split("val")}
        found["data"] = {what: part.digest() for what, part in parts.items()}
        found["data"] |= {"labels": dataset.label_digest(), "list of classes": dataset.classes}
    shared: dict[str, Any] = json.loads(json.dumps(found))
    return shared


def refuse_changed(out: Path, begun: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Stop where a search was begun with another config, other ranges or other data.

    The number of trials, the sampler and the pruner may change.

    Args:
        out: its folder.
        begun: the facts it began with.
        now: those of the study at hand.

    Raises:
        InputError: names what changed.
    """
    way_out = "take it back, or choose another --out (with a --storage also another name of STUDY)."
    changed = [
        (f"ranges.{key}", begun["ranges"].get(key), now["ranges"].get(key))
        for key in sorted({*begun["ranges"], *now["ranges"]})
    ]
    changed += [(key, begun[key], now[key]) for key in ("figure", "seeds")]
    old, new = (configs.parse(of["config"]) for of in (begun, now))
    made = any(c.data.source.startswith("phantom:") for c in (old, new))
    free = [key for key in FREE if key != "data.source" or not made]
    changed += folder.differences(old, new, free=[*free, "train.seed"])
    for key, before, after in changed:
        if before != after:
            raise InputError(
                f"{out}: {key} was {_short(before)} when this search began, {_short(after)} now; "
                f"{way_out}"
            )
    for what, digest in begun["data"].items():
        if "data" in now and now["data"][what] != digest:
            raise InputError(f"{out}: the {what} is not the one that this search began with.")


def _short(value: Any) -> str:
    if isinstance(value, dict) and {"choices", "low"} <= value.keys():
        value = {name: part for name, part in value.items() if part not in ([], None, False)}
    text = "absent" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:79]}…"


def found(study: Search, rows: Sequence[Trial], *, title: str = "") -> Found:
    """What the trials show, and what must be said with it.

    Args:
        study: what is searched.
        rows: its trials.
        title: where the study has none.
    """
    notes = [*([WATCHED] if study.figure in BOXES else []), CHOSEN]
    others = sum(row.state == "running" for row in rows)
    if others:
        notes.append(
            f"{counted(others, 'trial')} running elsewhere or stopped half-way: the same command "
            "goes on with what was stopped, and --tables-only makes the tables anew."
        )
    return Found(
        title=study.title or title,
        figure=study.figure,
        lower=study.figure in LOWER,
        scales=ranges.scales(study),
        trials=tuple(rows),
        notes=tuple(notes),
    )


def best_configs(study: Search, found: Found) -> list[str]:
    """The configs of the best trials as YAML, each with a comment that says what it is.

    Args:
        study: what was searched.
        found: its trials.
    """
    first, *others = plan.seeds(study.seeds)
    mean = f", the mean of seeds {', '.join(map(str, (first, *others)))}" if others else ""
    texts = []
    for trial in found.best()[: study.best]:
        changes = over(study, dict(trial.chosen))
        made = run.complete(plan.config(study, changes, seed=first, where=Path()))
        lines = [
            f"# {' '.join(found.title.split())}: trial {trial.number}, "
            f"val/{found.figure} {trial.value:.6g}{mean}.",
            *(f"# {note}" for note in found.notes if note in (WATCHED, CHOSEN)),
        ]
        texts.append("\n".join(lines) + "\n" + configs.dump(made))
    return texts


def document(study: Search) -> dict[str, Any]:
    """The plan as plain values."""
    return {
        "title": study.title,
        "base": study.base,
        "data": study.data,
        "set": dict(study.set),
        "figure": study.figure,
        "lower_is_better": study.figure in LOWER,
        "ranges": {key: ranges.told(values) for key, values in study.ranges.items()},
        "combinations": math.prod(len(r.choices) for r in study.ranges.values()) or None,
        "trials": study.trials,
        "sampler": study.sampler,
        "seed": study.seed,
        "seeds": list(plan.seeds(study.seeds)),
    }


def lines(study: Search) -> list[str]:
    """The plan for people."""
    told = document(study)
    of = f" of {told['combinations']} combinations" if told["combinations"] else ""
    pruned = f"; stopped below the median after {study.warmup} trials and {study.warmup} epochs"
    width = max(map(len, told["ranges"]))
    return [
        *([study.title] if study.title else []),
        f"base: {study.base}" + (f", data: {study.data}" if study.data else ""),
        *([f"all trials: {outline.changes(study.set)}"] if study.set else []),
        f"figure: val/{study.figure}, {'lower' if told['lower_is_better'] else 'higher'} is better",
        *([WATCHED] if study.figure in BOXES else []),
        *(f"  {key:<{width}}  {values}" for key, values in told["ranges"].items()),
        f"seeds of each trial: {', '.join(map(str, told['seeds']))}",
        f"trials: {study.trials}{of}, {study.sampler}, seed {study.seed}"
        + (pruned if study.pruner == "median" else ""),
    ]
