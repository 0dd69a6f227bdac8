"""Sets of tiles, from whatever DATA names: a table of tiles, a folder of pictures, slides."""

import dataclasses
import functools
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
from jaxtyping import Float

from wsrpn.config import DataConfig, RunConfig
from wsrpn.data import splits
from wsrpn.data.base import images_in
from wsrpn.errors import InputError, counted
from wsrpn.slides import cells, phantom, sheet
from wsrpn.tiles import Slide, TileSet
from wsrpn.tiling import from_slides, listed, pictures
from wsrpn.types import SPLITS

# Of slides; a TIFF may as well be the picture of a tile.
_SLIDES = {".svs", ".ndpi", ".mrxs", ".scn", ".vms", ".vmu", ".bif", ".svslide"}
_PREFIXES = ("tiles:", "slides:")
_EXPECTED = (
    "A table of tiles (tiles.csv), a folder of tile pictures, a table of slides with their files "
    "(slides.csv) or phantom:slides is expected."
)


def load(config: RunConfig) -> TileSet:
    """The tiles of `config.data.source`, every slide in a split, no patient in two.

    Args:
        config: `data.source` is `tiles.csv` or a folder with it, a folder of pictures, `slides.csv`
            or its folder, or `phantom:slides?…`. Slides without a split get one by patient, from
            `data.val_share`, `data.test_share` and `data.split_seed`. Of each training slide and
            label `tiles.most` tiles are kept.

    Raises:
        InputError: nothing to read there, a fault in the tables, a slide that fails while
            `data.on_error` is `stop`, a patient or the same pixels in two splits, or no tiles.
    """
    tiles = dataclasses.replace(_read(config), name=config.data.source)
    if tiles.failed and not len(tiles):
        raise InputError(f"{tiles.name}: no slide can be used. {_failing(tiles)}")
    if tiles.failed and config.data.on_error == "stop":
        raise InputError(f"{_failing(tiles)} To go on without: --set data.on_error=skip.")
    if not len(tiles):
        raise InputError(f"{tiles.name}: no tiles in it.{''.join(' ' + n for n in tiles.notes)}")
    tiles = _in_splits(_told_of_size(tiles, config), config.data)
    _refuse_leaks(tiles)
    _refuse_shared(tiles)
    return _fewer(tiles, config.tiles.most)


def _read(config: RunConfig) -> TileSet:
    source = config.data.source
    if not source:
        raise InputError(f"No data given. Pass --data. {_EXPECTED}")
    if source.startswith("phantom:"):
        return from_slides.read(_phantom(source.removeprefix("phantom:")), config)
    plain = functools.reduce(str.removeprefix, _PREFIXES, source)
    path = Path(plain).expanduser()
    if path.is_dir():
        return _folder(path, config)
    if not path.is_file():
        raise InputError(f"{source}: no such file or folder. {_EXPECTED}")
    if not (cells.is_csv(path) or cells.is_parquet(path)):
        raise InputError(f"{source}: not a set of tiles. {_EXPECTED}")
    if {"image", "sheet"} & set(cells.header(path)):
        return listed.read(path, rule=config.tiles.rule)
    return from_slides.read(path, config)


def _phantom(argument: str) -> Path:
    """The folder of a phantom cohort with slide files."""
    if argument.partition("?")[0] != "slides":
        raise InputError(
            f"phantom:{argument}: no slides; tiles are cut from phantom:slides. {_EXPECTED}"
        )
    return phantom.with_files(argument)


def _folder(folder: Path, config: RunConfig) -> TileSet:
    tables = [folder / name for name in (listed.NAME, sheet.NAME) if (folder / name).is_file()]
    if len(tables) > 1:
        raise InputError(
            f"{folder}: {listed.NAME} and {sheet.NAME} lie here; name the one that is meant, for "
            f"example {tables[0]}."
        )
    if tables and tables[0].name == listed.NAME:
        return listed.read(tables[0], rule=config.tiles.rule)
    if tables:
        return from_slides.read(tables[0], config)
    if (folder / "images.csv").is_file() or not images_in(folder):
        raise InputError(
            f"{folder}: neither {listed.NAME} nor {sheet.NAME} in it.{_beside(folder)} {_EXPECTED}"
        )
    tiles = pictures.read(folder)
    beside = _beside(folder).strip()
    return dataclasses.replace(tiles, notes=(*tiles.notes, beside)) if beside else tiles


