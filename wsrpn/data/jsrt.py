"""JSRT (Shiraishi et al., 2000): 154 radiographs with one nodule each and 93 without.

    JPCLN001.IMG … (a nodule), JPCNN001.IMG … (none)    2048 × 2048, 12 bits, no header
    CLNDAT_EN.txt    file, subtlety, size, age, sex, x, y, malignancy, place, diagnosis; by tabs,
                     lines end with a carriage return alone
    CNNDAT_EN.TXT    file, age, sex, non-nodule; by blanks
    jsrt_metadata.csv and JPCLN001.png …                the same on Kaggle

Pictures may lie anywhere below the folder, as .IMG or as PNG of any size. The centre of a nodule is
given on the grid of the original and its diameter in millimetres (0.175 to a pixel): the box is the
square around that circle.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from wsrpn.data import lookup, tables
from wsrpn.data.base import datasets
from wsrpn.data.lookup import Corners
from wsrpn.data.manifest import number
from wsrpn.errors import InputError
from wsrpn.types import Box, Dataset, Record

CLASSES = ("Nodule",)
NODULES, NORMALS, KAGGLE = "CLNDAT_EN.*", "CNNDAT_EN.*", "jsrt_metadata.csv"
FRAME_PX = (2048, 2048)
MM_PER_PX = 0.175
_NAME = re.compile(r"^JPC(LN|NN)\d{3}$")
_COLUMNS = (
    "image", "subtlety", "size_mm", "age", "sex", "x", "y", "malignancy", "place", "diagnosis",
)  # fmt: skip
_KAGGLE = {
    "image": "study_id", "subtlety": "subtlety", "size_mm": "size", "age": "age", "sex": "gender",
    "x": "x", "y": "y", "malignancy": "state", "place": "position", "diagnosis": "diagnosis",
}  # fmt: skip
_EXTRA = ("age", "sex", "subtlety", "size_mm", "malignancy", "place", "diagnosis")


@dataclass(frozen=True)
class _Case:
    """What the clinical tables say of one image."""

    where: str
    cells: Mapping[str, str]


@datasets.register("jsrt", marker=(KAGGLE, NODULES, f"*/{NODULES}", "JPCLN*.*", "*/JPCLN*.*"))
def jsrt(*, root: Path) -> Dataset:
    """JSRT: Nodule, each with its box; one image per patient.

    Args:
        root: the folder with the images and clinical tables, in folders of their own or not.

    Returns:
        The name of a file says whether there is a nodule. Without a row in the clinical tables its
        box is unknown. Age, sex, subtlety (1 to 5) and diagnosis are kept in `extra`.

    Raises:
        InputError: no image of JSRT, or a fault of the tables, with file and line.
    """
    cases = _cases(root)
    found = lookup.below(root)
    names = sorted(name for name in found.paths if _NAME.match(name))
    if not names:
        raise InputError(f"{root}: no JPCLN001.IMG … or JPCNN001.IMG …, nor PNG of that name.")
    records = tuple(_record(name, found.paths[name], cases.get(name)) for name in names)
    counts = {
        "images of the clinical tables without a file, left out": len(cases.keys() - set(names)),
        "images with a nodule that is not in the clinical tables: box unknown": (
            sum(not record.boxes_known for record in records)
        ),
        "further image files of a name that was taken, left out": found.repeated,
    }
    return Dataset(str(root), CLASSES, records, lookup.counted(counts))


def _cases(root: Path) -> dict[str, _Case]:
    found: dict[str, _Case] = {}
    for case in _rows(root):
        name = lookup.stem(case.cells["image"])
        if not _NAME.match(name):
            raise InputError(f"{case.where}: '{case.cells['image']}' is no name of JSRT.")
        if name in found:
            raise InputError(f"{case.where}: '{name}' stands already in {found[name].where}.")
        found[name] = case
    return found


def _rows(root: Path) -> Iterator[_Case]:
    if (root / KAGGLE).is_file():
        table = tables.read(root / KAGGLE, required=tuple(_KAGGLE.values()))
        for row in table.rows:
            yield _Case(table.where(row), {ours: row[theirs] for ours, theirs in _KAGGLE.items()})
        return
    for path in sorted([*root.glob(NODULES), *root.glob(f"*/{NODULES}")]):
        for where, line in _lines(path):
            cells = [cell.strip() for cell in line.split("\t")]
            if len(cells) < len(_COLUMNS) or any(cells[len(_COLUMNS) :]):
                raise InputError(f"{where}: {len(cells)} cells, ten were expected, by tabs.")
            yield _Case(where, dict(zip(_COLUMNS, cells, strict=False)))
    for path in sorted([*root.glob(NORMALS), *root.glob(f"*/{NORMALS}")]):
        for where, line in _lines(path):
            image, age, sex, *_ = [*line.split(), "", ""]
            yield _Case(where, {"image": image, "age": age, "sex": sex})


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """Lines that are not blank, whatever ends them; free text may hold any bytes."""
    text = path.read_bytes().decode("utf-8-sig", "replace")
    for position, line in enumerate(re.split(r"\r\n|\r|\n", text), start=1):
        if line.strip():
            yield f"{path}:{position}", line


def _record(name: str, path: Path, case: _Case | None) -> Record:
    nodule = "LN" in name
    boxes: tuple[Box, ...] = ()
    if nodule and case:
        factors = lookup.scale(path, FRAME_PX)
        boxes = (Box(0, lookup.scaled(_square(case), factors)),)
    cells = case.cells if case else {}
    return Record(
        id=name,
        path=path,
        patient=name,
        labels=(float(nodule),),
        boxes=boxes,
        boxes_known=bool(boxes) or not nodule,
        extra={key: _said(cells.get(key, "")) for key in _EXTRA},
    )


def _square(case: _Case) -> Corners:
    """The box around the circle that the table gives."""
    keys = ("x", "y", "size_mm")
    x, y, size = (number(case.cells.get(key, ""), f"{case.where}: {key}") for key in keys)
    if size <= 0:
        raise InputError(f"{case.where}: size {size:g} mm must be positive.")
    half = size / MM_PER_PX / 2
    return (x - half, y - half, x + half, y + half)


def _said(cell: str) -> str:
    return "" if cell == "?" else cell
