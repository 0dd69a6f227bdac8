"""A fitted calibration of a detector: what turns raw scores into scores that mean something.

Made by `wsrpn.calibrate`, kept as JSON, applied before evaluation and drawing. With z the
image-level logit of a class, the calibrated logit is z / temperature + bias (bias 0 unless Platt's
method was asked for). Both are monotone within a class, so its AP and AUROC do not change. A
decision is `score >= threshold`.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.special import expit

from wsrpn import files
from wsrpn.errors import InputError
from wsrpn.types import Detections, Figure, Predictions

SCHEMA = 1
DEFAULT_THRESHOLD = 0.5
EDGE = 1e-12  # scores are kept this far from 0 and 1 when they become logits


def sigmoid(logits: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """Scores of logits, without overflow at either end; nan stays nan."""
    return expit(logits)


def logit(scores: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """Logits of scores, finite at 0 and 1."""
    kept = np.clip(scores.astype(np.float64), EDGE, 1 - EDGE)
    return np.log(kept) - np.log1p(-kept)


@dataclass(frozen=True)
class Calibration:
    """Numbers per class with where they come from.

    Attributes:
        classes: names, in the order of all tuples here.
        temperature: what logits are divided by.
        bias: what is added after that.
        threshold: operating point on the calibrated image score.
        box_threshold: further boxes of a shown class are shown at or above this score; None shows
            the best box only.
        map_threshold: where class maps are cut into boxes, as a share of their range; None leaves
            it to the config of the run. It needs the model: `TrainedRun.calibrated` sees to it.
        kind: what is calibrated.
        method: `temperature` or `platt`.
        objective: what the thresholds are best for.
        ids: images that it was fitted on.
        provenance: data, split, digests, version.
        before: class (and `all`) → `ece`, `brier`, `nll` of the raw scores.
        after: the same of the calibrated scores on the same images.
        cross_validated: the same on images held out patient by patient; empty if not asked for.
        warnings: classes that could not be fitted, and why.
    """

    classes: tuple[str, ...]
    temperature: tuple[float, ...]
    bias: tuple[float, ...]
    threshold: tuple[float, ...]
    box_threshold: tuple[float, ...] | None = None
    map_threshold: float | None = None
    kind: str = "detection"
    method: str = "temperature"
    objective: str = "f1"
    ids: tuple[str, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    before: Mapping[str, Mapping[str, Figure]] = field(default_factory=dict)
    after: Mapping[str, Mapping[str, Figure]] = field(default_factory=dict)
    cross_validated: Mapping[str, Mapping[str, Figure]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def of(self, classes: tuple[str, ...]) -> "Calibration":
        """The same with its numbers in the order of `classes`.

        Raises:
            InputError: the classes are not the same ones.
        """
        if sorted(classes) != sorted(self.classes):
            raise InputError(
                f"The calibration is for the classes {', '.join(self.classes)} and the predictions "
                f"have {', '.join(classes)}. Calibrate again on predictions of this model."
            )
        at = [self.classes.index(name) for name in classes]
        boxes = self.box_threshold
        return dataclasses.replace(
            self,
            classes=classes,
            temperature=tuple(self.temperature[i] for i in at),
            bias=tuple(self.bias[i] for i in at),
            threshold=tuple(self.threshold[i] for i in at),
            box_threshold=None if boxes is None else tuple(boxes[i] for i in at),
        )

    def apply(self, predictions: Predictions) -> Predictions:
        """Predictions with calibrated image logits and box scores.

        A box score moves with the temperature and bias of its class. Boxes keep their order.

        Raises:
            InputError: other classes or another model, or predictions that were calibrated before.
        """
        if predictions.provenance.get("calibrated"):
            raise InputError("These predictions are calibrated already. Give those of the model.")
        self._refuse_other_model(predictions.provenance)
        self._refuse_other_boxes(predictions.provenance)
        own = self.of(predictions.classes)
        scale, bias = np.array(own.temperature), np.array(own.bias)
        return dataclasses.replace(
            predictions,
            images=tuple(_applied(image, scale, bias) for image in predictions.images),
            provenance={**predictions.provenance, "calibrated": True},
        )

    def _refuse_other_model(self, provenance: Mapping[str, Any]) -> None:
        """Where both sides say whose answers they know, they must say the same."""
        mine = self.provenance.get("predictions", {}).get("weights_sha256")
        theirs = provenance.get("weights_sha256")
        if mine and theirs and mine != theirs:
            raise InputError(
                "The calibration was fitted to other weights than those of these predictions "
                "(was the run trained on since?). Calibrate again, or name the one that fits."
            )

    def _refuse_other_boxes(self, provenance: Mapping[str, Any]) -> None:
        cut = provenance.get("map_thresholds")
        if self.map_threshold is not None and cut not in (None, [self.map_threshold]):
            raise InputError(
                f"The boxes of these predictions were cut at {', '.join(map(str, cut))} of the "
                f"maps' range, the calibration has chosen {self.map_threshold:g}. Predict again "
                "with this calibration."
            )

    def choose(self, detections: Detections) -> Int[np.ndarray, " m"]:
        """Indices of the boxes that the operating point shows (see `chosen`), best first.

        Args:
            detections: calibrated, with the classes of this calibration in its order.
        """
        return choose(detections, np.array(self.threshold), self._boxes())

    def _boxes(self) -> Float[np.ndarray, " k"] | None:
        return None if self.box_threshold is None else np.array(self.box_threshold)

    def save(self, path: Path) -> str:
        """Write as JSON, atomically. Returns the sha256."""
        return files.write_json(path, {"schema": SCHEMA, **dataclasses.asdict(self)})

    @staticmethod
    def load(path: Path) -> "Calibration":
        """Read what `save` wrote.

        Raises:
            InputError: no calibration, of another version or kind, or with numbers missing.
        """
        found = files.read_json(path, what="a calibration")
        if not isinstance(found, dict) or "schema" not in found:
            raise InputError(f"{path}: not a calibration; `wsrpn calibrate` writes one.")
        if found.get("kind") == "masks":
            raise InputError(
                f"{path}: a calibration of kind 'masks' belongs to runs that answer every pixel, "
                "and this source does not; name the one that fits."
            )
        if found["schema"] != SCHEMA or found.get("kind") != "detection":
            raise InputError(
                f"{path}: a calibration of kind '{found.get('kind')}', schema {found['schema']}; "
                f"this version reads kind 'detection', schema {SCHEMA}. Calibrate again."
            )
        try:
            return _parsed(found)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"{path}: damaged calibration ({error!r}). Calibrate again.") from None


def choose(
    detections: Detections,
    thresholds: Float[np.ndarray, " k"] | None = None,
    box_thresholds: Float[np.ndarray, " k"] | None = None,
) -> Int[np.ndarray, " m"]:
    """Indices of the boxes of one image that an operating point shows, best first.

    Args:
        detections: of one image.
        thresholds: per class; 0.5 for all without a calibration.
        box_thresholds: see `chosen`.
    """
    if thresholds is None:
        thresholds = np.full(len(detections.image_logits), DEFAULT_THRESHOLD)
    keep = chosen(
        np.zeros(len(detections.scores), dtype=np.int64),
        detections.classes,
        detections.scores,
        sigmoid(detections.image_logits.astype(np.float64))[None],
        thresholds,
        box_thresholds,
    )
    at = np.flatnonzero(keep)
    return at[np.argsort(-detections.scores[at], kind="stable")]


def chosen(
    image: Int[np.ndarray, " n"],
    label: Int[np.ndarray, " n"],
    score: Float[np.ndarray, " n"],
    image_scores: Float[np.ndarray, "b k"],
    thresholds: Float[np.ndarray, " k"],
    box_thresholds: Float[np.ndarray, " k"] | None = None,
) -> Bool[np.ndarray, " n"]:
    """Which boxes an operating point shows.

    A class is shown on an image when its image score reaches the threshold; where there is no image
    score, the best box of the class stands for it. A shown class gives its best box, and with box
    thresholds every further box that reaches its own. Used by figures that know no scores (RoDeO,
    localisation accuracy) and by pictures.

    Args:
        image: index of the image of each box.
        label: index of its class.
        score: its score.
        image_scores: image-level scores, nan where there are none.
        thresholds: on image scores.
        box_thresholds: on box scores, or None for the best box only.
    """
    order = np.lexsort((-score, label, image))
    group = (image * image_scores.shape[1] + label)[order]
    best = np.zeros(len(score), dtype=bool)
    best[order[np.flatnonzero(np.diff(group, prepend=-1))]] = True
    stand_in = image_scores.astype(np.float64)
    top = np.full(stand_in.shape, -np.inf)
    top[image[best], label[best]] = score[best]
    stand_in = np.where(np.isnan(stand_in), top, stand_in)
    shown = (stand_in >= thresholds)[image, label]
    return shown & (best if box_thresholds is None else best | (score >= box_thresholds[label]))


def _applied(
    image: Detections, scale: Float[np.ndarray, " k"], bias: Float[np.ndarray, " k"]
) -> Detections:
    logits = image.image_logits.astype(np.float64) / scale + bias
    boxes = logit(image.scores) / scale[image.classes] + bias[image.classes]
    return dataclasses.replace(image, image_logits=logits, scores=sigmoid(boxes))


def _parsed(found: Mapping[str, Any]) -> Calibration:
    known = {f.name for f in dataclasses.fields(Calibration)}
    values: dict[str, Any] = {name: value for name, value in found.items() if name in known}
    for name in ("temperature", "bias", "threshold", "box_threshold"):
        if values[name] is not None:
            values[name] = tuple(float(x) for x in values[name])
            if len(values[name]) != len(values["classes"]):
                raise ValueError(f"{name} has {len(values[name])} numbers")
    for name in ("classes", "ids", "warnings"):
        values[name] = tuple(str(x) for x in values.get(name, ()))
    for name in ("before", "after", "cross_validated"):
        values[name] = {
            group: {metric: Figure(**figure) for metric, figure in figures.items()}
            for group, figures in values.get(name, {}).items()
        }
    dict(dict(values.get("provenance", {})).get("predictions", {}))  # both are mappings
    if values.get("map_threshold") is not None:
        values["map_threshold"] = float(values["map_threshold"])
    if not all(t > 0 for t in values["temperature"]):
        raise ValueError("a temperature is not above 0")
    return Calibration(**values)
