"""What DATA stands for where slides are meant: the one place that every command asks."""

import csv
import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from . import options

if TYPE_CHECKING:
    from wsrpn.tiles import Slide

PHANTOM = "phantom:"
SHEET = "slides.csv"
TILES = "tiles.csv"
_PREFIXES = ("tiles:", "slides:")
_OF_TILES = ({"image", "sheet"}, {"x", "y", "sheet_x", "sheet_y"})  # one of each in the header


def place_of(data: str) -> Path:
    """Where DATA lies; slides of a phantom have files with pixels, as training has them.

    Raises:
        InputError: a phantom that is none of slides.
    """
    if not data.startswith(PHANTOM):
        for prefix in _PREFIXES:
            data = data.removeprefix(prefix)
        return Path(data).expanduser()
    from wsrpn.slides import phantom

    return phantom.with_files(data.removeprefix(PHANTOM))


def sheet_of(data: str) -> Path | None:
    """The table of slides that DATA names; None, which is said, where it lists tiles.

    Raises:
        InputError: a phantom that is none of slides.
    """
    place = place_of(data)
    if not _lists_tiles(place):
        return place
    options.say(
        f"note: {data} lists tiles; what it says of them is in the scores, so it adds nothing here "
        "(leave --data out)"
    )
    return None


def sheet_of_training(run: Path) -> Path | None:
    """The table of the slides that a run was trained on, if there is one.

    Where it is gone, that is said; a table of tiles is not needed beside their scores.
    """
    source = source_of(run)
    if source.startswith(PHANTOM):
        return place_of(source) if source.startswith(f"{PHANTOM}slides") else None
    place = place_of(source)
    if source and not place.exists():
        options.say(
            f"note: {source}, which the run was trained on, is gone; patients, splits and labels "
            "are those of the scores (--data names it elsewhere)"
        )
        return None
    if place.is_dir():
        return place / SHEET if (place / SHEET).is_file() else None
    listed = source and is_table(place) and not _lists_tiles(place)
    return place if listed else None


def source_of(run: Path) -> str:
    """DATA of the training; "" where the config does not say it. The model is not looked at."""
    import yaml

    try:
        tree = yaml.safe_load((run / "config.yaml").read_text("utf-8"))
        return str(tree["data"]["source"] or "")
    except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError):
        return ""  # what is wrong with it is told where the config itself is needed


def as_trained(run: Path, slides: "Iterable[Slide]", *, own: bool) -> "list[Slide]":
    """Slides in the split that they had in the training, so that none of it is tested on.

    Args:
        run: its `splits.csv` knows them.
        slides: of a table.
        own: the table is that of the training, which may have moved slides to other splits.

    Raises:
        InputError: the splits cannot be read.
    """
    from wsrpn.errors import InputError

    path = run / "splits.csv"
    if not path.is_file():
        return list(slides)
    try:
        with path.open(encoding="utf-8", newline="") as file:
            known = {row.get("slide"): row.get("split") or None for row in csv.DictReader(file)}
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not readable as the splits of a run ({error}).") from None
    return [
        dataclasses.replace(slide, split=known.get(slide.id) or slide.split if own
                            else slide.split or known.get(slide.id))
        for slide in slides
    ]  # fmt: skip


def is_table(path: Path) -> bool:
    """Whether a file is a table of slides or tiles, by its name."""
    return path.name.lower().endswith((".csv", ".csv.gz", ".parquet", ".pq"))


def _lists_tiles(place: Path) -> bool:
    """Whether DATA has tiles, in a table or as pictures, and no slides or annotations."""
    if place.is_file() and is_table(place):
        from wsrpn.slides import cells

        header = set(cells.header(place))
        return all(header & some for some in _OF_TILES)
    if not place.is_dir() or (place / SHEET).is_file():
        return False
    if (place / TILES).is_file():
        return True
    from wsrpn.data.base import images_in
    from wsrpn.slides import outlines

    annotated = any(
        path.name.lower().endswith(tuple(outlines.SUFFIXES)) for path in place.iterdir()
    )
    return not annotated and bool(images_in(place))
