"""`wsrpn calibrate`, `eval` and `heatmap` where SOURCE has tile scores of slides."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from . import options, slide_source
from .slide_source import Selection

if TYPE_CHECKING:
    from wsrpn.cohort.draw import Drawn


def calibrate(
    source: Path, *, data: str, asked: Selection, fit: Mapping[str, Any], out: Path | None,
    json: bool,
) -> None:  # fmt: skip
    """Choose steps and fit one threshold.

    Args:
        source: where the scores are.
        data: slides.csv or its folder, or "".
        asked: which slides; those of `val` where nothing is said.
        fit: options of `wsrpn.cohort.calibrate`.
        out: calibration.json; beside the scores where None.
        json: print the document.
    """
    from wsrpn.cohort import calibrate as fitting
    from wsrpn.cohort import objective

    from . import slide_tables

    asked.check()
    objective.parse(fit["objective"])
    place = slide_source.locate(source, data)
    found = slide_source.scores(place, asked, usual="val")
    with options.progress("calibrate", None) as bar:

        def tell(done: int, total: int) -> None:
            bar.set_total(total)
            bar.advance(done - bar.done)

        fitted = fitting.calibrate(found.cohort, **fit, listen=tell)
    path = out or place.folder / "calibration.json"
    fitted.save(path)
    slide_tables.show_calibration(fitted, said=found.cohort.notes)
    column = "" if fitted.score == "score" else f", for column {fitted.score}"
    options.say(f"calibration: {path}{column}")
    if json:
        report = slide_tables.calibration_report(fitted, {"calibration": str(path)})
        options.emit(_with_failed(report.document(), found.cohort.failed))
    slide_source.ended(found.cohort.failed)


def evaluate(
    source: Path, *, data: str, asked: Selection, calibration: Path | None, detections: Path | None,
    out: Path | None, require: Sequence[str], bootstrap: int, json: bool,
) -> None:  # fmt: skip
    """Figures of slides, with intervals over patients.

    Args:
        source: where the scores are.
        data: slides.csv or its folder, or "".
        asked: which slides; those of `test` where nothing is said.
        calibration: one from elsewhere than beside the scores.
        detections: folder of CAMELYON16's files, for FROC.
        out: folder of report.json; beside the scores where None.
        require: conditions on figures.
        bootstrap: replicates behind the intervals.
        json: print the document.
    """
    import numpy as np

    from wsrpn import evaluate as evaluation
    from wsrpn import files
    from wsrpn.cohort import evaluate as figures
    from wsrpn.errors import RequirementError
    from wsrpn.metrics import froc

    from . import slide_tables

    asked.check()
    evaluation.check_form(list(require))  # before the table is read
    hits = None if detections is None else froc.read_detections(detections)
    place = slide_source.locate(source, data)
    fitted = slide_source.calibration(place, calibration)
    found = slide_source.scores(place, asked.like(fitted), usual="test")
    report = figures.evaluate(
        found.cohort,
        calibration=fitted,
        outlines=slide_source.outlines(found),
        detections=hits,
        bootstrap=bootstrap,
    )
    path = (out or place.folder) / "report.json"
    report = dataclasses.replace(report, files={"report": str(path)})
    unlabelled = {t.slide for t in found.cohort.slides if np.isnan(t.label).all()}
    failed = {n: r for n, r in report.provenance["failed"].items() if n not in unlabelled}
    document = _with_failed(report.document(), found.cohort.failed)
    files.write_json(path, document)
    slide_tables.show_report(report, said=found.cohort.notes)
    options.say(f"report: {path}")
    if json:
        options.emit(document)
    slide_source.list_failed(failed)
    unmet = evaluation.check_requirements(report, list(require))  # after the report is written
    if unmet:
        raise RequirementError(f"not met: {'; '.join(unmet)}")
    if failed:
        raise typer.Exit(1)


def heatmap(
    source: Path, *, data: str, asked: Selection, calibration: Path | None, out: Path, limit: int,
    drawing: Mapping[str, Any], json: bool,
) -> None:  # fmt: skip
    """Truth, heatmap and overlay of every slide, and layers for viewers.

    Args:
        source: where the scores are.
        data: slides.csv or its folder, or "".
        asked: which slides; those of `test` where nothing is said.
        calibration: one from elsewhere than beside the scores.
        out: folder of the pictures.
        limit: at most so many slides, those with tumour first; 0 for all.
        drawing: options of `wsrpn.cohort.draw`.
        json: print the document.
    """
    from wsrpn import files
    from wsrpn.cohort import draw
    from wsrpn.errors import counted

    asked.check()
    files.refuse_file(out)
    place = slide_source.locate(source, data)
    fitted = slide_source.calibration(place, calibration)
    found = slide_source.scores(place, asked.like(fitted), usual="test")
    names = slide_source.telling(found.cohort, limit)
    with options.progress("heatmap", len(names)) as bar:
        drawn = draw.draw(
            found.cohort, found.sheet, out, calibration=fitted, names=names, listen=bar.advance,
            **drawing,
        )  # fmt: skip
    if fitted is None:
        options.say("not calibrated: scores are drawn as they are (`wsrpn calibrate`)")
    for note in drawn.notes:
        options.say(f"note: {note}")
    if drawn.skipped:
        options.say(f"{counted(len(drawn.skipped), 'slide')} drawn before and left as they are")
    failed = {**found.cohort.failed, **drawn.failed}
    paths = _paths(drawn)
    done = len(names) - len(drawn.failed)
    options.say(f"{counted(done, 'slide')}: {out}" if paths else "nothing was drawn.")
    if json:
        document = options.document(
            "heatmap", files=paths, warnings=[*found.cohort.notes, *drawn.notes]
        )
        options.emit(_with_failed(document, failed))
    slide_source.ended(failed)


def _paths(drawn: "Drawn") -> dict[str, str]:
    """Every file that is there now: what is of all slides first."""
    whole = {"contact_sheet": drawn.sheet, "page": drawn.page}
    there = {name: path for name, path in whole.items() if path is not None}
    return {name: str(path) for name, path in {**there, **drawn.files}.items()}


def _with_failed(document: dict[str, Any], failed: Mapping[str, str]) -> dict[str, Any]:
    """A document whose warnings name every slide that failed."""
    told = [f"failed {name}: {' '.join(reason.split())}" for name, reason in failed.items()]
    fresh = [line for line in told if line not in document["warnings"]]
    return {**document, "warnings": [*document["warnings"], *fresh]}
