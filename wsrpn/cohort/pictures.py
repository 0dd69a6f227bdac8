"""From tiles and a row of slides.csv to what is drawn: colours, calls, outlines, a small picture.

What colours show is normalised and smoothed by the calibration, but not cleaned. Smoothing for
display alone comes on top and touches neither calls nor figures.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from wsrpn.errors import InputError
from wsrpn.report.slide_view import SlideView, union
from wsrpn.slides import apply, labels, outlines, reader
from wsrpn.slides.calibration import SlideCalibration, Steps
from wsrpn.slides.smooth import smooth
from wsrpn.tiles import Cohort, Slide, Tiles

LONGEST_PX = 1800  # of the picture of a slide
_ASKEW = 0.05  # by which the shapes of a slide and of its picture may differ
_NAMES = {"z": "z-score", "mad": "median/MAD", "sigma-clip": "sigma-clipped z",
          "left-half": "left-half z", "reference": "reference z"}  # fmt: skip


@dataclass(frozen=True)
class Look:
    """How slides of a cohort are coloured.

    Attributes:
        calibration: steps and threshold; None draws scores as they are.
        score: column of the scores, for the words.
        scale: `cohort`, one colour scale for all slides, or `slide`, one for each.
        clip: percentiles of the values over tissue at the ends of a colour scale.
        blur_tiles: σ of the smoothing for display, in cells.
        colour: ends of the scale where all slides share it.
    """

    calibration: SlideCalibration | None
    score: str
    scale: str
    clip: tuple[float, float]
    blur_tiles: float
    colour: tuple[float, float] | None = None

    @property
    def steps(self) -> Steps:
        """What is done to scores."""
        return self.calibration.steps if self.calibration else Steps(unit="tile")

    @property
    def meaning(self) -> str:
        """What the colours show, in words."""
        steps = self.steps
        words = [self.score]
        if steps.normalise != "none":
            kind = _NAMES.get(steps.normalise, steps.normalise)
            words = [kind if self.score == "score" else f"{kind} of {self.score}"]
        if steps.smooth:
            unit = "µm" if steps.unit == "um" else "tile" if steps.smooth == 1 else "tiles"
            words.append(f"σ {steps.smooth:.3g} {unit}")
        if self.blur_tiles:
            words.append("blurred for display")
        return ", ".join(words)


def shared(cohort: Cohort, look: Look, failed: dict[str, str]) -> tuple[float, float] | None:
    """Ends of the colour scale of a cohort, or None where every slide has its own.

    They are those of the calibration where it has them for these percentiles; else percentiles of
    all tissue tiles together.

    Args:
        cohort: the slides.
        look: how they are coloured.
        failed: gets slide → reason where a slide has no values.
    """
    if look.scale == "slide":
        return None
    if look.calibration is not None and look.clip == (5.0, 95.0):
        return look.calibration.colour
    values = []
    for tiles in cohort.slides:
        try:
            found = apply.smoothed(tiles, look.steps)
        except InputError as error:
            failed[tiles.slide] = str(error)
            continue
        values.append(found[np.isfinite(found)].astype(np.float32))
    return _ends(np.concatenate(values), look.clip) if values else (0.0, 1.0)


def view_of(tiles: Tiles, slide: Slide | None, look: Look) -> SlideView:
    """A slide ready to be drawn.

    Raises:
        InputError: its annotation or its thumbnail cannot be used, or its values not be made.
    """
    values = apply.smoothed(tiles, look.steps)
    values = np.where(np.isfinite(values), values, np.nan)
    known = values[np.isfinite(values)]
    colour = look.colour or (_ends(known, look.clip) if len(known) else (0.0, 1.0))
    heat = smooth(tiles.lattice.spread(values), (look.blur_tiles, look.blur_tiles))
    fitted = look.calibration
    slide = slide or Slide(tiles.slide, tiles.patient)
    picture, extent_px0 = _picture(slide, tiles)
    if tiles.extent_px0 is None:
        tiles = dataclasses.replace(tiles, extent_px0=extent_px0)
    return SlideView(
        tiles=tiles,
        heat=heat,
        colour=colour,
        meaning=look.meaning,
        found=None if fitted is None else apply.decide(tiles, fitted.steps, fitted.threshold),
        threshold=None if fitted is None else fitted.threshold,
        connectivity=look.steps.connectivity,
        tumour=_tumour(slide, tiles),
        picture=picture,
        caution=_caution(tiles, fitted),
    )


def origin_px0(slide: Slide | None) -> tuple[float, float]:
    """Where QuPath counts from: the bounds of what was scanned.

    They come from the slide file; without it from the offset that slides.csv gives for an
    annotation of QuPath's own, GeoJSON.
    """
    if slide is None:
        return (0.0, 0.0)
    if slide.file is not None:
        with reader.open_slide(slide.file) as file:
            return file.offset_px0
    named = slide.annotation.name.lower() if slide.annotation else ""
    bounds = slide.extra.get("origin", "bounds" if ".geojson" in named else "") == "bounds"
    return slide.offset_px0 if bounds else (0.0, 0.0)


def _ends(values: Float[np.ndarray, " n"], clip: tuple[float, float]) -> tuple[float, float]:
    low, high = np.percentile(values, clip)
    return (float(low), float(high))


def _tumour(slide: Slide, tiles: Tiles) -> Any:
    """Outlines of the annotation, or else of the tiles labelled so; None if nobody knows."""
    found = outlines.read(labels.completed(slide, tiles))
    if found is not None:
        return found.tumour
    if np.isnan(tiles.label).all():
        return None
    return union(tiles, tiles.label == 1)


def _picture(
    slide: Slide, tiles: Tiles
) -> tuple[UInt8[np.ndarray, "h w 3"] | None, tuple[int, int] | None]:
    """The slide itself, small, and its size; None for what nobody has."""
    extent_px0 = tiles.extent_px0 or slide.extent_px0
    path = slide.thumbnail or slide.file
    if path is None:
        return None, extent_px0
    with reader.open_slide(path) as file:
        if path == slide.file:
            extent_px0 = extent_px0 or file.extent_px0
        image = file.thumbnail(LONGEST_PX)
    if extent_px0 is None:
        raise InputError(
            f"{path}: the slide's size is needed to place its thumbnail; give `width` and `height` "
            "of full-size pixels in slides.csv."
        )
    skew = (image.width / image.height) / (extent_px0[0] / extent_px0[1])
    pixel = 1 / min(image.size)
    if abs(skew - 1) > _ASKEW + pixel:
        raise InputError(
            f"{path}: {image.width} × {image.height} pixels do not have the shape of slide "
            f"{slide.id}, {extent_px0[0]} × {extent_px0[1]}; correct its size in slides.csv, or "
            "leave its thumbnail out."
        )
    return np.asarray(image, dtype=np.uint8), extent_px0


def _caution(tiles: Tiles, calibration: SlideCalibration | None) -> str:
    """What makes the figures of a slide look better or worse than they are."""
    words = []
    if calibration is not None and tiles.slide in calibration.chosen.slides:
        words.append("the threshold was fitted on this slide among others")
    elif calibration is not None and tiles.patient in calibration.chosen.patients:
        words.append("the threshold was fitted on another slide of this patient")
    if not tiles.exhaustive:
        words.append("not annotated exhaustively")
    return "; ".join(words)


def chosen(cohort: Cohort, names: Sequence[str] | None) -> Cohort:
    """The slides with these names; all without names.

    Raises:
        InputError: a name that no slide has.
    """
    from wsrpn.errors import nearest

    known = {tiles.slide for tiles in cohort.slides}
    for name in names or ():
        if name not in known:
            raise InputError(f"no slide is called '{name}'. {nearest(name, known)}")
    return cohort if names is None else cohort.only(set(names))


def told(slides: Mapping[str, Slide], cohort: Cohort) -> str:
    """A note on slides without any picture of their tissue, or ""."""
    from wsrpn.errors import counted

    bare = [
        tiles.slide for tiles in cohort.slides
        if (slide := slides.get(tiles.slide)) is None or not (slide.thumbnail or slide.file)
    ]  # fmt: skip
    if not bare:
        return ""
    return f"{counted(len(bare), 'slide')} without a thumbnail: tissue is drawn grey."
