"""The fourteen marks of the CheXpert labeler, which CheXpert and MIMIC-CXR-JPG share.

1.0 is present, 0.0 absent, -1.0 uncertain, and an empty cell says that the report does not mention
the finding. The authors take "not mentioned" for absent; whether it is stays the user's choice.
"""

from collections import Counter
from collections.abc import Collection, Mapping

from wsrpn.data import labels
from wsrpn.errors import InputError, nearest

CLASSES = (
    "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion", "Edema",
    "Consolidation", "Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion",
    "Pleural Other", "Fracture", "Support Devices",
)  # fmt: skip
NO_FINDING = "No Finding"
DEVICES = "Support Devices"
_MARKS: dict[str, labels.Mark] = {
    "1": "present", "1.0": "present", "0": "absent", "0.0": "absent",
    "-1": "uncertain", "-1.0": "uncertain", "": "blank",
}  # fmt: skip


def columns(header: Collection[str], *, where: str) -> dict[str, str]:
    """Class → column that has it, under either of its spellings; `No Finding` where it is there.

    Raises:
        InputError: a class has no column.
    """
    spelled = {labels.SPELLINGS.get(name, name): name for name in header}
    for name in CLASSES:
        if name not in spelled:
            raise InputError(f"{where}: no column '{name}'. {nearest(name, header)}")
    return {name: spelled[name] for name in (*CLASSES, NO_FINDING) if name in spelled}


class Marks:
    """Marks into labels by two named policies, with a count of what the policies decided.

    Args:
        uncertain: what an uncertain mark becomes.
        blank: what a finding that is not mentioned becomes. Where `No Finding` is present it is
            absent all the same, except for devices, of which `No Finding` says nothing.
    """

    def __init__(self, *, uncertain: labels.Uncertain, blank: labels.Blank) -> None:
        self.uncertain = uncertain
        self.blank = blank
        self.decided: Counter[labels.Mark] = Counter()

    def labels(self, cells: Mapping[str, str], *, where: str) -> tuple[float, ...]:
        """Labels in the order of `CLASSES`.

        Args:
            cells: class → what the table says.
            where: `file:line`, for the error.

        Raises:
            InputError: a cell that is none of 1, 0, -1 and empty.
        """
        free = _mark(cells.get(NO_FINDING, ""), f"{where}: {NO_FINDING}") == "present"
        found = []
        for name in CLASSES:
            mark = _mark(cells[name], f"{where}: {name}")
            if mark == "blank" and free and name != DEVICES:
                mark = "absent"
            self.decided[mark] += 1
            found.append(labels.value(mark, uncertain=self.uncertain, blank=self.blank))
        return tuple(found)

    def notes(self) -> list[str]:
        """What the policies decided, counted."""
        unsure, silent = self.decided["uncertain"], self.decided["blank"]
        told = (
            (unsure, f"uncertain: taken as {self.uncertain} (data.uncertain)"),
            (silent, f"not mentioned: taken as {self.blank} (data.blank)"),
        )
        return [f"{count} labels are {what}." for count, what in told if count]


def _mark(cell: str, where: str) -> labels.Mark:
    try:
        return _MARKS[cell.strip()]
    except KeyError:
        raise InputError(
            f"{where}: '{cell}' is none of 1 (present), 0 (absent), -1 (uncertain) and empty."
        ) from None
