"""What a model makes of images with masks while it trains: truth, scores, errors, attention."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image

from wsrpn.report import arms
from wsrpn.report.arms import EDGE
from wsrpn.report.draw import upsample
from wsrpn.report.marks import Drawing

# Of Okabe and Ito (2008), which colour-blind eyes tell apart: bluish green, vermilion, sky blue.
# A miss has the colour of the truth, whose rim is drawn in it.
HIT, ALARM, MISS = (0, 158, 115), (213, 94, 0), (86, 180, 233)

SCORES, ATTENTION = "magma", "viridis"  # scales of colours, in every picture of masks

_CELL, _GAP, _STRIP = 1.9, 0.06, 0.19  # inches: of an image, between images, for words above a row
_HEAD, _FOOT = 0.20, 0.44  # inches: names of the columns; legend and scales
_PIXELS = 285  # of an image as it is drawn
_BLEND = 0.6  # opacity of the colours of errors
_WORDS = (("hit", HIT), ("false alarm", ALARM), ("miss, rim of the truth", MISS))
Plane = Float[np.ndarray, "h w"]
Colours = UInt8[np.ndarray, "h w 3"]


@dataclass(frozen=True)
class Rows:
    """Images of one size with what is known and said of their pixels.

    Attributes:
        images: grey levels in [0, 1].
        truth: foreground.
        scores: of the foreground.
        names: of the images.
        attention: where the model looks, in [0, 1] on its own grid, or None.
        drrs: reconstructed radiographs, or None.
        has_drr: which images have one; all of them where it is None.
    """

    images: Float[np.ndarray, "n h w"]
    truth: Bool[np.ndarray, "n h w"]
    scores: Float[np.ndarray, "n h w"]
    names: tuple[str, ...]
    attention: Float[np.ndarray, "n gh gw"] | None = None
    drrs: Float[np.ndarray, "n h w"] | None = None
    has_drr: Bool[np.ndarray, " n"] | None = None


def sheet(rows: Rows, *, title: str = "") -> Drawing:
    """An image in each row: with the rim of its truth, scores, errors at a score of 0.5.

    For a model with attention the map of it follows, and the DRR where there are such. All scores
    share the scale 0 to 1; all attention maps share one from their smallest to their largest value.

    Args:
        rows: at least one image.
        title: heading.
    """
    columns = ["image, truth", "score", "errors at 0.5"]
    columns += ["attention"] * (rows.attention is not None) + ["DRR"] * (rows.drrs is not None)
    high = _CELL * rows.images.shape[1] / rows.images.shape[2]
    left = EDGE + np.arange(len(columns)) * (_CELL + _GAP)
    step = high + _STRIP
    body = _HEAD + len(rows.names) * step + _FOOT
    page = arms.page(float(left[-1]) + _CELL + EDGE, body, title, "")
    # One pair of axes in inches: images with axes of their own would take ten times as long.
    axes = page.axes(0.0, page.top, page.width, body)
    low, most = _range(rows.attention)
    shown: dict[str, Any] = {}
    for x, name in zip(left.tolist(), columns, strict=True):
        page.text(x, page.top + 0.5 * _HEAD, name, fontsize=8, weight="bold")
    for row, name in enumerate(rows.names):
        y = _HEAD + row * step + _STRIP
        for x, column in zip(left.tolist(), columns, strict=True):
            picture, scale = _picture(rows, row, column, low, most)
            if picture is None:
                page.text(x + _CELL / 2, page.top + y + high / 2, "no DRR", fontsize=8, ha="center",
                          color=arms.GREY)  # fmt: skip
                continue
            shown[column] = axes.imshow(picture, interpolation="nearest", aspect="auto",
                                        extent=(x, x + _CELL, y + high, y), **scale)  # fmt: skip
        words = (page.top + y - 0.42 * _STRIP,)
        page.text(left[0], *words, _cut(name, 40), fontsize=6.5)
        page.text(left[2], *words, _figures(rows.truth[row], rows.scores[row]), fontsize=6.5)
    axes.set(xlim=(0, page.width), ylim=(body, 0))
    axes.set_axis_off()
    _legend(page, axes, float(left[0]), body - 0.5 * _FOOT)
    _scale(page, shown["score"], float(left[1]) + 0.1, "score")
    if "attention" in shown:
        _scale(page, shown["attention"], float(left[3]), "attention")
    return page.figure


def errors(image: Plane, truth: Bool[np.ndarray, "h w"], found: Bool[np.ndarray, "h w"]) -> Colours:
    """A grey image with its hits, false alarms and misses in colour."""
    grey = np.clip(image, 0, 1)[..., None] * np.full(3, 255.0)
    for colour, where in (
        (HIT, truth & found),
        (ALARM, ~truth & found),
        (MISS, truth & ~found),
    ):
        grey[where] = (1 - _BLEND) * grey[where] + _BLEND * np.array(colour, dtype=np.float64)
    return grey.round().astype(np.uint8)


def outlined(image: Plane, truth: Bool[np.ndarray, "h w"]) -> Colours:
    """A grey image with the inner rim of its truth, one pixel wide."""
    from scipy.ndimage import binary_erosion

    grey = np.repeat((np.clip(image, 0, 1) * 255).round().astype(np.uint8)[..., None], 3, axis=2)
    grey[truth & ~binary_erosion(truth, border_value=1)] = MISS
    return grey


def _picture(
    rows: Rows, row: int, column: str, low: float, most: float
) -> tuple[np.ndarray | None, dict[str, Any]]:
    """What stands in a cell, None where there is nothing, and its scale of colours."""
    image, truth = rows.images[row], rows.truth[row]
    grey = {"cmap": "gray", "vmin": 0, "vmax": 1}
    if column == "score":
        return _fit(rows.scores[row]), {"cmap": SCORES, "vmin": 0, "vmax": 1}
    if column == "attention" and rows.attention is not None:
        field = upsample(rows.attention[row], (_PIXELS, _PIXELS))
        return field, {"cmap": ATTENTION, "vmin": low, "vmax": most}
    if column == "DRR" and rows.drrs is not None:
        there = rows.has_drr is None or bool(rows.has_drr[row])
        return (_fit(rows.drrs[row]) if there else None), grey
    if column == "errors at 0.5":
        drawn = errors(image, truth, rows.scores[row] >= 0.5)
        return np.stack([_fit(drawn[..., c] / 255.0) for c in range(3)], axis=-1), {}
    # An object of a few pixels keeps its rim when the image is drawn smaller.
    return outlined(_fit(image), _fit(truth.astype(np.float64)) > 0.3), {}


def _fit(plane: Plane) -> Float[np.ndarray, "high wide"]:
    """A plane at about the size it is drawn at: pixels averaged, or repeated."""
    side = max(plane.shape)
    if side > _PIXELS:
        size = tuple(max(1, round(length * _PIXELS / side)) for length in plane.shape[::-1])
        picture = Image.fromarray(np.ascontiguousarray(plane, dtype=np.float32))
        return np.asarray(picture.resize(size, Image.Resampling.BOX))
    times = max(1, round(_PIXELS / side))
    return plane.repeat(times, axis=0).repeat(times, axis=1)


def _range(attention: Float[np.ndarray, "n gh gw"] | None) -> tuple[float, float]:
    """The scale of all attention maps; a flat one is not stretched to noise."""
    if attention is None:
        return 0.0, 1.0
    low, most = float(attention.min()), float(attention.max())
    return low, max(most, low + 0.02)


def _figures(truth: Bool[np.ndarray, "h w"], scores: Plane) -> str:
    found = scores >= 0.5
    hit, either = int((truth & found).sum()), int((truth | found).sum())
    if not either:
        return "nothing there, nothing found"
    if not truth.any():
        return f"nothing there, {found.mean():.2%} found"
    return f"Dice {2 * hit / (either + hit):.2f} · Jaccard {hit / either:.2f}"


def _cut(name: str, most: int) -> str:
    return name if len(name) <= most else f"…{name[1 - most :]}"


def _legend(page: arms.Page, axes: Any, x: float, y: float) -> None:
    """What the colours of errors and rims mean."""
    from matplotlib.patches import Rectangle

    for place, (word, colour) in enumerate(_WORDS):
        at_x, at_y = x + 0.5 * (place % 2), y - 0.08 + 0.16 * (place // 2)
        axes.add_patch(Rectangle((at_x, at_y - 0.05), 0.1, 0.1, edgecolor="0.3", lw=0.4,
                                 facecolor=tuple(c / 255 for c in colour)))  # fmt: skip
        page.text(at_x + 0.15, page.top + at_y, word, fontsize=7)


def _scale(page: arms.Page, shown: Any, x: float, name: str) -> None:
    """The colours of a column."""
    axes = page.axes(x, page.height - _FOOT + 0.12, 1.4, 0.08)
    page.figure.colorbar(shown, cax=axes, orientation="horizontal")
    axes.tick_params(labelsize=6.5, length=2, pad=1.5)
    page.text(x + 1.45, page.height - _FOOT + 0.16, name, fontsize=7)
