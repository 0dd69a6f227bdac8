"""What a label that nobody is sure of, or nobody mentioned, becomes: named, never by accident.

A source says of a finding that it is present, absent or uncertain, or does not mention it. The last
two become 1, 0 or nan (unknown, left out of losses and figures) by a policy with a name.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Literal

Mark = Literal["present", "absent", "uncertain", "blank"]
Uncertain = Literal["unknown", "positive", "negative"]
Blank = Literal["negative", "unknown"]

VALUES: dict[str, float] = {"positive": 1.0, "negative": 0.0, "unknown": math.nan}

# Same finding, other word: the box list of ChestX-ray14 spells it differently from its label table,
# CheXlocalize and the radiologists' table of MIMIC-CXR-JPG differently from CheXpert.
SPELLINGS = {"Infiltrate": "Infiltration", "Airspace Opacity": "Lung Opacity"}

# What a table may write in place of nothing; as a class it would be learned and drawn like one.
NOTHING = {"no finding", "no findings", "normal", "healthy"}


def value(mark: Mark, *, uncertain: Uncertain = "unknown", blank: Blank = "negative") -> float:
    """The label of a mark under the policies.

    Args:
        mark: what the source says.
        uncertain: what "uncertain" becomes (U-Ones is `positive`, U-Zeros `negative`, U-Ignore
            `unknown`; Irvin et al., CheXpert, 2019, §3).
        blank: what "not mentioned" becomes, where the source tells it from absent.

    Example:
        >>> value("uncertain"), value("uncertain", uncertain="positive"), value("blank")
        (nan, 1.0, 0.0)
    """
    policy = {"present": "positive", "absent": "negative", "uncertain": uncertain, "blank": blank}
    return VALUES[policy[mark]]


def doubts(classes: Sequence[str]) -> list[str]:
    """Sentences on names that a class should hardly have.

    Example:
        >>> doubts(["Mass", "mass"])
        ["classes 'Mass' and 'mass' differ in nothing but case; join them with data.rename."]
    """
    told = [
        f"class '{name}' looks like 'no finding': leave the cell empty."
        for name in classes
        if name.casefold().replace("_", " ") in NOTHING
    ]
    same: dict[str, list[str]] = defaultdict(list)
    for name in classes:
        same[name.casefold()].append(name)
    return told + [
        f"classes {' and '.join(map(repr, names))} differ in nothing but case; join them with "
        "data.rename."
        for names in same.values()
        if len(names) > 1
    ]


def commas(classes: Sequence[str]) -> list[str]:
    """Sentences on names with a comma, which may be several classes that were joined by it."""
    return [
        f"class '{name}' has a comma: if it means several classes, join them with |."
        for name in classes
        if "," in name
    ]
