"""The project's own format: a CSV of images, and beside it a CSV of boxes.

`images.csv` (boxes in `boxes.csv`) or `NAME.csv` (boxes in `NAME.boxes.csv`) with the column
`image` and optionally `patient`, `split`, `labels`, `unknown`, `text`, `mask`, `drr`,
`boxes_known`. Names in a cell are joined by `|`; `*` in `unknown` stands for every class that
`labels` does not name. An empty `labels` cell says that the image is known to have none; a table
without the column knows nothing. All other columns are kept in `Record.extra`.

`classes.csv` (or `NAME.classes.csv`) with the one column `label` may name the classes: it gives
their order, keeps those that no image has, and makes any other name a fault. Without it the classes
are the names that occur, sorted.
"""

import math
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from difflib import get_close_matches
from pathlib import Path

from wsrpn.data import labels as policies
from wsrpn.data import splits, tables
from wsrpn.data.base import datasets
from wsrpn.errors import InputError, nearest
from wsrpn.types import Box, Dataset, Record

COLUMNS = (
    "image", "patient", "split", "labels", "unknown", "text", "mask", "drr", "boxes_known",
)  # fmt: skip
BOX_COLUMNS = ("image", "label", "x", "y", "width", "height")
_YES_NO = {"yes": True, "no": False}

NamedBox = tuple[str, tuple[float, float, float, float]]


@datasets.register("manifest", marker="images.csv")
def manifest(*, root: Path, uncertain: policies.Uncertain = "unknown") -> Dataset:
    """Read a manifest.

    Args:
        root: the CSV, or the folder with `images.csv`.
        uncertain: what a name in `unknown` becomes; `*` stays unknown.

    Returns:
        Classes are those of the class table, else all names in `labels`, `unknown` and the boxes,
        sorted; labels of a class that only boxes name are unknown, because boxes are for evaluation
        and never make a label. Where
        `boxes_known` is not said, the boxes of an image are known if a box table exists and the
        image has a box or no finding; a finding without any box would otherwise count against
        every detector.

    Raises:
        InputError: with file and line, for every fault of the tables.
    """
    path = root / "images.csv" if root.is_dir() else root
    table = tables.read(path, required=("image",))
    declared = _declared(classes_path(path), table)
    named = _named(table) | set(declared or ())
    boxes, notes = _read_boxes(boxes_path(path), table, named)
    boxed = {name for found in (boxes or {}).values() for name, _ in found}
    classes = tuple(sorted(named | boxed)) if declared is None else declared
    seen: dict[str, int] = {}
    records = []
    for row in table.rows:
        where = table.where(row)
        if row["image"] in seen:
            raise InputError(
                f"{where}: image '{row['image']}' stands already in line {seen[row['image']]}."
            )
        seen[row["image"]] = row.line
        records.append(_record(row, where, path.parent, classes, boxes, named, uncertain))
    notes += _notes(table, records, boxes, boxed - named)
    notes += policies.doubts(classes) + (policies.commas(classes) if declared is None else [])
    return Dataset(str(root), classes, tuple(records), tuple(notes))


def boxes_path(path: Path) -> Path:
    """Where the boxes of a manifest lie: `boxes.csv` for `images.csv`, else `NAME.boxes.csv`."""
    name = "boxes.csv" if path.name == "images.csv" else f"{path.stem}.boxes.csv"
    return path.with_name(name)


def classes_path(path: Path) -> Path:
    """Where the classes may lie: `classes.csv` for `images.csv`, else `NAME.classes.csv`."""
    name = "classes.csv" if path.name == "images.csv" else f"{path.stem}.classes.csv"
    return path.with_name(name)


def _declared(path: Path, images: tables.Table) -> tuple[str, ...] | None:
    """The classes that a table names, or None without one."""
    if not path.is_file():
        return None
    table = tables.read(path, required=("label",))
    names = tuple(row["label"].strip() for row in table.rows)
    for row, name in zip(table.rows, names, strict=True):
        if name in {"", "*"} or names.count(name) > 1:
            fault = "stands twice" if names.count(name) > 1 else "is no name of a class"
            raise InputError(f"{table.where(row)}: '{name}' {fault}.")
    for row in images.rows:
        for name in {*_names(row.get("labels")), *_names(row.get("unknown"))} - {"*", *names}:
            raise InputError(
                f"{images.where(row)}: '{name}' is not in {path.name}. {nearest(name, names)}"
            )
    return names


