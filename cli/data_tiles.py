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
_PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
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
    run: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="Cut as this training did: data.size and tiles.* of its config.",
            show_default=False,
        ),
    ] = None,
    config: Annotated[
        str,
        typer.Option(
            metavar="PRESET|FILE",
            help="Cut as a training with this preset or config will.",
            show_default=PRESET,
        ),
    ] = "",
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

    By default tiles are those of the preset vae-b1, 96 pixels of 0.972 µm.

    A slide that fails is listed, the others go on, and the command ends with 1.

    wsrpn data tiles slides.csv --out tiles

    wsrpn data tiles slides.csv --out tiles --run runs/vae
    """
    import math

    from wsrpn.cohort import finished
    from wsrpn.errors import InputError, counted

    if mpp is not None and not 0 < mpp < math.inf:
        raise InputError(f"--mpp {mpp:g}: a number above 0 was expected.")
    as_told, listed = _config(change or [], run, config), _slides(slides)
    options.say(_cut_so(as_told))
    stems = finished.stems([slide.id for slide in listed])
    cuts: dict[str, Cut] = {}
    shares: dict[str, float] = {}
    failed: dict[str, str] = {}
    with options.progress("tiles", len(listed)) as bar:
        for slide in listed:
            try:
                cuts[slide.id], shares[slide.id] = _one(
                    slide, as_told, mpp, out / f"{stems[slide.id]}.png"
                )
            except InputError as error:
                failed[slide.id] = " ".join(str(error).split())
                options.say(f"failed {slide.id}: {failed[slide.id]}")
            bar.advance(1, slide.id)
    many = sum(map(len, cuts.values()))
    options.say(f"{counted(len(cuts), 'slide')}, {counted(many, 'tile')}: {out}")
    if json:
        options.emit(_document(cuts, shares, failed, out, as_told))
    if failed:
        raise typer.Exit(1)


def _config(changes: Sequence[str], run: Path | None, name: str) -> "RunConfig":
    """The config of a run, a file or a preset with what the command line changes.

    Raises:
        InputError: both are named, no such run or config, or a key that has no meaning here.
    """
    from wsrpn import config
    from wsrpn.errors import InputError

    for key in config.changes(changes):
        if not (key.startswith("tiles.") or key == "data.size"):
            raise InputError(
                f"--set {key}: only keys of tiles, and data.size, have a meaning here."
            )
    if run is not None and name:
        raise InputError("data tiles: --run or --config, not both.")
    if run is None:
        return config.load(name or PRESET, changes)
    path = run / "config.yaml"
    if not path.is_file():
        raise InputError(f"--run {run}: no config.yaml in it; a run of `wsrpn train` is expected.")
    return config.load(path, changes)


def _cut_so(config: "RunConfig") -> str:
    """How tiles are cut, in one line."""
    how = config.tiles
    read = f"tiles.mpp {how.mpp:g}" if how.mpp is not None else "no tiles.mpp"
    if how.level is not None:
        read = f"tiles.level {how.level}"
    return (
        f"tiles: data.size {config.data.size}, {read}, tiles.overlap {how.overlap:g}, tiles.tissue "
        f"{how.tissue}, tiles.min_tissue {how.min_tissue:g}"
    )


def _slides(names: Sequence[str]) -> "list[Slide]":
    """Every slide that is named, each once.

    Raises:
        InputError: nothing is there, or two slides have one name.
    """
    from wsrpn.errors import InputError
    from wsrpn.slides import sheet

    from . import score_source, slide_data, slide_source

    found: dict[str, Slide] = {}
    for name in names:
        place = slide_data.place_of(name)
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
    from wsrpn.errors import InputError, counted

    from .score_source import SLIDES

    there = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    found = [path for path in there if path.suffix.lower() in SLIDES]
    pictures = sum(path.suffix.lower() in _PICTURES for path in there)
    if not found:
        beside = f"; its {counted(pictures, 'picture')} may be named one by one" * bool(pictures)
        raise InputError(
            f"{folder}: neither slides.csv nor slide files ({', '.join(SLIDES)}){beside}."
        )
    if pictures:
        options.say(
            f"note: {folder}: {counted(pictures, 'plain picture')} beside the slides not read; "
            "name one to read it as a slide"
        )
    return found


def _one(slide: "Slide", config: "RunConfig", mpp: float | None, path: Path) -> "tuple[Cut, float]":
    """Cut a slide, draw it, and say what was found.

    Returns:
        The tiles, and how much of the slide is tissue.

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
    return kept, float(found.mask.mean())


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


def _document(
    cuts: "dict[str, Cut]",
    shares: dict[str, float],
    failed: dict[str, str],
    out: Path,
    config: "RunConfig",
) -> dict[str, Any]:
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
            "tissue_of_slide": shares[name],
            "tissue_of_tiles": float(cut.tissue.mean()),
        }
        for name, cut in cuts.items()
    }
    how = {"data.size": config.data.size}
    how |= {f"tiles.{key}": value for key, value in dataclasses.asdict(config.tiles).items()}
    return {**document, "cut": how, "slides": slides, "failed": failed}
