"""Counts of images → figures with 95 % intervals over patients.

Jaccard, Dice, precision, recall and boundary F1 are means over the images that have foreground,
`specificity` is the share of the others in which nothing is found, `…_pooled` of all pixels
together; figures of objects are of the objects of all images together, as StarDist has them by
default.
"""

import numpy as np
from jaxtyping import Float

from wsrpn.metrics import intervals, objects, pixels
from wsrpn.segmentation.evidence import Evidence
from wsrpn.types import Figure

HALF = objects.THRESHOLDS.index(0.5)
FIGURES = (
    *pixels.FIGURES, *(f"{name}_pooled" for name in pixels.FIGURES), "specificity", "boundary_f1",
    "object_ap@0.5", "object_ap", "object_f1", "object_count_error",
)  # fmt: skip


def values(
    evidence: Evidence, drawn: Float[np.ndarray, "r b"]
) -> dict[str, Float[np.ndarray, " r"]]:
    """Every figure, per row of weights of the images; nan where no image counts.

    `object_count_error` is the mean over images of |objects found - objects there|.
    """
    found: dict[str, Float[np.ndarray, " r"]] = {}
    for name in pixels.FIGURES:
        found[name] = pixels.macro(pixels.values(name, evidence.pixels), drawn)
    for name in pixels.FIGURES:
        found[f"{name}_pooled"] = pixels.pooled(name, evidence.pixels, drawn)
    normal = pixels.specificity(evidence.pixels)
    found["specificity"] = pixels.macro(normal, drawn)
    found["boundary_f1"] = pixels.macro(np.where(np.isnan(normal), evidence.contour, np.nan), drawn)
    *tp, said, there = (drawn @ evidence.objects).T
    hits, either = np.stack(tp, axis=1), (said + there)[:, None]
    nobody = either == 0  # no objects at all is as it should be
    with np.errstate(invalid="ignore"):
        ap = np.where(nobody, 1.0, hits / (either - hits))
        f1 = np.where(nobody[:, 0], 1.0, 2 * hits[:, HALF] / either[:, 0])
    found |= {"object_ap@0.5": ap[:, HALF], "object_ap": ap.mean(1), "object_f1": f1}
    off = np.abs(evidence.objects[:, -2] - evidence.objects[:, -1])
    found["object_count_error"] = pixels.macro(off, drawn)
    nobody_drawn = drawn.sum(1) == 0  # of a group, in a replicate: no image, no figure
    return {name: np.where(nobody_drawn, np.nan, one) for name, one in found.items()}


def figures(
    evidence: Evidence,
    *,
    mask: Float[np.ndarray, " b"] | None = None,
    bootstrap: int = 1000,
    seed: int = 0,
) -> dict[str, Figure]:
    """Figures with intervals.

    Args:
        evidence: counts of images.
        mask: 1 for the images that count; all without one.
        bootstrap: replicates of patients; 0 gives no intervals.
        seed: of the replicates.
    """
    kept = np.ones(len(evidence)) if mask is None else mask
    value = values(evidence, kept[None])
    blocks = intervals.draws(evidence.patients, replicates=bootstrap, seed=seed)
    drawn = [values(evidence, block * kept) for block in blocks]
    return {
        name: intervals.figure(
            float(one[0]), np.concatenate([one[:0], *(part[name] for part in drawn)])
        )
        for name, one in value.items()
    }
