"""`wsrpn data check` and `wsrpn data phantom`."""

from pathlib import Path
from typing import Annotated

import typer

from . import options

app = typer.Typer(help="Look at data before training, and make phantoms.", no_args_is_help=True)


def check(
    data: Annotated[
        str, typer.Argument(metavar="DATA", help=options.DATA_HELP, show_default=False)
    ],
    sheet: Annotated[
        Path | None, typer.Option(help="Also draw a contact sheet (.png) with boxes.")
    ] = None,
    code: options.Code = None,
    json: options.Json = False,
) -> None:
    """Count images, labels and boxes; find missing files, leaks, duplicates and odd boxes."""
    from wsrpn.config import DataConfig
    from wsrpn.data import base
    from wsrpn.data import check as checking

    options.load_code(code)
    dataset = base.load(DataConfig(source=data))
    with options.progress("check", len(dataset)) as bar:
        found = checking.check(dataset, progress=lambda done, total: bar.advance(done - bar.done))
    for line in checking.lines(found):
        options.say(line)
    files = {}
    if sheet is not None:
        checking.contact_sheet(dataset, sheet)
        files["sheet"] = str(sheet)
        options.say(f"contact sheet: {sheet}")
    problems = found["problems"]
    if json:
        told = [*problems, *found["warnings"]]
        document = options.document("data check", files=files, warnings=told)
        options.emit({**document, "check": found})
    if problems:
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
app.command("phantom")(options.command(phantom))
