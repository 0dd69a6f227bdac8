"""Studies of models that answer every pixel."""

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from wsrpn import answers
from wsrpn.comparison import Comparison
from wsrpn.config import DataConfig
from wsrpn.data import cache
from wsrpn.errors import InputError, counted
from wsrpn.masks import truth
from wsrpn.masks.calibration import MaskCalibration
from wsrpn.predict import TrainedRun
from wsrpn.report import mask_view, pick
from wsrpn.report.marks import Drawing
from wsrpn.segmentation import answers as mapping
from wsrpn.segmentation import (
    calibrate,
    compare,
    counts,
    evidence,
    figures,
    maps,
    pictures,
    predict,
)
from wsrpn.segmentation.compare import Entry
from wsrpn.segmentation.maps import Maps
from wsrpn.study.kinds import Finished
from wsrpn.types import Dataset

COUNTS = "counts.json"  # beside the maps of a split, written last
CALIBRATION = "calibration.json"
IMAGES = 3  # that are drawn where none are named


class Outlines:
    """See `wsrpn.study.kinds.Kind`."""

    figures: tuple[str, ...] = compare.FIGURES
    curves: tuple[str, ...] = (
        "val/jaccard", "val/dice", "val/precision", "val/recall", "val/foreground",
    )  # fmt: skip
    tradeoff: tuple[str, ...] = ()

    def known(self) -> tuple[str, ...]:
        """Names of the figures of `wsrpn eval`."""
        return figures.FIGURES

    def refuse_untestable(self, parts: Mapping[str, Dataset]) -> None:
        """Stop where arms have other images, or no masks; areas are compared with the answers."""
        (first, whole), *others = parts.items()
        ids = {record.id for record in whole.records}
        for arm, part in parts.items():
            if not any(truth.has_truth(record) for record in part.records):
                raise InputError(
                    f"arm '{arm}': {part.name}: none of {counted(len(part), 'image')} to be judged "
                    "on has a mask; name them in the column 'mask' of images.csv."
                )
        for arm, part in others:
            own = {record.id for record in part.records}
            if own != ids:
                raise InputError(
                    f"arms '{first}' and '{arm}' have different images to be judged on "
                    f"({counted(len(ids), 'image')} and {len(own)}, {len(own & ids)} in common)."
                )

    def refresh(self, folder: Path, split: str, data: Dataset) -> None:
        """Forget counts under other masks, and the calibration, which was fitted to such."""
        place = answers.folder(folder, split) / COUNTS
        try:
            known = counts.load(place)[2]
        except (InputError, OSError):
            return
        if known.get("truth") != _truth(data, split):
            place.unlink(missing_ok=True)
            (folder / CALIBRATION).unlink(missing_ok=True)

    def ask(
        self,
        run: TrainedRun,
        split: str,
        data: DataConfig,
        *,
        fit: bool,
        tell: Callable[[str], None],
    ) -> None:
        """What `wsrpn calibrate RUN` and `wsrpn eval RUN` do for the figures.

        A calibration of these weights and of the validation split is taken as it is.
        """
        on_error, whole = run.config.data.on_error, answers.own_data(run, "all", data)

        def mapped(part: str) -> tuple[Maps, Dataset]:
            dataset = answers.part(whole, part)
            place = answers.folder(run.folder, part) / "maps"
            made = mapping.answers(run, dataset, place, on_error=on_error)
            return (evidence.readable(made, dataset) if on_error == "skip" else made), dataset

        tell("calibrate")
        path, rule = run.folder / CALIBRATION, predict.settings(run, None)
        kept = _fitted(path, run.provenance()["weights_sha256"]) if fit else None
        noted: list[str] = []
        if kept is not None:
            rule = kept
        elif fit:
            try:
                rule = calibrate.calibrate(*mapped("val"), touching=rule.touching)
                rule.save(path)
            except calibrate.NoForeground as error:
                path.unlink(missing_ok=True)
                noted.append(f"Not calibrated, so the threshold is 0.5: {error}")
        else:
            noted.append("Not calibrated, so the threshold is 0.5: there is no validation split.")
        tell("predict")
        found, dataset = mapped(split)
        judged, notes = evidence.gather(found, dataset, rule)
        provenance = {
            **found.provenance,
            "failed": dict(found.failed),
            "calibration_sha256": _digest(path) if fit else "",
            "truth": _truth(whole, split),
        }
        notes += [*evidence.unread(found), *noted]
        place = answers.folder(run.folder, split) / COUNTS
        counts.save(place, judged, notes=notes, provenance=provenance)

    def entry(self, run: Finished) -> Entry | None:
        """Counts under the calibration of the kept weights, or None."""
        try:
            judged, notes, known = counts.load(answers.folder(run.folder, run.split) / COUNTS)
        except (InputError, OSError):
            return None
        digest = _digest(run.folder / CALIBRATION) if run.fitted else ""
        wanted = {"weights_sha256": run.weights, "calibration_sha256": digest}
        if any(known.get(key) != value for key, value in wanted.items()):
            return None
        if run.whole and known.get("failed"):
            return None
        return Entry(run.name, judged, run.seed, notes, known)

    def compare(
        self,
        arms: Mapping[str, Sequence[tuple[Any, Dataset]]],
        *,
        figures: Sequence[str],
        baseline: str | None,
        bootstrap: int,
    ) -> Comparison:
        """As `wsrpn compare` does, on the images that all runs could read."""
        methods = {arm: [entry for entry, _ in runs] for arm, runs in arms.items()}
        part = next(iter(arms.values()))[0][1]
        found = compare.compare(
            methods, part.name, figures=figures, baseline=baseline, bootstrap=bootstrap, listed=True
        )
        return dataclasses.replace(found, warnings=(*part.notes, *found.warnings))

    def picture(
        self,
        runs: Mapping[str, tuple[Path, Any]],
        part: Dataset,
        names: Sequence[str],
        *,
        device: str,
        title: str,
    ) -> Drawing | None:
        """Hits, false alarms and misses: a row an image, a column an arm."""
        answered = set.intersection(*(set(entry.evidence.ids) for _, entry in runs.values()))
        shown = part.where(lambda record: record.id in answered)
        shown = pick.chosen(shown, names) if names else pictures.telling(shown, IMAGES)
        found = {}
        for arm, (folder, _) in runs.items():
            place = answers.folder(folder, str(shown.records[0].split)) / "maps"
            scores = maps.of_folder(place, shown)
            path = folder / CALIBRATION
            rule = MaskCalibration.load(path) if path.is_file() else MaskCalibration()
            found[arm] = [
                pictures.picture(record, scores.of(record.id), rule) for record in shown.records
            ]
        cells = [
            dataclasses.replace(own[row].within(_SMALL), name=f"{arm}: {own[row].name}")
            for row in range(len(shown))
            for arm, own in found.items()
        ]
        return mask_view.contact_sheet(cells, columns=len(found), title=title)


def _truth(data: Dataset, split: str) -> str:
    """Which masks an answer rests on: those it is calibrated on, and those it is judged by."""
    parts = [data.split("val"), data if split == "all" else data.split(split)]  # type: ignore[arg-type]
    records = [record for part in parts for record in part.records]
    told = [f"{record.id}\0{record.is_clear}\0{record.mask is not None}" for record in records]
    return cache.fingerprint([r.mask for r in records if r.mask is not None], "\n".join(told))


def _digest(path: Path) -> str:
    """sha256 of a file; "" without one."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def _fitted(path: Path, weights: str) -> MaskCalibration | None:
    """The calibration that is there, if it is of these weights and of the validation split."""
    try:
        found = MaskCalibration.load(path)
    except (InputError, OSError):
        return None
    facts = found.provenance
    own = facts.get("maps", {}).get("weights_sha256") == weights and facts.get("split") == "val"
    return found if own else None


_SMALL = 320  # pixels of an image in the picture
OUTLINES = Outlines()
