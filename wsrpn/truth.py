"""Whether the runs of a comparison were tested on the same images with the same truth."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from wsrpn.compare import Entry
from wsrpn.errors import InputError, counted
from wsrpn.types import Dataset, Record


@dataclass(frozen=True)
class Judged:
    """The answers of one run beside what they are held against.

    Attributes:
        entry: its answers.
        dataset: their truth, with the classes of the run.
        source: data that the run was trained on, "" for a file.
    """

    entry: Entry
    dataset: Dataset
    source: str


def refuse_other(first: Judged, other: Judged, *, images: str = "all") -> None:
    """Stop where two runs were not tested on the same images with the same truth.

    With `listed` they may have other images. Data of one name may be read in two ways; `notes` says
    so, because then the user chose it.

    Raises:
        InputError: names both runs, and both data where these differ.
    """
    a, b = ({record.id for record in run.dataset.records} for run in (first, other))
    names = f"{first.entry.name} and {other.entry.name}"
    sources = [run.dataset.name for run in (first, other)]
    apart = sources[0] != sources[1]
    trained = f"{names} were trained on {' and '.join(sources)}, which have"
    if images == "all" and a != b:
        if apart:
            raise InputError(
                f"{trained} different test images ({counted(len(a), 'image')} and {len(b)}); name "
                "data that all are to be tested on with --data."
            )
        raise InputError(
            f"{names} have different test images ({len(a)} and {len(b)}, {len(a & b)} in common): "
            "they were split in different ways. Name data that none of them was trained on with "
            "--data, or train them on one split."
        )
    found = unlike(first.dataset, other.dataset) if apart else None
    if found is not None:
        what, name = found
        raise InputError(f"{trained} other {what} of '{name}'; name one of them with --data.")


def unlike(first: Dataset, other: Dataset) -> tuple[str, str] | None:
    """`labels` or `boxes` and the first image where two data sets do not say the same, or None.

    Only images and classes that both have are looked at; unknown is not the same as absent.
    """
    both = [name for name in first.classes if name in other.classes]
    mine, theirs = ([data.classes.index(name) for name in both] for data in (first, other))
    records = {record.id: record for record in other.records}
    for record in first.records:
        twin = records.get(record.id)
        if twin is None or twin is record:
            continue
        if _labels(record, mine) != _labels(twin, theirs):
            return "labels", record.id
        if _boxes(record, mine) != _boxes(twin, theirs):
            return "boxes", record.id
    return None


def _labels(record: Record, places: list[int]) -> list[float | None]:
    values = (float(record.labels[place]) for place in places)
    return [None if value != value else value for value in values]  # nan is not equal to nan


def _boxes(record: Record, places: list[int]) -> tuple[bool, list[Any]]:
    here = [(places.index(b.label), b.xyxy_px) for b in record.boxes if b.label in places]
    return record.boxes_known, sorted(here)


def truth(found: Sequence[Judged]) -> Dataset:
    """The data of the first run, or of one that knows more of the classes that all runs know."""
    common = set.intersection(*(set(run.entry.predictions.classes) for run in found))
    return max((run.dataset for run in found), key=lambda data: len(common & set(data.classes)))


def notes(found: Sequence[Judged], chosen: Dataset) -> list[str]:
    """What must be said of runs that were trained on other data, or that read them otherwise.

    Args:
        found: the runs, the first of which the others are held against.
        chosen: the truth by which all are scored.
    """
    told = []
    several = len({run.source for run in found} - {""}) > 1
    scorer = next(run.entry.name for run in found if run.dataset is chosen)
    for run in found:
        if several and run.source not in ("", chosen.name):
            own = "" if run.dataset.name == chosen.name else " and answers for its pictures"
            told.append(
                f"{run.entry.name} was trained on {run.source}{own}; scored on {chosen.name}."
            )
        other = unlike(found[0].dataset, run.dataset) if run is not found[0] else None
        if other is not None:  # of one name, else it was refused
            told.append(
                f"{found[0].entry.name} and {run.entry.name} read the {other[0]} of {chosen.name} "
                f"in other ways ('{other[1]}'); scored by what {scorer} reads."
            )
    return told
