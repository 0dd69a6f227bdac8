"""The values that a search tries: checked before the first training, drawn again after a kill."""

import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsrpn.errors import InputError
from wsrpn.report.trials import Scale, Span
from wsrpn.study.plan import Changes, Range, Search, config, seeds
from wsrpn.train.run import complete

if TYPE_CHECKING:
    import optuna


def check(study: Search, over: Sequence[Mapping[str, Any]]) -> None:
    """Refuse ranges that are none, and values that no training takes.

    Each value is tried with the first values of the other keys.

    Args:
        study: what is searched.
        over: changes that lie over those of the study and below the ranges.

    Raises:
        InputError: names the key, and the value.
    """
    if not study.ranges:
        raise InputError("ranges: name a key and its values, for example train.lr: {choices: […]}.")
    for key, values in study.ranges.items():
        _check_range(key, values)
        for other in study.ranges:
            if other.startswith(f"{key}."):
                raise InputError(f"ranges.{other}: lies inside {key}, which is searched as well.")
    found = seeds(study.seeds)
    if not found or len(set(found)) < len(found):
        raise InputError("seeds: a number from 1, or a list of different seeds, was expected.")
    first = {key: tried(values)[0] for key, values in study.ranges.items()}
    for key, values in study.ranges.items():
        for value in tried(values):
            try:
                changes = (*over, {**first, key: value})
                complete(config(study, changes, seed=found[0], where=Path()))
            except InputError as error:
                raise InputError(f"ranges.{key}: {value!r} does not fit: {error}") from None


def _check_range(key: str, values: Range) -> None:
    ends = (values.low, values.high)
    if values.choices:
        if ends != (None, None) or values.log or values.integer:
            raise InputError(f"ranges.{key}: either choices, or low and high with log and integer.")
        labels = [label(value) for value in values.choices]
        for place, one in enumerate(labels):  # Optuna takes 1, 1.0 and true for the same
            if one in labels[:place]:
                raise InputError(f"ranges.{key}: {one!r} stands twice among the choices.")
        return
    low, high = ends
    if low is None or high is None:
        raise InputError(f"ranges.{key}: name its choices, or low and high.")
    if not low < high:
        raise InputError(f"ranges.{key}: low {low:g} is not below high {high:g}.")
    if not abs(low) + abs(high) < float("inf"):
        raise InputError(f"ranges.{key}: from {low:g} to {high:g} has no end.")
    if values.log and low <= 0:
        raise InputError(f"ranges.{key}: a logarithm needs low above 0, and it is {low:g}.")
    if values.integer and not (low.is_integer() and high.is_integer()):
        raise InputError(f"ranges.{key}: low and high of whole numbers are whole numbers.")


def tried(values: Range) -> tuple[Any, ...]:
    """The choices, or both ends."""
    if values.choices:
        return values.choices
    ends = (values.low or 0.0, values.high or 0.0)
    return tuple(map(int, ends)) if values.integer else ends


def label(value: Any) -> bool | int | float | str | None:
    """What stands for a choice in the database: itself, or its JSON where it has parts.

    Example:
        >>> label(0.5), label({"image_bce": 1})
        (0.5, '{"image_bce": 1}')
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def scales(study: Search) -> dict[str, Scale]:
    """Searched key → choices, or the span of its numbers."""
    return {
        key: values.choices or Span(values.low or 0.0, values.high or 0.0, values.log)
        for key, values in study.ranges.items()
    }


def told(values: Range) -> str:
    """A range in words.

    Example:
        >>> told(Range(choices=(0.1, "cosine"))), told(Range(low=1e-4, high=1e-2, log=True))
        ('0.1, cosine', '0.0001 … 0.01, log')
    """
    if values.choices:
        return ", ".join(str(label(value)) for value in values.choices)
    extra = [word for word, there in (("log", values.log), ("integer", values.integer)) if there]
    return ", ".join([f"{values.low:g} … {values.high:g}", *extra])


def chosen(study: Search, drawn: Mapping[str, Any]) -> Changes:
    """The changes that drawn values mean, in the order of the study."""
    found: Changes = {}
    for key, values in study.ranges.items():
        if key in drawn:
            named = {label(value): value for value in values.choices}
            found[key] = named.get(drawn[key], drawn[key])
    return found


def draw(trial: "optuna.Trial", study: Search) -> Changes:
    """The values of a trial; those that it has already stay."""
    drawn: Changes = {}
    for key, values in study.ranges.items():
        low, high = values.low or 0.0, values.high or 0.0
        if values.choices:
            labels = [label(value) for value in values.choices]
            drawn[key] = trial.suggest_categorical(key, labels)
        elif values.integer:
            drawn[key] = trial.suggest_int(key, int(low), int(high), log=values.log)
        else:
            drawn[key] = trial.suggest_float(key, low, high, log=values.log)
    return chosen(study, drawn)


def mixed(*parts: object) -> int:
    """One seed of several things.

    Example:
        >>> mixed(0, 1) == mixed(0, 1), mixed(0, 1) == mixed(1, 0)
        (True, False)
    """
    return zlib.crc32("/".join(map(str, parts)).encode())
