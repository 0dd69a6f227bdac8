"""Who trains and who is tested: by patient, from hashes, whatever the order of the rows.

The patients are ranked by sha256 of (seed, patient) and cut where the shares of *images* are
reached. Nothing depends on the order of a set or on PYTHONHASHSEED (the fault of the original's
reader, whose validation set changed from run to run).
"""

import dataclasses
import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from wsrpn.data import tables
from wsrpn.errors import InputError
from wsrpn.types import SPLITS, Dataset, Record, Split

COLUMNS = ("image", "patient", "split")


def assign(dataset: Dataset, *, val_share: float, test_share: float, seed: int) -> Dataset:
    """Give every image a split; those that the source gives are kept.

    Images without one join the split of their patient where it has one. A source that has training
    images but none for validation gets them from its training patients, which is a training note.

    Args:
        dataset: any.
        val_share: share of the images for validation.
        test_share: share for testing, used only where the source gives no split at all.
        seed: of the ranking.

    Raises:
        InputError: the shares leave nothing to train on.
    """
    if val_share + test_share >= 1:
        raise InputError(
            f"data.val_share {val_share:g} and data.test_share {test_share:g} leave no training."
        )
    given = {record.patient: record.split for record in dataset.records if record.split}
    if not given:
        drawn = draw(_images_of(dataset.records), {"test": test_share, "val": val_share}, seed)
        return _told_of_val(_with(dataset, drawn, ()), val_share)
    notes = []
    late = [record for record in dataset.records if record.split is None]
    drawn = {p: given[p] for p in {record.patient for record in late} if p in given}
    if late:
        rest = [record for record in late if record.patient not in given]
        drawn |= draw(_images_of(rest), {"test": test_share, "val": val_share}, seed)
        notes.append(f"{len(late)} images without a split got one by patient.")
    dataset = _with(dataset, cast("Mapping[str, Split]", drawn), notes)
    return _carve_val(dataset, val_share, seed)


def _carve_val(dataset: Dataset, share: float, seed: int) -> Dataset:
    present = {record.split for record in dataset.records}
    if share == 0 or "train" not in present or "val" in present:
        return dataset
    train = [record for record in dataset.records if record.split == "train"]
    drawn = draw(_images_of(train), {"val": share}, seed)
    records = tuple(
        dataclasses.replace(r, split=drawn[r.patient]) if r.split == "train" else r
        for r in dataset.records
    )
    count = sum(record.split == "val" for record in records)
    note = f"No validation images in the source: {count} training images were taken, by patient."
    carved = dataclasses.replace(dataset, records=records)
    if count:
        return dataclasses.replace(carved, training_notes=(*dataset.training_notes, note))
    return _told_of_val(carved, share)


def _told_of_val(dataset: Dataset, share: float) -> Dataset:
    """The data set with a note where it was to have validation images and has none."""
    present = {record.split for record in dataset.records}
    if share == 0 or "train" not in present or "val" in present:
        return dataset
    # Two patients would have been divided.
    note = "Nothing is left for validation: all training images are of 1 patient."
    return dataclasses.replace(dataset, training_notes=(*dataset.training_notes, note))


def _images_of(records: Sequence[Record]) -> Counter[str]:
    return Counter(record.patient for record in records)


def _with(dataset: Dataset, drawn: Mapping[str, Split], notes: Sequence[str]) -> Dataset:
    records = tuple(
        r if r.split else dataclasses.replace(r, split=drawn[r.patient]) for r in dataset.records
    )
    return dataclasses.replace(dataset, records=records, notes=(*dataset.notes, *notes))


def draw(images: Mapping[str, int], shares: Mapping[Split, float], seed: int) -> dict[str, Split]:
    """Patients into splits, so that each split has its share of the images.

    Args:
        images: images per patient.
        shares: share of each split, filled in this order; the rest is `train`.
        seed: of the ranking.

    Returns:
        Patient → split. A split with a share gets at least one patient while another remains.

    Example:
        >>> draw({"a": 1, "b": 1, "c": 1, "d": 1}, {"test": 0.25}, seed=0)
        {'d': 'train', 'c': 'train', 'a': 'train', 'b': 'test'}
    """
    ranked = sorted(images, key=lambda patient: (_hash(seed, patient), patient))
    total, splits = sum(images.values()), {}
    for split, share in shares.items():
        wanted, have = share * total, 0
        while share > 0 and len(ranked) > 1:
            # A patient is taken while that brings the count nearer to the share than stopping.
            if have and have + images[ranked[-1]] / 2 > wanted:
                break
            patient = ranked.pop()
            splits[patient] = split
            have += images[patient]
    return {**dict.fromkeys(ranked, cast("Split", "train")), **splits}


