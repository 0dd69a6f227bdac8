"""`wsrpn ablate`."""

import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import options

if TYPE_CHECKING:
    from wsrpn.study.ablate import Study
    from wsrpn.study.plan import Ablation
    from wsrpn.study.pool import Means


def ablate(
    study: Annotated[
        str,
        typer.Argument(
            metavar="STUDY|STUDY.yaml",
            help="A study that comes with wsrpn (`wsrpn doctor` lists them), or one of your own.",
            show_default=False,
        ),
    ],
    data: options.Data = "",
    out: Annotated[
        Path | None, typer.Option(help="Folder of the study.", show_default="studies/STUDY")
    ] = None,
    change: options.Set = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="Trainings of each arm, for fewer or more.")
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="ARM", help="Train only this arm; may be repeated."),
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Trainings at a time.")] = 1,
    shard: Annotated[
        str, typer.Option(metavar="I/N", help="Train the I-th of N shares: one per machine.")
    ] = "1/1",
    tables_only: Annotated[
        bool, typer.Option("--tables-only", help="Train nothing: tables of what is done.")
    ] = False,
    show_plan: Annotated[
        bool, typer.Option("--show-plan", help="Print arms, changes and seeds, and stop.")
    ] = False,
    require: Annotated[
        list[str] | None,
        typer.Option(
            metavar="'ARM/FIGURE>=VALUE'", help="Exit with 3 unless it holds; may be repeated."
        ),
    ] = None,
    bootstrap: Annotated[
        int, typer.Option(min=0, help="Replicates behind the intervals; 0 for none.")
    ] = 1000,
    code: options.Code = None,
    device: options.Device = "auto",
    json: options.Json = False,
) -> None:
    """Train named changes of one recipe with the same seeds, and set them side by side.

    Each training is a run folder OUT/ARM/seed-N, calibrated and ready for `wsrpn compare`. The same
    command goes on where a study stopped; several of them on one folder share the work. Ends with 1
    where a training failed; the others are not touched by that.

    wsrpn ablate gaussian --show-plan

    wsrpn ablate gaussian --out studies/gaussian --jobs 2

    wsrpn ablate mine.yaml --data images.csv --out mine --require 'low(full - baseline/ap@0.3)>0'
    """
    from wsrpn import evaluate
    from wsrpn.errors import RequirementError
    from wsrpn.study import ablate as studies
    from wsrpn.study import results

    options.load_code(code)
    evaluate.check_form(require or [])
    part = _shard(shard)
    asked = _asked(study, data, change, seeds)
    place = out or Path("studies") / Path(study).stem
    if show_plan:
        _show_plan(asked, place, json=json)
        return
    ready = studies.prepare(asked, place, where=Path())
    results.refuse_unknown(ready, require or [])
    chosen = ready.share(only or [], part)
    failed = dict(ready.damaged)
    if not tables_only:
        from .study import Voice

        with Voice(chosen, jobs) as voice:
            failed = studies.train(ready, chosen, _means(jobs, device, code), voice)
    found = results.results(
        ready, failed=failed, bootstrap=bootstrap, device=device, say=options.say
    )
    _show(found, failed, place)
    if json:
        options.emit(dict(found.document))
    unmet = results.unmet(found, require or [])
    if unmet:
        raise RequirementError(f"not met: {'; '.join(unmet)}")
    if failed or (tables_only and found.comparison is None):
        raise typer.Exit(1)


def _asked(study: str, data: str, change: list[str] | None, seeds: int | None) -> "Ablation":
    """The study with the changes of the command line; a file as its base by its whole path."""
    from wsrpn.study import plan

    found = plan.load(study, plan.Ablation)
    base = Path(found.base)
    if base.suffix in {".yaml", ".yml"} and not base.is_absolute():
        found = dataclasses.replace(found, base=str((Path(study).parent / base).resolve()))
    return plan.revised(found, data=data, changes=change or [], count=seeds)


def _shard(text: str) -> tuple[int, int]:
    from wsrpn.errors import InputError

    first, _, second = text.partition("/")
    if first.isdecimal() and second.isdecimal() and 1 <= int(first) <= int(second):
        return int(first), int(second)
    raise InputError(f"--shard {text}: write it as I/N with I from 1 to N, for example 1/4.")


def _means(jobs: int, device: str, code: list[Path] | None) -> "Means":
    from wsrpn import compute
    from wsrpn.study.pool import Means

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    told = os.environ.get("OMP_NUM_THREADS", "")
    threads = int(told) if told.isdecimal() else max(1, (cores or 1) // jobs)
    return Means(jobs, max(1, threads), compute.spread(device), tuple(code or ()))


def _show_plan(asked: "Ablation", place: Path, *, json: bool) -> None:
    from wsrpn.study import ablate as studies
    from wsrpn.study import outline

    made = studies.trainings(asked, place, where=Path())
    study: Study = studies.Study(asked, place, made, {}, {})
    told: dict[str, Any] = outline.document(study)
    if json:
        options.emit({**options.document("ablate", files={}, warnings=[]), "study": told})
        return
    for line in outline.lines(study):
        typer.echo(line)


def _show(found: Any, failed: Any, place: Path) -> None:
    from . import tables

    if found.comparison is not None:
        tables.show_comparison(found.comparison)
        options.say(f"tables and pictures: {place}")
    else:
        options.say("no tables yet: no two arms have a finished run of the same seed")
    rest = [t for t in found.waiting if t not in failed]
    if rest:
        names = ", ".join(t.name for t in rest[:5]) + (", …" if len(rest) > 5 else "")
        options.say(f"not done: {names} ({len(rest)})")
    for training, reason in failed.items():
        options.say(f"failed: {training.name}: {reason}")
