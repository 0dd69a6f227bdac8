"""FROC of a cohort: lesions from outlines or tiles, detections from files or peaks of values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from wsrpn.cohort.fits import some
from wsrpn.cohort.views import View
from wsrpn.errors import InputError, counted
from wsrpn.metrics import froc
from wsrpn.slides import apply
from wsrpn.slides.calibration import Steps
from wsrpn.slides.shapes import Outlines
from wsrpn.tiles import Tiles


@dataclass(frozen=True)
class Findings:
    """What FROC needs of one slide, whatever the steps.

    Attributes:
        tiles: of the slide.
        outlines: of its tumour, or None where only tiles tell.
        points: detections that were brought, or None for peaks of the values.
        missing: why the slide is left out, "" where it is not.
    """

    tiles: Tiles
    outlines: Outlines | None
    points: froc.Points | None
    missing: str = ""

    @cached_property
    def lesions(self) -> froc.Lesions:
        """Lesions; without outlines those of the tumour tiles."""
        if self.tiles.mpp is None:
            return froc.Lesions()
        if self.outlines is not None:
            return froc.lesions(self.outlines.tumour, self.tiles.mpp)
        low = self.tiles.corner_px0[self.tiles.label == 1]
        high = low + np.array(self.tiles.lattice.pitch_px0)
        boxes = shapely.box(low[:, 0], low[:, 1], high[:, 0], high[:, 1])
        return froc.lesions(shapely.union_all(boxes), self.tiles.mpp)

    @cached_property
    def excluded(self) -> BaseGeometry:
        """Where nobody judges: by the outlines, and cells of tiles without label and share.

        Cells lie around the centres of tiles, where peaks are, also where tiles overlap.
        """
        unknown = np.isnan(self.tiles.label) & np.isnan(self.tiles.truth)
        pitch = np.array(self.tiles.lattice.pitch_px0)
        middle = self.tiles.corner_px0[unknown] + np.array(self.tiles.size_px0) / 2
        low, high = middle - pitch / 2, middle + pitch / 2
        cells = shapely.box(low[:, 0], low[:, 1], high[:, 0], high[:, 1])
        drawn = [] if self.outlines is None else [self.outlines.excluded]
        return shapely.union_all([*drawn, *cells])

    def hits(self, view: View, steps: Steps) -> froc.Hits | None:
        """What the detections under some steps come to; None where the slide is left out."""
        if self.missing:
            return None
        points = _peaks(view, steps) if self.points is None else self.points
        return froc.hits(points, self.lesions, self.excluded)


def findings(
    slides: Sequence[Tiles],
    outlines: Mapping[str, Outlines],
    detections: Mapping[str, froc.Points] | None,
) -> list[Findings]:
    """What FROC needs, slide by slide.

    Args:
        slides: of the cohort.
        outlines: by slide; where there are none, the labels of tiles tell.
        detections: by slide; None for peaks of the values.

    Raises:
        InputError: detections of none of the slides.
    """
    if detections is not None and not any(tiles.slide in detections for tiles in slides):
        raise InputError(
            f"None of the {counted(len(slides), 'slide')} ({some([t.slide for t in slides])}) has "
            f"a file of detections; there are those of {some(sorted(detections))}."
        )
    return [
        Findings(
            tiles,
            outlines.get(tiles.slide),
            None if detections is None else detections.get(tiles.slide),
            _missing(tiles, tiles.slide in outlines, detections),
        )
        for tiles in slides
    ]


def notes(found: Sequence[Findings], detections: Mapping[str, froc.Points] | None) -> list[str]:
    """Sentences about slides that FROC leaves out, and about truth that is only that of tiles."""
    said = []
    for reason in sorted({one.missing for one in found} - {""}):
        names = [one.tiles.slide for one in found if one.missing == reason]
        said.append(f"Left out of FROC, {reason}: {counted(len(names), 'slide')}, {some(names)}.")
    coarse = [
        one.tiles.slide
        for one in found
        if not one.missing and one.outlines is None and (one.tiles.label == 1).any()
    ]
    if coarse:
        said.append(
            f"Lesions for FROC are made of tumour tiles, as there are no outlines of "
            f"{counted(len(coarse), 'slide')}: {some(coarse)}."
        )
    beside = sorted(set(detections or ()) - {one.tiles.slide for one in found})
    if beside:
        said.append(
            f"{counted(len(beside), 'file')} of detections of slides that are not evaluated here: "
            f"{some(beside)}."
        )
    return said


def _missing(tiles: Tiles, outlined: bool, detections: Mapping[str, froc.Points] | None) -> str:
    if tiles.mpp is None:
        return "nobody says how large a pixel is (`mpp`)"
    if not outlined and np.isnan(tiles.label).all():
        return "their truth is not known"
    if detections is not None and tiles.slide not in detections:
        return "they have no file of detections (an empty one says that nothing was found)"
    return ""


def _peaks(view: View, steps: Steps) -> froc.Points:
    """Peaks of the values after the steps; of cells that cleaning made equal, the highest before.

    Tiles outside tissue have no value and are no detections.
    """
    tiles = view.truth.tiles
    lattice, mpp = tiles.lattice, tiles.mpp
    if mpp is None:
        raise InputError(f"slide {tiles.slide}: FROC needs `mpp`.")
    plain = steps.min_area == 0 and steps.max_hole == 0
    return froc.detections(
        lattice.spread(view.value),
        origin_px0=lattice.origin_px0,
        pitch_px0=lattice.pitch_px0,
        size_px0=tiles.size_px0,
        mpp=mpp,
        ties=None if plain else lattice.spread(apply.smoothed(tiles, steps)),
    )