def _record(
    row: tables.Row,
    where: str,
    root: Path,
    classes: tuple[str, ...],
    boxes: Mapping[str, Sequence[NamedBox]] | None,
    named: Set[str],
    uncertain: policies.Uncertain,
) -> Record:
    image = row["image"]
    values = _labels(row, where, classes, named, uncertain)
    found = () if boxes is None else tuple(boxes.get(image, ()))
    said = row.get("boxes_known").lower()
    if said not in {"", *_YES_NO}:
        raise InputError(f"{where}: boxes_known '{said}' is unknown; use yes or no.")
    free = all(v == 0 for v, name in zip(values, classes, strict=True) if name in named)
    clear = bool(found) or free or "labels" not in row.cells
    return Record(
        id=image,
        path=tables.inside(root, image, where=where),
        patient=row.get("patient") or image,
        labels=values,
        split=splits.parse(row["split"], where=where) if row.get("split") else None,
        boxes=tuple(Box(classes.index(name), corners) for name, corners in found),
        boxes_known=_YES_NO[said] if said else boxes is not None and clear,
        text=row.get("text"),
        mask=_beside(row.get("mask"), root, where),
        drr=_beside(row.get("drr"), root, where),
        extra={name: cell for name, cell in row.cells.items() if name not in COLUMNS},
    )


def _beside(cell: str, root: Path, where: str) -> Path | None:
    return tables.inside(root, cell, where=where) if cell else None


def _names(cell: str) -> list[str]:
    return [name.strip() for name in cell.split("|") if name.strip()]


def _labels(
    row: tables.Row,
    where: str,
    classes: tuple[str, ...],
    named: Set[str],
    uncertain: policies.Uncertain,
) -> tuple[float, ...]:
    if "labels" not in row.cells:
        return (math.nan,) * len(classes)
    present, unsure = _names(row["labels"]), _names(row.get("unknown"))
    both = sorted(set(present) & set(unsure))
    if both:
        raise InputError(f"{where}: '{both[0]}' stands in labels and in unknown.")
    base = math.nan if "*" in unsure else 0.0
    values = {name: base if name in named else math.nan for name in classes}
    values |= {name: policies.value("uncertain", uncertain=uncertain) for name in unsure}
    values |= dict.fromkeys(present, 1.0)
    return tuple(values[name] for name in classes)


def _read_boxes(
    path: Path, images: tables.Table, named: Set[str]
) -> tuple[dict[str, list[NamedBox]] | None, list[str]]:
    if not path.is_file():
        return None, []
    table = tables.read(path, required=BOX_COLUMNS)
    known = {row["image"] for row in images.rows}
    only = classes_path(images.path).is_file()  # then no name may come from the boxes alone
    spelled: Counter[str] = Counter()
    found: dict[str, list[NamedBox]] = defaultdict(list)
    for row in table.rows:
        where = table.where(row)
        if row["image"] not in known:
            raise InputError(f"{where}: no image '{row['image']}' in {images.path.name}.")
        name = row["label"].strip()
        other = policies.SPELLINGS.get(name, name)
        if name not in named and other in named:
            spelled[name] += 1
            name = other
        strange = name not in named and (only or get_close_matches(name, named, cutoff=0.8))
        if not name or strange:
            raise InputError(
                f"{where}: no row of {images.path.name} has the label '{name}'. "
                f"{nearest(name, named)}"
            )
        found[row["image"]].append((name, corners(row, where=where)))
    notes = [
        f"{path.name}: {count} boxes called '{name}' are read as '{policies.SPELLINGS[name]}'."
        for name, count in spelled.items()
    ]
    return found, notes


def _named(images: tables.Table) -> set[str]:
    """Names that the image table uses; boxes may bring others, but not misspelt ones."""
    names: set[str] = set()
    for row in images.rows:
        names.update(_names(row.get("labels")), _names(row.get("unknown")))
    return names - {"*"}


def corners(row: tables.Row, *, where: str) -> tuple[float, float, float, float]:
    """Corners from the columns x, y, width, height, in pixels.

    Raises:
        InputError: a cell that is no finite number, or a size that is not positive.
    """
    x, y, width, height = (number(row[name], f"{where}: {name}") for name in BOX_COLUMNS[2:])
    if width <= 0 or height <= 0:
        raise InputError(f"{where}: width {width:g} and height {height:g} must be positive.")
    return (x, y, x + width, y + height)


def number(cell: str, where: str) -> float:
    """A finite number from a cell.

    Raises:
        InputError: it is none.
    """
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"{where} '{cell}' is not a finite number.")
    return value


