"""The heatmap of a slide as a pyramid that slide viewers open: TIFF or OME-TIFF.

Pixels are computed tile by tile from the lattice while they are written, so memory depends on the
lattice alone. A level whose pixels are larger than the cells shows means of cells. Compression is
lossless (zlib), which blocks of one colour suit.

TIFF has its levels as top-level pages, as OpenSlide and tiffslide read them; OME-TIFF has them as
SubIFDs with the physical size in its XML, as Bio-Formats, OMERO and QuPath read them (OpenSlide
sees its first level only).
"""

import math
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from wsrpn import files
from wsrpn.errors import InputError
from wsrpn.report.slide_view import SlideView, lattice_frame, paint

BLOCK = 256  # pixels of a TIFF tile
MOST = 1_000_000_000  # pixels of the largest level


def write(view: SlideView, path: Path, *, downsample: int = 32, ome: bool = False) -> None:
    """Write the heatmap over the whole slide, white where there is no tile.

    Args:
        view: the slide.
        path: file to write, whole or not at all.
        downsample: full-size pixels to a pixel of the first level; every further level has half
            as many pixels a side, down to one block.
        ome: OME-TIFF instead of TIFF.

    Raises:
        InputError: more than a thousand million pixels.
    """
    import tifffile

    sizes = levels(view, downsample)
    step_um = None if view.tiles.mpp is None else view.tiles.mpp * downsample
    width, height = sizes[0]

    def save(to: Path) -> None:
        big = width * height * 3 > 2**31
        with tifffile.TiffWriter(to, bigtiff=big, ome=ome) as file:
            for level, size in enumerate(sizes):
                file.write(
                    _blocks(view, _step(sizes[0], size, downsample), size),
                    shape=(size[1], size[0], 3), dtype=np.uint8,
                    tile=(BLOCK, BLOCK), photometric="rgb", compression="zlib",
                    compressionargs={"level": 4}, software=False, datetime=False,
                    **_resolution(step_um, 2**level), **_kind(level, len(sizes), step_um, ome),
                )  # fmt: skip

    files.write_with(path, save)


def levels(view: SlideView, downsample: int) -> list[tuple[int, int]]:
    """Width and height of every level, largest first.

    Raises:
        InputError: a downsample below 1, or too many pixels; the sentence says what would do.
    """
    if downsample < 1:
        raise InputError(f"--downsample {downsample}: 1 or more full-size pixels to a pixel.")
    width, height = (max(1, math.ceil(side / downsample)) for side in view.extent_px0)
    if width * height > MOST:
        enough = math.ceil(math.sqrt(view.extent_px0[0] * view.extent_px0[1] / MOST))
        raise InputError(
            f"slide {view.name}: {width} × {height} pixels at --downsample {downsample} are too "
            f"many for one picture; --downsample {max(enough, downsample + 1)} would do."
        )
    sizes = [(width, height)]
    while max(sizes[-1]) > BLOCK:
        sizes.append((max(1, sizes[-1][0] // 2), max(1, sizes[-1][1] // 2)))
    return sizes


def _step(first: tuple[int, int], size: tuple[int, int], downsample: int) -> tuple[float, float]:
    """Full-size pixels to a pixel of a level, in x and y, as viewers reckon: from the sizes."""
    return (downsample * first[0] / size[0], downsample * first[1] / size[1])


def _blocks(
    view: SlideView, step_px0: tuple[float, float], size: tuple[int, int]
) -> Iterator[UInt8[np.ndarray, "b b 3"]]:
    """The TIFF tiles of a level, row by row."""
    pick = _sampler(view, step_px0)
    for top in range(0, size[1], BLOCK):
        for left in range(0, size[0], BLOCK):
            rows = np.arange(top, min(top + BLOCK, size[1]))
            columns = np.arange(left, min(left + BLOCK, size[0]))
            block = np.full((BLOCK, BLOCK, 3), 255, dtype=np.uint8)
            block[: len(rows), : len(columns)] = pick(rows, columns)
            yield block


def _sampler(
    view: SlideView, step_px0: tuple[float, float]
) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Colours at rows and columns of a level: of the cell under the centre of each pixel."""
    left, top, right, bottom = lattice_frame(view.tiles)
    rows, columns = view.heat.shape
    cell = np.array([(right - left) / columns, (bottom - top) / rows])
    heat = view.heat
    while min(np.array(step_px0) / cell) >= 2:
        heat, cell = halved(heat), cell * 2
    height, width = heat.shape
    painted = paint(heat, view.colour)[..., :3]
    painted = np.pad(painted, ((1, 1), (1, 1), (0, 0)), constant_values=255)  # glass around

    def pick(at_row: np.ndarray, at_column: np.ndarray) -> np.ndarray:
        x = np.floor(((at_column + 0.5) * step_px0[0] - left) / cell[0]).clip(-1, width)
        y = np.floor(((at_row + 0.5) * step_px0[1] - top) / cell[1]).clip(-1, height)
        return np.asarray(painted[np.ix_(y.astype(int) + 1, x.astype(int) + 1)])

    return pick


def halved(values: Float[np.ndarray, "gh gw"]) -> Float[np.ndarray, "_gh _gw"]:
    """Means of the known among 2 × 2 cells; nan where none is known.

    Example:
        >>> halved(np.array([[1.0, 3.0, np.nan], [np.nan, 2.0, np.nan]]))
        array([[ 2., nan]])
    """
    rows, columns = values.shape
    even = np.pad(values, ((0, rows % 2), (0, columns % 2)), constant_values=np.nan)
    four = even.reshape(len(even) // 2, 2, -1, 2).transpose(0, 2, 1, 3).reshape(
        len(even) // 2, -1, 4
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # four unknown cells
        return np.asarray(np.nanmean(four, axis=2))


def _resolution(step_um: float | None, factor: int) -> dict[str, Any]:
    """Pixels to a centimetre, which OpenSlide turns into mpp; no unit where nobody knows."""
    if step_um is None:
        return {"resolution": (1, 1), "resolutionunit": "NONE"}
    return {"resolution": (1e4 / (step_um * factor),) * 2, "resolutionunit": "CENTIMETER"}


def _kind(level: int, count: int, step_um: float | None, ome: bool) -> dict[str, Any]:
    """How a level hangs in the file."""
    if not ome:
        return {"subfiletype": 1 if level else 0, "metadata": None}
    if level:
        return {"subfiletype": 1}
    size: dict[str, Any] = {"axes": "YXS"}
    if step_um is not None:
        size |= {"PhysicalSizeX": step_um, "PhysicalSizeXUnit": "µm",
                 "PhysicalSizeY": step_um, "PhysicalSizeYUnit": "µm"}  # fmt: skip
    return {"subifds": count - 1, "metadata": size}
