"""What the user should know of figures that are undefined, or that mean less than they seem to."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from wsrpn.cohort.fits import some
from wsrpn.cohort.views import Truth
from wsrpn.errors import counted
from wsrpn.slides.calibration import SlideCalibration
from wsrpn.tiles import Tiles
from wsrpn.types import Figure

OVERLAP = 1.02  # tiles this much larger than their pitch overlap, whatever was rounded


def undefined(slides: Sequence[Truth], calibration: SlideCalibration | None) -> Iterator[str]:
    """Sentences, each naming the slides it is about.

    Args:
        slides: that are evaluated.
        calibration: that they are evaluated with.
    """
    if calibration is None:
        yield (
            "No calibration: IoU, Dice, precision, recall and false alarms are undefined, and "
            "`iou_oracle` is of raw scores."
        )
    without = [t.tiles.slide for t in slides if not t.by_tile[0].any()]
    small = [t.tiles.slide for t in slides if t.tiles.burden > 0 and not t.by_tile[0].any()]
    hidden = sum(int((t.tiles.tissue[t.tiles.label == 1] == 0).sum()) for t in slides)
    unknown = [t.tiles.slide for t in slides if not np.concatenate(t.by_pixel).any()]
    overlapping = [t.tiles.slide for t in slides if _overlap(t.tiles)]
    if without:
        yield (
            f"{counted(len(without), 'slide')} without a tumour tile: no IoU, no recall and no "
            f"rank of their own, counted where slides are pooled: {some(without)}."
        )
    if small:
        yield f"Too little tumour for a single tumour tile by the label rule: {some(small)}."
    if hidden:
        yield f"{counted(hidden, 'tumour tile')} outside tissue: missed by definition."
    if unknown:
        yield (
            f"No pixel figures where the share of tumour in a tile is not known: {some(unknown)}."
        )
    if overlapping:
        yield (
            "Tiles overlap, and pixel figures count a pixel once for every tile that covers it: "
            f"{some(overlapping)}."
        )


def single(metrics: Mapping[str, Figure]) -> Iterator[str]:
    """A sentence about figures that have a value and no interval, although replicates were drawn.

    Args:
        metrics: name → figure.
    """
    names = [name for name, f in metrics.items() if f.value is not None and f.low is None]
    if names:
        yield (
            "No interval where figures rest on a single patient (without that one they are "
            f"undefined): {some(names)}."
        )


def _overlap(tiles: Tiles) -> bool:
    sides = zip(tiles.size_px0, tiles.lattice.pitch_px0, strict=True)
    return any(size > OVERLAP * pitch for size, pitch in sides)