def _beside(folder: Path) -> str:
    """What to say of slide files in a folder that has no table of them."""
    many = sum(path.suffix.lower() in _SLIDES for path in folder.iterdir() if path.is_file())
    if not many:
        return ""
    return f" {counted(many, 'slide file')} in it not read; list slides in {sheet.NAME}."


def _told_of_size(tiles: TileSet, config: RunConfig) -> TileSet:
    """The tiles with notes on those that are cut already: their size may not be the network's."""
    cut = [tiles.slides[s].file is None for s in tiles.slide]
    if not any(cut):
        return tiles
    notes = []
    sides = tiles.box_px[cut, 2:] - tiles.box_px[cut, :2]
    other = ~np.isnan(sides).any(axis=1) & (sides != config.data.size).any(axis=1)
    if other.any():
        notes.append(
            f"{counted(int(other.sum()), 'tile')} of {_sides(sides[other])} pixels brought to "
            f"data.size {config.data.size}."
        )
    unknown = any(slide.mpp is None and slide.file is None for slide in tiles.slides)
    asked = config.tiles.mpp if config.tiles.level is None else config.tiles.level
    if unknown and asked is not None:
        key = "mpp" if config.tiles.level is None else "level"
        notes.append(
            "Nothing says which resolution these tiles have, as they are cut already; `wsrpn "
            f"score` would read slides at tiles.{key} {asked:g}, which is right only if the tiles "
            "were. A column mpp in tiles.csv says it."
        )
    return dataclasses.replace(tiles, notes=(*tiles.notes, *notes))


def _sides(sides: Float[np.ndarray, "n 2"]) -> str:
    """The sizes of tiles: the one, or the smallest and the largest."""
    order = np.unique(sides, axis=0)
    first, last = (f"{wide:g} × {high:g}" for wide, high in (order[0], order[-1]))
    return first if len(order) == 1 else f"{first} to {last}"


def _failing(tiles: TileSet) -> str:
    """Why slides failed, in one sentence."""
    reasons = list(tiles.failed.items())
    told = [r if name in r else f"{name}: {r}" for name, r in reasons[:3]]
    more = f" ({counted(len(reasons) - 3, 'more slide')} failed.)" if len(reasons) > 3 else ""
    return f"{' '.join(told)}{more}"


def _in_splits(tiles: TileSet, config: DataConfig) -> TileSet:
    """The tiles with a split for every slide; those that are given stay.

    As for radiographs (`splits.assign`), but what is moved are slides: those without a split join
    their patient, and where training slides have nothing to validate on, some patients move.
    """
    if config.val_share + config.test_share >= 1:
        raise InputError(
            f"data.val_share {config.val_share:g} and data.test_share {config.test_share:g} leave "
            "no training."
        )
    given = {slide.patient: slide.split for slide in tiles.slides if slide.split}
    late = [slide for slide in tiles.slides if not slide.split]
    rest = _counts(tiles, [slide for slide in late if slide.patient not in given])
    shares = {"test": config.test_share, "val": config.val_share}
    drawn = splits.draw(rest, shares, config.split_seed)  # type: ignore[arg-type]
    slides = tuple(
        slide if slide.split else dataclasses.replace(
            slide, split=given.get(slide.patient) or drawn.get(slide.patient, "train")
        )
        for slide in tiles.slides
    )  # fmt: skip
    notes = tiles.notes
    if late and given:
        notes = (*notes, f"{counted(len(late), 'slide')} without a split got one by patient.")
    made = dataclasses.replace(tiles, slides=slides, notes=notes)
    return _with_val(made, config)


