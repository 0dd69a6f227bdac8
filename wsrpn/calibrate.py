"""Fit temperatures and operating points of a detector, from labels alone unless told otherwise."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float
from scipy.optimize import brentq, minimize

import wsrpn
from wsrpn.calibration import DEFAULT_THRESHOLD, Calibration, logit, sigmoid
from wsrpn.errors import InputError
from wsrpn.metrics.evidence import Evidence
from wsrpn.metrics.gather import gather
from wsrpn.metrics.image import known
from wsrpn.metrics.matching import match
from wsrpn.metrics.panel import Panel
from wsrpn.metrics.reliability import log_loss
from wsrpn.thresholds import best_boxes, check_objective, threshold_of
from wsrpn.types import Dataset, Figure, Predictions, digest_of

Method = Literal["temperature", "platt"]
LARGEST_TEMPERATURE = 20.0
FEW = 10
FOLDS = 5
MAP_THRESHOLDS = tuple(round(0.05 * n, 2) for n in range(2, 19))  # 0.1 … 0.9 of a map's range
MAP_FIGURE = "map"  # mean AP at IoU 0.1 … 0.7: no single IoU decides


@dataclasses.dataclass(frozen=True)
class MapChoice:
    """Where maps are cut into boxes, and why there.

    Attributes:
        threshold: share of a map's range.
        values: threshold → AP on the gold boxes that it was chosen by; empty if it was given.
        boxes: number of those gold boxes.
    """

    threshold: float
    values: Mapping[float, float] = dataclasses.field(default_factory=dict)
    boxes: int = 0

    def note(self, dataset: str) -> str:
        """What the user should know: gold boxes took part in it."""
        if not self.values:
            return f"Maps are cut at {self.threshold:g} of their range, as given."
        return (
            f"Maps are cut at {self.threshold:g} of their range, chosen by AP "
            f"({self.values[self.threshold]:.3f}) on {self.boxes} gold boxes of {dataset}: these "
            "boxes were used."
        )


def choose_map_threshold(ladder: Mapping[float, Predictions], dataset: Dataset) -> MapChoice:
    """The map threshold of the best AP (mean over IoU 0.1 … 0.7); of equally good ones the lowest.

    Args:
        ladder: predictions per threshold, see `wsrpn.predict.ladder`.
        dataset: with gold boxes, usually the validation split.

    Raises:
        InputError: no gold boxes of these classes.

    Reference:
        Choe et al., Evaluating weakly supervised object localization methods right, 2020, section
        4: a threshold from held-out boxes, for every method alike.
    """
    values: dict[float, float] = {}
    boxes = 0
    for threshold, predictions in sorted(ladder.items()):
        evidence = gather(predictions, dataset)
        boxes = len(evidence.truth)
        panel = Panel(evidence, names=["detection"], bootstrap=0, seed=0)
        values[threshold] = float(panel.values()[0][MAP_FIGURE].total[0])
    if not boxes:
        raise InputError(
            f"{dataset.name} has no gold boxes to choose a map threshold by; give a number, or "
            "leave it to inference.map_thresholds of the config."
        )
    return MapChoice(max(values, key=lambda t: (values[t], -t)), values, boxes)


def calibrate(
    predictions: Predictions,
    dataset: Dataset,
    *,
    method: Method = "temperature",
    objective: str = "f1",
    boxes: bool = False,
    maps: MapChoice | None = None,
    cross_validate: bool = False,
    bootstrap: int = 1000,
    seed: int = 0,
) -> Calibration:
    """Fit a calibration on predictions of a held-out split.

    A class whose known labels are all alike cannot be fitted: it keeps temperature 1 and threshold
    0.5, with a warning.

    Args:
        predictions: raw, as the model gave them.
        dataset: labels of the same images, usually the validation split.
        method: one temperature per class, or Platt's temperature and bias.
        objective: what the threshold is best for: `f1`, `youden`, or `specificity@0.95` (the
            lowest threshold that keeps this specificity).
        boxes: also fit a threshold on box scores, for the best F1 at IoU 0.3. This reads gold
            boxes; without it further boxes of a class are not shown at all.
        maps: where the maps of these predictions were cut, to be kept with the rest.
        cross_validate: also report figures on images held out patient by patient.
        bootstrap: replicates behind the intervals of the figures.
        seed: of replicates and folds.

    Raises:
        InputError: calibrated predictions, none with an image-level answer, an unknown objective,
            or nothing to join.
    """
    if predictions.provenance.get("calibrated"):
        raise InputError("These predictions are calibrated already. Give those of the model.")
    check_objective(objective)
    evidence = gather(predictions, dataset)
    if len(evidence.classes) < len(predictions.classes):
        lost = sorted(set(predictions.classes) - set(evidence.classes))
        raise InputError(f"{dataset.name} has no labels of {', '.join(lost)}, which is predicted.")
    if np.isnan(evidence.logits).all():
        raise InputError(
            "The predictions have no image-level answer that could be calibrated. CSV holds boxes "
            "only: write them with `wsrpn predict … --out FILE.json`."
        )
    every = np.ones(len(evidence), dtype=bool)
    fit, warnings = _fit(evidence, every, method, objective)
    result = Calibration(
        classes=evidence.classes,
        temperature=tuple((1 / fit.scale).tolist()),
        bias=tuple(fit.bias.tolist()),
        threshold=tuple(fit.threshold.tolist()),
        method=method,
        objective=objective,
        ids=evidence.ids,
        provenance=_provenance(evidence, predictions, dataset, maps),
        before=_figures(evidence, _nothing(evidence), bootstrap, seed),
        after=_figures(evidence, fit.spread(len(evidence)), bootstrap, seed),
        cross_validated=(
            _figures(evidence, _held_out(evidence, method, objective, seed), bootstrap, seed)
            if cross_validate
            else {}
        ),
        map_threshold=maps.threshold if maps else None,
        warnings=(*evidence.notes, *warnings, *([maps.note(dataset.name)] if maps else [])),
    )
    return _with_boxes(result, predictions, dataset) if boxes else result


@dataclasses.dataclass(frozen=True)
class _Fit:
    """Numbers per class, or per image and class: logit → logit × scale + bias, and a threshold."""

    scale: Float[np.ndarray, "*b k"]
    bias: Float[np.ndarray, "*b k"]
    threshold: Float[np.ndarray, "*b k"]

    def spread(self, images: int) -> "_Fit":
        """The same numbers for every image."""
        return _Fit(*(np.tile(x, (images, 1)) for x in (self.scale, self.bias, self.threshold)))


def _nothing(evidence: Evidence) -> _Fit:
    one = np.ones(evidence.labels.shape)
    return _Fit(one, 0 * one, DEFAULT_THRESHOLD * one)


def _fit(
    evidence: Evidence, use: Bool[np.ndarray, " b"], method: Method, objective: str
) -> tuple[_Fit, list[str]]:
    classes = len(evidence.classes)
    scale, bias, threshold = (
        np.ones(classes),
        np.zeros(classes),
        np.full(classes, DEFAULT_THRESHOLD),
    )
    warnings = []
    seen = known(evidence) & use[:, None]
    for k, name in enumerate(evidence.classes):
        y, z = evidence.labels[seen[:, k], k], evidence.logits[seen[:, k], k]
        rarer = int(min(y.sum(), (1 - y).sum()))
        if rarer == 0:
            warnings.append(f"{name}: all {len(y)} known labels are alike; not calibrated.")
            threshold_of(
                np.zeros(0), np.zeros(0), objective=objective
            )  # a wrong name is still told
            continue
        scale[k], bias[k] = temperature(y, z) if method == "temperature" else platt(y, z)
        threshold[k] = threshold_of(y, sigmoid(z * scale[k] + bias[k]), objective=objective)
        if rarer < FEW:
            warnings.append(f"{name}: fitted on {rarer} images of its rarer label only.")
        if not 1.01 / LARGEST_TEMPERATURE < scale[k] < 0.99 * LARGEST_TEMPERATURE:
            warnings.append(f"{name}: the temperature stopped at its bound, {1 / scale[k]:g}.")
    return _Fit(scale, bias, threshold), warnings


def temperature(
    labels: Float[np.ndarray, " n"], logits: Float[np.ndarray, " n"]
) -> tuple[float, float]:
    """1 / T of the smallest log loss, within [1/20, 20], and a bias of 0.

    Reference:
        Guo et al., On calibration of modern neural networks, 2017, section 4.2.
    """

    def slope(scale: float) -> float:
        return float((logits * (sigmoid(logits * scale) - labels)).mean())

    low, high = 1 / LARGEST_TEMPERATURE, LARGEST_TEMPERATURE
    # Convex in 1 / T, so the slope rises and its only root, if it has one, is the minimum.
    if slope(low) >= 0:
        return low, 0.0
    if slope(high) <= 0:
        return high, 0.0
    return float(brentq(slope, low, high, xtol=1e-10)), 0.0


def platt(labels: Float[np.ndarray, " n"], logits: Float[np.ndarray, " n"]) -> tuple[float, float]:
    """Scale and bias of the smallest log loss, with Platt's softened labels.

    Reference:
        Platt, Probabilistic outputs for support vector machines, 1999, section 2.2.
    """
    positives, negatives = labels.sum(), (1 - labels).sum()
    soft = np.where(labels == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))

    def loss(x: np.ndarray) -> tuple[float, np.ndarray]:
        z = logits * x[0] + x[1]
        off = sigmoid(z) - soft
        return float(log_loss(soft, z).mean()), np.array([(off * logits).mean(), off.mean()])

    bounds = [(1 / LARGEST_TEMPERATURE, LARGEST_TEMPERATURE), (-50.0, 50.0)]
    found = minimize(loss, np.array([1.0, 0.0]), jac=True, method="L-BFGS-B", bounds=bounds)
    return float(found.x[0]), float(found.x[1])


def _held_out(evidence: Evidence, method: Method, objective: str, seed: int) -> _Fit:
    """Each image's numbers from a fit without its patient's fold."""
    patients = np.unique(np.asarray(evidence.patients, dtype=str))
    shuffled = np.random.default_rng(seed).permutation(patients)
    fold = {name: i % FOLDS for i, name in enumerate(shuffled)}
    own = np.array([fold[name] for name in evidence.patients])
    result = _nothing(evidence)
    for i in range(min(FOLDS, len(patients))):
        part, _ = _fit(evidence, own != i, method, objective)
        for field in ("scale", "bias", "threshold"):
            getattr(result, field)[own == i] = getattr(part, field)
    return result


def _figures(
    evidence: Evidence, fit: _Fit, bootstrap: int, seed: int
) -> dict[str, dict[str, Figure]]:
    """Class (and `all`) → figures of calibrated scores and of decisions at their thresholds."""
    logits = evidence.logits * fit.scale + fit.bias
    reliable = dataclasses.replace(evidence, logits=logits)
    # Thresholds may differ from image to image here, so logits are shifted to a threshold of ½.
    decided = dataclasses.replace(
        evidence,
        logits=logits - logit(fit.threshold),
        thresholds=np.full(len(evidence.classes), 0.5),
    )
    result: dict[str, dict[str, Figure]] = {"all": {}, **{c: {} for c in evidence.classes}}
    for side, name in ((reliable, "reliability"), (decided, "decisions")):
        total, per_class = Panel(side, names=[name], bootstrap=bootstrap, seed=seed).figures()
        result["all"].update(total)
        for label, values in per_class.items():
            result[label].update(values)
    return result


def _with_boxes(
    fitted: Calibration, predictions: Predictions, dataset: Dataset, *, iou: float = 0.3
) -> Calibration:
    evidence = gather(fitted.apply(predictions), dataset)
    matches = match(
        evidence.found,
        evidence.truth,
        (iou,),
        images=len(evidence),
        classes=len(evidence.classes),
    )
    truths = matches.truths.sum(axis=0)
    thresholds, warnings = [], []
    for k, name in enumerate(evidence.classes):
        here = matches.of_class(k)
        if not truths[k] or not matches.hit[0, here].any():
            warnings.append(f"{name}: no box was found or none is known; boxes use its threshold.")
            thresholds.append(fitted.threshold[k])
            continue
        thresholds.append(best_boxes(matches.hit[0, here], matches.score[here], truths[k]))
    return dataclasses.replace(
        fitted, box_threshold=tuple(thresholds), warnings=(*fitted.warnings, *warnings)
    )


def _provenance(
    evidence: Evidence, predictions: Predictions, dataset: Dataset, maps: MapChoice | None
) -> dict[str, object]:
    wanted = set(evidence.ids)
    splits: Sequence[str] = sorted({str(r.split) for r in dataset.records if r.id in wanted})
    known: dict[str, object] = {
        "version": wsrpn.__version__,
        "data": dataset.name,
        "split": ", ".join(splits),
        "images": len(evidence),
        "patients": len(set(evidence.patients)),
        "images_digest": digest_of(evidence.ids),
        "predictions": dict(predictions.provenance),
    }
    if maps:
        values = {f"{threshold:g}": value for threshold, value in maps.values.items()}
        known["map_threshold"] = {"figure": MAP_FIGURE, "gold_boxes": maps.boxes, "values": values}
    return known
