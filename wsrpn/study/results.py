"""What a study has found so far: tables with paired intervals, and pictures.

They are made of what the run folders hold, so anybody can make them at any time, also while others
still train. Nothing in `study.md` and `study.csv` depends on when or where the runs were made.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import filelock

import wsrpn
from wsrpn import compare, evaluate, files, truth
from wsrpn.comparison import Comparison
from wsrpn.errors import InputError, counted, nearest
from wsrpn.heatmap import pictures
from wsrpn.predict import open_run
from wsrpn.report import compare as paper
from wsrpn.report import draw
from wsrpn.report import study as drawing
from wsrpn.study import outline
from wsrpn.study.ablate import Study
from wsrpn.study.training import Training, entry, notes, trained
from wsrpn.train.folder import read_metrics
from wsrpn.types import Dataset, Figure, Report

# Columns where a study names none, as far as they are defined.
FIGURES = (
    *compare.FIGURES, "specificity", "entropy", "entropy_normalized", "alignment_error",
    "top_patch",
)  # fmt: skip
CURVES = (
    "val/entropy", "val/alignment_error", "val/top_patch", "val/ap@0.3", "val/rodeo", "val/auroc",
)  # fmt: skip
GOOD, AGAINST = "ap@0.3", "entropy"


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
            made |= _pictures(study, comparison, paired, device)
        except (InputError, OSError) as error:  # the tables are there all the same
            lost = f"Not all pictures could be drawn: {error}"
            comparison = dataclasses.replace(comparison, warnings=(*comparison.warnings, lost))
        document = {**comparison.document(_named(made)), **state}
        files.write_json(made["report"], document)
        return Results(comparison, made, document, waiting)


def _named(made: Mapping[str, Path]) -> dict[str, str]:
    return {name: str(path) for name, path in made.items()}


Paired = Mapping[str, Mapping[Training, compare.Entry]]


def finished(study: Study) -> dict[Training, compare.Entry]:
    """The answers of all that is done."""
    usable = [t for t in study.trainings if t not in study.damaged and t.begun and trained(t)]
    answers = {training: entry(training) for training in usable}
    return {training: found for training, found in answers.items() if found is not None}


def paired_runs(study: Study, found: Mapping[Training, compare.Entry]) -> Paired:
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
    """What the trainings had to say; the same note of all arms once, of some with their names."""
    said: dict[str, dict[str, None]] = {}
    for arm, runs in paired.items():
        for training in runs:
            for note in notes(training):
                said.setdefault(note, {})[arm] = None
    return [
        note if len(arms) == len(paired) else f"{', '.join(arms)}: {note}"
        for note, arms in said.items()
    ]


def _compared(study: Study, paired: Paired, told: Sequence[str], bootstrap: int) -> Comparison:
    judged = {arm: [_judged(study, *run) for run in runs.items()] for arm, runs in paired.items()}
    everyone = [run for runs in judged.values() for run in runs]
    for run in everyone:
        truth.refuse_other(everyone[0], run)
    scorer = truth.truth(everyone)
    figures = study.plan.figures or tuple(f for f in FIGURES if f in compare.known())
    comparison = compare.compare(
        {arm: [run.entry for run in runs] for arm, runs in judged.items()},
        scorer,
        figures=figures,
        baseline=study.baseline if study.baseline in paired else None,
        bootstrap=bootstrap,
    )
    if not study.plan.figures:  # what no run and no truth defines was not asked for
        comparison = dataclasses.replace(comparison, figures=paper.defined(comparison))
    if study.baseline not in paired:
        told = [*told, f"Differences are to {next(iter(paired))}: the baseline has no run."]
    warnings = (*told, *truth.notes(everyone, scorer), *comparison.warnings)
    return dataclasses.replace(comparison, warnings=tuple(dict.fromkeys(warnings)))


def _judged(study: Study, training: Training, found: compare.Entry) -> truth.Judged:
    dataset = study.data[training.arm]
    return truth.Judged(found, dataset.split(training.split), dataset.name)  # type: ignore[arg-type]


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


def _pictures(study: Study, comparison: Comparison, paired: Paired, device: str) -> dict[str, Path]:
    title = study.plan.title
    made = {"curves": study.out / "curves.png"}
    rows = {arm: [read_metrics(t.folder) for t in runs] for arm, runs in paired.items()}
    where = f"{title}: validation split" if title else "Validation split"
    draw.save(drawing.curves(rows, figures=CURVES, title=where), made["curves"])
    if {GOOD, AGAINST} <= set(comparison.figures):
        made["pareto"] = study.out / "pareto.png"
        draw.save(drawing.pareto(comparison, title=title), made["pareto"])
    columns = _columns(study, paired, device)
    if columns:
        made["maps"] = study.out / "maps.png"
        draw.save(drawing.maps(columns, title=title), made["maps"])
    return made


def _columns(study: Study, paired: Paired, device: str) -> dict[str, list[draw.Picture]]:
    """Pictures of the same images by the first run of each arm that has Gaussian maps."""
    images = _images(study, paired)
    found = {}
    for arm, runs in paired.items():
        training, answers = next(iter(runs.items()))
        calibration = answers.calibration
        run = open_run(training.folder, device=device).calibrated(calibration)
        drawn = [
            dataclasses.replace(picture, name=name)
            for name, picture in pictures(run, images, calibration=calibration)
        ]
        if drawn and all(picture.region_maps is not None for picture in drawn):
            found[arm] = drawn
    return found


def _images(study: Study, paired: Paired) -> Dataset:
    first = study.data[next(iter(paired))].split(study.plan.split)
    return drawing.chosen(first, study.plan.pictures)


# Requirements


def refuse_unknown(study: Study, requirements: Sequence[str]) -> None:
    """Refuse requirements about arms or figures that there will not be.

    Raises:
        InputError: names the nearest that there will be.
    """
    others = [arm for arm in study.arms if arm != study.baseline]
    sides = [*study.arms, *(f"{arm} - {study.baseline}" for arm in others)]
    figures = study.plan.figures or FIGURES
    figures = compare.known() if figures == ("all",) else figures
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
