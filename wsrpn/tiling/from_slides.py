"""Tiles straight from slide files: cut where there is tissue, labelled by the slides' outlines."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from wsrpn.config import RunConfig
from wsrpn.errors import InputError, counted
from wsrpn.slides import assemble, labels, reader, rules, sheet
from wsrpn.tiles import Cohort, Cut, Slide, Tiles, TileSet
from wsrpn.tiling.cut import cut


def read(path: Path, config: RunConfig) -> TileSet:
    """The tiles of the slides in a table; no pixels but those that show where tissue is.

    Args:
        path: slides.csv, or its folder.
        config: `tiles` says how slides are cut and labelled, `data.size` how large a tile is.

    Returns:
        A slide that cannot be cut or labelled is in `failed`. Tiles of normal slides are 0, those
        of slides without an annotation unknown, and so are those outside of annotations that are
        not exhaustive.

    Raises:
        InputError: a fault of the table, or no slide with a file.
    """
    rules.parse(config.tiles.rule)
    slides = sheet.read(path)
    filed = [slide for slide in slides.values() if slide.file is not None]
    if not filed:
        raise InputError(
            f"{path}: no slide has a file; name it in column 'file', relative to the table."
        )
    failed: dict[str, str] = {}
    cuts = {one.slide.id: one for one in _cuts(filed, config, failed)}
    cohort = Cohort(str(path), tuple(one.unscored() for one in cuts.values()), failed=failed)
    known = {name: one.slide for name, one in cuts.items()}
    done = labels.attach(cohort, known, rule=config.tiles.rule)
    notes = [*done.notes]
    if len(filed) < len(slides):
        notes.append(f"{counted(len(slides) - len(filed), 'slide')} without a file left out.")
    return _joined(str(path), *_unsure(done, notes), cuts)


def _cuts(slides: list[Slide], config: RunConfig, failed: dict[str, str]) -> Iterator[Cut]:
    for slide in slides:
        if slide.file is None:
            continue
        try:
            with reader.open_slide(slide.file) as opened:
                # Only commands that read slides without a table have --mpp.
                made = cut(slide, opened, config.tiles, size=config.data.size, option=False)
        except Exception as error:  # one slide's file must not end the others
            failed[slide.id] = assemble.reason(error, str(slide.file))
            continue
        yield made


def _unsure(done: Cohort, notes: list[str]) -> tuple[Cohort, tuple[str, ...]]:
    """The cohort with tiles unknown that nobody can call normal, and a note if there are any.

    Where tumour is known to be missing from the outlines, a tile outside of them may be tumour.
    """
    slides: list[Tiles] = []
    which: list[str] = []
    many = 0
    for tiles in done.slides:
        unsure = (tiles.label == 0) & (not tiles.exhaustive)
        if unsure.any():
            which.append(tiles.slide)
            many += int(unsure.sum())
            tiles = dataclasses.replace(tiles, label=np.where(unsure, np.nan, tiles.label))
        slides.append(tiles)
    if which:
        named = f"{', '.join(which[:5])}{', …' if len(which) > 5 else ''}"
        notes = [
            *notes,
            f"{counted(many, 'tile')} outside the outlines of slides that are not exhaustively "
            f"annotated ({named}): unknown, not normal.",
        ]
    return dataclasses.replace(done, slides=tuple(slides)), tuple(notes)


def _joined(name: str, done: Cohort, notes: tuple[str, ...], cuts: dict[str, Cut]) -> TileSet:
    """The labelled tiles of all slides as columns."""
    kept = [(tiles, cuts[tiles.slide]) for tiles in done.slides]
    counts = [len(one) for _, one in kept]
    slide = np.repeat(np.arange(len(kept)), counts)
    files = tuple(dict.fromkeys(one.slide.file for _, one in kept if one.slide.file is not None))
    number = [files.index(one.slide.file) for _, one in kept if one.slide.file is not None]
    boxes = _stacked([one.boxes_px0 for _, one in kept], (0, 4))
    size = _stacked([np.tile(one.size_px0, (len(one), 1)) for _, one in kept], (0, 2))
    unlabelled = [t.slide for t, _ in kept if np.isnan(t.label).all()]
    if unlabelled:
        notes = (
            *notes,
            f"{counted(len(unlabelled), 'slide')} with neither an annotation nor the label normal: "
            f"{', '.join(unlabelled[:5])}{', …' if len(unlabelled) > 5 else ''}.",
        )
    return TileSet(
        name=name,
        slides=tuple(one.slide for _, one in kept),
        slide=slide,
        files=files,
        file=np.repeat(np.array(number, dtype=np.int64), counts),
        box_px=boxes,
        corner_px0=boxes[:, :2],
        size_px0=size,
        label=_stacked([tiles.label for tiles, _ in kept], (0,)),
        truth=_stacked([tiles.truth for tiles, _ in kept], (0,)),
        tissue=_stacked([one.tissue for _, one in kept], (0,)).astype(np.float64),
        notes=notes,
        failed=dict(done.failed),
    )


def _stacked(parts: list[np.ndarray], empty: tuple[int, ...]) -> np.ndarray:
    return np.concatenate(parts) if parts else np.zeros(empty)
