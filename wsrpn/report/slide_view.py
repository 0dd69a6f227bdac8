"""One slide ready to be drawn, and what every picture of it shares: colours, shapes, its frame.

Coordinates are full-size pixels of the slide file (`_px0`). A tile is coloured where its cell of
the lattice lies; of tiles that overlap or leave gaps the cell sits in the middle of the tile.
"""

import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from wsrpn.tiles import Lattice, Tiles

Shape = Any  # a geometry of shapely, which is imported when one is made
Chosen = Bool[np.ndarray, " n"] | Int[np.ndarray, " m"]  # tiles, marked or by their places
Frame = tuple[float, float, float, float]  # left, top, right, bottom

# Blue → yellow → red: ColorBrewer's RdYlBu reversed, its pale middle made a yellow that shows on
# white glass.
_ANCHORS = ("#313695", "#74add1", "#ffe066", "#f46d43", "#a50026")
TUMOUR, CALLED = "#d4148c", "#111111"  # outlines of the truth, and of what is called tumour
TISSUE = (222, 218, 224)  # where tissue is known and there is no picture of it
_TOUCH = 1.0  # full-size pixels by which rounding may part tiles that touch


@dataclass(frozen=True)
class SlideView:
    """A slide with what is known and said of it.

    Attributes:
        tiles: scores, truth by tile, and the lattice.
        heat: what the colours show; nan where there is no tile.
        colour: values at the two ends of the colour scale.
        meaning: of `heat`, in words, for the colour bar.
        found: tiles called tumour; None without a threshold.
        threshold: on the values after all steps, or None.
        connectivity: 4 or 8 neighbours make one region of the found tiles.
        tumour: outlines of the truth; empty for a slide without tumour, None if nobody knows.
        picture: the whole slide, small; None if there is none.
        caution: what whoever looks at the figures has to know, such as "slide of the fit".
    """

    tiles: Tiles
    heat: Float[np.ndarray, "gh gw"]
    colour: tuple[float, float]
    meaning: str = "score"
    found: Bool[np.ndarray, " n"] | None = None
    threshold: float | None = None
    connectivity: int = 4
    tumour: Shape | None = None
    picture: UInt8[np.ndarray, "h w 3"] | None = None
    caution: str = ""

    @property
    def name(self) -> str:
        """The name of the slide."""
        return self.tiles.slide

    @property
    def extent_px0(self) -> tuple[float, float]:
        """Width and height of the slide; up to the last tile where nobody knows."""
        if self.tiles.extent_px0 is not None:
            return (float(self.tiles.extent_px0[0]), float(self.tiles.extent_px0[1]))
        _, _, right, bottom = lattice_frame(self.tiles)
        return (right, bottom)

    @functools.cached_property
    def called(self) -> Shape | None:
        """Exact outlines of what is called tumour; None without a threshold."""
        return None if self.found is None else union(self.tiles, self.found)


def palette() -> UInt8[np.ndarray, "256 3"]:
    """The 256 colours of the scale, low to high: blue → yellow → red."""
    anchors = np.array([[int(a[i : i + 2], 16) for i in (1, 3, 5)] for a in _ANCHORS], dtype=float)
    at = np.linspace(0, len(anchors) - 1, 256)
    channels = [np.interp(at, np.arange(len(anchors)), anchors[:, i]) for i in range(3)]
    return np.stack(channels, axis=1).round().astype(np.uint8)


def indices(
    values: Float[np.ndarray, "gh gw"], colour: tuple[float, float]
) -> UInt8[np.ndarray, "gh gw"]:
    """Place of every value in `palette`; where it is nan, 0.

    Example:
        >>> indices(np.array([[0.0, 0.5, 9.0]]), (0.0, 1.0))
        array([[  0, 128, 255]], dtype=uint8)
    """
    low, high = colour
    span = high - low if high > low else 1.0
    share = np.clip((np.nan_to_num(values, nan=low) - low) / span, 0, 1)
    return (share * 255 + 0.5).astype(np.uint8)


def paint(
    values: Float[np.ndarray, "gh gw"], colour: tuple[float, float]
) -> UInt8[np.ndarray, "gh gw 4"]:
    """Colours of values with an opacity: 255 where there is a value, clear white elsewhere."""
    rgba = np.empty((*values.shape, 4), dtype=np.uint8)
    rgba[..., :3] = palette()[indices(values, colour)]
    there = np.isfinite(values)
    rgba[..., 3] = np.where(there, 255, 0)
    rgba[~there, :3] = 255
    return rgba


def fade(values: Float[np.ndarray, "gh gw"], colour: tuple[float, float]) -> np.ndarray:
    """The same for a layer over tissue: low values are nearly clear, high ones cover it."""
    rgba = paint(values, colour)
    share = indices(values, colour) / 255.0
    rgba[..., 3] = (rgba[..., 3] * (0.12 + 0.68 * share)).astype(np.uint8)
    return rgba


def touching(tiles: Tiles) -> bool:
    """Whether tiles meet edge to edge, up to the rounding of their coordinates."""
    gaps = [abs(s - p) for s, p in zip(tiles.size_px0, tiles.lattice.pitch_px0, strict=True)]
    return max(gaps) < _TOUCH


def lattice_frame(tiles: Tiles) -> Frame:
    """Where the cells of the whole lattice lie."""
    (x, y), (step_x, step_y) = tiles.lattice.origin_px0, tiles.lattice.pitch_px0
    if not touching(tiles):
        x += (tiles.size_px0[0] - step_x) / 2
        y += (tiles.size_px0[1] - step_y) / 2
    rows, columns = tiles.lattice.shape
    return (x, y, x + columns * step_x, y + rows * step_y)