def _hash(seed: int, patient: str) -> bytes:
    return hashlib.sha256(f"{seed}\0{patient}".encode()).digest()


def leaks(dataset: Dataset) -> list[str]:
    """Patients that are in more than one split, sorted."""
    seen: dict[str, set[str | None]] = defaultdict(set)
    for record in dataset.records:
        seen[record.patient].add(record.split)
    return sorted(patient for patient, splits in seen.items() if len(splits) > 1)


def refuse_leaks(dataset: Dataset) -> None:
    """Stop where a patient is in two splits; training calls this.

    Raises:
        InputError: names the first patients and their splits.
    """
    leaking = leaks(dataset)
    if not leaking:
        return
    named = []
    for patient in leaking[:3]:
        splits = {str(r.split) for r in dataset.records if r.patient == patient}
        named.append(f"{patient} ({', '.join(sorted(splits))})")
    more = f" and {len(leaking) - 3} more" if len(leaking) > 3 else ""
    raise InputError(
        f"{dataset.name}: patients in more than one split: {', '.join(named)}{more}. "
        "Put all images of a patient into one split."
    )


def write(dataset: Dataset, path: Path) -> str:
    """Write who is where as CSV, sorted by image. Returns the sha256 of the file."""
    lines = sorted((r.id, r.patient, r.split or "") for r in dataset.records)
    return tables.write(path, COLUMNS, lines)


def read(path: Path) -> dict[str, Split]:
    """Image → split, as `write` wrote it.

    Raises:
        InputError: not such a table, an unknown split, an image twice.
    """
    table = tables.read(path, required=COLUMNS)
    found: dict[str, Split] = {}
    for row in table.rows:
        if row["image"] in found:
            raise InputError(f"{table.where(row)}: image '{row['image']}' stands twice.")
        found[row["image"]] = parse(row["split"], where=table.where(row))
    return found


def seen(dataset: Dataset, path: Path) -> list[str]:
    """A sentence if images or patients of a training are in a data set, else nothing.

    Args:
        dataset: any; MS-CXR, for example, has images of MIMIC-CXR under the same ids.
        path: the splits of the training, as `write` wrote them.

    Raises:
        InputError: not such a table.
    """
    if not path.is_file():
        return [f"{path}: not there, so nobody knows whether images of the training are evaluated."]
    used = [row for row in tables.read(path, required=COLUMNS).rows if row["split"] != "test"]
    images, patients = ({row[column] for row in used} for column in ("image", "patient"))
    again = [r.id for r in dataset.records if r.id in images or r.patient in patients]
    if not again:
        return []
    return [
        f"{len(again)} of {len(dataset)} images have an id or a patient of the training or "
        "validation of this run, so figures may look better than they are: "
        f"{', '.join(again[:3])}{', …' if len(again) > 3 else ''}."
    ]


def restore(dataset: Dataset, kept: Mapping[str, Split]) -> Dataset:
    """The data set with the splits of before; new images of a known patient join that patient.

    Shares of a data set that has grown would move patients that were trained on into the test.

    Args:
        dataset: with splits.
        kept: image → split, as `read` gives it.
    """
    patients = {r.patient: kept[r.id] for r in dataset.records if r.id in kept}
    records = tuple(
        dataclasses.replace(r, split=kept.get(r.id, patients.get(r.patient, r.split)))
        for r in dataset.records
    )
    return dataclasses.replace(dataset, records=records)


def parse(cell: str, *, where: str) -> Split:
    """A split from a cell.

    Raises:
        InputError: it is none of train, val, test.
    """
    for split in SPLITS:
        if cell == split:
            return split
    raise InputError(f"{where}: split '{cell}' is unknown; use train, val or test.")
