"""NIH ChestX-ray14 (Wang et al., 2017) as it is downloaded.

    Data_Entry_2017.csv or Data_Entry_2017_v2020.csv    labels
    BBox_List_2017.csv                                  984 boxes of eight findings
    train_val_list.txt, test_list.txt                   one file name a line
    images_001/images/*.png … images_012/images/*.png   or one flat folder images/

Header and rows of the older table end with a comma, the header of the box list has nine fields and
its rows six, and `Infiltration` is called `Infiltrate` there: all is read by position.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from wsrpn.data import labels, tables
from wsrpn.data.base import datasets
from wsrpn.data.manifest import number
from wsrpn.errors import InputError, nearest
from wsrpn.types import Box, Dataset, Record, Split

CLASSES = (
    "Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Effusion", "Emphysema", "Fibrosis",
    "Hernia", "Infiltration", "Mass", "Nodule", "Pleural_Thickening", "Pneumonia", "Pneumothorax",
)  # fmt: skip
NO_FINDING = "No Finding"
LABEL_FILES = ("Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv")
_COLUMNS = (
    "image", "labels", "follow_up", "patient", "age", "sex", "view",
    "width", "height", "spacing_x", "spacing_y",
)  # fmt: skip
_EXTRA = ("follow_up", "age", "sex", "view")


@datasets.register("nih", marker="Data_Entry_2017*.csv")
def nih(*, root: Path) -> Dataset:
    """ChestX-ray14: fourteen findings, unlisted ones absent, boxes in pixels of the stored file.

    Args:
        root: the folder of the download.

    Returns:
        Training and validation images of the official list are `train`. Boxes are known of images
        in the box list and of those with `No Finding`; other findings have a place nobody drew.
        Rows whose file is not there are left out and counted, so a part of the twelve archives
        will do.

    Raises:
        InputError: a missing or faulty table, with file and line.
    """
    table = _label_file(root)
    files = {path.name: path for path in _images(root)}
    if not files:
        raise InputError(f"{root}: no images in images_001/images … images_012/images or images/.")
    boxes = _boxes(root / "BBox_List_2017.csv")
    split = _official_splits(root)
    records, seen, missing = [], set(), 0
    for line, row in _entries(table):
        name = row["image"]
        if name in seen:
            raise InputError(f"{table}:{line}: image '{name}' stands twice.")
        seen.add(name)
        if name not in files:
            missing += 1
            continue
        values = _values(row["labels"], f"{table}:{line}")
        records.append(_record(row, files[name], values, boxes.get(name, ()), split.get(name)))
    absent = sum(len(found) for name, found in boxes.items() if name not in files)
    counted = {
        f"images of {table.name} without a file, left out": missing,
        "image files without a row, left out": len(files.keys() - seen),
        "boxes of images that are not here": absent,
        "images in neither train_val_list.txt nor test_list.txt": (
            sum(record.split is None for record in records) if split else 0
        ),
    }
    notes = tuple(f"{count} {what}." for what, count in counted.items() if count)
    return Dataset(str(root), CLASSES, tuple(records), notes)


def _label_file(root: Path) -> Path:
    for name in LABEL_FILES:
        if (root / name).is_file():
            return root / name
    raise InputError(f"{root}: neither {' nor '.join(LABEL_FILES)} is in this folder.")


def _images(root: Path) -> Iterator[Path]:
    for folder in sorted([*root.glob("images_*/images"), root / "images"]):
        if folder.is_dir():
            yield from folder.glob("*.png")


def _entries(table: Path) -> Iterator[tuple[int, Mapping[str, str]]]:
    lines = tables.rows(table)
    first, header = next(lines)
    if header[0].strip() != "Image Index" or len(header) < len(_COLUMNS):
        raise InputError(
            f"{table}:{first}: the header must begin with 'Image Index' and have eleven columns."
        )
    for line, cells in lines:
        if len(cells) < len(_COLUMNS) or any(cells[len(_COLUMNS) :]):
            raise InputError(f"{table}:{line}: {len(cells)} cells, eleven were expected.")
        yield line, dict(zip(_COLUMNS, cells, strict=False))


def _values(cell: str, where: str) -> tuple[float, ...]:
    names = cell.split("|")
    for name in names:
        if name not in (*CLASSES, NO_FINDING):
            raise InputError(f"{where}: finding '{name}' is unknown. {nearest(name, CLASSES)}")
    if NO_FINDING in names and len(names) > 1:
        raise InputError(f"{where}: '{NO_FINDING}' stands beside a finding: '{cell}'.")
    return tuple(1.0 if name in names else 0.0 for name in CLASSES)


def _record(
    row: Mapping[str, str],
    path: Path,
    values: tuple[float, ...],
    boxes: Sequence[Box],
    split: Split | None,
) -> Record:
    return Record(
        id=row["image"],
        path=path,
        # The table writes 1 where the file name says 00000001; the name is always padded.
        patient=row["image"][:-8],
        labels=values,
        split=split,
        boxes=tuple(boxes),
        boxes_known=bool(boxes) or not any(values),
        extra={name: row[name] for name in _EXTRA},
    )


def _boxes(table: Path) -> dict[str, list[Box]]:
    found: dict[str, list[Box]] = defaultdict(list)
    if not table.is_file():
        return found
    lines = tables.rows(table)
    next(lines)
    for line, cells in lines:
        where = f"{table}:{line}"
        if len(cells) < 6 or any(cells[6:]):
            raise InputError(f"{where}: {len(cells)} cells, six were expected.")
        name = labels.SPELLINGS.get(cells[1], cells[1])
        if name not in CLASSES:
            raise InputError(f"{where}: finding '{name}' is unknown. {nearest(name, CLASSES)}")
        x, y, width, height = (number(cell, f"{where}: box") for cell in cells[2:6])
        if width <= 0 or height <= 0:
            raise InputError(f"{where}: width {width:g} and height {height:g} must be positive.")
        found[cells[0]].append(Box(CLASSES.index(name), (x, y, x + width, y + height)))
    return found


def _official_splits(root: Path) -> dict[str, Split]:
    lists: tuple[tuple[str, Split], ...] = (
        ("train_val_list.txt", "train"),
        ("test_list.txt", "test"),
    )
    found: dict[str, Split] = {}
    for name, split in lists:
        path = root / name
        if path.is_file():
            found |= dict.fromkeys(path.read_text("utf-8-sig").split(), split)
    counts = Counter(found.values())
    if len(counts) == 1:
        only = next(iter(counts))
        missing = next(name for name, split in lists if split != only)
        raise InputError(f"{root}: {missing} is missing or empty, but the other list is there.")
    return found
