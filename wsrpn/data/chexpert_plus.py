"""CheXpert Plus (Chambon et al., 2024): reports of CheXpert's images, and labels made from them."""

import json
from collections.abc import Mapping
from pathlib import Path

from wsrpn.data import chexpert_files, tables
from wsrpn.data.chexpert_labels import columns
from wsrpn.errors import InputError

# In the order of a report. Accession numbers and the like are no text about the image, nor are
# `end_of_impression` (who has read it) and `summary` (a code such as 2-ABNORMAL).
SECTIONS = (
    "narrative", "clinical_history", "history", "comparison", "technique", "procedure_comments",
    "findings", "impression",
)  # fmt: skip


def table(folder: Path) -> Path | None:
    """The table of reports in a folder, the newest where there are several."""
    return max(folder.glob("df_chexpert_plus_*.csv"), default=None)


def reports(path: Path) -> dict[str, str]:
    """Report of each image by its key (see `chexpert_files.Name`).

    A report is put together from its `section_…` columns, each under its heading in capitals on a
    line of its own; where all are empty it is the column `report` as it stands.

    Raises:
        InputError: a missing column or a path that CheXpert does not have.
    """
    found: dict[str, str] = {}
    for row in tables.each(path, required=("path_to_image", "report")):
        where = f"{path}:{row.line}"
        key = chexpert_files.parse(row["path_to_image"], where=where).key
        parts = ((name, row.get(f"section_{name}").strip()) for name in SECTIONS)
        text = "\n\n".join(
            f"{name.replace('_', ' ').upper()}: {body}" for name, body in parts if body
        )
        found[key] = text or row["report"].strip()
    return found


def marks(folder: Path, part: str) -> dict[str, Mapping[str, str]] | None:
    """Marks of each image by its key, as CheXbert read them from a part of the report.

    Args:
        folder: with `chexbert_labels/PART_fixed.json`, one JSON object a line, null for a finding
            that is not mentioned.
        part: report, findings or impression; None is returned for `csv`.

    Raises:
        InputError: no such file, or a line that is no such object.
    """
    if part == "csv":
        return None
    path = folder / "chexbert_labels" / f"{part}_fixed.json"
    if not path.is_file():
        raise InputError(
            f"{path}: no such file; the labels of CheXpert Plus were expected there, since no "
            "train.csv or valid.csv was to be used."
        )
    found: dict[str, Mapping[str, str]] = {}
    named: dict[str, str] = {}
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            where = f"{path}:{number}"
            one = _object(line, where)
            named = named or columns(one, where=where)
            key = chexpert_files.parse(str(one.get("path_to_image")), where=where).key
            found[key] = {name: _cell(one.get(column)) for name, column in named.items()}
    return found


def _object(line: bytes, where: str) -> dict[str, object]:
    try:
        one = json.loads(line)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{where}: not JSON ({error}); one object a line was expected.") from None
    if not isinstance(one, dict):
        raise InputError(f"{where}: no JSON object; one a line was expected.")
    return one


def _cell(value: object) -> str:
    return "" if value is None else str(value)