def pieces(tiles: Tiles, chosen: Chosen) -> list[Shape]:
    """Exact outlines of tiles that touch: one polygon for every 4-connected piece.

    Tiles that meet up to rounding are united on whole numbers of the lattice, so no sliver is left
    between them; tiles that overlap or leave gaps are united as the boxes they are.
    """
    import shapely

    lattice = tiles.lattice
    column, row = lattice.column[chosen].astype(np.float64), lattice.row[chosen].astype(np.float64)
    if not len(column):
        return []
    if not touching(tiles):
        x, y = tiles.corner_px0[chosen].T
        boxes = shapely.box(x, y, x + tiles.size_px0[0], y + tiles.size_px0[1])
        return list(shapely.get_parts(shapely.union_all(boxes)))
    cells = shapely.coverage_union_all(shapely.box(column, row, column + 1, row + 1))
    cells = shapely.simplify(cells, 0.0)  # drops points on straight edges; they are whole numbers
    scale, origin = np.array(lattice.pitch_px0), np.array(lattice.origin_px0)
    moved = shapely.transform(cells, lambda at: at * scale + origin)
    return list(shapely.get_parts(moved))


def union(tiles: Tiles, chosen: Chosen) -> Shape:
    """All of `pieces` as one geometry."""
    import shapely

    return shapely.MultiPolygon(pieces(tiles, chosen))


def components(
    lattice: Lattice, chosen: Bool[np.ndarray, " n"], connectivity: int
) -> Int[np.ndarray, " n"]:
    """Number from 1 of the region that each tile belongs to; 0 for tiles that are not chosen."""
    from scipy import ndimage

    corners = ndimage.generate_binary_structure(2, 2 if connectivity == 8 else 1)
    labels, _ = ndimage.label(lattice.marked(chosen), corners)
    return np.asarray(lattice.gather(labels), dtype=np.int64)


def frame_of(view: SlideView, *, ratio: tuple[float, float] = (0.45, 1.45)) -> Frame:
    """The part of a slide that is worth a picture: its tiles and its tumour with a margin.

    Args:
        view: the slide.
        ratio: least and greatest height over width; the frame is widened to keep to it.
    """
    tiles = view.tiles
    (x, y, _, _), (step_x, step_y) = lattice_frame(tiles), tiles.lattice.pitch_px0
    column, row = tiles.lattice.column, tiles.lattice.row
    box = [x + column.min() * step_x, y + row.min() * step_y,
           x + (column.max() + 1) * step_x, y + (row.max() + 1) * step_y]  # fmt: skip
    if view.tumour is not None and not view.tumour.is_empty:
        left, top, right, bottom = view.tumour.bounds
        box = [min(box[0], left), min(box[1], top), max(box[2], right), max(box[3], bottom)]
    return fitted((box[0], box[1], box[2], box[3]), ratio=ratio, margin=0.04)


def fitted(box: Frame, *, ratio: tuple[float, float], margin: float = 0.0) -> Frame:
    """A box with a margin (share of its longer side), made wider or higher to have a ratio.

    Example:
        >>> fitted((0.0, 0.0, 10.0, 40.0), ratio=(1.0, 2.0))
        (-5.0, 0.0, 15.0, 40.0)
    """
    left, top, right, bottom = box
    more = margin * max(right - left, bottom - top)
    width, height = right - left + 2 * more, bottom - top + 2 * more
    middle = ((left + right) / 2, (top + bottom) / 2)
    wanted = float(np.clip(height / width, *ratio))
    width, height = max(width, height / wanted), max(height, width * wanted)
    return (middle[0] - width / 2, middle[1] - height / 2,
            middle[0] + width / 2, middle[1] + height / 2)  # fmt: skip


def zoom_of(view: SlideView, frame: Frame, *, ratio: float) -> Frame | None:
    """What is worth a closer look: around the largest tumour, or else the largest found region.

    None if there is neither, or if it fills a good part of the frame already.
    """
    found = _largest(view)
    if found is None:
        return None
    left, top, right, bottom = found
    least = 24 * max(view.tiles.lattice.pitch_px0)
    side = max(least, 1.8 * (right - left), 1.8 * (bottom - top) / ratio)
    if side > 0.45 * (frame[2] - frame[0]) or side * ratio > frame[3] - frame[1]:
        return None
    half = (side / 2, side * ratio / 2)  # kept within the frame
    x = max(frame[0] + half[0], min(frame[2] - half[0], (left + right) / 2))
    y = max(frame[1] + half[1], min(frame[3] - half[1], (top + bottom) / 2))
    return (x - half[0], y - half[1], x + half[0], y + half[1])


def _largest(view: SlideView) -> Frame | None:
    """Bounds of the largest piece of tumour, or else of what is found."""
    import shapely

    shapes: list[Shape] = []
    if view.tumour is not None and not view.tumour.is_empty:
        shapes = list(shapely.get_parts(view.tumour))
    elif view.called is not None:
        shapes = list(shapely.get_parts(view.called))
    if not shapes:
        return None
    return tuple(map(float, shapes[int(np.argmax(shapely.area(shapes)))].bounds))  # type: ignore[return-value]


def round_length(most_um: float) -> tuple[float, str]:
    """The longest round length up to a limit, in micrometres, and how it is written.

    Example:
        >>> round_length(7300.0)
        (5000.0, '5 mm')
        >>> round_length(0.3)
        (0.2, '0.2 µm')
    """
    tens = 10.0 ** math.floor(math.log10(most_um) + 1e-12)
    length = max(step * tens for step in (1, 2, 5) if step * tens <= most_um * (1 + 1e-12))
    text = f"{length / 1000:g} mm" if length >= 1000 else f"{length:g} µm"
    return length, text
