"""What a study file says: which configs are trained, and what is asked of them.

A study file is YAML, like a config. Changes to a config are mappings of dotted keys, or nested like
the config itself; a number in a key is a place in a list (`phases.2.weights.sparsity: 0.3`).
"""

import hashlib
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import pydantic
import yaml
from annotated_types import Ge

from wsrpn import config as configs
from wsrpn.config import Count, RunConfig
from wsrpn.errors import InputError, nearest
from wsrpn.registry import sentence

# A name with nothing after it changes nothing: `baseline:` is `baseline: {}`.
Changes = Annotated[dict[str, Any], pydantic.BeforeValidator(lambda v: {} if v is None else v)]
Seeds = Count | tuple[int, ...]
Split = Literal["val", "test"]
Kind = TypeVar("Kind", "Ablation", "Search")
RESERVED = "/<>=()"  # of `--require 'ARM/FIGURE>=VALUE'`
_strict = pydantic.ConfigDict(extra="forbid")


@dataclass(frozen=True)
class Ablation:
    """Named changes to one recipe, each trained with the same seeds.

    Attributes:
        base: preset or config file (from the folder of the study file) that everything changes.
        title: of tables and pictures.
        data: DATA as the command line takes it; that of the base where empty.
        set: changes for all arms.
        arms: name → changes, the rows of the table.
        grid: axis → level → changes; every combination of levels, and of them with `arms`, is a
            row, named after its parts joined by ` + `. A level without changes adds no name.
        seeds: of the trainings; a number counts from 0.
        baseline: arm that the others are measured against; the first where empty.
        split: where the figures are taken.
        figures: columns of the table; the most asked for where empty.
        pictures: images whose maps are drawn for every arm; some with small, medium and large
            findings where empty.
    """

    __pydantic_config__ = _strict
    base: str
    title: str = ""
    data: str = ""
    set: Changes = field(default_factory=dict)
    arms: dict[str, Changes] = field(default_factory=dict)
    grid: dict[str, dict[str, Changes]] = field(default_factory=dict)
    seeds: Seeds = 3
    baseline: str = ""
    split: Split = "test"
    figures: tuple[str, ...] = ()
    pictures: tuple[str, ...] = ()


@dataclass(frozen=True)
class Range:
    """Values that a key may take: `choices`, or numbers from `low` to `high`.

    Attributes:
        choices: the values.
        low: smallest number.
        high: largest number.
        log: draw its logarithm evenly.
        integer: whole numbers only.
    """

    __pydantic_config__ = _strict
    choices: tuple[Any, ...] = ()
    low: float | None = None
    high: float | None = None
    log: bool = False
    integer: bool = False


def _choices(given: Any) -> Any:
    """A bare list is one of choices."""
    return {"choices": given} if isinstance(given, list) else given


@dataclass(frozen=True)
class Search:
    """A search for the values of some keys that make one validation figure best.

    Attributes:
        base: preset or config file (from the folder of the study file) that everything changes.
        title: of tables and pictures.
        data: DATA as the command line takes it; that of the base where empty.
        set: changes for all trials.
        ranges: dotted key of the config → the values it may take; a list is one of choices.
        figure: column of `metrics.csv` without its `val/`, for example `ap@0.3` (which reads the
            boxes of the validation split), `image_ap`, `auroc` or `loss`.
        trials: trainings in all.
        sampler: `tpe` (Bayesian) or `random`.
        pruner: stop trials that are worse than the median at the same epoch, or none.
        warmup: trials, and epochs of a trial, that are never stopped.
        seeds: a trial is the mean over trainings with these seeds; a number counts from 0.
        seed: of the sampler.
        best: how many of the best are written as configs.
    """

    __pydantic_config__ = _strict
    base: str
    ranges: dict[str, Annotated[Range, pydantic.BeforeValidator(_choices)]]
    title: str = ""
    data: str = ""
    set: Changes = field(default_factory=dict)
    figure: str = "ap@0.3"
    trials: Count = 50
    sampler: Literal["tpe", "random"] = "tpe"
    pruner: Literal["median", "none"] = "median"
    warmup: Annotated[int, Ge(0)] = 5
    seeds: Seeds = 1
    seed: int = 0
    best: Count = 3


def shipped() -> dict[str, str]:
    """Name → YAML text of every study that the package brings."""
    folder = resources.files("wsrpn.study") / "plans"
    found = sorted((f for f in folder.iterdir() if f.name.endswith(".yaml")), key=lambda f: f.name)
    return {f.name.removesuffix(".yaml"): f.read_text("utf-8") for f in found}


def load(name: str | Path, kind: type[Kind]) -> Kind:
    """The study of a file, or one that the package brings.

    Args:
        name: path of a YAML file, or a name of `shipped`.
        kind: what the file must be, `Ablation` or `Search`.

    Raises:
        InputError: no such file or study, bad YAML, an unknown key or a value of the wrong type;
            of an ablation also rows or seeds that cannot be told apart.
    """
    tree = configs.mapping_of(
        str(name), shipped(), kind="study", shipped="shipped study", first="base: wsrpn-demo"
    )
    _refuse_other_kind(name, tree, kind)
    try:
        found = pydantic.TypeAdapter(kind).validate_python(tree)
    except pydantic.ValidationError as error:
        raise InputError(sentence(error, str(name), kind.__dataclass_fields__)) from None
    if isinstance(found, Ablation):
        try:
            check(found)
        except InputError as error:
            raise InputError(f"{name}: {error}") from None
    return found


