"""Names of classes between data sets: which name here means what a model learned there.

A mapping says for a class of the model which classes of the data stand for it. Where several do,
the image has the class when it has any of them; it is known not to have it when it is known to have
none of them. Names that are spelt alike, or that are true synonyms, are mapped by themselves and
said in the notes. Names of another granularity are not: *Nodule/Mass* (VinDr-CXR) is neither
*Nodule* nor *Mass* (ChestX-ray14), *Lung Lesion* (CheXpert) is both and more, *Hernia* need not be
hiatal, and an *enlarged cardiac silhouette* on a bedside film is not yet *Cardiomegaly*. Whoever
wants them joined says so.
"""

import dataclasses
import math
import re
from collections.abc import Iterable, Mapping, Sequence

from wsrpn.errors import InputError, nearest
from wsrpn.types import Box, Dataset, Record

Pairs = Mapping[str, tuple[str, ...]]

# One line per finding: the same thing seen on a chest radiograph, whatever its level of certainty.
# ChestX-ray14 says Effusion, Edema, Fibrosis, Mass, Nodule; CheXpert, MIMIC-CXR and VinDr-CXR
# Pleural Effusion, Edema, Pulmonary fibrosis; PadChest pulmonary edema, pulmonary mass,
# infiltrates; Open-I MeSH terms (Pulmonary Atelectasis); CheXlocalize and the CheXpert labeler
# Airspace Opacity for what CheXpert's tables call Lung Opacity.
SYNONYMS: tuple[frozenset[str], ...] = tuple(
    frozenset(line)
    for line in (
        ("effusion", "pleural effusion", "pleural effusions"),
        ("edema", "oedema", "pulmonary edema", "pulmonary oedema"),
        ("fibrosis", "pulmonary fibrosis", "lung fibrosis"),
        ("infiltration", "infiltrate", "infiltrates"),
        ("mass", "pulmonary mass", "lung mass"),
        ("nodule", "pulmonary nodule", "lung nodule"),
        ("atelectasis", "pulmonary atelectasis"),
        ("consolidation", "pulmonary consolidation", "lung consolidation"),
        ("emphysema", "pulmonary emphysema"),
        ("hiatal hernia", "hiatus hernia", "hernia, hiatal"),
        ("lung opacity", "airspace opacity"),
        ("tuberculosis", "pulmonary tuberculosis"),
        ("enlarged pa", "enlarged pulmonary artery", "pulmonary artery enlargement"),
        ("ild", "interstitial lung disease"),
        ("copd", "chronic obstructive pulmonary disease"),
        ("other disease", "other diseases"),
        ("support devices", "support device"),
    )
)


def parse(texts: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """A mapping from `MODEL CLASS=DATA CLASS` as the command line takes it.

    A class may stand in several of them, and several data classes may be joined by `|`.

    Raises:
        InputError: not of this form, or a name twice.

    Example:
        >>> parse(["Effusion=Pleural Effusion", "Opacity=Consolidation|Infiltration"])
        {'Effusion': ('Pleural Effusion',), 'Opacity': ('Consolidation', 'Infiltration')}
    """
    found: dict[str, tuple[str, ...]] = {}
    for text in texts:
        name, equals, sources = text.partition("=")
        names = tuple(part.strip() for part in sources.split("|"))
        if not equals or not name.strip() or not all(names):
            raise InputError(
                f"--map '{text}': write it as MODEL CLASS=DATA CLASS, "
                "for example 'Effusion=Pleural Effusion'."
            )
        found[name.strip()] = (*found.get(name.strip(), ()), *names)
    return found


def alike(one: str, other: str) -> bool:
    """Whether two names mean the same finding: spelt alike, or synonyms.

    Example:
        >>> alike("Pleural_Thickening", "Pleural thickening"), alike("Effusion", "pleural effusion")
        (True, True)
        >>> alike("PleuralEffusion", "Effusion"), alike("Nodule", "Nodule/Mass")
        (True, False)
    """
    a, b = _plain(one), _plain(other)
    return a == b or any(a in same and b in same for same in SYNONYMS)


def _plain(name: str) -> str:
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])|_", " ", name)
    return " ".join(apart.casefold().split())


def pairs(
    wanted: Sequence[str], there: Sequence[str], given: Pairs | None = None
) -> dict[str, tuple[str, ...]]:
    """Which classes of the data stand for the classes of a model, where the names differ.

    Args:
        wanted: classes of the model.
        there: classes of the data.
        given: what the user says; it comes before equal names and synonyms.

    Returns:
        Model class → data classes. A class of the same name on both sides is not in it, nor is one
        that nothing stands for. A data class that has the name of a model class, or is given for
        one, is nobody's synonym.

    Raises:
        InputError: `given` names a class that the model or the data do not have.
    """
    found = {name: tuple(names) for name, names in (given or {}).items()}
    for name, names in found.items():
        if name not in wanted:
            raise InputError(f"--map: no class of the model is '{name}'. {nearest(name, wanted)}")
        _refuse_unknown(names, there, "--map", "the data have no class")
    free = [n for n in there if n not in wanted and not any(n in taken for taken in found.values())]
    for name in wanted:
        if name not in there and name not in found:
            same = tuple(other for other in free if alike(name, other))
            found |= {name: same} if same else {}
            free = [other for other in free if other not in same]
    return {name: names for name, names in found.items() if names != (name,)}


