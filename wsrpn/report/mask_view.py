"""Masks over images: outlines beside the truth, where they err, scores, and where a model looks.

Errors have the colours of the pictures of a training, see `wsrpn.report.mask_panels`; colour-blind
eyes tell them apart.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from PIL import Image

from wsrpn.report import draw, fonts, marks
from wsrpn.report.marks import FOUND, TRUTH, Axes, Drawing
from wsrpn.report.mask_panels import ALARM, HIT, MISS

SIDE = 1024  # pixels: larger images are drawn reduced
_DIM = 0.6  # of an image below the colours of errors
_OPAQUE = 0.75
_SCORES = "viridis"
_FLAT = 0.05  # attention that differs by less stays pale


@dataclass(frozen=True)
class MaskPicture:
    """One image and what is known and said of its pixels.

    Attributes:
        image: grey levels in [0, 1].
        name: of the image, for the heading.
        score: of every pixel, in [0, 1].
        found: objects of the answer, 0 outside; two that touch have different numbers.
        truth: objects of the truth likewise, or None where nobody knows.
        said: figures of this image in words ("Jaccard 0.81"), beside its name.
        threshold: from which score on a pixel belongs to an object, or None.
        attention: where the model looks, in [0, 1] on its own grid, or None.
        drr: radiograph reconstructed from a CT that the model was given, in [0, 1], or None.
    """

    image: Float[np.ndarray, "h w"]
    name: str
    score: Float[np.ndarray, "h w"]
    found: Int[np.ndarray, "h w"]
    truth: Int[np.ndarray, "h w"] | None = None
    said: str = ""
    threshold: float | None = None
    attention: Float[np.ndarray, "gh gw"] | None = None
    drr: Float[np.ndarray, "dh dw"] | None = None

    @property
    def heading(self) -> str:
        """Name and figures."""
        return " · ".join(words for words in (self.name, self.said) if words)

    def within(self, side_px: int) -> "MaskPicture":
        """The picture at most so high and wide: means of grey levels and scores, objects thinned.

        A thin object may lose pixels, never its place.
        """
        height, width = self.image.shape
        if max(height, width) <= side_px:
            return self
        share = side_px / max(height, width)
        size_px = (max(1, round(share * height)), max(1, round(share * width)))
        return dataclasses.replace(
            self,
            image=_mean(self.image, size_px),
            score=_mean(self.score, size_px),
            found=_thinned(self.found, size_px),
            truth=None if self.truth is None else _thinned(self.truth, size_px),
        )


def panel(picture: MaskPicture) -> Drawing:
    """Outlines | errors | scores, and where there are any attention | DRR.

    Without a truth there are no errors: the image stands bare at their place.

    Args:
        picture: what to draw; more than `SIDE` pixels a side are reduced.
    """
    numbers = _counts(picture)
    small = picture.within(SIDE)
    height, width = small.image.shape
    extra = [kind for kind in ("attention", "drr") if getattr(small, kind) is not None]
    figure, ((first, second, third, *rest),) = marks.canvas(
        1, 3 + len(extra), height / width, small.heading, cell=3.4
    )
    marks.radiograph(first, small.image)
    _outlines(first, small)
    marks.title(first, numbers[0], "", bold=True)
    if small.truth is None:
        marks.radiograph(second, small.image)
        marks.title(second, "Image, no truth is known", "")
    else:
        _errors(second, small.image, small.found > 0, small.truth > 0)
        marks.title(second, "Errors", numbers[1])
    _scores(figure, third, small)
    for axes, kind in zip(rest, extra, strict=True):
        (_attention if kind == "attention" else _reconstructed)(axes, small)
    _legend(figure, errors=small.truth is not None, score=small.truth is not None)
    return figure


def contact_sheet(pictures: Sequence[MaskPicture], *, columns: int = 6, title: str = "") -> Drawing:
    """Many images small, their errors in colour; without a truth what was found is outlined.

    Args:
        pictures: images, of any sizes; each is fitted into a square.
        columns: images in a row.
        title: heading.
    """
    columns = max(1, min(columns, len(pictures)))
    rows = max(1, -(-len(pictures) // columns))
    figure, grid = marks.canvas(rows, columns, 1.0, title, cell=1.9, strip=0.36)
    cells = [axes for row in grid for axes in row]
    for axes in cells[len(pictures) :]:
        axes.set_axis_off()
    for axes, picture in zip(cells, pictures, strict=False):
        if picture.truth is None:
            marks.radiograph(axes, picture.image)
            _outlines(axes, picture, width=0.6)
        else:
            _errors(axes, picture.image, picture.found > 0, picture.truth > 0)
        marks.title(axes, picture.name, picture.said, small=True)
    known = [picture.truth is not None for picture in pictures]
    _legend(figure, errors=any(known), lines=not all(known))
    return figure


def errors(
    found: Bool[np.ndarray, "h w"], truth: Bool[np.ndarray, "h w"]
) -> Float[np.ndarray, "h w 4"]:
    """Colours of hits, false alarms and misses; clear where both are outside.

    Example:
        >>> errors(np.array([[True, False]]), np.array([[False, False]]))[0, :, 3] > 0
        array([ True, False])
    """
    colours = np.array([(0, 0, 0, 0), *((*_share(c), _OPAQUE) for c in (ALARM, MISS, HIT))])
    return colours[found + 2 * truth.astype(np.intp)]


def inside(objects: Int[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Pixels of objects but those beside another object, so that outlines part what touches.

    Example:
        >>> inside(np.array([[1, 1, 2, 2, 0]])).tolist()
        [[True, False, True, True, False]]
    """
    kept = objects > 0
    for axis in (0, 1):
        here = np.moveaxis(objects, axis, 0)
        meets = (here[:-1] != here[1:]) & (here[1:] > 0)
        np.moveaxis(kept, axis, 0)[:-1][meets] = False
    return kept


