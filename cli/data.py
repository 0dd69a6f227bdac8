"""`wsrpn data check`, `wsrpn data convert`, `wsrpn data phantom`, and `wsrpn data tiles`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import data_tile_sets, data_tiles, options

if TYPE_CHECKING:
    from wsrpn.types import Dataset

app = typer.Typer(
    help="Look at data before training, convert them, and make phantoms.", no_args_is_help=True
)

DataArgument = Annotated[
    str, typer.Argument(metavar="DATA", help=options.DATA_HELP, show_default=False)
]
Change = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="data.KEY=VALUE",
        help="How labels are read, for example data.uncertain=positive; may be repeated.",
    ),
]


def check(
    data: DataArgument,
    sheet: Annotated[
        Path | None,
        typer.Option(help="Also draw up to 24 images with boxes and masks (.png)."),
    ] = None,
    change: Change = None,
    code: options.Code = None,
    json: options.Json = False,
) -> None:
    """Count images, labels, boxes, masks, texts; find missing files, leaks, duplicates, odd ones.

    Of tiles.csv it counts tiles by split and label; slides are looked at with `wsrpn data tiles`.

    Ends with 1 where something would spoil a training or a figure.

    wsrpn data check nih:DIR --sheet nih.png
    """
    from wsrpn.data import check as checking
    from wsrpn.data import sheet as sheets

    options.load_code(code)
    if data_tile_sets.lists_tiles(data):
        _check_tiles(data, sheet, change, json)
        return
    dataset = load(data, change)
    with options.progress("check", len(dataset)) as bar:
        found = checking.check(dataset, progress=lambda done, total: bar.advance(done - bar.done))
    for line in checking.lines(found):
        options.say(line)
    files = {}
    if sheet is not None:
        sheets.contact_sheet(dataset, sheet)
        files["sheet"] = str(sheet)
        options.say(f"contact sheet: {sheet}")
    problems = found["problems"]
    if json:
        told = [*problems, *found["warnings"]]
        document = options.document("data check", files=files, warnings=told)
        options.emit({**document, "check": found})
    if problems:
        raise typer.Exit(1)


def _check_tiles(data: str, sheet: Path | None, change: list[str] | None, json: bool) -> None:
    """Count the tiles of a table by split and label.

    Raises:
        InputError: a fault in the table, or a contact sheet is asked for.
    """
    from wsrpn.errors import InputError

    if sheet is not None:
        raise InputError(f"--sheet: {data} lists tiles; contact sheets are drawn of radiographs.")
    tiles = data_tile_sets.read(data, change)
    for line in data_tile_sets.lines(tiles):
        options.say(line)
    if json:
        told = [*tiles.notes, *tiles.training_notes]
        document = options.document("data check", files={}, warnings=told)
        options.emit({**document, "check": {"tiles": data_tile_sets.counts(tiles)}})


def load(data: str, change: list[str] | None) -> "Dataset":
    """DATA with `--set data.…` applied.

    Raises:
        InputError: another section of the config.
    """
    import dataclasses

    from wsrpn import config
    from wsrpn.data import base
    from wsrpn.errors import InputError

    for text in change or []:
        if not text.startswith("data."):
            raise InputError(f"--set {text}: only keys of data have a meaning here.")
    # Presets leave the section alone, so it is all defaults but for the changes.
    section = config.load("wsrpn", change or []).data
    return base.load(dataclasses.replace(section, source=data))


def convert(
    data: DataArgument,
    out: Annotated[Path, typer.Option(help="Folder of the result.")],
    to: Annotated[str, typer.Option(help="manifest or coco.")] = "manifest",
    copy: Annotated[bool, typer.Option("--copy", help="Copy the images into the folder.")] = False,
    link: Annotated[
        bool, typer.Option("--link", help="Hard-link them into it: no space, same file system.")
    ] = False,
    change: Change = None,
    on_error: Annotated[
        str, typer.Option(help="stop or skip at an image whose file is missing.")
    ] = "stop",
    code: options.Code = None,
    json: options.Json = False,
) -> None:
    """Write any data set as a manifest (images.csv, boxes.csv, classes.csv) or COCO annotations.

    Labels, unknown labels, boxes, texts, masks, patients, splits and further columns come along.
    Images that lie below --out stay where they are; others are copied or linked.

    wsrpn data convert vindr:DIR --out vindr --copy

    wsrpn data convert images.csv --to coco --out .
    """
    from wsrpn.data import convert as converting
    from wsrpn.errors import InputError

    options.load_code(code)
    target = options.choice("--to", to, converting.NAMES)
    options.choice("--on-error", on_error, ("stop", "skip"))
    if copy and link:
        raise InputError("data convert: --copy or --link, not both.")
    dataset = load(data, change)
    for note in dataset.notes:
        options.say(f"note: {note}")
    with options.progress("convert", len(dataset)) as bar:
        made = converting.convert(
            dataset,
            out,
            to=target,
            placing="copy" if copy else "link" if link else "stay",
            skip=on_error == "skip",
            listen=bar.advance,
        )
    left_out = [f"{name}: {reason}" for name, reason in made.failed.items()]
    for line in left_out:
        options.say(f"left out {line}")
    boxes = sum(len(record.boxes) for record in made.dataset.records)
    options.say(f"{len(made.dataset)} images, {boxes} boxes: {made.path}")
    if json:
        told = [*dataset.notes, *left_out]
        files = {to: str(made.path)}
        options.emit(options.document("data convert", files=files, warnings=told))
    if left_out:
        raise typer.Exit(1)


def phantom(
    kind: Annotated[
        str,
        typer.Argument(
            metavar="KIND[?OPTION=VALUE&…]",
            help="cxr, beads, nodules, or slides; with any options of the phantom, for example "
            "'beads?beads=5-20', or 'slides?files=true&…' for slide files with pixels.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder to write tables and images to.")],
    images: Annotated[
        int | None,
        typer.Option(help="How many.", show_default="300 of cxr, 60 of beads, 200 of nodules"),
    ] = None,
    size: Annotated[
        int | None, typer.Option(help="Side in pixels.", show_default="256, of beads 512")
    ] = None,
    slides: Annotated[
        int | None,
        typer.Option(help="How many slides.", show_default="12", rich_help_panel="Slides"),
    ] = None,
    tiles: Annotated[
        int | None,
        typer.Option(help="Tiles of each slide.", show_default="4000", rich_help_panel="Slides"),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Of everything random.", show_default="0")
    ] = None,
    json: options.Json = False,
) -> None:
    """Make phantoms, of radiographs (cxr, nodules), micrographs (beads) or slides (slides).

    Findings of cxr have a known class, place and size, and a report; beads and lung nodules have
    masks, nodules also a DRR; slides have tumour with outlines, patients, splits and scores.

    wsrpn data phantom cxr --out films

    wsrpn data phantom beads --out beads --images 40

    wsrpn data phantom slides --out slides --tiles 9000

    With pixels, to train on (tables and slide files):

    wsrpn data phantom 'slides?files=true&tiles=80&tile=96&mpp=1' --out demo-slides
    """
    name, _, more = kind.partition("?")
    if name == "cxr" and size is None and "size=" not in more:
        size = 256  # larger than films for trainings, as these are to be looked at
    given = {"images": images, "size": size, "slides": slides, "tiles": tiles, "seed": seed}
    told = "&".join(
        [*filter(None, [more]), *(f"{k}={v}" for k, v in given.items() if v is not None)]
    )
    address = f"{name}?{told}" if told else name
    write = _write_slides if name == "slides" else _write_films
    path, counts = write(address, out)
    options.say(f"{counts}: {path}")
    if json:
        label = "scores" if name == "slides" else "manifest"
        files = {label: str(path)}
        options.emit(options.document("data phantom", files=files, warnings=[]))


def _write_films(address: str, out: Path) -> tuple[Path, str]:
    from wsrpn.data.phantom import KINDS, kind_of, parse

    path = _free(out / "images.csv")
    recipe = parse(address)
    dataset = KINDS[kind_of(address)].write(out, **recipe)
    boxes = sum(len(record.boxes) for record in dataset.records)
    masks = sum(record.mask is not None for record in dataset.records)
    told = f", {masks} masks" if masks else ""
    return path, f"{len(dataset)} images, {boxes} boxes{told}"


def _write_slides(address: str, out: Path) -> tuple[Path, str]:
    from wsrpn.slides import phantom as slides

    path = _free(out / slides.SCORES)
    plan = slides.parse(address)
    slides.write(out, plan)
    return path, f"{plan.slides} slides of about {plan.tiles} tiles"


def _free(path: Path) -> Path:
    """The path, if nothing is there.

    Raises:
        InputError: it exists.
    """
    from wsrpn.errors import InputError

    if path.exists():
        raise InputError(f"{path}: exists already; choose another --out.")
    return path


app.command("check")(options.command(check))
app.command("convert")(options.command(convert))
app.command("phantom")(options.command(phantom))
app.command("tiles")(options.command(data_tiles.tiles))
