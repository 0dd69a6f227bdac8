"""What a study asks trained models for: labels and boxes, or masks.

A `Kind` is everything about an ablation that depends on what its models answer. Which one it is
follows from what they learn from.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from wsrpn import sides
from wsrpn.comparison import Comparison
from wsrpn.config import DataConfig, RunConfig
from wsrpn.errors import InputError
from wsrpn.predict import TrainedRun
from wsrpn.report.marks import Drawing
from wsrpn.segmentation.answers import INPUT as MASKS
from wsrpn.train.task import RADIOGRAPHS, input_of
from wsrpn.types import Dataset


@dataclass(frozen=True)
class Finished:
    """A run that is trained to the end.

    Attributes:
        folder: the run folder.
        split: that is asked.
        name: of the run.
        seed: of its training.
        weights: sha256 of the kept weights.
        fitted: whether there is a validation split to calibrate on.
        whole: whether every image must be answered.
    """

    folder: Path
    split: str
    name: str
    seed: int
    weights: str
    fitted: bool
    whole: bool


@runtime_checkable
class Kind(Protocol):
    """What depends on the answers.

    Attributes:
        figures: columns where a study names none, as far as they are defined.
        curves: figures of the validation split that are drawn over the epochs.
        tradeoff: two figures that are drawn against each other, or nothing.
    """

    figures: tuple[str, ...]
    curves: tuple[str, ...]
    tradeoff: tuple[str, ...]

    def known(self) -> tuple[str, ...]:
        """Names of all figures."""

    def refuse_untestable(self, parts: Mapping[str, Dataset]) -> None:
        """Stop where arms would not be judged on the same images, or not be judged at all.

        Args:
            parts: arm → the images that it is asked about.

        Raises:
            InputError: names the arms.
        """

    def refresh(self, folder: Path, split: str, data: Dataset) -> None:
        """Forget answers in a run folder that hold a truth which is not that of the data any more.

        Args:
            folder: the run folder.
            split: that is asked.
            data: all of it.
        """

    def ask(
        self,
        run: TrainedRun,
        split: str,
        data: DataConfig,
        *,
        fit: bool,
        tell: Callable[[str], None],
    ) -> None:
        """Calibrate and predict, as the commands do; what is written last tells that it is done.

        Args:
            run: trained to the end.
            split: to predict.
            data: that it was trained on, where they lie now.
            fit: whether there is a validation split to calibrate on.
            tell: called with `calibrate` and `predict`.
        """

    def entry(self, run: Finished) -> sides.Run | None:
        """The answers of the kept weights; None where they or their calibration are not there."""

    def compare(
        self,
        arms: Mapping[str, Sequence[tuple[Any, Dataset]]],
        *,
        figures: Sequence[str],
        baseline: str | None,
        bootstrap: int,
    ) -> Comparison:
        """The arms side by side.

        Args:
            arms: name → answers of its runs, each with the truth of its images.
            figures: to compare; empty for those that are defined of `figures`.
            baseline: arm that is taken from the others; the first where none is named.
            bootstrap: replicates behind the intervals.
        """

    def picture(
        self,
        runs: Mapping[str, tuple[Path, Any]],
        part: Dataset,
        names: Sequence[str],
        *,
        device: str,
        title: str,
    ) -> Drawing | None:
        """The same images by a run of each arm; None where there is nothing to draw.

        Args:
            runs: arm → run folder and its answers.
            part: the images that were asked about.
            names: of those to draw; some are chosen without.
            device: where maps are computed.
            title: heading.
        """


def of(arm: str, config: RunConfig) -> Kind:
    """What the model of an arm is asked for.

    Raises:
        InputError: it learns from something that no study compares.
    """
    from wsrpn.study.of_boxes import BOXES
    from wsrpn.study.of_masks import OUTLINES

    kinds: dict[str, Kind] = {RADIOGRAPHS: BOXES, MASKS: OUTLINES}
    learns = input_of(config)
    if learns not in kinds:
        raise InputError(
            f"arm '{arm}': model {config.model['name']} learns from {learns}, and an ablation "
            "compares labels, boxes and masks; train its arms with `wsrpn train` and judge each "
            "with `wsrpn eval`."
        )
    return kinds[learns]
