"""Weights by which score tables of the same slides become one, and where they come from."""

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import wsrpn
from wsrpn import files
from wsrpn.errors import InputError, counted
from wsrpn.slides.calibration import Over
from wsrpn.tiles import Cohort
from wsrpn.types import Figure

SCHEMA, KIND = 1, "ensemble"
PAIR = (0.6, 0.4)  # of two tables, where nobody says otherwise
SUM = 1e-6  # weights may miss 1 by so much


@dataclass(frozen=True)
class Tried:
    """Weights, and what they reach on patients held out in turn (on all, if none can be).

    Attributes:
        weights: of the tables.
        figure: that of the objective.
    """

    weights: tuple[float, ...]
    figure: Figure


@dataclass(frozen=True)
class Ensemble:
    """Weights of score tables, with where they come from.

    Attributes:
        weights: of each table, 0 or more, in all 1.
        names: of the tables.
        score: their column.
        objective: what a threshold is best for while weights are chosen.
        over: `macro` or `pooled`.
        rule: how tiles got their labels.
        figure: name of the figure that weights are chosen by.
        slides: whose truth chose the weights; empty where they were given.
        patients: of these slides.
        digest: of the names and the combined scores of these slides.
        tried: all candidates, the best first.
        held_out: figures with weights and threshold found without the patient.
        warnings: what the user should know.
    """

    weights: tuple[float, ...]
    names: tuple[str, ...]
    score: str = "score"
    objective: str = ""
    over: Over = "macro"
    rule: str = ""
    figure: str = ""
    slides: tuple[str, ...] = ()
    patients: tuple[str, ...] = ()
    digest: str = ""
    tried: tuple[Tried, ...] = ()
    held_out: Mapping[str, Figure] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def save(self, path: Path) -> str:
        """Write as JSON, atomically. Returns the sha256."""
        about = {"schema": SCHEMA, "kind": KIND, "version": wsrpn.__version__}
        return files.write_json(path, {**about, **dataclasses.asdict(self)})

    @staticmethod
    def load(path: Path) -> "Ensemble":
        """Read what `save` wrote.

        Raises:
            InputError: no weights of an ensemble, of another version, or damaged.
        """
        found = files.read_json(path, what="weights of an ensemble")
        if not isinstance(found, dict) or found.get("kind") != KIND:
            raise InputError(
                f"{path}: no weights of an ensemble; `wsrpn combine --fit` writes one."
            )
        if found.get("schema") != SCHEMA:
            raise InputError(
                f"{path}: schema {found.get('schema')}, {SCHEMA} was expected; fit again."
            )
        try:
            return _parsed(found)
        except (KeyError, TypeError, ValueError, AttributeError, InputError) as error:
            raise InputError(f"{path}: damaged ({error!r}). Fit again.") from None


def given(weights: Sequence[float | int], names: Sequence[str], score: str = "score") -> Ensemble:
    """Weights that the user gives; without any 0.6 and 0.4 for two tables, else equal ones.

    They may add up to anything; they are divided by their sum.

    Raises:
        InputError: another number of weights than tables, a negative one, or all of them 0.

    Example:
        >>> given([3, 1], ["a", "b"]).weights
        (0.75, 0.25)
    """
    many = len(names)
    usual = PAIR if many == 2 else (1 / many,) * many
    found = tuple(float(one) for one in weights) or usual
    if len(found) != many:
        raise InputError(
            f"{counted(len(found), 'weight')} for {counted(many, 'table')}; give one for each."
        )
    if not all(0 <= one < math.inf for one in found) or sum(found) <= 0:
        raise InputError(
            f"Weights {', '.join(f'{one:g}' for one in found)}: 0 or more, and one above 0."
        )
    whole = sum(found)
    shares = found if abs(whole - 1) <= SUM else tuple(one / whole for one in found)
    return Ensemble(shares, tuple(names), score)


def seen(cohort: Cohort, ensemble: Ensemble) -> list[str]:
    """A sentence on slides whose truth, or whose patient's, chose the weights; else nothing."""
    slides, patients = set(ensemble.slides), set(ensemble.patients)
    names = [t.slide for t in cohort.slides if t.slide in slides or t.patient in patients]
    if not names:
        return []
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return [
        f"The weights were chosen on {counted(len(names), 'slide')} of these patients, so figures "
        f"on them look better than they are: {', '.join(names[:5])}{more}."
    ]


def names_of(paths: Sequence[Path]) -> list[str]:
    """Short names of tables for columns: of the file, or of its folder where files are alike.

    Example:
        >>> names_of([Path("vae/scores.parquet"), Path("head/scores.parquet")])
        ['vae', 'head']
    """
    stems = [path.name.split(".")[0] for path in paths]
    if len(set(stems)) < len(stems):
        folders = [path.absolute().parent.name for path in paths]
        stems = folders if len(set(folders)) == len(folders) else stems
    plain = [re.sub(r"\W+", "_", stem).strip("_") or "table" for stem in stems]
    if len(set(plain)) == len(plain):
        return plain
    return [f"{stem}_{place + 1}" for place, stem in enumerate(plain)]


def _parsed(found: dict[str, Any]) -> Ensemble:
    known = {one.name for one in dataclasses.fields(Ensemble)}
    values = {name: value for name, value in found.items() if name in known}
    for name in ("names", "slides", "patients", "warnings"):
        values[name] = tuple(str(one) for one in found[name])
    values["weights"] = given(found["weights"], values["names"]).weights
    values["held_out"] = {name: Figure(**figure) for name, figure in found["held_out"].items()}
    values["tried"] = tuple(
        Tried(tuple(float(weight) for weight in one["weights"]), Figure(**one["figure"]))
        for one in found["tried"]
    )
    return Ensemble(**values)
