"""What a user got wrong, as one sentence.

The command line turns an `InputError` into exit code 2 and its sentence; everything else is a fault
of the program. The sentence names the file, the row or the key, and the nearest way out.
"""

import difflib
from collections.abc import Iterable

MOST = 35  # names in one sentence


class InputError(ValueError):
    """Wrong use or bad input; `str(error)` is the sentence that the user reads."""


class RequirementError(Exception):
    """A `--require` condition is not met; the command line exits with 3."""


class Diverged(RuntimeError):
    """Training met a loss or a gradient that is not finite; the last good checkpoint stands."""


def counted(number: int, noun: str) -> str:
    """A number with its noun.

    Example:
        >>> counted(1, "image"), counted(2, "box")
        ('1 image', '2 boxes')
    """
    ending = "es" if noun.endswith("x") else "s"
    return f"{number} {noun}{'' if number == 1 else ending}"


def nearest(name: str, known: Iterable[str]) -> str:
    """The part of an error sentence that shows the way out.

    Of more than `MOST` names only those nearest to `name` are listed, and how many there are.

    Example:
        >>> nearest("tverski", ["dice", "tversky"])
        "Did you mean 'tversky'? Known: dice, tversky."
        >>> nearest("zzz", ["dice"])
        'Known: dice.'
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    guess = f"Did you mean '{close[0]}'? " if close else ""
    if len(names) > MOST:
        some = sorted(difflib.get_close_matches(name, names, n=10, cutoff=0.0))
        return f"{guess}Known: {', '.join(some)}, … ({len(names)} in all)."
    return f"{guess}Known: {', '.join(names) if names else 'none'}."
