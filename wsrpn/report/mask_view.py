"""Masks over images: outlines beside the truth, where they err, scores, and where a model looks.

Errors, scores and attention have the colours of the pictures of a training, see
`wsrpn.report.mask_panels`; colour-blind eyes tell them apart.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image

from wsrpn.errors import counted
from wsrpn.metrics import objects as matching
from wsrpn.report import draw, fonts, marks
from wsrpn.report.marks import FOUND, TRUTH, Axes, Drawing
from wsrpn.report.mask_panels import ALARM, ATTENTION, HIT, MISS, SCORES

SIDE = 1024  # pixels: larger images are drawn reduced
_DIM = 0.6  # of an image below the colours of errors
_OPAQUE = 0.75
_LINE, _FINE = 0.9, 0.3  # points: of a line around large objects, and around small ones
_ACROSS = 14  # widths of a line in the diameter of an object, where that is thinner
_IOU = 0.5  # from which on two objects match
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
    marks.title(first, "Outlines", numbers[0])
    if small.truth is None:
        marks.radiograph(second, small.image)
        marks.title(second, "Image, no truth is known", "")
    else:
        _errors(second, small.image, small.found > 0, small.truth > 0)
        marks.title(second, "Errors", numbers[1])
    _scores(figure, third, small)
    for axes, kind in zip(rest, extra, strict=True):
        if kind == "attention":
            _attention(figure, axes, small)
        else:
            _reconstructed(axes, small)
    _legend(figure, errors=small.truth is not None)
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
            _outlines(axes, picture, most=0.6)
        else:
            _errors(axes, picture.image, picture.found > 0, picture.truth > 0)
        marks.title(axes, picture.name, picture.said, small=True)
    known = [picture.truth is not None for picture in pictures]
    _legend(figure, errors=any(known), lines=not all(known))
    return figure


def overlay(picture: MaskPicture) -> UInt8[np.ndarray, "h w 3"]:
    """The whole image in its own pixels: broad rims of the truth, narrow ones of what was found.

    For images that `panel` draws reduced.
    """
    from scipy.ndimage import binary_dilation

    grey = (np.clip(picture.image, 0, 1) * 255).round().astype(np.uint8)
    painted = np.repeat(grey[..., None], 3, axis=2)
    if picture.truth is not None:
        broad = binary_dilation(_rim(picture.truth), np.ones((3, 3), dtype=bool))
        painted[broad] = _levels(TRUTH)
    painted[_rim(picture.found)] = _levels(FOUND)
    return painted


def _rim(objects: Int[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """The outermost pixels of each object, along the edges of the image, too."""
    from scipy.ndimage import binary_erosion

    kept = inside(objects)
    return kept & ~binary_erosion(kept)


def _levels(colour: str) -> UInt8[np.ndarray, "3"]:
    """A colour `#RRGGBB` as levels of 0 to 255."""
    return np.frombuffer(bytes.fromhex(colour[1:]), dtype=np.uint8)


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
    """Objects matched, false and missed, and pixels; before the picture is reduced."""
    if picture.truth is None:
        many = len(np.unique(picture.found[picture.found > 0]))
        return f"{counted(many, 'object')} found", ""
    both = matching.counts(picture.found, picture.truth, thresholds=(_IOU,))
    pairs = int(both.tp[0])
    found, truth = picture.found > 0, picture.truth > 0
    alarms, misses = int((found & ~truth).sum()), int((truth & ~found).sum())
    return (
        f"{pairs} matched, {both.found - pairs} false, {both.truth - pairs} missed at IoU {_IOU:g}",
        f"{int((found & truth).sum()):,} px hit, {alarms:,} false alarm, {misses:,} missed",
    )


def _outlines(axes: Axes, picture: MaskPicture, *, most: float = _LINE) -> None:
    """What was found over a broader line of the truth, so that both are seen where they agree."""
    width = _line(axes, picture, most)
    if picture.truth is not None:
        _contour(axes, picture.truth, TRUTH, 2.4 * width)
    _contour(axes, picture.found, FOUND, width)


def _line(axes: Axes, picture: MaskPicture, most: float) -> float:
    """Points: thinner around small objects, which lines would hide."""
    shown = picture.found if picture.truth is None else picture.truth
    numbers, areas = np.unique(shown[shown > 0], return_counts=True)
    if not len(numbers):
        return most
    points_per_px = 72 * marks.inches(axes) / shown.shape[1]
    across = points_per_px * float(np.sqrt(np.median(areas)))
    return float(np.clip(across / _ACROSS, min(_FINE, most), most))


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
    lines.set_path_effects(
        [withStroke(linewidth=width + min(width, 0.9), foreground="black", alpha=0.6)]
    )
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
    shown = axes.imshow(picture.score, cmap=SCORES, vmin=0, vmax=1, extent=(0, wide, high, 0))
    axes.set_axis_off()
    if picture.truth is not None:
        _contour(axes, picture.truth, TRUTH, _line(axes, picture, 0.7))
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


def _attention(figure: Drawing, axes: Axes, picture: MaskPicture) -> None:
    """Where the model looks, over the image: from its lowest value, clear, to its highest."""
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    grid = picture.attention
    if grid is None:
        return
    marks.radiograph(axes, picture.image)
    high, wide = picture.image.shape
    low, peak = float(grid.min()), float(grid.max())
    colours = colormaps[ATTENTION](np.linspace(0, 1, 256))
    colours[:, 3] = np.linspace(0, _OPAQUE, 256)  # the anatomy stays visible
    shown = axes.imshow(
        low + draw.upsample(grid - low, (high, wide)), cmap=ListedColormap(colours), vmin=low,
        vmax=low + max(peak - low, _FLAT), extent=(0, wide, high, 0), zorder=1,
    )  # fmt: skip
    _bar(figure, axes, shown)
    flat = ", the same everywhere" if peak - low < 0.005 else ""
    marks.title(axes, "Attention", f"{low:.2f} (clear) to {peak:.2f}{flat}")


def _reconstructed(axes: Axes, picture: MaskPicture) -> None:
    """The DRR as the model was given it."""
    if picture.drr is None:
        return
    marks.radiograph(axes, picture.drr)
    marks.title(axes, "DRR of the CT", "")


def _legend(figure: Drawing, *, errors: bool, lines: bool = True) -> None:
    """What lines and colours mean, at the bottom left; truth and miss share theirs."""
    from matplotlib.legend_handler import HandlerTuple
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    words: list[str] = []
    handles: list[Any] = []
    if lines:
        words.append("found")
        handles.append(Line2D([], [], color=FOUND, lw=1.6))
    if errors:
        words += ["hit", "false alarm", "line: truth, area: miss" if lines else "miss"]
        handles += [Patch(color=_share(colour)) for colour in (HIT, ALARM)]
        miss = Patch(color=_share(MISS))
        handles.append((Line2D([], [], color=TRUTH, lw=1.6), miss) if lines else miss)
    height = figure.get_size_inches()[1]
    figure.legend(
        handles, words, loc="lower left", bbox_to_anchor=(0.0, 0.02 / height), ncols=len(handles),
        frameon=True, facecolor="#555555", edgecolor="none", labelcolor="white",
        borderpad=0.35, columnspacing=1.2, handlelength=1.4, prop=_letters(),
        handler_map={tuple: HandlerTuple(ndivide=None, pad=0.3)},
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