def _refuse_other_kind(name: str | Path, tree: Mapping[str, Any], kind: type[Kind]) -> None:
    """Stop where one kind of study stands in the place of the other."""
    searches = "ranges" in tree and not {"arms", "grid"} & tree.keys()
    compares = "ranges" not in tree and bool({"arms", "grid"} & tree.keys())
    if searches and kind is Ablation:
        raise InputError(f"{name}: has ranges and no arms, so it is a search: wsrpn tune {name}")
    if compares and kind is Search:
        raise InputError(f"{name}: has arms and no ranges, so it is no search: wsrpn ablate {name}")


def check(study: Ablation) -> None:
    """Refuse an ablation without two rows, or with names and seeds that mean nothing or two things.

    Raises:
        InputError: names the key.
    """
    rows = arms(study)
    if len(rows) < 2:
        raise InputError("arms: a study has two arms or more, each a name with its changes.")
    for name in rows:
        if not name.strip() or set(name) & set(RESERVED):
            raise InputError(
                f"arms: '{name}' is no name of an arm; it is some text without {RESERVED}."
            )
    if study.baseline and study.baseline not in rows:
        raise InputError(
            f"baseline: no arm is called '{study.baseline}'. {nearest(study.baseline, rows)}"
        )
    found = seeds(study.seeds)
    if not found or len(set(found)) < len(found):
        raise InputError("seeds: a number from 1, or a list of different seeds, was expected.")


def seeds(given: Seeds) -> tuple[int, ...]:
    """The seeds themselves.

    Example:
        >>> seeds(3), seeds((7, 1))
        ((0, 1, 2), (7, 1))
    """
    return tuple(range(given)) if isinstance(given, int) else given


def arms(study: Ablation) -> dict[str, tuple[Changes, ...]]:
    """Name → changes of every row, in order.

    Raises:
        InputError: two rows would have the same name.

    Example:
        >>> axes = {"head": {"tied": {}, "free": {"a": 1}}, "grid": {"7": {"b": 7}}}
        >>> list(arms(Ablation(base="wsrpn", grid=axes)))
        ['7', 'free + 7']
    """
    axes = [study.arms] if study.arms else []
    axes += list(study.grid.values())
    rows: dict[str, tuple[Changes, ...]] = {}
    for combination in itertools.product(*axes) if axes else ():
        parts = [(name, axis[name]) for name, axis in zip(combination, axes, strict=True)]
        named = [name for name, changes in parts if changes or name in study.arms]
        name = " + ".join(named or combination)
        if name in rows:
            raise InputError(f"grid: two arms are called '{name}'; give their levels other names.")
        rows[name] = tuple(changes for _, changes in parts)
    return rows


def slugs(names: Iterable[str]) -> dict[str, str]:
    """Name → folder of each arm: plain letters, never the same one twice on any file system.

    A name that is not plain, or whose folder is taken, gets a fingerprint of itself, so that it
    keeps its folder when arms are added after it.

    Example:
        >>> slugs(["a, b", "A b", "β 0.5"])
        {'a, b': 'a-b', 'A b': 'a-b-a760b0', 'β 0.5': '0.5-e6425a'}
    """
    found: dict[str, str] = {}
    for name in names:
        mark = hashlib.sha256(name.encode()).hexdigest()[:6]
        stem = re.sub(r"[^A-Za-z0-9.]+", "-", name).strip("-.").lower()[:60]
        if not stem or not name.isascii() or stem in found.values():
            stem = f"{stem}-{mark}".strip("-")
        found[name] = stem
    return found


def config(
    study: Ablation | Search, over: Sequence[Mapping[str, Any]], *, seed: int, where: Path
) -> RunConfig:
    """The config of one training.

    Args:
        study: what all trainings share.
        over: changes of this one.
        seed: of the training.
        where: folder that a config file is looked for in.

    Raises:
        InputError: the base or a change does not fit, or changes the seed or the data.
    """
    base = study.base
    if Path(base).suffix in {".yaml", ".yml"} and not Path(base).is_absolute():
        base = str(where / base)
    plain = configs.load(base)
    found = configs.load(base, over=(study.set, *over))
    if found.train.seed != plain.train.seed:
        raise InputError("train.seed: seeds of a study stand under `seeds`, for all alike.")
    if found.data.source != plain.data.source:
        raise InputError("data.source: data of a study stand under `data`, for all alike.")
    last: Changes = {"train.seed": seed}
    if study.data:
        last["data.source"] = study.data
    return configs.load(base, over=(study.set, *over, last))


def revised(
    study: Ablation, *, data: str = "", changes: Sequence[str] = (), count: int | None = None
) -> Ablation:
    """The study with what the command line says of it.

    Args:
        study: what the file says.
        data: other data.
        changes: `a.b=value` for all arms, over `set`; what an arm changes itself stays.
        count: number of seeds; of a list of them the first ones.

    Raises:
        InputError: a change that cannot be read, or more seeds than there are.
    """
    over = configs.changes(changes)
    kept = {key: value for key, value in study.set.items() if key not in over}
    wanted = study.seeds if count is None else count
    if count is not None and not isinstance(study.seeds, int):
        if count > len(study.seeds):
            raise InputError(f"--seeds {count}: the study names {len(study.seeds)} of them.")
        wanted = study.seeds[:count]
    return replace(study, data=data or study.data, set={**kept, **over}, seeds=wanted)


def dump(study: Ablation | Search) -> str:
    """The study as YAML that `load` reads back to an equal value; defaults are left out."""
    tree = pydantic.TypeAdapter(type(study)).dump_python(study, mode="json", exclude_defaults=True)
    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)
