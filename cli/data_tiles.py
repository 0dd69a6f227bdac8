"""`wsrpn data tiles`."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import options

if TYPE_CHECKING:
    from wsrpn.config import RunConfig
    from wsrpn.slides.reader import Reader
    from wsrpn.tiles import Cut, Slide

PRESET = "vae-b1"  # whose tiles are cut unless told otherwise
_APART = 0.02  # of two resolutions that are not the same


def tiles(
    slides: Annotated[
        list[str],
        typer.Argument(
            metavar="SLIDE…",
            help="Slide files, folders of them, or slides.csv.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder of the pictures.", show_default=False)],
    mpp: Annotated[
        float | None,
        typer.Option(
            metavar="µm",
            help="Micrometres per full-size pixel, for slides of which nothing else says it.",
            show_default=False,
        ),
    ] = None,
    change: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="tiles.KEY=VALUE",
            help="How tiles are cut, for example tiles.overlap=0.5, tiles.min_tissue=0.2, "
            "tiles.level=1; or data.size, their side in pixels. May be repeated.",
        ),
    ] = None,
    json: options.Json = False,
) -> None:
    """Look at what is read of slides: a picture of each with its tissue and its tiles.

    By default tiles are those of the preset vae-b1, 96 pixels of 0.972 µm. A slide that fails is
    listed, the others go on, and the command ends with 1.

    wsrpn data tiles slides.csv --out tiles
    """
    import math

    from wsrpn.cohort import finished
    from wsrpn.errors import InputError, counted

    if mpp is not None and not 0 < mpp < math.inf:
        raise InputError(f"--mpp {mpp:g}: a number above 0 was expected.")
    config, listed = _config(change or []), _slides(slides)
    stems = finished.stems([slide.id for slide in listed])
    cuts: dict[str, Cut] = {}
    failed: dict[str, str] = {}
    with options.progress("tiles", len(listed)) as bar:
        for slide in listed:
            try:
                cuts[slide.id] = _one(slide, config, mpp, out / f"{stems[slide.id]}.png")
            except InputError as error:
                failed[slide.id] = " ".join(str(error).split())
                options.say(f"failed {slide.id}: {failed[slide.id]}")
            bar.advance(1, slide.id)
    many = sum(map(len, cuts.values()))
    options.say(f"{counted(len(cuts), 'slide')}, {counted(many, 'tile')}: {out}")
    if json:
        options.emit(_document(cuts, failed, out))
    if failed:
        raise typer.Exit(1)


def _config(changes: Sequence[str]) -> "RunConfig":
    """The preset with what the command line changes.

    Raises:
        InputError: a key that has no meaning here.
    """
    from wsrpn import config
    from wsrpn.errors import InputError

    for key in config.changes(changes):
        if not (key.startswith("tiles.") or key == "data.size"):
            raise InputError(
                f"--set {key}: only keys of tiles, and data.size, have a meaning here."
            )
    return config.load(PRESET, changes)


def _slides(names: Sequence[str]) -> "list[Slide]":
    """Every slide that is named, each once.

    Raises:
        InputError: nothing is there, or two slides have one name.
    """
    from wsrpn.errors import InputError
    from wsrpn.slides import phantom, sheet

    from . import score_source, slide_source

    found: dict[str, Slide] = {}
    for name in names:
        place = Path(name).expanduser()
        if name.startswith(slide_source.PHANTOM):
            place = phantom.folder_of(f"{name.removeprefix(slide_source.PHANTOM)}")
        listed = place.is_dir() and (place / slide_source.SHEET).is_file()
        if listed or score_source.is_table(place):
            more = list(sheet.read(place).values())
        elif place.is_dir():
            more = [score_source.slide_of(path) for path in _files(place)]
        else:
            more = [score_source.slide_of(place)]
        for slide in more:
            if slide.id in found:
                raise InputError(f"{name}: slide '{slide.id}' is named twice; give it once.")
            found[slide.id] = slide
    return list(found.values())


def _files(folder: Path) -> list[Path]:
    from wsrpn.errors import InputError

    from .score_source import SLIDES

    found = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in SLIDES]
    if not found:
        raise InputError(f"{folder}: neither slides.csv nor slide files ({', '.join(SLIDES)}).")
    return found


def _one(slide: "Slide", config: "RunConfig", mpp: float | None, path: Path) -> "Cut":
    """Cut a slide, draw it, and say what was found.

    Raises:
        InputError: it cannot be read, has no file, or no tile; where there is tissue to see, it is
            drawn all the same.
    """
    from wsrpn.errors import InputError
    from wsrpn.report import tissue_view
    from wsrpn.slides.reader import open_slide
    from wsrpn.tiling import cut, tissue

    if slide.file is None:
        raise InputError("it has no file; name it in the column 'file' of slides.csv.")
    with open_slide(slide.file) as reader:
        known = _known(slide, reader, mpp)
        found = tissue.find(reader, known, config.tiles.tissue)
        picture = tissue_view.picture_of(reader)
        try:
            kept = cut.cut(known, reader, config.tiles, size=config.data.size, tissue=found)
        except InputError as error:
            tissue_view.write(known, found, None, picture, path)
            raise InputError(f"{error} Its tissue is drawn in {path}.") from None
    tissue_view.write(kept.slide, found, kept, picture, path)
    options.say(f"{slide.id}: {tissue_view.words(kept, found)}: {path}")
    return kept


def _known(slide: "Slide", reader: "Reader", mpp: float | None) -> "Slide":
    """With size and resolution: of the table, else of the file, else of the command line."""
    told = slide.mpp
    if told is not None and reader.mpp is not None and abs(told / reader.mpp - 1) > _APART:
        options.say(
            f"note: {slide.id}: slides.csv says {told:g} µm a pixel and the file {reader.mpp:g}; "
            "the first is used"
        )
    if told is None:
        told = reader.mpp if reader.mpp is not None else mpp
    return dataclasses.replace(slide, mpp=told, extent_px0=reader.extent_px0)


def _document(cuts: "dict[str, Cut]", failed: dict[str, str], out: Path) -> dict[str, Any]:
    document = options.document(
        "data tiles",
        files={"pictures": str(out)},
        warnings=[f"failed {name}: {why}" for name, why in failed.items()],
        slides=float(len(cuts)),
        slides_failed=float(len(failed)),
        tiles=float(sum(map(len, cuts.values()))),
    )
    slides = {
        name: {
            "tiles": len(cut),
            "rows": cut.lattice.shape[0],
            "columns": cut.lattice.shape[1],
            "size_px0": list(cut.size_px0),
            "pitch_px0": list(cut.lattice.pitch_px0),
            "mpp": cut.slide.mpp,
            "tissue": float(cut.tissue.mean()),
        }
        for name, cut in cuts.items()
    }
    return {**document, "slides": slides, "failed": failed}
