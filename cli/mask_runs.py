"""`wsrpn calibrate`, `eval` and `predict` where SOURCE answers every pixel."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from . import mask_source, options

if TYPE_CHECKING:
    from wsrpn.masks.calibration import MaskCalibration
    from wsrpn.segmentation.evidence import Evidence
    from wsrpn.types import Dataset, Report

MASKS = Path("masks")
KEYS = ("jaccard", "dice", "precision", "recall", "object_f1")


def evaluate(
    source: Path, *, data: str, split: str, calibration: Path | None, out: Path | None,
    require: Sequence[str], by: str | None, images: str, bootstrap: int, device: str, on_error: str,
    held: str, threshold: float | None, min_size: int | None, json: bool,
) -> None:  # fmt: skip
    """Figures of pixels, outlines and objects.

    Args:
        source: run folder, or folder of maps.
        data: DATA, or "" for what the run was trained on.
        split: which images.
        calibration: one from elsewhere than the folder.
        out: folder of report.json; beside the maps where None.
        require: conditions on figures.
        by: column whose values get figures of their own.
        images: `listed` leaves out images without a map.
        bootstrap: replicates behind the intervals.
        device: where the model runs.
        on_error: stop or skip at an image that cannot be read.
        held: what the files of a folder hold; "" tells by their looks.
        threshold: in the place of the calibration's.
        min_size: likewise, smallest area in pixels.
        json: print the document.
    """
    from wsrpn import evaluate as evaluation
    from wsrpn import files
    from wsrpn.errors import RequirementError
    from wsrpn.segmentation import evaluate as judging

    from . import tables

    evaluation.check_form(list(require))  # before the model runs
    which = options.choice("--images", images, ("all", "listed"))
    fitted = mask_source.calibration(source, calibration)
    found = mask_source.answers(
        source, data=data, split=split, device=device, on_error=on_error, out=out,
        only_listed=which == "listed", content=held, fitted=fitted, given=calibration,
    )  # fmt: skip
    chosen = mask_source.cut(found.maps, found.run, fitted, threshold, min_size)
    path, table = found.out / "report.json", found.out / "images.csv"
    with options.progress("eval", len(found.maps)) as bar:
        report = judging.evaluate(
            found.maps, found.dataset, chosen, bootstrap=bootstrap, by=by, listen=bar.advance,
            keep=lambda counts: _write_images(table, counts),
        )  # fmt: skip
    report = dataclasses.replace(report, files={"report": str(path), "images": str(table)})
    document = report.document()
    document["warnings"] = [*document["warnings"], *_failures(found.maps.failed)]
    files.write_json(path, document)
    if found.maps.graded:
        mask_source.tell(chosen, fitted)
    tables.show_masks(report, said=found.dataset.notes)
    options.say(f"report: {path}, figures of every image: {table.name}")
    if json:
        options.emit(document)
    unmet = evaluation.check_requirements(report, list(require))  # after the report is written
    if unmet:
        raise RequirementError(f"not met: {'; '.join(unmet)}")
    if found.maps.failed:
        raise typer.Exit(1)


def calibrate(
    source: Path, *, data: str, split: str, out: Path | None, objective: str, touching: str,
    cross_validate: bool, device: str, on_error: str, held: str, json: bool,
) -> None:  # fmt: skip
    """Fit threshold, smallest size and distance of objects.

    Args:
        source: run folder, or folder of maps.
        data: DATA, or "" for what the run was trained on.
        split: which images.
        out: calibration.json; in the folder where None.
        objective: what it is best for; "" for jaccard.
        touching: how objects are told apart; "" for what the run says.
        cross_validate: also give figures on patients held out in turn.
        device: where the model runs.
        on_error: stop or skip at an image that cannot be read.
        held: what the files of a folder hold; "" tells by their looks.
        json: print the document.
    """
    from wsrpn.segmentation import calibrate as fitting
    from wsrpn.segmentation import predict as predicting

    from . import tables

    aim = fitting.check_objective(objective or "jaccard")
    if touching:
        options.choice("--touching", touching, ("joined", "watershed"))
    found = mask_source.answers(
        source, data=data, split=split, device=device, on_error=on_error, content=held
    )
    how = touching or predicting.settings(found.run, None).touching
    with options.progress("calibrate", None) as bar:
        fitted = fitting.calibrate(
            found.maps, found.dataset, objective=aim, touching=how,  # type: ignore[arg-type]
            cross_validate=cross_validate, listen=bar.advance,
        )  # fmt: skip
    path = out or source / "calibration.json"
    fitted.save(path)
    report = _calibration_report(fitted, path)
    tables.show_mask_calibration(fitted, KEYS)
    options.say(f"calibration: {path}")
    if json:
        document = report.document()
        document["warnings"] = [*document["warnings"], *_failures(found.maps.failed)]
        options.emit(document)
    if found.maps.failed:
        raise typer.Exit(1)


def predict(
    run: Path, *, images: list[Path] | None, data: str, split: str, out: Path | None,
    calibration: Path | None, objects: bool, scores: bool, threshold: float | None,
    min_size: int | None, device: str, on_error: str, json: bool,
) -> None:  # fmt: skip
    """Write masks, and objects if asked for.

    Args:
        run: run folder.
        images: files or folders of images, or None for `data`.
        data: DATA; exactly one of it and `images` is given.
        split: which images of it.
        out: folder; `masks` where None.
        calibration: one from elsewhere than the run folder.
        objects: also write label pictures and the table of objects.
        scores: also write score maps.
        threshold: in the place of the calibration's.
        min_size: likewise, smallest area in pixels.
        device: where the model runs.
        on_error: stop or skip at an image that cannot be read.
        json: print the document.

    Raises:
        InputError: the output is a file of boxes.
    """
    from wsrpn.errors import InputError, counted
    from wsrpn.predict import open_run
    from wsrpn.segmentation import predict as predicting

    if out is not None and out.suffix.lower() in (".json", ".csv", ".gz"):
        raise InputError(
            f"--out {out}: model and images give masks, which need a folder; say --out "
            f"{out.with_suffix('')}."
        )
    place = out or MASKS
    fitted = mask_source.calibration(run, calibration)
    opened = open_run(run, device=device)
    mask_source.refuse_other_weights(opened, fitted, calibration)
    dataset = _images(images) if images else mask_source.data_of(opened, data, split)
    chosen = mask_source.chosen(opened, fitted, threshold, min_size)
    with options.progress("predict", len(dataset)) as bar:
        saved = predicting.save(
            opened, dataset, place, calibration=chosen, objects=objects, scores=scores,
            on_error=on_error, listen=bar.advance,
        )  # fmt: skip
    mask_source.tell(chosen, fitted)
    if chosen == fitted:
        options.say(
            f"calibrated: threshold {chosen.threshold:.4f}, areas of at least "
            f"{chosen.min_size_px} px"
        )
    notes = (*opened.notes, *saved.notes)
    for note in notes:
        options.say(f"note: {note}")
    for name, reason in saved.failed.items():
        options.say(f"skipped {options.failure(name, reason)}")
    told = f", {counted(saved.count, 'object')}" if objects else ""
    options.say(f"{counted(len(saved.masks), 'mask')}{told}: {place}")
    if json:
        there = {"summary": saved.summary, "objects": saved.table}
        files = {name: str(path) for name, path in there.items() if path is not None}
        files |= {name: str(path) for name, path in saved.masks.items()}
        figures = {"images": float(len(saved.masks)), "threshold": chosen.threshold}
        figures |= {"min_size_px": float(chosen.min_size_px)}
        if objects:
            figures["objects"] = float(saved.count)
        document = options.document(
            "predict", files=files, warnings=[*notes, *_failures(saved.failed)], **figures
        )
        options.emit({**document, "provenance": opened.provenance()})
    if saved.failed:
        raise typer.Exit(1)


def _write_images(path: Path, counts: "Evidence") -> None:
    from wsrpn.data import tables
    from wsrpn.segmentation import images_table

    tables.write(path, images_table.COLUMNS, images_table.rows(counts))


def _images(paths: list[Path]) -> "Dataset":
    from wsrpn.data import base

    return base.files(paths)


def _failures(failed: Mapping[str, str]) -> list[str]:
    return [options.failure(*each) for each in failed.items()]


def _calibration_report(fitted: "MaskCalibration", path: Path) -> "Report":
    """Figures with the calibration, without it (`…_before`), and held out (`…_held_out`)."""
    from wsrpn import __version__
    from wsrpn.types import Figure, Report

    metrics = dict(fitted.after)
    for when, group in (("before", fitted.before), ("held_out", fitted.held_out)):
        metrics |= {f"{name}_{when}": figure for name, figure in group.items()}
    metrics |= {
        "threshold": Figure(fitted.threshold),
        "min_size_px": Figure(float(fitted.min_size_px)),
        "min_distance_px": Figure(float(fitted.min_distance_px)),
    }
    return Report(
        "calibrate", __version__, metrics, files={"calibration": str(path)},
        warnings=fitted.warnings,
    )  # fmt: skip
