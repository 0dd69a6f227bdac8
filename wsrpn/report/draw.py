"""Pictures: a radiograph with truth, maps and boxes; many of them; the curves of a training.

Every axes runs in pixels of the image, with pixel edges on whole numbers as in `Box.xyxy_px`. Maps
of cells are brought to pixels with cell centres aligned, so a cell is drawn where the model saw it.
Nothing here keeps state between two pictures.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from PIL import Image

from wsrpn.errors import InputError
from wsrpn.files import write_with
from wsrpn.report import marks
from wsrpn.report.marks import FOUND, TRUTH, Axes, Drawing
from wsrpn.types import Box, Detections

LINES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_METADATA: dict[str, dict[str, None]] = {
    ".png": {"Software": None}, ".pdf": {"CreationDate": None}, ".svg": {"Date": None},
}  # fmt: skip
_FAINT = 0.3  # full colour of a map that nowhere reaches it, where no threshold is known


@dataclass(frozen=True)
class Picture:
    """One radiograph and what is known and said of it.

    Attributes:
        image: grey levels in [0, 1].
        classes: names.
        name: of the image, for the heading.
        truth: gold boxes in pixels of `image`.
        detections: boxes to draw of a model, in pixels of `image`.
        patch_maps: score per class and cell of the patch branch, in [0, 1].
        region_maps: Gaussian map per region.
        region_scores: class scores of each region.
    """

    image: Float[np.ndarray, "h w"]
    classes: tuple[str, ...]
    name: str = ""
    truth: tuple[Box, ...] = ()
    detections: Detections | None = None
    patch_maps: Float[np.ndarray, "k gh gw"] | None = None
    region_maps: Float[np.ndarray, "r rh rw"] | None = None
    region_scores: Float[np.ndarray, "r k"] | None = None

    def region_map(self, label: int) -> Float[np.ndarray, "rh rw"] | None:
        """The regions of a class: their Gaussians, each with its score at its peak.

        They are joined as the model joins regions, by noisy-OR, so the map stays in [0, 1].
        """
        if self.region_maps is None or self.region_scores is None:
            return None
        peaks = self.region_maps.max(axis=(1, 2), keepdims=True)
        bells = self.region_maps / np.maximum(peaks, np.finfo(np.float32).tiny)
        return 1 - np.prod(1 - self.region_scores[:, label, None, None] * bells, axis=0)

    def patch_map(self, label: int) -> Float[np.ndarray, "gh gw"] | None:
        """The patch map of a class."""
        return None if self.patch_maps is None else self.patch_maps[label]

    def shown(self, thresholds: Mapping[int, float] | None = None) -> tuple[int, ...]:
        """Classes worth a row: those with truth or with a box to draw; the best one if none is.

        Without thresholds every box is drawn: whoever made the picture chose them.
        """
        said = {box.label for box in self.truth}
        if self.detections is not None and len(self.detections.scores):
            scores, labels = self.detections.scores, self.detections.classes
            limits = np.array([(thresholds or {}).get(int(k), 0.0) for k in labels])
            said |= {int(k) for k in labels[scores >= limits]}
            said = said or {int(labels[scores.argmax()])}
        return tuple(sorted(said)) or tuple(range(min(1, len(self.classes))))

    def within(self, side_px: int) -> "Picture":
        """The picture with an image of at most this height and width, its boxes with it."""
        height, width = self.image.shape
        if max(height, width) <= side_px:
            return self
        share = side_px / max(height, width)
        size_px = (max(1, round(share * height)), max(1, round(share * width)))
        scale = np.tile((size_px[1] / width, size_px[0] / height), 2)
        plane = Image.fromarray(np.ascontiguousarray(self.image, dtype=np.float32))
        image = np.asarray(plane.resize(size_px[::-1], Image.Resampling.BOX))
        found = self.detections
        if found is not None:
            found = dataclasses.replace(found, xyxy_px=found.xyxy_px * scale, size_px=size_px)
        truth = (
            Box(b.label, tuple(map(float, np.array(b.xyxy_px) * scale)))  # type: ignore[arg-type]
            for b in self.truth
        )
        return dataclasses.replace(self, image=image, truth=tuple(truth), detections=found)


def upsample(
    cells: Float[np.ndarray, "gh gw"], size_px: tuple[int, int]
) -> Float[np.ndarray, "h w"]:
    """A map of cells at every pixel: bicubic between the cell centres, never below 0.

    Example:
        >>> upsample(np.array([[0.0, 1.0]]), (1, 4)).argmax()
        np.int64(3)
    """
    height, width = size_px
    field = Image.fromarray(np.ascontiguousarray(cells, dtype=np.float32))
    smooth = np.asarray(field.resize((width, height), Image.Resampling.BICUBIC))
    return np.clip(smooth, 0, max(float(cells.max(initial=0.0)), 0.0))


def tint(field: Float[np.ndarray, "h w"], scale: float) -> Float[np.ndarray, "h w 4"]:
    """Colour with an opacity that follows the map, so that the anatomy stays visible.

    Args:
        field: map, at least 0.
        scale: value with the full colour; 0 makes everything clear.
    """
    from matplotlib import colormaps

    share = np.clip(field / scale, 0, 1) if scale > 0 else np.zeros_like(field)
    colour = colormaps["inferno"](0.45 + 0.35 * share)
    colour[..., 3] = 0.62 * share
    return colour


def panel(
    picture: Picture,
    *,
    show: Sequence[int] | None = None,
    thresholds: Mapping[int, float] | None = None,
    scale: float | None = None,
    most: int = 3,
) -> Drawing:
    """Radiograph with truth | patch map | Gaussian map with boxes, one row per class.

    Args:
        picture: what to draw; columns of maps that it lacks are left out.
        show: classes in order; None takes `Picture.shown`.
        thresholds: calibrated cut per class; boxes below it are not drawn, and the title says it.
        scale: map value with the full colour, the same for a cohort; None takes each map's
            peak, but no less than the threshold of the class (0.3 without one), so that a map of
            nothing stays clear.
        most: boxes drawn per class, best first.
    """
    labels = picture.shown(thresholds) if show is None else tuple(show)
    kinds = [k for k, there in (("patch", picture.patch_maps), ("region", picture.region_maps)) if
             there is not None]  # fmt: skip
    kinds = kinds or ["boxes"]
    height, width = picture.image.shape
    figure, grid = marks.canvas(max(1, len(labels)), 1 + len(kinds), height / width, picture.name)
    for row, label in zip(grid, labels, strict=False):
        marks.radiograph(row[0], picture.image)
        mine = [box.xyxy_px for box in picture.truth if box.label == label]
        marks.boxes(row[0], mine, TRUTH, dashed=True)
        marks.title(row[0], picture.classes[label], _count(len(mine)), bold=True)
        for axes, kind in zip(row[1:], kinds, strict=True):
            words = _overlay(axes, picture, label, kind, scale, _floor(thresholds, label))
            marks.boxes(axes, mine, TRUTH, dashed=True)
            last = kind == kinds[-1]
            said = _found(axes, picture, label, thresholds, most) if last else ""
            marks.title(axes, words, said)
    marks.legend(figure)
    return figure


def contact_sheet(
    pictures: Sequence[Picture],
    captions: Sequence[str] = (),
    *,
    columns: int = 6,
    scale: float | None = None,
    thresholds: Mapping[int, float] | None = None,
    most: int = 1,
    title: str = "",
) -> Drawing:
    """Many images small: boxes with the names of their classes over the maps of these classes.

    Args:
        pictures: images, of any sizes; each is fitted into a square.
        captions: one per picture; the picture's name where there is none.
        columns: images in a row.
        scale: map value with the full colour; None takes each map's
            peak, but no less than the threshold of the class (0.3 without one), so that a map of
            nothing stays clear.
        thresholds: as in `panel`.
        most: boxes drawn per class.
        title: heading.
    """
    columns = max(1, min(columns, len(pictures)))
    rows = -(-len(pictures) // columns)
    figure, grid = marks.canvas(max(1, rows), columns, 1.0, title, cell=1.9, strip=0.20)
    cells = [axes for row in grid for axes in row]
    for axes in cells[len(pictures) :]:
        axes.set_axis_off()
    for index, (axes, picture) in enumerate(zip(cells, pictures, strict=False)):
        marks.radiograph(axes, picture.image)
        labels = picture.shown(thresholds)
        maps = [m for m in (picture.region_map(k) for k in labels) if m is not None]
        maps = maps or [m for m in (picture.patch_map(k) for k in labels) if m is not None]
        if maps:
            floor = min(_floor(thresholds, k) for k in labels)
            _tint(axes, np.maximum.reduce(maps), picture.image.shape, scale, floor)
        for box in picture.truth:
            marks.boxes(
                axes, [box.xyxy_px], TRUTH, [picture.classes[box.label]], dashed=True, small=True
            )
        for label in labels:
            _found(axes, picture, label, thresholds, most, small=True, named=True)
        caption = captions[index] if index < len(captions) else picture.name
        marks.title(axes, "", caption, small=True)
    marks.legend(figure)
    return figure


def curves(rows: Sequence[Mapping[str, Any]], *, x: str = "epoch") -> Drawing:
    """Curves of a training: the loss terms at the left, the figures of the validation at the right.

    Args:
        rows: lines of `metrics.csv`; cells that are empty or no number are gaps.
        x: column of the horizontal axis. Columns with `loss` in their name go to the left; `lr`,
            `seconds`, `step`, `phase` and columns without any number are not drawn.
    """
    left: dict[str, np.ndarray] = {}
    right: dict[str, np.ndarray] = {}
    for name in dict.fromkeys(key for row in rows for key in row):
        values = np.array([_number(row.get(name)) for row in rows])
        plain = name.rsplit("/", 1)[-1]
        if (
            name == x
            or plain in {"lr", "seconds", "step", "phase"}
            or not np.isfinite(values).any()
        ):
            continue
        (left if "loss" in name.lower() else right)[name] = values
    at = np.array([_number(row.get(x)) for row in rows])
    figure = marks.new(10.0, 3.4)
    figure.subplots_adjust(left=0.06, right=0.985, top=0.92, bottom=0.14, wspace=0.16)
    axes = [figure.add_subplot(1, 2, index) for index in (1, 2)]
    for one, lines, label in ((axes[0], left, "loss"), (axes[1], right, "validation")):
        for index, (name, values) in enumerate(lines.items()):
            there = np.isfinite(values) & np.isfinite(at)
            style = ("-", "--", ":")[index // len(LINES) % 3]
            one.plot(at[there], values[there], style, color=LINES[index % len(LINES)], lw=1.4,
                     marker="o", ms=2.5, label=name)  # fmt: skip
        one.set_xlabel(x)
        one.set_title(label, fontsize=9)
        one.grid(alpha=0.25, lw=0.5)
        if lines:
            one.legend(fontsize=7, frameon=False, ncols=1 + len(lines) // 12)
    return figure


def save(figure: Drawing, path: Path, *, dpi: int = 150) -> None:
    """Write a picture whole or not at all; the same picture gives the same bytes.

    Raises:
        InputError: a suffix other than .png, .pdf and .svg.
    """
    import matplotlib

    if path.suffix.lower() not in _METADATA:
        raise InputError(f"{path}: a picture ends in {', '.join(_METADATA)}.")
    metadata = _METADATA[path.suffix.lower()]
    with matplotlib.rc_context({"svg.hashsalt": "wsrpn"}):
        write_with(path, lambda to: figure.savefig(to, dpi=dpi, metadata=metadata))


def _number(cell: object) -> float:
    try:
        return float(str(cell))
    except ValueError:
        return float("nan")


def _tint(
    axes: Axes,
    cells: Float[np.ndarray, "gh gw"],
    size_px: tuple[int, ...],
    scale: float | None,
    floor: float,
) -> float:
    """Lay a map over an image. Returns its peak."""
    height, width = size_px
    peak = float(cells.max(initial=0.0))
    colour = tint(upsample(cells, (height, width)), max(peak, floor) if scale is None else scale)
    axes.imshow(colour, extent=(0, width, height, 0), zorder=1)
    return peak


def _overlay(
    axes: Axes, picture: Picture, label: int, kind: str, scale: float | None, floor: float
) -> str:
    """A radiograph under a map of a kind. Returns what the title says of the map."""
    marks.radiograph(axes, picture.image)
    if kind == "boxes":
        return "Boxes"
    cells = picture.patch_map(label) if kind == "patch" else picture.region_map(label)
    words = "Patch map" if kind == "patch" else "Gaussian map"
    if cells is None:
        return words
    return f"{words} · peak {_tint(axes, cells, picture.image.shape, scale, floor):.2f}"


def _found(
    axes: Axes, picture: Picture, label: int, thresholds: Mapping[int, float] | None, most: int,
    *, small: bool = False, named: bool = False,
) -> str:  # fmt: skip
    """Draw the boxes of a class and say in words what was drawn."""
    cut = (thresholds or {}).get(label)
    if picture.detections is None:
        return ""
    d = picture.detections
    mine = np.flatnonzero(d.classes == label)
    mine = mine[np.argsort(-d.scores[mine], kind="stable")]
    kept = mine[d.scores[mine] >= (0.0 if cut is None else cut)][:most]
    name = f"{picture.classes[label]} " if named else ""
    texts = [f"{name}{d.scores[i]:.2f}" for i in kept]
    marks.boxes(axes, [tuple(map(float, d.xyxy_px[i])) for i in kept], FOUND, texts, small=small)
    best = f"best {d.scores[mine[0]]:.2f}" if len(mine) else "no box"
    return best if cut is None else f"{best}, threshold {cut:.2f}"


def _count(boxes: int) -> str:
    return {0: "no box in the truth", 1: "1 box in the truth"}.get(
        boxes, f"{boxes} boxes in the truth"
    )


def _floor(thresholds: Mapping[int, float] | None, label: int) -> float:
    return (thresholds or {}).get(label, _FAINT)