def rename(dataset: Dataset, mapping: Pairs) -> Dataset:
    """The data set with classes renamed or joined; all others stay as they are.

    Args:
        dataset: any.
        mapping: new name → names of the data that it stands for.

    Returns:
        A new class stands where the first of its sources stood. A label is 1 where any source is,
        0 where all are, else unknown; boxes of all sources are boxes of the class, equal ones once.
        A source is gone unless the mapping keeps it under its own name.

    Raises:
        InputError: the data have no such class, or a new name is that of a class that stays.
    """
    if not mapping:
        return dataset
    gone = {name for names in mapping.values() for name in names}
    for name, names in mapping.items():
        _refuse_unknown(names, dataset.classes, f"{dataset.name}: data.rename", "no class")
        if name in dataset.classes and name not in gone:
            raise InputError(
                f"{dataset.name}: '{name}' is a class of its own here; name it among the classes "
                f"that become '{name}', or choose another name."
            )
    sources = _sources(dataset.classes, mapping, gone)
    at = [tuple(dataset.classes.index(name) for name in names) for names in sources.values()]
    records = tuple(_joined(record, at) for record in dataset.records)
    return dataclasses.replace(dataset, classes=tuple(sources), records=records, numbers=())


def _sources(classes: Sequence[str], mapping: Pairs, gone: set[str]) -> dict[str, tuple[str, ...]]:
    """New classes in order, each with the old ones that make it."""
    found: dict[str, tuple[str, ...]] = {}
    for name in classes:
        if name not in gone:
            found[name] = (name,)
        # A class may serve several new ones; they come where it stood.
        found |= {new: names for new, names in mapping.items() if name in names}
    return found


def _refuse_unknown(names: Sequence[str], known: Sequence[str], where: str, words: str) -> None:
    for name in names:
        if name not in known:
            raise InputError(f"{where}: {words} '{name}'. {nearest(name, known)}")
        if list(names).count(name) > 1:
            raise InputError(f"{where}: '{name}' is named twice.")


def _joined(record: Record, sources: Sequence[tuple[int, ...]]) -> Record:
    labels = tuple(any_of(record.labels[i] for i in names) for names in sources)
    boxes = dict.fromkeys(
        Box(new, box.xyxy_px)
        for box in record.boxes
        for new, names in enumerate(sources)
        if box.label in names
    )
    return dataclasses.replace(record, labels=labels, boxes=tuple(boxes))


def any_of(labels: Iterable[float]) -> float:
    """1 where one of the labels is, 0 where all are, else unknown; so are no labels at all.

    Example:
        >>> any_of([0.0, 1.0, math.nan]), any_of([0.0, 0.0]), any_of([0.0, math.nan]), any_of([])
        (1.0, 0.0, nan, nan)
    """
    values = list(labels)
    if any(value == 1 for value in values):
        return 1.0
    return 0.0 if values and all(value == 0 for value in values) else math.nan


def align(dataset: Dataset, classes: Sequence[str], given: Pairs | None = None) -> Dataset:
    """The data set with a model's classes: what it does not have is unknown, what only it has goes.

    For evaluation on other data than the training's. What was mapped, what is unknown and what was
    dropped is said in the notes.

    Args:
        dataset: other data.
        classes: of the model, in its order.
        given: model class → data classes, before equal names and synonyms.

    Raises:
        InputError: not one class is shared, though the data set has some; or see `pairs`.
    """
    mapping = pairs(classes, dataset.classes, given)
    sources = {name: mapping.get(name, (name,)) for name in classes}
    there = {name: names for name, names in sources.items() if set(names) <= set(dataset.classes)}
    used = {name for names in there.values() for name in names}
    if dataset.classes and not there:
        raise InputError(
            f"{dataset.name}: has none of the model's classes ({', '.join(classes)}); its own are "
            f"{', '.join(dataset.classes)}. Where names mean the same, say --map 'MODEL CLASS="
            "DATA CLASS'."
        )
    at = [tuple(dataset.classes.index(n) for n in there.get(name, ())) for name in classes]
    records = tuple(_joined(record, at) for record in dataset.records)
    left = _left(classes, there, dataset.classes, used) if dataset.classes else []
    notes = (*dataset.notes, *said(mapping, given), *left)
    return dataclasses.replace(
        dataset, classes=tuple(classes), records=records, numbers=(), notes=notes
    )


def said(mapping: Pairs, given: Pairs | None = None) -> list[str]:
    """Sentences about what was mapped: what the user asked for, and what was found."""
    notes = []
    for words, names in (
        ("as asked", [n for n in mapping if n in (given or {})]),
        ("because the names mean the same", [n for n in mapping if n not in (given or {})]),
    ):
        if names:
            parts = "; ".join(f"{' | '.join(mapping[name])} as {name}" for name in names)
            notes.append(f"classes of the data read, {words}: {parts}.")
    return notes


def _left(classes: Sequence[str], there: Pairs, own: Sequence[str], used: set[str]) -> list[str]:
    lacking = [name for name in classes if name not in there]
    dropped = [name for name in own if name not in used]
    kinds = (("not in these data, so unknown", lacking), ("not the model's, dropped", dropped))
    return [f"classes {words}: {', '.join(names)}." for words, names in kinds if names]
