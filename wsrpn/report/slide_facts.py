"""What pictures of a slide say in words: how much tumour there is, and how well it was found."""

import math

import numpy as np

from wsrpn.errors import counted
from wsrpn.report.slide_view import SlideView

UNKNOWN, NONE = "truth not known", "no tumour"


def iou(view: SlideView) -> float:
    """Found tiles against labelled ones, over tiles with a label; nan where it is undefined.

    Without any tumour it is undefined, as in the figures of `eval`.
    """
    if view.found is None:
        return math.nan
    label = view.tiles.label
    known, tumour = ~np.isnan(label), label == 1
    either = int((known & (tumour | view.found)).sum())
    return float((tumour & view.found).sum()) / either if tumour.any() else math.nan


def truth(view: SlideView) -> str:
    """How much of the tissue is tumour."""
    if view.tumour is None and np.isnan(view.tiles.label).all():
        return UNKNOWN
    tumour = int((view.tiles.label == 1).sum())
    burden = view.tiles.burden
    if tumour == 0 and not burden > 0:
        return NONE
    return f"{share(burden)} of the tissue · {counted(tumour, 'tile')}"


def called(view: SlideView) -> str:
    """How much was called tumour, and the IoU where there is tumour."""
    if view.found is None:
        return "no threshold"
    number = int(view.found.sum())
    area = view.tiles.cell_um2
    size = counted(number, "tile") if area is None else f"{number * area / 1e6:.3g} mm²"
    text = f"{size} called"
    value = iou(view)
    return text if math.isnan(value) else f"IoU {_short(value)} · {text}"


def share(value: float) -> str:
    """A share in per cent with two significant digits.

    Example:
        >>> share(0.000341), share(0.03), share(0.5), share(0.0), share(float("nan"))
        ('0.034 %', '3 %', '50 %', '0 %', 'unknown share')
    """
    if math.isnan(value):
        return "unknown share"
    return f"{float(f'{100 * value:.2g}'):.12g} %"


def _short(value: float) -> str:
    """Two decimals, or one significant digit of what is smaller.

    Example:
        >>> _short(0.4789), _short(0.00312), _short(0.0)
        ('0.48', '0.003', '0')
    """
    return f"{value:.2f}" if value >= 0.01 else f"{value:.1g}"
