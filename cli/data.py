"""`wsrpn data check`, `wsrpn data convert` and `wsrpn data phantom`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import options

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
        Path | None, typer.Option(help="Also draw up to 24 images with boxes and classes (.png).")
    ] = None,
    change: Change = None,
    code: options.Code = None,
    json: options.Json = False,
) -> None:
    """Count images, labels, boxes and texts; find missing files, leaks, duplicates and odd boxes.

    Ends with 1 where something would spoil a training or a figure.

    wsrpn data check nih:DIR --sheet nih.png
    """
    from wsrpn.data import check as checking
    from wsrpn.data import sheet as sheets

    options.load_code(code)
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
    kind: Annotated[str, typer.Argument(help="cxr", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder to write the manifest and images to.")],
    images: Annotated[int, typer.Option(help="How many.")] = 300,
    size: Annotated[int, typer.Option(help="Side in pixels.")] = 256,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    json: options.Json = False,
) -> None:
    """Make radiographs with findings of known class, place and size, and a report for each."""
    from wsrpn.data.phantom import cxr, parse
    from wsrpn.errors import InputError

    if (out / "images.csv").exists():
        raise InputError(f"{out / 'images.csv'}: exists already; choose another --out.")
    dataset = cxr.write(out, **parse(f"{kind}?images={images}&size={size}&seed={seed}"))
    boxes = sum(len(record.boxes) for record in dataset.records)
    options.say(f"{len(dataset)} images, {boxes} boxes: {out / 'images.csv'}")
    if json:
        options.emit(
            options.document(
                "data phantom", files={"manifest": str(out / "images.csv")}, warnings=[]
            )
        )


app.command("check")(options.command(check))
app.command("convert")(options.command(convert))
app.command("phantom")(options.command(phantom))
