"""What the user should know of a finished training on masks, from the figures of the kept epoch."""

import math
from collections.abc import Mapping

FULL = 0.999  # share of all pixels that is nearly everything
FLOODED = 3.0  # times as much foreground as there is

_WHERE = "of split val at the kept epoch"


def remarks(kept: Mapping[str, float]) -> list[str]:
    """Nothing found, everything found, all of it in the wrong place, or much more than there is.

    Args:
        kept: figures of `wsrpn.train.mask_figures.judge`.

    Returns:
        One sentence of what is wrong and how it may be put right, or none.

    Example:
        >>> remarks({"val/truth": 0.1, "val/foreground": 0.12, "val/dice": 0.8})
        []
    """
    there, found = kept.get("val/truth", math.nan), kept.get("val/foreground", math.nan)
    if there == 0:
        return [
            "No pixel of split val is foreground, so Dice and Jaccard are undefined; change "
            "data.val_share or data.split_seed."
        ]
    if found == 0:
        return [
            f"Nothing is found in any image {_WHERE}: no pixel reaches 0.5, and {there:.2%} of "
            "them are foreground; train longer, with a higher train.lr, or with a loss that counts "
            "overlap or weighs misses (dice, tversky, weighted_bce)."
        ]
    if found >= FULL:
        return [
            f"Everything is found: {found:.1%} of the pixels {_WHERE} reach 0.5, and {there:.2%} "
            "are foreground; train longer, or lower what misses cost (weighted_bce.pos_weight, "
            "tversky.fn_weight)."
        ]
    if kept.get("val/dice") == 0:
        return [
            f"Dice is 0 {_WHERE}: {found:.2%} of the pixels reach 0.5, none of them is among the "
            f"{there:.2%} that are foreground; look at segmentation.png, and at the masks with "
            "wsrpn data check."
        ]
    if found > FLOODED * there:
        return [
            f"{found / there:.1f} times as many pixels {_WHERE} reach 0.5 as are foreground "
            f"({found:.2%} and {there:.2%}); wsrpn calibrate fits a better threshold, and less "
            "weight on misses (weighted_bce.pos_weight, tversky.fn_weight) finds less."
        ]
    return []
