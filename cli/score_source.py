"""What SLIDE… and DATA stand for where tiles are scored: slides to cut, or tiles of a table."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from . import slide_data
from .slide_data import SHEET, TILES, is_table

if TYPE_CHECKING:
    from wsrpn.predict import TrainedRun
    from wsrpn.tiles import Slide, TileSet

SLIDES = (
    ".svs", ".tif", ".tiff", ".ndpi", ".mrxs", ".scn", ".vms", ".vmu", ".bif", ".svslide", ".dcm",
)  # fmt: skip


@dataclass(frozen=True)
class Found:
    """What is to be scored.

    Attributes:
        slides: to be cut; or listed tiles.
        tiles: how many there are, or None where that shows once slides are cut.
        notes: what the user should know.
    """

    slides: "Sequence[Slide] | TileSet"
    tiles: int | None = None
    notes: tuple[str, ...] = ()


def find(
    run: "TrainedRun", slides: Sequence[Path], data: str, split: str, mpp: float | None
) -> Found:
    """The slides or tiles that a command line names.

    Args:
        run: whose own data are taken where nothing is named.
        slides: slide files, folders of them, tables of slides.
        data: table or folder, or a phantom.
        split: train, val, test or all.
        mpp: of slides that do not say it.

    Raises:
        InputError: both or neither are named, nothing is there, or nothing of that split.
    """
    from wsrpn.errors import InputError
    from wsrpn.slides.facts import MPP_UM

    if mpp is not None and not MPP_UM[0] <= mpp <= MPP_UM[1]:  # no table with it could be read
        raise InputError(
            f"--mpp {mpp:g}: no resolution of a slide; micrometres per pixel, {MPP_UM[0]:g} to "
            f"{MPP_UM[1]:g}, were expected."
        )
    if slides and data:
        raise InputError("score: name slides or pass --data, one of the two.")
    if slides:
        return _named(run, slides, split)
    source = data or run.config.data.source
    if not source:
        raise InputError("score: name slides, or pass --data slides.csv or tiles.csv.")
    return _data(run, source, split, own=not data or data == run.config.data.source)


def _named(run: "TrainedRun", paths: Sequence[Path], split: str) -> Found:
    from wsrpn.errors import InputError

    if len(paths) == 1 and (paths[0].is_dir() or is_table(paths[0])):
        return _data(run, str(paths[0]), split, own=False)
    found: list[Slide] = []
    for path in paths:
        if not path.exists():
            raise InputError(f"{path}: no such file; a slide was expected.")
        if path.is_dir() or is_table(path):
            part = _data(run, str(path), "all", own=False).slides
            if not isinstance(part, Sequence):
                raise InputError(f"{path}: a set of tiles is scored by itself; name it alone.")
            found += part
        else:
            found.append(slide_of(path))
    found = slide_data.as_trained(run.folder, found, own=False)
    return Found(_of_split(found, split, "the slides that are named"))


def _data(run: "TrainedRun", source: str, split: str, *, own: bool) -> Found:
    from wsrpn.slides import sheet

    place = slide_data.place_of(source)
    if _lists_tiles(place):
        return _listed(run, source, split)
    if place.is_dir() and not (place / SHEET).is_file():
        slides = [slide_of(path) for path in _slide_files(place)]
    else:
        slides = list(sheet.read(place).values())
        _refuse_without_files(place, slides)
    slides = slide_data.as_trained(run.folder, slides, own=own)
    return Found(_of_split(slides, split, source))


def _refuse_without_files(place: Path, slides: "Sequence[Slide]") -> None:
    """Stop where a table names no file at all; a single slide without one fails for itself."""
    from wsrpn.data.base import IMAGE_SUFFIXES
    from wsrpn.errors import InputError

    if any(slide.file is not None for slide in slides):
        return
    endings = (*SLIDES, *IMAGE_SUFFIXES)
    cells = [(name, cell) for slide in slides for name, cell in slide.extra.items()]
    alike = next((name for name, cell in cells if str(cell).lower().endswith(endings)), "")
    hint = f" Its column '{alike}' looks like it; rename that." if alike else ""
    raise InputError(
        f"{place}: no slide has a file; name it in column 'file', relative to the table.{hint}"
    )


def _listed(run: "TrainedRun", source: str, split: str) -> Found:
    from wsrpn.errors import InputError
    from wsrpn.tiling import sets

    own = run.config
    config = dataclasses.replace(
        own,
        data=dataclasses.replace(own.data, source=source, on_error="skip"),
        tiles=dataclasses.replace(own.tiles, most=0),
    )
    tiles = sets.load(config)
    chosen = tiles if split == "all" else tiles.split(split)
    if not len(chosen):
        raise InputError(f"{source}: no tile in split {split}.")
    return Found(chosen, len(chosen), tiles.notes)


def _lists_tiles(place: Path) -> bool:
    """Whether tiles are listed, or lie in a folder as pictures, and are not to be cut."""
    from wsrpn.slides import cells

    if not place.is_dir():
        return is_table(place) and {"image", "sheet"} & set(cells.header(place)) != set()
    if (place / TILES).is_file():
        return True
    return not (place / SHEET).is_file() and not _slide_files(place)


def _slide_files(folder: Path) -> list[Path]:
    """The slides of a folder, not of those below it, by their names."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.is_file() and path.suffix.lower() in SLIDES and not path.name.startswith(".")
    )


def slide_of(path: Path) -> "Slide":
    """A slide of which nothing is known but its file; it is called like that."""
    from wsrpn.tiles import Slide

    return Slide(path.stem, path.stem, file=path)


def _of_split(slides: "list[Slide]", split: str, where: str) -> "list[Slide]":
    """The slides of one split.

    Raises:
        InputError: there are none.
    """
    from wsrpn.errors import InputError

    chosen = [slide for slide in slides if split in ("all", slide.split)]
    if not chosen:
        there = sorted({slide.split for slide in slides if slide.split})
        has = f"there are: {', '.join(there)}" if there else "they have no splits; leave it out"
        raise InputError(f"--split {split}: no slide of {where} is in it ({has}).")
    return chosen