def _counts(picture: MaskPicture) -> tuple[str, str]:
    """Numbers of objects, and of pixels of each error; before the picture is reduced."""
    many = len(np.unique(picture.found[picture.found > 0]))
    if picture.truth is None:
        return f"Outlines · {many} found", ""
    there = len(np.unique(picture.truth[picture.truth > 0]))
    found, truth = picture.found > 0, picture.truth > 0
    alarms, misses = int((found & ~truth).sum()), int((truth & ~found).sum())
    return (
        f"Outlines · {many} found, {there} in the truth",
        f"{int((found & truth).sum()):,} px hit, {alarms:,} false alarm, {misses:,} missed",
    )


def _outlines(axes: Axes, picture: MaskPicture, *, width: float = 0.9) -> None:
    """What was found over a broader line of the truth, so that both are seen where they agree."""
    if picture.truth is not None:
        _contour(axes, picture.truth, TRUTH, 2.4 * width)
    _contour(axes, picture.found, FOUND, width)


def _contour(axes: Axes, objects: Int[np.ndarray, "h w"], colour: str, width: float) -> None:
    """Lines around objects, along the edges of the image, too; nothing where there is no object."""
    from matplotlib.patheffects import withStroke

    kept = np.pad(inside(objects), 1).astype(np.float32)
    if not kept.any():
        return
    high, wide = objects.shape
    lines = axes.contour(
        np.arange(-1, wide + 1) + 0.5, np.arange(-1, high + 1) + 0.5, kept, levels=[0.5],
        colors=[colour], linewidths=width, zorder=3 + (colour == FOUND),
    )  # fmt: skip
    lines.set_path_effects([withStroke(linewidth=width + 0.9, foreground="black", alpha=0.6)])
    axes.set(xlim=(0, wide), ylim=(high, 0))


def _errors(
    axes: Axes,
    image: Float[np.ndarray, "h w"],
    found: Bool[np.ndarray, "h w"],
    truth: Bool[np.ndarray, "h w"],
) -> None:
    """Colours over the image, which is darker."""
    marks.radiograph(axes, _DIM * image)
    high, wide = image.shape
    axes.imshow(errors(found, truth), extent=(0, wide, high, 0), zorder=1, interpolation="nearest")


