"""`wsrpn data check` on what is no set of radiographs: tables of slides and of tiles."""

from pathlib import Path
from typing import TYPE_CHECKING

from .data_tiles import PRESET
from .slide_source import PHANTOM, SHEET

if TYPE_CHECKING:
    from wsrpn.tiles import TileSet

_TILES, _IMAGES = "tiles.csv", "images.csv"
_PLACES = {"x", "y"}


def lists_tiles(data: str) -> bool:
    """Whether DATA is a table of tiles, or a folder with one and no radiographs.

    Raises:
        InputError: it is slides, which `wsrpn data tiles` shows.
    """
    from wsrpn.errors import InputError
    from wsrpn.slides import cells

    show = f"`wsrpn data tiles '{data}' --out look` shows what is read of them."
    if data.startswith((f"{PHANTOM}slides", "slides:")):
        raise InputError(f"{data}: slides, not images. {show}")
    path = Path(data.removeprefix("tiles:")).expanduser()
    if path.is_dir() and not (path / _IMAGES).exists():
        if (path / _TILES).is_file():
            return True
        if (path / SHEET).is_file():
            raise InputError(f"{data}: slides, not images. {show}")
    if not path.is_file() or not (cells.is_csv(path) or cells.is_parquet(path)):
        return False
    header = set(cells.header(path))
    pixels = {"image", "sheet"} & header
    if path.name == SHEET or ({"slide", "wsi_id", "slide_id"} & header and not pixels):
        raise InputError(f"{data}: a table of slides, not of images. {show}")
    return "slide" in header and bool(pixels) and (header >= _PLACES or path.name == _TILES)


def read(data: str, change: list[str] | None) -> "TileSet":
    """The tiles that a table lists, in splits as a training would have them.

    Raises:
        InputError: a fault in it, or a patient in two splits.
    """
    import dataclasses

    from wsrpn import config
    from wsrpn.tiling import sets

    whole = config.load(PRESET, change or [])
    # The size of the pictures and what a training leaves out are nothing of the table.
    tiles = dataclasses.replace(whole.tiles, most=0, mpp=None, level=None)
    section = dataclasses.replace(whole.data, source=data)
    found = sets.load(dataclasses.replace(whole, data=section, tiles=tiles))
    notes = tuple(note for note in found.notes if "data.size" not in note)
    return dataclasses.replace(found, notes=notes)


def lines(tiles: "TileSet") -> list[str]:
    """Counts by split and label for people."""
    from wsrpn.errors import counted

    said = [f"note: {note}" for note in (*tiles.notes, *tiles.training_notes)]
    for split, known in counts(tiles).items():
        parts = [f"{known[name]} {name}" for name in ("normal", "tumor", "unknown") if known[name]]
        head = f"{counted(known['tiles'], 'tile')} of {counted(known['slides'], 'slide')}"
        said.append(f"{split}: {head}, {counted(known['patients'], 'patient')}: {', '.join(parts)}")
    return said


def counts(tiles: "TileSet") -> dict[str, dict[str, int]]:
    """Split → tiles, slides, patients, and tiles by label."""
    import numpy as np

    found = {}
    for split in ("train", "val", "test"):
        part = tiles.split(split)
        if not len(part):
            continue
        slides = [part.slides[number] for number in np.unique(part.slide)]
        found[split] = {
            "tiles": len(part),
            "slides": len(slides),
            "patients": len({slide.patient for slide in slides}),
            "normal": int((part.label == 0).sum()),
            "tumor": int((part.label == 1).sum()),
            "unknown": int(np.isnan(part.label).sum()),
        }
    return found
