"""A picture to check a cut by: the slide with its tissue outlined, and what is read of it."""

from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8

from wsrpn import files
from wsrpn.errors import counted
from wsrpn.report import marks, slide_marks
from wsrpn.report.marks import Axes
from wsrpn.report.slide_view import Frame, Shape, fitted
from wsrpn.slides import masks
from wsrpn.slides.reader import Reader
from wsrpn.tiles import Cut, Slide
from wsrpn.tiling.tissue import Tissue

LONGEST = 1600  # pixels of the longer side of the slide in the picture
_TISSUE, _TILE = "#00796b", "#0d3b66"
_CELL_IN = 5.0  # inches of a panel
_LEAST_PT = 3.0  # tiles that are smaller on the page get no lines of their own
_VEIL = 175  # opacity of the white over what is not read, of 255
_BY = {"otsu": "Otsu", "mask": "given mask"}


def picture_of(reader: Reader) -> UInt8[np.ndarray, "h w 3"]:
    """The whole slide, small, from a reader of any slide.

    Raises:
        InputError: the file is damaged.
    """
    wide, high = reader.extent_px0
    factor = min(LONGEST / max(wide, high), 1.0)
    size = (max(round(wide * factor), 1), max(round(high * factor), 1))
    return reader.read((0.0, 0.0, float(wide), float(high)), size)


def write(
    slide: Slide, tissue: Tissue, cut: Cut | None, picture: UInt8[np.ndarray, "h w 3"], path: Path
) -> None:
    """Write two panels as PNG: tissue outlined, and tiles as a lattice with the rest veiled.

    Args:
        slide: with its size.
        tissue: of the slide.
        cut: the tiles; without them the second panel is left out.
        picture: the whole slide, small.
        path: file to write, whole or not at all.
    """
    extent = _extent(slide)
    frame = fitted((0.0, 0.0, *extent), ratio=(0.3, 2.5))
    ratio = (frame[3] - frame[1]) / (frame[2] - frame[0])
    head = slide.id if cut is None else f"{slide.id}: {_tiles(cut)}"
    figure, ((left, *rest),) = marks.canvas(
        1, 1 if cut is None else 2, ratio, head, cell=_CELL_IN, strip=0.28
    )
    _slide(left, picture, extent, frame, _tissue(tissue))
    if tissue.by != "none":
        slide_marks.outline(left, _outline(tissue), _TISSUE, width=0.9)
    if slide.mpp is not None:
        slide_marks.length_bar(left, slide.mpp, frame)
    if cut is not None:
        _slide(rest[0], picture, extent, frame, "tiles that are read")
        _lattice(rest[0], cut, extent, picture)
    files.write_with(path, lambda to: figure.savefig(to, dpi=160))


def words(cut: Cut, tissue: Tissue) -> str:
    """Tiles and tissue in one line.

    Example:
        65 tiles of 93.31 µm; tissue (Otsu) 35% of the slide
    """
    return f"{_tiles(cut)}; {_tissue(tissue)}"


def _tiles(cut: Cut) -> str:
    side = cut.size_px0[0]
    size = f"{side:.4g} px" if cut.slide.mpp is None else f"{side * cut.slide.mpp:.4g} µm"
    return f"{counted(len(cut), 'tile')} of {size}"


def _tissue(tissue: Tissue) -> str:
    if tissue.by == "none":
        return "tissue not looked for"
    return f"tissue ({_BY[tissue.by]}) {tissue.mask.mean():.0%} of the slide"


def _extent(slide: Slide) -> tuple[float, float]:
    if slide.extent_px0 is None:
        raise ValueError(f"slide {slide.id} without its size cannot be drawn.")
    return float(slide.extent_px0[0]), float(slide.extent_px0[1])


def _slide(
    axes: Axes,
    picture: UInt8[np.ndarray, "h w 3"],
    extent: tuple[float, float],
    frame: Frame,
    title: str,
) -> None:
    slide_marks.aim(axes, frame)
    axes.imshow(picture, extent=(0, extent[0], extent[1], 0), aspect="auto", zorder=0,
                interpolation="antialiased")  # fmt: skip
    axes.set(xticks=[], yticks=[])
    axes.set_title(title, loc="left", fontsize=8.5, pad=3)
    for spine in axes.spines.values():
        spine.set(linewidth=0.4, color="#999999")


def _lattice(
    axes: Axes, cut: Cut, extent: tuple[float, float], picture: UInt8[np.ndarray, "h w 3"]
) -> None:
    """A veil over everything else, and edges of the tiles where they are large enough."""
    from matplotlib.collections import PolyCollection

    veil = np.full((*picture.shape[:2], 4), 255, dtype=np.uint8)
    veil[..., 3] = np.where(_covered(cut, extent, picture.shape[:2]), 0, _VEIL)
    axes.imshow(veil, extent=(0, extent[0], extent[1], 0), aspect="auto", zorder=1,
                interpolation="nearest")  # fmt: skip
    left, right = axes.get_xlim()
    if min(cut.lattice.pitch_px0) < _LEAST_PT * (right - left) / (_CELL_IN * 72):
        return
    x1, y1, x2, y2 = cut.boxes_px0.T
    corners = np.stack([x1, y1, x2, y1, x2, y2, x1, y2], axis=1).reshape(-1, 4, 2)
    edges = PolyCollection(list(corners), facecolor="none", edgecolor=_TILE, lw=0.45, alpha=0.75,
                           zorder=2)  # fmt: skip
    axes.add_collection(edges, autolim=False)


def _covered(
    cut: Cut, extent: tuple[float, float], shape: tuple[int, int]
) -> Bool[np.ndarray, "h w"]:
    """Pixels of the picture that some tile covers: corners counted up and summed over."""
    scale = np.array([shape[1] / extent[0], shape[0] / extent[1]] * 2)
    limit = np.array([shape[1], shape[0]] * 2)
    x1, y1, x2, y2 = np.clip(np.round(cut.boxes_px0 * scale), 0, limit).astype(np.int64).T
    change = np.zeros((shape[0] + 1, shape[1] + 1), dtype=np.int64)
    for y, x, step in ((y1, x1, 1), (y1, x2, -1), (y2, x1, -1), (y2, x2, 1)):
        np.add.at(change, (y, x), step)
    return np.asarray(change.cumsum(axis=0).cumsum(axis=1)[:-1, :-1] > 0)


def _outline(tissue: Tissue) -> Shape:
    """Edges of the pixels of tissue, in full-size pixels."""
    import shapely

    factor = np.array(tissue.pixel_px0)
    return shapely.transform(masks.outline(tissue.mask), lambda at: at * factor)