def _notes(
    table: tables.Table,
    records: Sequence[Record],
    boxes: Mapping[str, object] | None,
    unlabelled: Set[str],
) -> list[str]:
    notes = _misspelt(table.columns)
    drawn = sum(record.mask is not None for record in records)
    if "labels" not in table and (not drawn or 2 * drawn < len(records)):
        # Said only where masks are not what is learned from.
        notes.append(f"{table.path.name} has no column 'labels': all labels are unknown.")
    elif unlabelled:
        names = ", ".join(sorted(unlabelled))
        notes.append(f"Only boxes name {names}: these labels are unknown everywhere.")
    if boxes is None:
        return notes
    said = "boxes_known" in table
    missing = sum(not record.boxes_known for record in records)
    if missing and not said:
        notes.append(
            f"{missing} images have a finding (or may) but no box: no box figures of them."
        )
    return notes


def _misspelt(columns: Sequence[str]) -> list[str]:
    """Notes on columns whose names are near one that the table lacks."""
    lacking = [name for name in COLUMNS if name not in columns]
    near = {
        name: get_close_matches(name.lower(), lacking, n=1, cutoff=0.8)
        for name in columns
        if name not in COLUMNS
    }
    return [
        f"column '{name}' has no meaning here: did you mean '{found[0]}'?"
        for name, found in near.items()
        if found
    ]


def write(dataset: Dataset, path: Path) -> None:
    """Write a manifest, its classes and its boxes; `manifest` reads the same data set back.

    Args:
        dataset: its files lie below the folder of `path`.
        path: the CSV to write; the classes and boxes go beside it.

    Raises:
        InputError: what a manifest cannot say: a file outside that folder, an image twice, a class
            name with `|` in it, a label that is not 1, 0 or unknown, a column with the name of one
            of the manifest's own.
    """
    extra = sorted({key for record in dataset.records for key in record.extra})
    _refuse_unwritable(dataset, extra)
    lines = [_line(record, dataset.classes, path.parent, extra) for record in dataset.records]
    twice = [name for name, count in Counter(line[0] for line in lines).items() if count > 1]
    if twice:
        raise InputError(f"{twice[0]} is the file of two images; a manifest has each file once.")
    boxes = [
        line for record in dataset.records for line in _box_lines(record, dataset.classes, path)
    ]
    # The manifest last: whoever finds it finds what belongs to it.
    if dataset.classes:
        tables.write(classes_path(path), ("label",), [(name,) for name in dataset.classes])
    tables.write(boxes_path(path), BOX_COLUMNS, boxes)
    tables.write(path, (*COLUMNS, *extra), lines)


def _refuse_unwritable(dataset: Dataset, extra: Sequence[str]) -> None:
    for name in dataset.classes:
        if "|" in name or name.strip() != name or name in {"", "*"}:
            raise InputError(f"class '{name}' cannot be written into a manifest; rename it.")
    for key in extra:
        if key in COLUMNS or key.strip() != key or not key:
            raise InputError(f"column '{key}' cannot be written into a manifest; rename it.")
    refuse_soft_labels(dataset)


def refuse_soft_labels(dataset: Dataset) -> None:
    """Stop where a label is neither 1 nor 0 nor unknown, for formats that know nothing else.

    Raises:
        InputError: names the image and the label.
    """
    for record in dataset.records:
        for value in record.labels:
            if value not in (0, 1) and not math.isnan(value):
                raise InputError(f"{record.id}: the label {value:g} is not 1, 0 or unknown.")


def _line(record: Record, classes: Sequence[str], root: Path, extra: Iterable[str]) -> list[str]:
    present = [n for n, value in zip(classes, record.labels, strict=True) if value == 1]
    unknown = [n for n, value in zip(classes, record.labels, strict=True) if math.isnan(value)]
    # Nothing known at all is no uncertain label, and no policy on those may touch it.
    unknown = ["*"] if unknown and len(unknown) == len(classes) else unknown
    return [
        relative(record.path, root), record.patient, record.split or "", "|".join(present),
        "|".join(unknown), record.text, relative(record.mask, root), relative(record.drr, root),
        "yes" if record.boxes_known else "no", *(record.extra.get(key, "") for key in extra),
    ]  # fmt: skip


def _box_lines(record: Record, classes: Sequence[str], path: Path) -> list[list[str]]:
    image = relative(record.path, path.parent)
    lines = []
    for box in record.boxes:
        x1, y1, x2, y2 = box.xyxy_px
        lines.append([image, classes[box.label], *map(repr, (x1, y1, x2 - x1, y2 - y1))])
    return lines


def relative(path: Path | None, root: Path) -> str:
    """A path as a manifest in `root` writes it; "" for None.

    Raises:
        InputError: it does not lie below `root`.
    """
    if path is None:
        return ""
    # Lexically, so that a link to an image stays the name of that link.
    inside = os.path.relpath(path.absolute(), root.absolute())
    if inside.startswith(".."):
        raise InputError(f"{path} does not lie below {root}; a manifest names files beside it.")
    return Path(inside).as_posix()
