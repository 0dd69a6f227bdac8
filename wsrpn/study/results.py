"""What a study has found so far: tables with paired intervals, and pictures.

They are made of what the run folders hold, so anybody can make them at any time, also while others
still train. Nothing in `study.md` and `study.csv` depends on when or where the runs were made.
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import filelock

import wsrpn
from wsrpn import evaluate, files, sides
from wsrpn.comparison import Comparison
from wsrpn.errors import InputError, counted, nearest
from wsrpn.report import compare as paper
from wsrpn.report import draw
from wsrpn.report import study as drawing
from wsrpn.study import outline
from wsrpn.study.ablate import Study
from wsrpn.study.training import Training, entry, notes, trained
from wsrpn.train.folder import read_metrics
from wsrpn.types import Figure, Report


@dataclass(frozen=True)
class Results:
    """Tables and pictures of a study.

    Attributes:
        comparison: the arms side by side, None before two of them have a run of one seed.
        files: what was written.
        document: of `study.json`.
        waiting: trainings that are not done.
    """

    comparison: Comparison | None
    files: Mapping[str, Path] = field(default_factory=dict)
    document: Mapping[str, Any] = field(default_factory=dict)
    waiting: tuple[Training, ...] = ()


def results(
    study: Study,
    *,
    failed: Mapping[Training, str] | None = None,
    bootstrap: int = 1000,
    device: str = "auto",
    say: Callable[[str], None] = lambda text: None,
) -> Results:
    """Compare what is done and write `study.md`, `.csv`, `.json`, `.png` and the pictures.

    Only seeds that all arms have are compared, so that the differences are paired; an arm without
    any run is left out, and the notes say so.

    Args:
        study: what was to be trained.
        failed: reasons of trainings that failed.
        bootstrap: replicates (of patients) behind the intervals; 0 gives none.
        device: where the maps of the pictures are computed.
        say: told what is being made.
    """
    study.out.mkdir(parents=True, exist_ok=True)
    # One at a time: who begins later knows of more runs, and writes later.
    with filelock.FileLock(study.out / ".results.lock"):
        found = finished(study)
        waiting = tuple(t for t in study.trainings if t not in found)
        state = {
            "command": "ablate",
            "study": outline.document(study),
            "waiting": [t.name for t in waiting],
            "failed": {t.name: reason for t, reason in (failed or {}).items()},
        }
        paired = paired_runs(study, found)
        if len(paired) < 2:
            nothing = Report("ablate", wsrpn.__version__, {})
            return Results(None, document={**nothing.document(), **state}, waiting=waiting)
        say(f"comparing {counted(sum(map(len, paired.values())), 'run')} of {len(paired)} arms")
        told = [*_unpaired(study, found, paired), *_said(paired)]
        comparison = _compared(study, paired, told, bootstrap)
        made = _tables(study, comparison, waiting)
        made["report"] = study.out / "study.json"
        files.write_json(made["report"], {**comparison.document(_named(made)), **state})
        say("drawing curves and maps")
        try:
            for name, path in _pictures(study, comparison, paired, device):
                made[name] = path
        except (InputError, OSError) as error:  # the tables are there all the same
            lost = f"Not all pictures could be drawn: {error}"
            comparison = dataclasses.replace(comparison, warnings=(*comparison.warnings, lost))
        document = {**comparison.document(_named(made)), **state}
        files.write_json(made["report"], document)
        return Results(comparison, made, document, waiting)


def _named(made: Mapping[str, Path]) -> dict[str, str]:
    return {name: str(path) for name, path in made.items()}


Paired = Mapping[str, Mapping[Training, sides.Run]]


def finished(study: Study) -> dict[Training, sides.Run]:
    """The answers of all that is done."""
    usable = [t for t in study.trainings if t not in study.damaged and t.begun and trained(t)]
    answers = {training: entry(training) for training in usable}
    return {training: found for training, found in answers.items() if found is not None}


def paired_runs(study: Study, found: Mapping[Training, sides.Run]) -> Paired:
    """The runs of the seeds that all arms have which have any, the baseline first.

    An arm that has no seed in common with those before it is left out.
    """
    ordered = (study.baseline, *(arm for arm in study.arms if arm != study.baseline))
    kept: list[str] = []
    common: set[int] = set()
    for arm in ordered:
        seeds = {t.seed for t in found if t.arm == arm}
        shared = common & seeds if kept else seeds
        if shared:
            kept, common = [*kept, arm], shared
    return {
        arm: {t: e for t, e in found.items() if t.arm == arm and t.seed in common} for arm in kept
    }


def _lack(arm: str, found: Iterable[Training]) -> str:
    return "of a seed that the others have" if any(t.arm == arm for t in found) else "is done"


def _unpaired(study: Study, found: Iterable[Training], paired: Paired) -> list[str]:
    """Sentences about arms and runs that are not in the tables."""
    told = [
        f"{arm}: no run {_lack(arm, found)}; it is in no table."
        for arm in study.arms
        if arm not in paired
    ]
    alone = [t for t in found if t not in paired.get(t.arm, {})]
    if alone:
        seeds = ", ".join(map(str, sorted({t.seed for t in alone})))
        names = ", ".join(t.name for t in alone)
        told.append(f"Not all arms have seeds {seeds}, so these runs are left out: {names}.")
    return told


def _said(paired: Paired) -> list[str]:
    """What the trainings had to say, with the arms or runs that it is of unless all say it."""
    said: dict[str, dict[Training, None]] = {}
    for training in (training for runs in paired.values() for training in runs):
        for note in notes(training):
            said.setdefault(note, {})[training] = None
    return [f"{whose}: {note}" if (whose := _whose(paired, of)) else note
            for note, of in said.items()]  # fmt: skip


def _whose(paired: Paired, some: Mapping[Training, None]) -> str:
    """Names of arms of which all runs are among some, and of single runs; "" for all there are."""
    names, whole = [], True
    for arm, runs in paired.items():
        mine = [training.name for training in runs if training in some]
        whole = whole and len(mine) == len(runs)
        names += [arm] if len(mine) == len(runs) else mine
    return "" if whole else ", ".join(names)


def _compared(study: Study, paired: Paired, told: Sequence[str], bootstrap: int) -> Comparison:
    part = {arm: study.data[arm].split(study.plan.split) for arm in paired}  # type: ignore[arg-type]
    comparison = study.kind.compare(
        {arm: [(entry, part[arm]) for entry in runs.values()] for arm, runs in paired.items()},
        figures=study.plan.figures,
        baseline=study.baseline if study.baseline in paired else None,
        bootstrap=bootstrap,
    )
    if study.baseline not in paired:
        told = [*told, f"Differences are to {next(iter(paired))}: the baseline has no run."]
    warnings = (*told, *comparison.warnings)
    return dataclasses.replace(comparison, warnings=tuple(dict.fromkeys(warnings)))


# Tables


def _tables(study: Study, comparison: Comparison, waiting: Sequence[Training]) -> dict[str, Path]:
    foot = paper.left_out(comparison, stem="study", choice="`figures` of the study")
    full = dataclasses.replace(comparison, warnings=(*comparison.warnings, *foot))
    suffixes = (("table", "md"), ("csv", "csv"), ("figure", "png"))
    paths = {name: study.out / f"study.{suffix}" for name, suffix in suffixes}
    files.write(paths["csv"], paper.table(full).encode())
    head = [*outline.head(study, waiting), "", *paper.overview(full)]
    base = comparison.provenance["baseline"]
    head += ["", f"In bold: the interval of the difference to {base} leaves out 0."]
    files.write(paths["table"], paper.markdown(full, head=head, runs=False).encode())
    draw.save(paper.forest(comparison, foot=foot), paths["figure"])
    return paths


# Pictures


def _pictures(
    study: Study, comparison: Comparison, paired: Paired, device: str
) -> Iterator[tuple[str, Path]]:
    """What was drawn, one picture after the other."""
    title, kind = study.plan.title, study.kind
    rows = {arm: [read_metrics(t.folder) for t in runs] for arm, runs in paired.items()}
    where = f"{title}: validation split" if title else "Validation split"
    curves = study.out / "curves.png"
    draw.save(drawing.curves(rows, figures=kind.curves, title=where), curves)
    yield "curves", curves
    if kind.tradeoff and set(kind.tradeoff) <= set(comparison.figures):
        pareto = study.out / "pareto.png"
        draw.save(drawing.pareto(comparison, title=title), pareto)
        yield "pareto", pareto
    first = {arm: next(iter(runs.items())) for arm, runs in paired.items()}
    maps = kind.picture(
        {arm: (training.folder, found) for arm, (training, found) in first.items()},
        study.data[next(iter(paired))].split(study.plan.split),
        study.plan.pictures,
        device=device,
        title=title,
    )
    if maps is not None:
        draw.save(maps, study.out / "maps.png")
        yield "maps", study.out / "maps.png"


# Requirements


def refuse_unknown(study: Study, requirements: Sequence[str]) -> None:
    """Refuse requirements about arms or figures that there will not be.

    Raises:
        InputError: names the nearest that there will be.
    """
    others = [arm for arm in study.arms if arm != study.baseline]
    sides = [*study.arms, *(f"{arm} - {study.baseline}" for arm in others)]
    figures = study.plan.figures or study.kind.figures
    figures = study.kind.known() if figures == ("all",) else figures
    names = [f"{side}/{figure}" for side in sides for figure in figures]
    for text in requirements:
        name = evaluate.asked(text)
        if name not in names:
            raise InputError(
                f"--require {text}: no figure is called '{name}'. {nearest(name, names)}"
            )


def unmet(found: Results, requirements: Sequence[str]) -> list[str]:
    """Those of the requirements that do not hold; what no run defines meets nothing."""
    if found.comparison is None:
        return [f"{text} (nothing is compared yet)" for text in requirements]
    report = found.comparison.report()
    nothing = {evaluate.asked(text): Figure(None) for text in requirements}
    report = dataclasses.replace(report, metrics={**nothing, **report.metrics})
    return evaluate.check_requirements(report, requirements)
