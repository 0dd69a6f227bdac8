"""Facts of a scene graph (finding, location, modifiers), and sentences of them in three levels.

A reader puts the facts of an image into `Record.extra["scene_graph"]`, a JSON list of objects
`{"finding": …, "location": …, "modifiers": [...], "present": true}`; all but the finding may be
left out.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from wsrpn.errors import InputError

KEY = "scene_graph"
LEVELS = 3


@dataclass(frozen=True)
class Fact:
    """One statement: a finding is, or is not, at a place.

    Attributes:
        finding: what.
        location: where, "" if not said.
        modifiers: what it is like.
        present: False for a finding that is denied.
    """

    finding: str
    location: str = ""
    modifiers: tuple[str, ...] = ()
    present: bool = True


def parse(text: str, *, where: str) -> tuple[Fact, ...]:
    """Facts from JSON.

    Raises:
        InputError: not a list of facts.
    """
    try:
        found = json.loads(text)
        if not isinstance(found, list):
            raise TypeError("a list is expected")
        return tuple(_fact(entry) for entry in found)
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise InputError(
            f"{where}: {KEY} is not a JSON list of facts such as "
            f'[{{"finding": "mass", "location": "left lung"}}] ({error!r}).'
        ) from None


def _fact(entry: dict[str, object]) -> Fact:
    modifiers = entry.get("modifiers") or []
    present = entry.get("present", True)
    if not isinstance(modifiers, list) or not isinstance(present, bool):
        raise TypeError("modifiers is a list and present is true or false")
    said = (str(entry["finding"]), str(entry.get("location") or ""))
    if not said[0].strip():
        raise ValueError("an empty finding")
    words = tuple(str(one).strip().lower() for one in modifiers if str(one).strip())
    return Fact(said[0].strip().lower(), said[1].strip().lower(), words, present)


def captions(facts: Sequence[Fact]) -> tuple[str, str, str]:
    """Sentences of finding, of finding + location, and of finding + location + modifiers.

    What is present somewhere is not denied at a coarser level, and nothing is said twice.

    Example:
        >>> captions([Fact("mass", "left lung", ("small",)), Fact("edema", present=False)])
        ('Mass. No edema.', 'Mass in left lung. No edema.', 'Small mass in left lung. No edema.')
    """
    coarse, middle, fine = (_sentences(facts, level) for level in range(LEVELS))
    return coarse, middle, fine


def _sentences(facts: Sequence[Fact], level: int) -> str:
    places: dict[tuple[bool, str], list[str]] = {}
    present = {(fact.finding, fact.location if level else "") for fact in facts if fact.present}
    for fact in sorted(facts, key=lambda fact: not fact.present):
        if not fact.present and (fact.finding, fact.location if level else "") in present:
            continue
        modifiers = f"{' '.join(fact.modifiers)} " if level > 1 and fact.modifiers else ""
        found = places.setdefault((fact.present, f"{modifiers}{fact.finding}"), [])
        if level and fact.location and fact.location not in found:
            found.append(fact.location)
    said = []
    for (there, what), where in places.items():
        words = f"{what if there else f'no {what}'}{f' in {_and(where)}' if where else ''}"
        said.append(f"{words[0].upper()}{words[1:]}.")
    return " ".join(said)


def _and(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else words[0]
