"""What is known of CAMELYON16's slides by their names.

Reference:
    README of the data set: slides in which not all tumour is outlined. (`normal_86` became
    `tumor_111`; `test_049` is a duplicate; both are gone from the data set.)
"""

import re

_NUMBERS = (10, 15, 18, 20, 25, 29, 33, 34, 44, 46, 51, 54, 55, 56, 67, 79, 85, 92, 95, 110)
NOT_EXHAUSTIVE = frozenset({*(f"tumor_{number:03d}" for number in _NUMBERS), "test_114"})


def exhaustive(name: str) -> bool:
    """Whether all tumour of a slide is outlined, as far as its name tells.

    Example:
        >>> exhaustive("tumor_020"), exhaustive("Tumor_020"), exhaustive("tumor_021")
        (False, False, True)
    """
    found = re.fullmatch(r"(tumor|test)_0*(\d+)", name.strip().lower())
    return found is None or f"{found[1]}_{int(found[2]):03d}" not in NOT_EXHAUSTIVE
