"""Studies of models that answer every pixel."""

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from wsrpn import answers
from wsrpn.comparison import Comparison
from wsrpn.errors import InputError, counted
from wsrpn.masks.calibration import MaskCalibration
from wsrpn.predict import TrainedRun
from wsrpn.report import mask_view
from wsrpn.report.marks import Drawing
from wsrpn.segmentation import answers as mapping
from wsrpn.segmentation import calibrate, compare, counts, evaluate, maps, pictures, predict
from wsrpn.segmentation.compare import Entry
from wsrpn.segmentation.maps import Maps
from wsrpn.study.kinds import Finished
from wsrpn.types import Dataset

COUNTS = "counts.json"  # beside the maps of a split, written last


class Outlines:
    """See `wsrpn.study.kinds.Kind`."""

    figures: tuple[str, ...] = compare.FIGURES
    curves: tuple[str, ...] = (
        "val/jaccard", "val/dice", "val/precision", "val/recall", "val/foreground",
    )  # fmt: skip
    tradeoff: tuple[str, ...] = ()

    def known(self) -> tuple[str, ...]:
        """Names of the figures of `wsrpn eval`."""
        return evaluate.FIGURES

    def refuse_other(self, parts: Mapping[str, Dataset]) -> None:
        """Stop where arms have other images."""
        (first, whole), *others = parts.items()
        ids = {record.id for record in whole.records}
        for arm, part in others:
            own = {record.id for record in part.records}
            if own != ids:
                raise InputError(
                    f"arms '{first}' and '{arm}' have different images to be judged on "
                    f"({counted(len(ids), 'image')} and {len(own)}, {len(own & ids)} in common)."
                )

    def ask(self, run: TrainedRun, split: str, *, fit: bool, tell: Callable[[str], None]) -> None:
        """What `wsrpn calibrate RUN` and `wsrpn eval RUN` do for the figures."""
        on_error = run.config.data.on_error

        def mapped(part: str) -> tuple[Maps, Dataset]:
            dataset = mapping.own_data(run, part)
            place = answers.folder(run.folder, part) / "maps"
            made = mapping.answers(run, dataset, place, on_error=on_error)
            return (evaluate.readable(made, dataset) if on_error == "skip" else made), dataset

        tell("calibrate")
        rule = predict.settings(run, None)
        digest = ""
        if fit:
            rule = calibrate.calibrate(*mapped("val"), touching=rule.touching)
            digest = rule.save(run.folder / "calibration.json")
        tell("predict")
        found, dataset = mapped(split)
        evidence, notes = evaluate.gather(found, dataset, rule)
        counts.save(
            answers.folder(run.folder, split) / COUNTS,
            evidence,
            notes=notes,
            provenance={
                **found.provenance, "failed": dict(found.failed), "calibration_sha256": digest
            },
        )  # fmt: skip

    def entry(self, run: Finished) -> Entry | None:
        """Counts under the calibration of the kept weights, or None."""
        try:
            evidence, notes, known = counts.load(answers.folder(run.folder, run.split) / COUNTS)
            digest = ""
            if run.fitted:
                path = run.folder / "calibration.json"
                MaskCalibration.load(path)
                digest = hashlib.sha256(path.read_bytes()).hexdigest()
        except (InputError, OSError):
            return None
        wanted = {"weights_sha256": run.weights, "calibration_sha256": digest}
        if any(known.get(key) != value for key, value in wanted.items()):
            return None
        if run.whole and known.get("failed"):
            return None
        return Entry(run.name, evidence, run.seed, notes, known)

    def compare(
        self,
        arms: Mapping[str, Sequence[tuple[Any, Dataset]]],
        *,
        figures: Sequence[str],
        baseline: str | None,
        bootstrap: int,
    ) -> Comparison:
        """As `wsrpn compare` does."""
        methods = {arm: [entry for entry, _ in runs] for arm, runs in arms.items()}
        part = next(iter(arms.values()))[0][1]
        found = compare.compare(
            methods, part.name, figures=figures, baseline=baseline, bootstrap=bootstrap
        )
        return dataclasses.replace(found, warnings=(*part.notes, *found.warnings))

    def picture(
        self, runs: Mapping[str, tuple[Path, Any]], images: Dataset, *, device: str, title: str
    ) -> Drawing | None:
        """Hits, false alarms and misses: a row an image, a column an arm."""
        found = {}
        for arm, (folder, entry) in runs.items():
            place = answers.folder(folder, str(images.records[0].split)) / "maps"
            scores = maps.of_folder(place, images)
            path = folder / "calibration.json"
            fitted = MaskCalibration.load(path) if entry.provenance["calibration_sha256"] else None
            rule = fitted or MaskCalibration()
            found[arm] = [
                pictures.picture(record, scores.of(record.id), rule) for record in images.records
            ]
        cells = [
            dataclasses.replace(own[row].within(_SMALL), name=f"{arm}: {own[row].name}")
            for row in range(len(images))
            for arm, own in found.items()
        ]
        return mask_view.contact_sheet(cells, columns=len(found), title=title)


_SMALL = 320  # pixels of an image in the picture
OUTLINES = Outlines()
