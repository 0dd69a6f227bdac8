"""The table of slides, `slides.csv`: patients, splits, annotations, and what else is known.

One row a slide. `slide` (or `wsi_id`, `slide_id`) is the only column that must be there; known are
`patient`, `split`, `annotation` (or `mask`, `truth_mask`), `label` (normal or tumor), `tissue` (or
`tissue_mask`), `thumbnail`, `file`, `mpp`, `width_px0`, `height_px0`, `offset_x`, `offset_y`,
`origin` (slide or bounds: where coordinates of the annotation count from), `mask_values` (those of
tumour) and `exhaustive` (yes or no). All others are kept in `Slide.extra`. Paths are relative to
the table and never leave its folder, unless WSRPN_SLIDES opens further ones (see `roots`): then
those of annotation, tissue, thumbnail and file may be absolute or links into one of these, or
relative to one of them. A folder of annotations named like their slides does as well.
"""

import csv
import io
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from wsrpn.errors import InputError, counted, nearest
from wsrpn.slides import camelyon16, outlines, roots
from wsrpn.slides.facts import MPP_UM
from wsrpn.tiles import Slide

NAME = "slides.csv"
_COLUMNS: Mapping[str, Sequence[str]] = {
    "slide": ("slide", "wsi_id", "slide_id"),
    "patient": ("patient",),
    "split": ("split",),
    "annotation": ("annotation", "mask", "truth_mask"),
    "label": ("label",),
    "tissue": ("tissue", "tissue_mask"),
    "thumbnail": ("thumbnail",),
    "file": ("file",),
    "mpp": ("mpp",),
    "width": ("width_px0", "width"),
    "height": ("height_px0", "height"),
    "offset_x": ("offset_x",),
    "offset_y": ("offset_y",),
    "exhaustive": ("exhaustive",),
}
# What tables say of a slide or a tile → whether it is tumour.
LABELS = {
    **dict.fromkeys(("normal", "negative", "0"), False),
    **dict.fromkeys(("tumor", "tumour", "metastasis", "positive", "1"), True),
}
_YES_NO = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
_ORIGINS = ("slide", "bounds")
_SPLITS = ("train", "val", "test")
# What CAMELYON's masks have behind the name of their slide.
_ENDING = re.compile(r"(_evaluation)?_mask$", re.IGNORECASE)


def read(path: str | Path) -> dict[str, Slide]:
    """Read a table of slides.

    Args:
        path: the CSV, a folder with `slides.csv`, a folder of annotations; `slides:` may stand in
            front.

    Returns:
        Name → slide, in the order of the table. A slide of CAMELYON16's list of those that are not
        exhaustively annotated is so marked unless the table says otherwise.

    Raises:
        InputError: names the file, the row and the column.
    """
    place = Path(str(path).removeprefix("slides:")).expanduser()
    if place.is_dir():
        return _rows(place / NAME) if (place / NAME).exists() else _folder(place)
    return _rows(place)


def _folder(folder: Path) -> dict[str, Slide]:
    """The slides whose annotations lie in a folder."""
    found: dict[str, Slide] = {}
    for path in sorted(folder.iterdir()):
        ending = next((s for s in sorted(outlines.SUFFIXES) if path.name.lower().endswith(s)), "")
        if not ending or not path.is_file() or path.name.startswith("."):
            continue
        name = _ENDING.sub("", path.name[: -len(ending)].removesuffix(".geojson"))
        if name in found:
            raise InputError(
                f"{folder}: {path.name} and {found[name].annotation.name} are both of slide "  # type: ignore[union-attr]
                f"{name}; name one of them in {NAME}."
            )
        whole = camelyon16.exhaustive(name)
        found[name] = Slide(name, name, annotation=path, exhaustive=whole)
    if not found:
        raise InputError(f"{folder}: neither {NAME} nor annotations (.xml, .geojson, .json, .tif).")
    return found


def _rows(path: Path) -> dict[str, Slide]:
    table = _cells(path)
    found: dict[str, Slide] = {}
    lines: dict[str, int] = {}
    for line, cells in table:
        where = f"{path}:{line}"
        slide = _slide(cells, where, path.parent)
        if slide.id in found:
            raise InputError(
                f"{where}: slide '{slide.id}' stands already in line {lines[slide.id]}."
            )
        found[slide.id], lines[slide.id] = slide, line
    if not found:
        raise InputError(f"{path}: a header but no slide.")
    return found