def _scores(figure: Drawing, axes: Axes, picture: MaskPicture) -> None:
    """The score map and its colours, with a mark at the threshold."""
    high, wide = picture.score.shape
    shown = axes.imshow(picture.score, cmap=_SCORES, vmin=0, vmax=1, extent=(0, wide, high, 0))
    axes.set_axis_off()
    if picture.truth is not None:
        _contour(axes, picture.truth, "white", 0.7)
    cut = picture.threshold
    marks.title(axes, "Score", "" if cut is None else f"threshold {cut:.2f}")
    bar = _bar(figure, axes, shown)
    if cut is not None:
        bar.plot([min(cut, 1.0)], [1.15], marker="v", ms=4.5, color="black", clip_on=False,
                 transform=bar.get_xaxis_transform())  # fmt: skip


def _bar(figure: Drawing, axes: Axes, shown: Any) -> Axes:
    """A scale of colours below axes, in the room at the foot of the page."""
    height = figure.get_size_inches()[1]
    place = axes.get_position()
    long = 0.55 * place.width
    bar = figure.add_axes((place.x1 - long, 0.20 / height, long, 0.08 / height))
    figure.colorbar(shown, cax=bar, orientation="horizontal")
    bar.tick_params(labelsize=6.5, length=2, pad=1.5)
    return bar


def _attention(axes: Axes, picture: MaskPicture) -> None:
    """Where the model looks, over the image: from its lowest to its highest value."""
    grid = picture.attention
    if grid is None:
        return
    marks.radiograph(axes, picture.image)
    high, wide = picture.image.shape
    low, peak = float(grid.min()), float(grid.max())
    field = draw.upsample(grid - low, (high, wide))
    axes.imshow(draw.tint(field, max(peak - low, _FLAT)), extent=(0, wide, high, 0), zorder=1)
    flat = ", the same everywhere" if peak - low < 0.005 else ""
    marks.title(axes, "Attention", f"{low:.2f} (clear) to {peak:.2f}{flat}")


def _reconstructed(axes: Axes, picture: MaskPicture) -> None:
    """The DRR as the model was given it."""
    if picture.drr is None:
        return
    marks.radiograph(axes, picture.drr)
    marks.title(axes, "DRR of the CT", "")


def _legend(figure: Drawing, *, errors: bool, lines: bool = True, score: bool = False) -> None:
    """What lines and colours mean, at the bottom left."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = []
    if lines:
        handles += [Line2D([], [], color=TRUTH, lw=1.6, label="truth")] if errors else []
        handles.append(Line2D([], [], color=FOUND, lw=1.6, label="found"))
    if errors:
        meant = ((HIT, "hit"), (ALARM, "false alarm"), (MISS, "miss"))
        handles += [Patch(color=_share(colour), label=word) for colour, word in meant]
    if score:
        handles.append(Line2D([], [], color="white", lw=1.6, label="truth on scores"))
    height = figure.get_size_inches()[1]
    figure.legend(
        handles=handles, loc="lower left", bbox_to_anchor=(0.0, 0.02 / height), ncols=len(handles),
        frameon=True, facecolor="#555555", edgecolor="none", labelcolor="white",
        borderpad=0.35, columnspacing=1.2, handlelength=1.4, prop=_letters(),
    )  # fmt: skip


def _share(colour: tuple[int, int, int]) -> tuple[float, float, float]:
    """A colour of 0 … 255 as matplotlib has it."""
    return colour[0] / 255, colour[1] / 255, colour[2] / 255


def _letters() -> dict[str, Any]:
    return {"family": list(fonts.families()), "size": 7.5}


def _mean(plane: Float[np.ndarray, "h w"], size_px: tuple[int, int]) -> Float[np.ndarray, "a b"]:
    image = Image.fromarray(np.ascontiguousarray(plane, dtype=np.float32))
    return np.asarray(image.resize(size_px[::-1], Image.Resampling.BOX))


def _thinned(objects: Int[np.ndarray, "h w"], size_px: tuple[int, int]) -> Int[np.ndarray, "a b"]:
    """Every n-th row and column."""
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(np.intp)
        for new, old in zip(size_px, objects.shape, strict=True)
    )
    return objects[np.ix_(rows, columns)]
