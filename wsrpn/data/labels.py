"""What a label that nobody is sure of, or nobody mentioned, becomes: named, never by accident.

A source says of a finding that it is present, absent or uncertain, or does not mention it. The last
two become 1, 0 or nan (unknown, left out of losses and figures) by a policy with a name.
"""

import math
from typing import Literal

Mark = Literal["present", "absent", "uncertain", "blank"]
Uncertain = Literal["unknown", "positive", "negative"]
Blank = Literal["negative", "unknown"]

VALUES: dict[str, float] = {"positive": 1.0, "negative": 0.0, "unknown": math.nan}

# Same finding, other word: the box list of ChestX-ray14 spells it differently from its label table,
# CheXlocalize and the radiologists' table of MIMIC-CXR-JPG differently from CheXpert.
SPELLINGS = {"Infiltrate": "Infiltration", "Airspace Opacity": "Lung Opacity"}


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
