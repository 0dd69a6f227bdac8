"""Which runs `wsrpn compare` sets side by side, and which of them are one method."""

import glob
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from wsrpn import sides
    from wsrpn.compare import Entry
    from wsrpn.truth import Judged

E = TypeVar("E", bound="sides.Run")

# What two runs may differ in and still be one method: the seed, and what belongs to the machine.
FREE = (("train", "seed"), ("train", "workers"), ("data", "cache"))


@dataclass(frozen=True)
class Place:
    """Where the answers of a run lie.

    Attributes:
        given: the method that the user named for it, "" where none.
        path: run folder or file.
        name: short, and no other's.
    """

    given: str
    path: Path
    name: str


@dataclass(frozen=True)
class Run(Generic[E]):
    """One of the runs to compare.

    Attributes:
        given: the method that the user named for it, "" where none.
        entry: its answers.
        kind: config without what makes no other method, None for a file.
    """

    given: str
    entry: E
    kind: dict[str, Any] | None


def places(texts: Sequence[str]) -> list[Place]:
    """The runs that the user named, each with a short name.

    Raises:
        InputError: a run is not there or stands twice.
    """
    from wsrpn.errors import InputError

    found = list(parse(texts))
    for _, path in found:
        if [p.resolve() for _, p in found].count(path.resolve()) > 1:
            raise InputError(f"{path}: stands twice among the runs.")
    names = short([path for _, path in found])
    return [Place(*one, name) for one, name in zip(found, names, strict=True)]


def load(
    named_places: Sequence[Place],
    *,
    data: str,
    split: str,
    named: list[str] | None,
    device: str,
    on_error: str,
    images: str,
) -> list[tuple[Run["Entry"], "Judged"]]:
    """The answers of all runs on the same images, each beside its truth.

    Raises:
        InputError: the test images or the truth of a run are others.
    """
    from wsrpn.compare import Entry
    from wsrpn.truth import Judged, refuse_other

    from . import sources

    found: list[tuple[Run[Entry], Judged]] = []
    for place in named_places:
        fitted = sources.calibration(place.path, None)
        told = sources.answers(
            place.path, data=data, split=split, device=device, on_error=on_error, named=named,
            calibration=fitted, quiet=bool(found),
        )  # fmt: skip
        seed, source, kind = trained(place.path) if told.run else (None, "", None)
        entry = Entry(place.name, told.predictions, fitted, seed)
        judged = Judged(entry, told.dataset, source)
        found.append((Run(place.given, entry, kind), judged))
        refuse_other(found[0][1], judged, images=images)
    return found


def trained(folder: Path) -> tuple[int, str, dict[str, Any]]:
    """Seed and data of a run, and its config without what makes no other method.

    Not those of the opened run, in which a calibration may have moved a threshold.
    """
    from wsrpn import config as configs

    own = configs.load(folder / "config.yaml")
    return own.train.seed, own.data.source, _kind(configs.document(own))


def parse(texts: Sequence[str]) -> Iterator[tuple[str, Path]]:
    """Method (or "") and path of each run: `RUN`, or `NAME=RUN,RUN` with * and ? in RUN.

    Raises:
        InputError: no such run, or a name that a report cannot have.
    """
    from wsrpn.errors import InputError

    for text in texts:
        name, equals, rest = text.partition("=")
        if Path(text).exists() or not equals:
            if not Path(text).exists():
                raise InputError(f"{text}: no such run folder or predictions file.")
            yield "", Path(text)
            continue
        if not name.strip() or set(name) & set("/<>=()"):
            raise InputError(f"{text}: '{name}' is no name of a method; write NAME=RUN,RUN.")
        for part in rest.split(","):
            paths = [Path(path) for path in sorted(glob.glob(part))]  # noqa: PTH207 - also absolute
            if not paths:
                raise InputError(f"{text}: {part or 'nothing'}: no such run or predictions file.")
            yield from ((name.strip(), path) for path in paths)


def short(paths: Sequence[Path]) -> list[str]:
    """Names of runs: the last parts of their paths, as many as it takes to tell them apart.

    Example:
        >>> short([Path("a/cam/0"), Path("a/wsrpn/0")]), short([Path("a/x"), Path("b/y.json")])
        (['cam/0', 'wsrpn/0'], ['x', 'y.json'])
    """
    whole = [path.resolve().parts for path in paths]
    for length in range(1, max(len(parts) for parts in whole) + 1):
        names = ["/".join(parts[-length:]) for parts in whole]
        if len(set(names)) == len(names):
            break
    return names


def _kind(document: dict[str, Any]) -> dict[str, Any]:
    return {
        section: {k: v for k, v in values.items() if (section, k) not in FREE}
        if isinstance(values, dict)
        else values
        for section, values in document.items()
    }


def grouped(
    found: Sequence[Run[E]], *, separate: bool = False
) -> tuple[dict[str, list[E]], list[str]]:
    """Runs as methods, and what must be said of it.

    Raises:
        InputError: fewer than two methods, or one run twice under another name.
    """
    from wsrpn.errors import InputError, counted

    groups: list[list[Run[E]]] = []
    for run in found:
        home = next((g for g in groups if _together(g[0], run, separate)), None)
        groups.append([run]) if home is None else home.append(run)
    names = label(groups)
    notes = []
    for name, group in zip(names, groups, strict=True):
        seeds = [run.entry.seed for run in group if run.entry.seed is not None]
        if len(set(seeds)) < len(seeds) and not group[0].given:
            runs = " and ".join(run.entry.name for run in group)
            raise InputError(
                f"{runs} have the same config and seed twice; --separate, or NAME=RUN for each, "
                "compares them all the same."
            )
        if len({str(run.kind) for run in group}) > 1:
            notes.append(f"{name}: its runs differ in more than the seed.")
    if len(groups) < 2:
        raise InputError(
            f"compare: one method only ({names[0]}, {counted(len(found), 'run')}); name more runs"
            + (", or --separate to set its seeds side by side." if len(found) > 1 else ".")
        )
    return {n: [run.entry for run in g] for n, g in zip(names, groups, strict=True)}, notes


def _together(one: Run[E], other: Run[E], separate: bool) -> bool:
    if one.given or other.given:
        return one.given == other.given
    return not separate and one.kind is not None and one.kind == other.kind


def label(groups: Sequence[Sequence[Run[E]]]) -> list[str]:
    """A name for every method: the given one, or what the names of its runs begin with.

    Raises:
        InputError: two would have the same name.
    """
    from wsrpn.errors import InputError

    names = [group[0].given or stem([run.entry.name for run in group]) for group in groups]
    found = [
        name if name and names.count(name) == 1 else group[0].given or stem([group[0].entry.name])
        for name, group in zip(names, groups, strict=True)
    ]
    for name in found:
        if found.count(name) > 1:
            raise InputError(f"Two methods would be called '{name}'; name them with NAME=RUN.")
    return found


def stem(names: Sequence[str]) -> str:
    """What several names begin with, without the word seed and what joins it; one name whole.

    Example:
        >>> stem(["wsrpn-0", "wsrpn-1"]), stem(["vl/seed0", "vl/seed1"]), stem(["cam-0"])
        ('wsrpn', 'vl', 'cam-0')
    """
    import os
    import re

    if len(names) == 1:
        return names[0].replace("/", " ")
    begin = os.path.commonprefix(list(names))  # noqa: RUF071 - letter by letter is meant
    begin = begin if begin in names else re.sub(r"\d+$", "", begin)  # of wsrpn-10, wsrpn-11
    return re.sub(r"([-_./ ]+(seed|s))?[-_./ =]*$", "", begin).replace("/", " ")
