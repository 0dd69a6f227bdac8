"""What a study file says: which configs are trained, and what is asked of them.

A study file is YAML, like a config. Changes to a config are mappings of dotted keys, or nested like
the config itself; a number in a key is a place in a list (`phases.2.weights.sparsity: 0.3`).
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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

Changes = dict[str, Any]
Seeds = Count | tuple[int, ...]
Split = Literal["val", "test"]
Kind = TypeVar("Kind", "Ablation", "Search")
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


@dataclass(frozen=True)
class Search:
    """A search for the values of some keys that make one validation figure best.

    Attributes:
        base: preset or config file (from the folder of the study file) that everything changes.
        title: of tables and pictures.
        data: DATA as the command line takes it; that of the base where empty.
        set: changes for all trials.
        ranges: dotted key of the config → the values it may take.
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
    ranges: dict[str, Range]
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
        InputError: no such file or study, bad YAML, an unknown key or a value of the wrong type.
    """
    path, text = Path(name), shipped().get(str(name))
    if text is None:
        if path.suffix not in {".yaml", ".yml"}:
            raise InputError(
                f"No study is called '{name}'. {nearest(str(name), shipped())} "
                "A study of your own ends in .yaml."
            )
        try:
            text = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{name}: cannot be read as UTF-8 text ({error}).") from None
    try:
        tree = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}:" if mark else ""
        raise InputError(f"{name}:{line} not YAML ({getattr(error, 'problem', error)}).") from None
    if not isinstance(tree, dict):
        raise InputError(f"{name}: a study is a mapping that begins with 'base: PRESET'.")
    try:
        found = pydantic.TypeAdapter(kind).validate_python(tree)
    except pydantic.ValidationError as error:
        raise InputError(sentence(error, str(name), kind.__dataclass_fields__)) from None
    return found


def seeds(given: Seeds) -> tuple[int, ...]:
    """The seeds themselves.

    Example:
        >>> seeds(3), seeds((7, 1))
        ((0, 1, 2), (7, 1))
    """
    return tuple(range(given)) if isinstance(given, int) else given


def arms(study: Ablation) -> dict[str, tuple[Changes, ...]]:
    """Name → changes of every row, in order.

    Example:
        >>> axes = {"head": {"tied": {}, "free": {"a": 1}}, "grid": {"7": {"b": 7}}}
        >>> list(arms(Ablation(base="wsrpn", grid=axes)))
        ['7', 'free + 7']
    """
    axes = [study.arms] if study.arms else []
    axes += list(study.grid.values())
    rows: dict[str, tuple[Changes, ...]] = {}
    for combination in itertools.product(*(axis.items() for axis in axes)):
        named = [name for name, changes in combination if changes or name in study.arms]
        name = " + ".join(named) or " + ".join(name for name, _ in combination)
        rows[name] = tuple(changes for _, changes in combination)
    return rows


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
        InputError: the base or a change does not fit.
    """
    base = study.base
    if Path(base).suffix in {".yaml", ".yml"} and not Path(base).is_absolute():
        base = str(where / base)
    last: Changes = {"train.seed": seed}
    if study.data:
        last["data.source"] = study.data
    return configs.load(base, over=(study.set, *over, last))
