"""From one image to a score for each of its pixels, whatever its size, in bounded memory.

With `masks.scale=fit` the image goes through the network once at `data.size`, and the logits come
back to the size of the file. With `native` pixels stay as they are: a large image is cut into tiles
that overlap, and every pixel takes the answer of the tile that sees enough around it. Corners of
tiles are multiples of the network's cells and edges of the image are edges of tiles, so that a
pixel meets the same numbers as in the whole image, as far as the network sees.
"""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice

import numpy as np
import torch
from jaxtyping import Float, UInt8, UInt16
from torch import Tensor, nn
from torch.nn import functional

from wsrpn import compute
from wsrpn.config import MasksConfig
from wsrpn.errors import InputError
from wsrpn.masks.store import plane_at
from wsrpn.predict import TrainedRun
from wsrpn.segmentation.maps import TOP
from wsrpn.types import Batch

MULTIPLE = 32  # cells of a network that does not say how large they are
TILES = {"cpu": 1}  # tiles at a time; one keeps all cores busy
TILES_ELSEWHERE = 8


@dataclass(frozen=True)
class Span:
    """A piece of one axis: what is read, and the part of it whose answer is kept, in pixels."""

    read: tuple[int, int]
    keep: tuple[int, int]


@dataclass(frozen=True)
class Window:
    """A tile: rows and columns."""

    rows: Span
    columns: Span

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of what is read."""
        return (
            self.rows.read[1] - self.rows.read[0],
            self.columns.read[1] - self.columns.read[0],
        )


class Answering:
    """A run that answers image after image.

    Args:
        run: a trained model that gives mask logits.
    """

    def __init__(self, run: TrainedRun) -> None:
        self.masks, self.size = run.config.masks, run.config.data.size
        self.classes = len(run.classes)
        self.device = next(run.model.parameters()).device
        self.dtype = compute.precision(run.config.train.precision, self.device)
        wanted = run.config.train.channels_last
        self.last = compute.wants_channels_last(wanted, self.device, self.dtype)
        layout = torch.channels_last if self.last else torch.contiguous_format
        self.model: nn.Module = run.model.to(memory_format=layout)  # type: ignore[call-overload]
        self.multiple = int(getattr(run.model, "multiple", MULTIPLE))
        self.seen = int(getattr(run.model, "seen", 0))
        self._warned = False

    def __call__(
        self, image: Float[np.ndarray, "h w"], drr: Float[np.ndarray, "hd wd"] | None = None
    ) -> UInt16[np.ndarray, "h w"]:
        """65,535 × the score of every pixel.

        Args:
            image: grey levels in [0, 1], at the size of the file.
            drr: reconstructed radiograph of any size, or None.

        Raises:
            InputError: tiles too small for their margin, or answers that are not finite.
        """
        own = (image.shape[0], image.shape[1])
        fits = self.masks.scale == "fit"
        seen = (self.size, self.size) if fits else own
        pixels = plane_at(image, seen)
        beside = None if drr is None else plane_at(drr, seen)
        del image, drr  # a large one need not be there twice
        with torch.no_grad(), compute.autocast(self.dtype, self.device):
            return self._fitted(pixels, beside, own) if fits else self._native(pixels, beside)

    def _fitted(
        self,
        pixels: UInt8[np.ndarray, "s s"],
        drr: UInt8[np.ndarray, "s s"] | None,
        own: tuple[int, int],
    ) -> UInt16[np.ndarray, "h w"]:
        logits = self._logits(_stacked([pixels]), None if drr is None else _stacked([drr]))
        whole = functional.interpolate(
            logits, size=own, mode="bilinear", antialias=True, align_corners=False
        )
        return levels(whole[0, 0])

    def _native(
        self, pixels: UInt8[np.ndarray, "h w"], drr: UInt8[np.ndarray, "h w"] | None
    ) -> UInt16[np.ndarray, "h w"]:
        score = np.empty(pixels.shape, dtype=np.uint16)
        grid = windows(pixels.shape, self.masks, self.multiple)
        if len(grid) > 1:
            self._warn_of_seams()
        for tiles in batches(grid, TILES.get(self.device.type, TILES_ELSEWHERE)):
            images = _stacked(_cut(pixels, tiles))
            logits = self._logits(images, None if drr is None else _stacked(_cut(drr, tiles)))
            for tile, answer in zip(tiles, logits, strict=True):
                (top, bottom), (left, right) = tile.rows.keep, tile.columns.keep
                y, x = tile.rows.read[0], tile.columns.read[0]
                score[top:bottom, left:right] = levels(
                    answer[0, top - y : bottom - y, left - x : right - x]
                )
        return score

    def _logits(
        self, images: Float[Tensor, "b 1 h w"], drrs: Float[Tensor, "b 1 h w"] | None
    ) -> Float[Tensor, "b 1 h w"]:
        many = len(images)
        batch = Batch(
            ids=("",) * many,
            images=images,
            labels=torch.full((many, self.classes), torch.nan),
            sizes_px=torch.tensor([images.shape[-2:]] * many),
            drrs=drrs,
            has_drr=None if drrs is None else torch.ones(many, dtype=torch.bool),
        )
        found = self.model(batch.to(self.device, channels_last=self.last)).mask_logits
        return found.float().cpu()

    def _warn_of_seams(self) -> None:
        if self.seen > self.masks.margin and not self._warned:
            self._warned = True
            warnings.warn(
                f"masks.margin={self.masks.margin} is less than the {self.seen} px that this "
                "network sees: answers near the seams of tiles may differ slightly from those of "
                f"the whole image (--set masks.margin={self.seen} in training rules that out).",
                stacklevel=4,
            )


def answer(
    run: TrainedRun,
    image: Float[np.ndarray, "h w"],
    drr: Float[np.ndarray, "hd wd"] | None = None,
) -> UInt16[np.ndarray, "h w"]:
    """65,535 × the score of every pixel of one image; for many images make one `Answering`.

    Args:
        run: a trained model that gives mask logits.
        image: grey levels in [0, 1], at the size of the file.
        drr: reconstructed radiograph of any size, or None.

    Raises:
        InputError: see `Answering`.
    """
    return Answering(run)(image, drr)


def levels(logits: Float[Tensor, "h w"]) -> UInt16[np.ndarray, "h w"]:
    """Scores of logits in steps of 1 / 65,535.

    Raises:
        InputError: they are not finite.
    """
    if not torch.isfinite(logits).all():
        raise InputError("the model answers with numbers that are not finite; train it again.")
    return logits.float().sigmoid().mul_(TOP).round_().numpy().astype(np.uint16)


def windows(shape: tuple[int, int], masks: MasksConfig, multiple: int) -> list[Window]:
    """The tiles of an image: every pixel is kept by exactly one of them.

    Args:
        shape: height and width.
        masks: side of a tile and its margin.
        multiple: corners are multiples of it.

    Raises:
        InputError: tiles too small for their margin.
    """
    rows, columns = (spans(side, masks.tile, masks.margin, multiple) for side in shape)
    return [Window(row, column) for row in rows for column in columns]


def spans(side: int, tile: int, margin: int, multiple: int) -> list[Span]:
    """The tiles of one axis; its own ends need no margin, as there is nothing behind them.

    Raises:
        InputError: tiles too small for their margin.

    Example:
        >>> [(one.read, one.keep) for one in spans(100, 64, 16, 8)]
        [((0, 64), (0, 48)), ((32, 96), (48, 80)), ((64, 100), (80, 100))]
    """
    if side <= tile:
        return [Span((0, side), (0, side))]
    if tile < 2 * margin + multiple:
        raise InputError(
            f"masks.tile={tile} leaves nothing inside its margins of {margin}; "
            f"{2 * margin + multiple} at least."
        )
    found, done = [], 0
    while done < side:
        low = max(0, done - margin) // multiple * multiple
        high = min(low + tile, side)
        kept = side if high == side else high - margin
        found.append(Span((low, high), (done, kept)))
        done = kept
    return found


def batches(grid: Sequence[Window], most: int) -> Iterator[list[Window]]:
    """Tiles of one shape, so many at a time."""
    for _, alike in groupby(sorted(grid, key=lambda one: one.shape), key=lambda one: one.shape):
        rest = iter(alike)
        while tiles := list(islice(rest, most)):
            yield tiles


def _cut(
    pixels: UInt8[np.ndarray, "h w"], tiles: Sequence[Window]
) -> list[UInt8[np.ndarray, "ht wt"]]:
    return [pixels[slice(*tile.rows.read), slice(*tile.columns.read)] for tile in tiles]


def _stacked(planes: Sequence[UInt8[np.ndarray, "h w"]]) -> Float[Tensor, "b 1 h w"]:
    return torch.from_numpy(np.stack(planes)[:, None]).float() / 255