def _cells(path: Path) -> list[tuple[int, dict[str, str]]]:
    """Line number and cells by column of every row that is not blank."""
    try:
        text = io.StringIO(path.read_bytes().decode("utf-8-sig"), newline="")
        reader = csv.reader(text, strict=True)
        rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if any(row)]
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; a table of slides was expected.") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not UTF-8 text; save the table as UTF-8.") from None
    except (OSError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as CSV ({error}).") from None
    if not rows:
        raise InputError(f"{path}: the file is empty; a CSV with a header was expected.")
    header = rows[0][1]
    _check_header(path, header)
    for line, row in rows[1:]:
        if len(row) != len(header):
            raise InputError(
                f"{path}:{line}: {counted(len(row), 'cell')}, but the header has {len(header)}. "
                "Quote a cell that contains a comma."
            )
    return [(line, dict(zip(header, row, strict=True))) for line, row in rows[1:]]


def _check_header(path: Path, header: list[str]) -> None:
    repeated = sorted({name for name in header if header.count(name) > 1})
    if repeated:
        raise InputError(f"{path}:1: column '{repeated[0]}' stands twice in the header.")
    if any(name in header for name in _COLUMNS["slide"]):
        return
    for sign, name in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
        if len(header) == 1 and sign in header[0]:
            raise InputError(f"{path}:1: separated by {name}; save the table with commas.")
    raise InputError(f"{path}:1: no column 'slide'. {nearest('slide', header)}")


def _slide(cells: Mapping[str, str], where: str, root: Path) -> Slide:
    said = {name: _said(cells, columns) for name, columns in _COLUMNS.items()}
    name = said["slide"]
    if not name:
        raise InputError(f"{where}: the name of the slide is empty.")
    paths = {
        key: roots.inside(root, said[key], where) if said[key] else None
        for key in ("annotation", "tissue", "thumbnail", "file")
    }
    known = {column for columns in _COLUMNS.values() for column in columns}
    extra = {column: cell for column, cell in cells.items() if column not in known}
    if said["split"] not in ("", *_SPLITS):
        raise InputError(f"{where}: split '{said['split']}' is unknown; use train, val or test.")
    if extra.get("origin", "") not in ("", *_ORIGINS):
        raise InputError(f"{where}: origin '{extra['origin']}' is unknown; use slide or bounds.")
    if said["offset_x"] or said["offset_y"]:
        extra["origin"] = "slide"  # a number counts, even 0
    whole = said["exhaustive"]
    return Slide(
        id=name,
        patient=said["patient"] or name,
        split=said["split"] or None,
        normal=bool(said["label"]) and not _word(said["label"], "label", LABELS, where),
        exhaustive=_word(whole, "exhaustive", _YES_NO, where) if whole
        else camelyon16.exhaustive(name),
        mpp=_mpp(said["mpp"], where) if said["mpp"] else None,
        extent_px0=_extent(said, where),
        offset_px0=_offset(said, where),
        extra=extra,
        **paths,
    )  # fmt: skip


def _said(cells: Mapping[str, str], columns: Sequence[str]) -> str:
    """The first of several columns of one meaning that is not empty."""
    return next((cells[name] for name in columns if cells.get(name)), "")


def _word(cell: str, column: str, known: Mapping[str, bool], where: str) -> bool:
    if cell.lower() not in known:
        raise InputError(f"{where}: {column} '{cell}' is unknown. {nearest(cell, known)}")
    return known[cell.lower()]


def _number(cell: str, column: str, where: str, *, least: float = -math.inf) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value <= least:
        raise InputError(f"{where}: {column} '{cell}' is no number{' above 0' * (least == 0)}.")
    return value


def _mpp(cell: str, where: str) -> float:
    value = _number(cell, "mpp", where, least=0.0)
    if not MPP_UM[0] <= value <= MPP_UM[1]:
        raise InputError(
            f"{where}: mpp '{cell}' is no resolution of a slide; give micrometres per pixel, "
            f"{MPP_UM[0]:g} to {MPP_UM[1]:g}."
        )
    return value


def _extent(said: Mapping[str, str], where: str) -> tuple[int, int] | None:
    given = [name for name in ("width", "height") if said[name]]
    if not given:
        return None
    if len(given) == 1:
        raise InputError(f"{where}: {given[0]} alone; give width_px0 and height_px0.")
    wide, high = (_number(said[name], name, where, least=0.0) for name in given)
    if wide != round(wide) or high != round(high):
        raise InputError(f"{where}: width and height must be whole pixels of the slide.")
    return int(wide), int(high)


def _offset(said: Mapping[str, str], where: str) -> tuple[float, float]:
    x, y = (_number(said[name] or "0", name, where) for name in ("offset_x", "offset_y"))
    return x, y
