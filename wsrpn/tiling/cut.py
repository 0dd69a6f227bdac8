"""Which tiles of a slide are read: a lattice from the corner of the slide, where there is tissue.

Tiles have the same size in micrometres on every slide (`tiles.mpp`), whatever its own resolution;
or, where nobody knows that, the same size in pixels of a level (`tiles.level`).
"""

import dataclasses
import math

import numpy as np
from jaxtyping import Float

from wsrpn.config import TilesConfig
from wsrpn.errors import InputError
from wsrpn.slides.reader import Reader, from_bounds
from wsrpn.tiles import Cut, Lattice, Slide
from wsrpn.tiling import tissue as finding
from wsrpn.tiling.tissue import Tissue

MOST_FINER = 1.3  # times that pixels may be enlarged; beyond, tiles show nothing but blur
_ROUNDING = 1e-9  # of shares
_AT_ONCE = 1_000_000  # tiles whose tissue is measured at a time


def cut(
    slide: Slide,
    reader: Reader,
    config: TilesConfig,
    *,
    size: int,
    tissue: Tissue | None = None,
    option: bool = True,
) -> Cut:
    """Cut a slide into tiles.

    The lattice begins at the corner of the slide and its steps are whole pixels of a tile, so an
    overlap is that of the config up to half a pixel. What of a tile lies outside the slide is no
    tissue, so the last row and column are there only if enough of them is inside.

    Args:
        slide: its `mpp` comes before what the file says.
        reader: of its file.
        config: resolution, overlap, tissue.
        size: side of a tile in pixels as it is read.
        tissue: of the slide, where it was found before.
        option: whether the command has `--mpp`, for the error.

    Raises:
        InputError: the resolution of the slide is not known or too coarse, no such level, or no
            tile has enough tissue.
    """
    full = _completed(slide, reader)
    scale = _scale(full, reader, config, option=option)
    if tissue is None:
        tissue = finding.find(reader, full, config.tissue)
    pitch_px = max(math.floor(size * (1 - config.overlap) + 0.5), 1)
    side, pitch = size * scale, pitch_px * scale
    wide, high = (_steps(length, side, pitch) for length in reader.extent_px0)
    column, row, share = _kept(tissue, (high, wide), side, pitch, config.min_tissue)
    if not len(share):
        raise InputError(_empty(full, tissue, (high, wide), side, pitch, config))
    lattice = Lattice((0.0, 0.0), (pitch, pitch), column, row, (high, wide))
    return Cut(full, lattice, (side, side), share)


def _completed(slide: Slide, reader: Reader) -> Slide:
    """The slide with what its file says and the table does not."""
    return dataclasses.replace(
        slide,
        file=slide.file or reader.path,
        mpp=reader.mpp if slide.mpp is None else slide.mpp,
        extent_px0=reader.extent_px0,
        offset_px0=reader.offset_px0 if from_bounds(slide) else slide.offset_px0,
    )


def _scale(slide: Slide, reader: Reader, config: TilesConfig, *, option: bool) -> float:
    """Full-size pixels to a pixel of a tile."""
    if config.level is not None:
        if config.level >= len(reader.downsamples):
            raise InputError(
                f"slide {slide.id}: tiles.level = {config.level}, but its last level is "
                f"{len(reader.downsamples) - 1}; choose a lower one, or tiles.mpp."
            )
        return reader.downsamples[config.level]
    if config.mpp is None:
        raise InputError(
            "Nothing says at which resolution tiles are read; give micrometres per pixel "
            "(--set tiles.mpp=0.972) or a level (--set tiles.level=0)."
        )
    if slide.mpp is None:
        raise InputError(
            f"slide {slide.id}: how many micrometres a pixel has is not known ({reader.path} does "
            f"not say); give it in the column mpp of slides.csv{', with --mpp' * option}, or read "
            "a level whatever its resolution (--set tiles.level=0)."
        )
    scale = config.mpp / slide.mpp
    if scale * MOST_FINER < 1 - _ROUNDING:
        raise InputError(
            f"slide {slide.id} has {slide.mpp:g} µm a pixel, and tiles.mpp = {config.mpp:g} asks "
            f"for finer ones; use tiles.mpp = {slide.mpp:g} or more, and a model trained so."
        )
    return scale


def _steps(length: int, side: float, pitch: float) -> int:
    """Tiles in a row of which each shows something of the slide that the one before does not."""
    return 1 + max(math.ceil((length - side) / pitch - _ROUNDING), 0)


def _kept(
    tissue: Tissue, shape: tuple[int, int], side: float, pitch: float, least: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Column, row and share of tissue of every tile with enough of it, row by row."""
    found = []
    step = max(_AT_ONCE // shape[1], 1)
    for first in range(0, shape[0], step):
        rows = np.arange(first, min(first + step, shape[0]))
        share = _shares(tissue, rows, shape[1], side, pitch)
        row, column = np.nonzero(share >= least - _ROUNDING)
        found.append((column, row + first, share[row, column]))
    column, row, kept = (np.concatenate(part) for part in zip(*found, strict=True))
    return column, row, kept


def _shares(
    tissue: Tissue, rows: np.ndarray, columns: int, side: float, pitch: float
) -> Float[np.ndarray, "r c"]:
    y, x = np.meshgrid(rows * pitch, np.arange(columns) * pitch, indexing="ij")
    boxes = np.stack([x.ravel(), y.ravel(), x.ravel() + side, y.ravel() + side], axis=1)
    return tissue.shares(boxes).reshape(y.shape)


def _empty(
    slide: Slide,
    tissue: Tissue,
    shape: tuple[int, int],
    side: float,
    pitch: float,
    config: TilesConfig,
) -> str:
    """Why there is no tile, and what would help."""
    if not tissue.mask.any():
        return (
            f"slide {slide.id}: no tissue was found; look at it with `wsrpn data tiles`, name a "
            "mask in the column tissue of slides.csv, or take all of it (--set tiles.tissue=none "
            "--set tiles.min_tissue=0)."
        )
    _, _, share = _kept(tissue, shape, side, pitch, 0.0)
    return (
        f"slide {slide.id}: no tile of {side:.0f} px is {config.min_tissue:.0%} tissue, at most "
        f"{share.max():.1%}; lower tiles.min_tissue, or make tiles smaller (data.size, tiles.mpp)."
    )
