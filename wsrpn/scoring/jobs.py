"""What is scored at a time: one slide, cut here, or the tiles of one slide that a table lists."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int, UInt8

from wsrpn.config import TilesConfig
from wsrpn.errors import InputError, counted
from wsrpn.scoring import parts
from wsrpn.slides import assemble
from wsrpn.slides import reader as slide_files
from wsrpn.slides.assemble import Rows
from wsrpn.slides.facts import Facts
from wsrpn.slides.reader import Reader
from wsrpn.tiles import Cut, Slide, Tiles, TileSet
from wsrpn.tiling import cut, pixels
from wsrpn.tiling.store import TilePixels

Chosen = Int[np.ndarray, " m"]
Read = Callable[[Chosen], Iterator[tuple[Chosen, UInt8[np.ndarray, "m size size 3"]]]]
_SCALE = ("tile_px0", "grid_w", "grid_h")  # columns that say what a pixel of a mask is
_AT_ONCE = 64  # listed tiles that are read in one go


@dataclass(frozen=True)
class Opened:
    """A slide whose tiles can be read.

    Attributes:
        tiles: of it, their scores yet 0.
        read: the pixels of chosen tiles, by and by, in whatever order is fastest.
        corner_px0: places of the tiles as their table has them, where a table lists them.
    """

    tiles: Tiles
    read: Read
    corner_px0: Float[np.ndarray, "n 2"] | None = None


@runtime_checkable
class Job(Protocol):
    """A slide to score; can be sent to another process."""

    @property
    def slide(self) -> Slide:
        """Which one."""

    def key(self, about: Mapping[str, Any]) -> str:
        """Digest of all that decides the scores.

        Args:
            about: what decides them besides the slide.

        Raises:
            OSError: a file of it cannot be read.
        """

    def anywhere(self) -> "Job":
        """The same with absolute paths, for another machine."""

    def open(self, size: int, config: TilesConfig) -> AbstractContextManager[Opened]:
        """Find the tiles, for as long as the context lasts.

        Args:
            size: side of a tile as the network sees it.
            config: how a slide is cut.

        Raises:
            InputError: the slide cannot be read, or has no tiles.
        """


@dataclass(frozen=True)
class CutSlide:
    """A slide file.

    Attributes:
        slide: with its file.
        mpp: of the slide if neither the table of slides nor the file says it.
    """

    slide: Slide
    mpp: float | None = None

    def key(self, about: Mapping[str, Any]) -> str:
        """See `Job`."""
        own = self.slide
        seen = [parts.of_file(path) for path in (own.file, own.tissue) if path is not None]
        if own.tissue is not None:
            seen.append([own.extra.get(name) for name in _SCALE])
        return parts.digest([about, own.id, own.mpp, self.mpp, own.extent_px0, seen])

    def anywhere(self) -> Job:
        """See `Job`."""
        own = self.slide
        paths = {"file": own.file, "tissue": own.tissue}
        found = {name: path and path.absolute() for name, path in paths.items()}
        return dataclasses.replace(self, slide=dataclasses.replace(own, **found))  # type: ignore[arg-type]

    @contextlib.contextmanager
    def open(self, size: int, config: TilesConfig) -> Iterator[Opened]:
        """See `Job`."""
        if self.slide.file is None:
            raise InputError(
                f"slide {self.slide.id} has no file; name it in the column 'file' of slides.csv."
            )
        with slide_files.open_slide(self.slide.file) as file:
            own = self.slide
            if own.mpp is None and file.mpp is None and self.mpp is not None:
                own = dataclasses.replace(own, mpp=self.mpp)
            found = cut.cut(own, file, config, size=size)
            yield Opened(found.unscored(), _reading(file, found, size))


def _reading(file: Reader, found: Cut, size: int) -> Read:
    boxes = found.boxes_px0

    def read(chosen: Chosen) -> Iterator[tuple[Chosen, UInt8[np.ndarray, "m size size 3"]]]:
        for index, levels in pixels.read(file, boxes[chosen], size):
            yield chosen[index], levels

    return read


@dataclass(frozen=True)
class ListedTiles:
    """Tiles of one slide that a table lists, scored as they are.

    Attributes:
        tiles: of that slide alone.
        files: what tells their files from others in their place.
    """

    tiles: TileSet
    files: Sequence[Any] = field(default=(), repr=False)

    @cached_property
    def slide(self) -> Slide:
        """See `Job`."""
        return self.tiles.slides[0]

    def key(self, about: Mapping[str, Any]) -> str:
        """See `Job`."""
        own = self.tiles
        rows = [own.digest(), own.label_digest()]
        shares = [array.tobytes().hex() for array in (own.truth, own.tissue)]
        order = [own.file.tolist(), own.corner_px0.tolist()]
        return parts.digest([about, self.slide.id, self.slide.mpp, rows, shares, order, self.files])

    def anywhere(self) -> Job:
        """See `Job`."""
        files = tuple(path.absolute() for path in self.tiles.files)
        return dataclasses.replace(self, tiles=dataclasses.replace(self.tiles, files=files))

    @contextlib.contextmanager
    def open(self, size: int, config: TilesConfig) -> Iterator[Opened]:
        """See `Job`."""
        own, store = self.tiles, TilePixels(self.tiles, size, kind="none")
        _refuse_lost(own)

        def read(chosen: Chosen) -> Iterator[tuple[Chosen, UInt8[np.ndarray, "m size size 3"]]]:
            near = chosen[np.argsort(own.file[chosen], kind="stable")]
            for start in range(0, len(near), _AT_ONCE):
                some = near[start : start + _AT_ONCE]
                yield some, store.take(some)

        yield Opened(assemble.tiles(_rows(own)), read, own.corner_px0)


def _refuse_lost(own: TileSet) -> None:
    lost = int(np.isnan(own.corner_px0).any(axis=1).sum())
    if lost:
        raise InputError(
            f"slide {own.slides[0].id}: where {counted(lost, 'tile')} of {len(own)} sit on it is "
            "not known; a score table needs their x and y."
        )


def _rows(own: TileSet) -> Rows:
    slide = own.slides[0]
    return Rows(
        slide=slide.id,
        x=own.corner_px0[:, 0],
        y=own.corner_px0[:, 1],
        width=own.size_px0[:, 0],
        height=own.size_px0[:, 1],
        score=np.zeros(len(own)),
        where=own.id,
        label=own.label,
        truth=own.truth,
        tissue=own.tissue,
        facts=Facts(slide.mpp, slide.extent_px0, slide.patient, slide.split, slide.exhaustive),
    )


def of_slides(slides: Sequence[Slide], mpp: float | None) -> list[Job]:
    """A job a slide."""
    return [CutSlide(slide, mpp) for slide in slides]


def of_tiles(tiles: TileSet) -> list[Job]:
    """A job for every slide that has tiles; each file is looked at once, however many share it."""
    seen: dict[Path, Any] = {}
    jobs: list[Job] = []
    order = np.argsort(tiles.slide, kind="stable")
    ends = np.searchsorted(tiles.slide[order], np.arange(len(tiles.slides) + 1))
    for number, slide in enumerate(tiles.slides):
        rows = order[ends[number] : ends[number + 1]]
        if not len(rows):
            continue
        own = _only(tiles, slide, rows)
        for path in own.files:
            if path not in seen:
                seen[path] = parts.of_file(path) if path.exists() else None
        jobs.append(ListedTiles(own, tuple(seen[path] for path in own.files)))
    return jobs


def _only(tiles: TileSet, slide: Slide, rows: Int[np.ndarray, " m"]) -> TileSet:
    """The tiles of one slide, without the names of other slides and files."""
    used, file = np.unique(tiles.file[rows], return_inverse=True)
    keep = np.zeros(len(tiles), dtype=bool)
    keep[rows] = True
    return dataclasses.replace(
        tiles.where(keep),
        name=slide.id,
        slides=(slide,),
        slide=np.zeros(len(rows), dtype=np.int64),
        files=tuple(tiles.files[one] for one in used),
        file=file.astype(np.int64),
        notes=(),
        training_notes=(),
        failed={},
    )