def _with_val(tiles: TileSet, config: DataConfig) -> TileSet:
    """The tiles with some of the training patients for validation, where it has none."""
    present = {tiles.slides[slide].split for slide in np.unique(tiles.slide)}
    if config.val_share == 0 or "train" not in present or "val" in present:
        return tiles
    train = [slide for slide in tiles.slides if slide.split == "train"]
    drawn = splits.draw(_counts(tiles, train), {"val": config.val_share}, config.split_seed)
    slides = tuple(
        dataclasses.replace(s, split=drawn.get(s.patient, "train")) if s.split == "train" else s
        for s in tiles.slides
    )
    carved = dataclasses.replace(tiles, slides=slides)
    many = len(carved.split("val"))
    note = (
        f"No validation tiles in the source: {counted(many, 'training tile')} "
        f"{'was' if many == 1 else 'were'} taken, by patient."
        if many
        else "Nothing is left for validation: all training tiles are of 1 patient."
    )
    return dataclasses.replace(carved, training_notes=(*tiles.training_notes, note))


def _counts(tiles: TileSet, slides: list[Slide]) -> Counter[str]:
    """Tiles by patient, of some slides that have any."""
    wanted = {slide.id for slide in slides}
    found: Counter[str] = Counter()
    for number, count in zip(*np.unique(tiles.slide, return_counts=True), strict=True):
        slide = tiles.slides[number]
        if slide.id in wanted:
            found[slide.patient] += int(count)
    return found


def _refuse_leaks(tiles: TileSet) -> None:
    """Stop where a patient is in two splits.

    Raises:
        InputError: names the first patients and their splits.
    """
    seen: dict[str, set[str]] = defaultdict(set)
    for slide in tiles.slides:
        seen[slide.patient].add(str(slide.split))
    leaking = sorted(patient for patient, inside in seen.items() if len(inside) > 1)
    if not leaking:
        return
    named = ", ".join(f"{patient} ({', '.join(sorted(seen[patient]))})" for patient in leaking[:3])
    more = f" and {len(leaking) - 3} more" if len(leaking) > 3 else ""
    raise InputError(
        f"{tiles.name}: patients in more than one split: {named}{more}. Put all slides of a "
        "patient into one split."
    )


def _refuse_shared(tiles: TileSet) -> None:
    """Stop where two splits have the same pixels, under the names of two slides.

    Raises:
        InputError: names the file and both slides.
    """
    split = np.array([SPLITS.index(str(slide.split)) for slide in tiles.slides])[tiles.slide]
    pixels = np.concatenate([tiles.file[:, None], np.nan_to_num(tiles.box_px, nan=-1.0)], axis=1)
    _, first, same = np.unique(pixels, axis=0, return_index=True, return_inverse=True)
    before = first[same.ravel()]
    shared = np.flatnonzero(split != split[before])
    if not len(shared):
        return
    here, there = (tiles.slides[tiles.slide[one]] for one in (shared[0], before[shared[0]]))
    raise InputError(
        f"{tiles.name}: {counted(len(shared), 'tile')} in more than one split, first of "
        f"{tiles.files[tiles.file[shared[0]]]}, which is slide {there.id} ({there.split}) and "
        f"slide {here.id} ({here.split}); name each once, or give both one patient."
    )


def _fewer(tiles: TileSet, most: int) -> TileSet:
    """The tiles with at most so many of each training slide and label, evenly drawn."""
    if not most:
        return tiles
    keep = np.ones(len(tiles), dtype=bool)
    group = tiles.slide * 3 + np.nan_to_num(tiles.label, nan=2).astype(np.int64)
    order = np.argsort(group, kind="stable")
    _, starts = np.unique(group[order], return_index=True)
    for own in np.split(order, starts[1:]):
        if tiles.slides[tiles.slide[own[0]]].split == "train" and len(own) > most:
            keep[own] = False
            keep[own[np.linspace(0, len(own) - 1, most).round().astype(np.int64)]] = True
    left = int((~keep).sum())
    if not left:
        return tiles
    note = f"{counted(left, 'training tile')} left out: tiles.most={most} of a slide and label."
    fewer = tiles.where(keep)
    return dataclasses.replace(fewer, training_notes=(*tiles.training_notes, note))
