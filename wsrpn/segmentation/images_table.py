"""Figures of every image by itself, one line an image."""

from collections.abc import Iterator

import numpy as np

from wsrpn.metrics import pixels
from wsrpn.segmentation.evidence import Evidence
from wsrpn.segmentation.figures import HALF

COLUMNS = (
    "image", "patient", "jaccard", "dice", "precision", "recall", "boundary_f1", "pixels",
    "pixels_found", "objects", "objects_found", "objects_matched",
)  # fmt: skip


def rows(evidence: Evidence) -> Iterator[tuple[str, ...]]:
    """The images in the order of the data.

    Args:
        evidence: of `wsrpn.segmentation.evidence`.

    Yields:
        Cells as `COLUMNS`. Figures of an image without foreground are empty, as it is of no mean;
        so is precision where nothing is found. Objects are matched at an IoU of 0.5.
    """
    shares = [pixels.values(name, evidence.pixels) for name in COLUMNS[2:6]]
    there = evidence.pixels[:, 0] + evidence.pixels[:, 2]
    shares.append(np.where(there > 0, evidence.contour, np.nan))
    counts = np.stack(
        [
            there, evidence.pixels[:, :2].sum(1), evidence.objects[:, -1], evidence.objects[:, -2],
            evidence.objects[:, HALF],
        ],
        axis=1,
    )  # fmt: skip
    for index, (name, patient) in enumerate(zip(evidence.ids, evidence.patients, strict=True)):
        own = ("" if np.isnan(one[index]) else f"{one[index]:.6f}" for one in shares)
        yield (name, patient, *own, *(str(int(count)) for count in counts[index]))
