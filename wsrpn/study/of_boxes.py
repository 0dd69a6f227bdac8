"""Studies of models that answer with labels and boxes."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from wsrpn import answers, calibrate, compare, truth
from wsrpn.calibration import Calibration
from wsrpn.compare import Entry
from wsrpn.comparison import Comparison
from wsrpn.config import DataConfig
from wsrpn.errors import InputError
from wsrpn.heatmap import pictures
from wsrpn.predict import TrainedRun, open_run
from wsrpn.report import compare as paper
from wsrpn.report import study as drawing
from wsrpn.report.marks import Drawing
from wsrpn.study.kinds import Finished
from wsrpn.types import Dataset, Predictions


class Boxes:
    """See `wsrpn.study.kinds.Kind`."""

    figures: tuple[str, ...] = (
        *compare.FIGURES, "specificity", "entropy", "entropy_normalized", "alignment_error",
        "top_patch",
    )  # fmt: skip
    curves: tuple[str, ...] = (
        "val/entropy", "val/alignment_error", "val/top_patch", "val/ap@0.3", "val/rodeo",
        "val/auroc",
    )  # fmt: skip
    tradeoff: tuple[str, ...] = ("ap@0.3", "entropy")

    def known(self) -> tuple[str, ...]:
        """Names of the figures of `wsrpn eval`."""
        return compare.known()

    def refuse_untestable(self, parts: Mapping[str, Dataset]) -> None:
        """Stop where arms have other images or another truth."""
        found: list[truth.Judged] = []
        for arm, part in parts.items():
            nothing = Entry(arm, Predictions(part.classes, ()))
            found.append(truth.Judged(nothing, part, part.name))
            truth.refuse_other(found[0], found[-1])

    def refresh(self, folder: Path, split: str, data: Dataset) -> None:
        """Nothing: the truth is read when tables are made."""

    def ask(
        self,
        run: TrainedRun,
        split: str,
        data: DataConfig,
        *,
        fit: bool,
        tell: Callable[[str], None],
    ) -> None:
        """What `wsrpn calibrate RUN` and `wsrpn eval RUN` do for the figures."""
        on_error = run.config.data.on_error

        def predicted(part: str) -> tuple[Predictions, Dataset]:
            dataset = answers.data_of(run, "", part)
            file = _file(run.folder, part)
            return answers.answers(run, dataset, file, on_error=on_error), dataset

        tell("calibrate")
        if fit:
            fitted = calibrate.calibrate(*predicted("val"))
            fitted.save(run.folder / "calibration.json")
        tell("predict")
        predicted(split)

    def entry(self, run: Finished) -> Entry | None:
        """Predictions and calibration of the kept weights, or None."""
        file = _file(run.folder, run.split)
        found = answers.kept(file, {"weights_sha256": run.weights}, whole=run.whole)
        if found is None:
            return None
        calibration = None
        try:
            if run.fitted:
                calibration = Calibration.load(run.folder / "calibration.json")
        except InputError:
            return None
        if calibration and not _own(calibration, run.weights):
            return None
        return Entry(run.name, found, calibration, run.seed)

    def compare(
        self,
        arms: Mapping[str, Sequence[tuple[Any, Dataset]]],
        *,
        figures: Sequence[str],
        baseline: str | None,
        bootstrap: int,
    ) -> Comparison:
        """As `wsrpn compare` does."""
        judged = {
            arm: [truth.Judged(entry, part, part.name) for entry, part in runs]
            for arm, runs in arms.items()
        }
        everyone = [run for runs in judged.values() for run in runs]
        for run in everyone:
            truth.refuse_other(everyone[0], run)
        scorer = truth.truth(everyone)
        found = compare.compare(
            {arm: [run.entry for run in runs] for arm, runs in judged.items()},
            scorer,
            figures=figures or tuple(f for f in self.figures if f in compare.known()),
            baseline=baseline,
            bootstrap=bootstrap,
        )
        if not figures:  # what no run and no truth defines was not asked for
            found = dataclasses.replace(found, figures=paper.defined(found))
        warnings = (*truth.notes(everyone, scorer), *found.warnings)
        return dataclasses.replace(found, warnings=warnings)

    def picture(
        self,
        runs: Mapping[str, tuple[Path, Any]],
        part: Dataset,
        names: Sequence[str],
        *,
        device: str,
        title: str,
    ) -> Drawing | None:
        """Gaussian maps, of the arms whose models have them."""
        images = drawing.chosen(part, names)
        columns = {}
        for arm, (folder, entry) in runs.items():
            run = open_run(folder, device=device).calibrated(entry.calibration)
            drawn = [
                dataclasses.replace(picture, name=name)
                for name, picture in pictures(run, images, calibration=entry.calibration)
            ]
            if drawn and all(picture.region_maps is not None for picture in drawn):
                columns[arm] = drawn
        return drawing.maps(columns, title=title) if columns else None


def _file(folder: Path, split: str) -> Path:
    return answers.folder(folder, split) / "predictions.json"


def _own(calibration: Calibration, weights: str) -> bool:
    """Whether it is the one that a study fits: of these weights, on the validation split."""
    facts = calibration.provenance
    return facts["predictions"].get("weights_sha256") == weights and facts.get("split") == "val"


BOXES = Boxes()
