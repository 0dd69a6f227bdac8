"""Label rules: what share of a tile is tumour, and when a tile is called so.

Rules: `any` (some of the tile is tumour), `centre` (its middle is), `share@X` (at least this much).
`any` makes a small tumour several times as large, and none of them is exact at its edge, so the
best that tiles can do against pixels, `ceiling`, belongs beside every figure.
"""

import dataclasses
import math

import numpy as np
from jaxtyping import Float

from wsrpn.errors import InputError
from wsrpn.slides import overlap
from wsrpn.slides.shapes import Outlines
from wsrpn.tiles import Tiles

DEFAULT = "share@0.5"
_EXACT = 1e-9  # shares this close are equal
_ROUNDING_PX0 = 0.5  # what whole-numbered coordinates of a tile may hide


def parse(rule: str) -> tuple[str, float]:
    """Name and share of a rule; the share of `any` is 0 and of `centre` nan.

    Raises:
        InputError: a rule of another name.

    Example:
        >>> parse("share@0.25"), parse("any")
        (('share', 0.25), ('any', 0.0))
    """
    fixed = {"any": 0.0, "centre": math.nan}
    if rule in fixed:
        return rule, fixed[rule]
    name, _, number = rule.partition("@")
    try:
        least = float(number)
    except ValueError:
        least = math.nan
    if name != "share" or not 0 < least <= 1:
        raise InputError(f"No label rule is called '{rule}'. Known: any, centre, share@0.5.")
    return name, least


def boxes_px0(tiles: Tiles) -> Float[np.ndarray, "n 4"]:
    """x1, y1, x2, y2 of every tile."""
    corner = tiles.corner_px0
    return np.concatenate([corner, corner + np.array(tiles.size_px0)], axis=1)


def label(tiles: Tiles, found: Outlines, rule: str) -> Tiles:
    """The tiles with share and label from outlines.

    `any` does not count what lies within half a pixel of a tile's edge: coordinates of tiles are
    whole numbers, and a tumour cut along the lattice would spill over its neighbours. A tile that
    touches an excluded area so is unknown.
    """
    name, least = parse(rule)
    boxes = boxes_px0(tiles)
    share = overlap.shares(found.tumour, boxes)
    inner = boxes + _ROUNDING_PX0 * np.array([1.0, 1.0, -1.0, -1.0])
    if name == "any":
        made = (overlap.touched(found.tumour, inner) & (share > 0)).astype(np.float64)
    elif name == "centre":
        middle = (boxes[:, :2] + boxes[:, 2:]) / 2
        made = overlap.holding(found.tumour, middle).astype(np.float64)
    else:
        made = by_share(share, name, least)
    unknown = overlap.touched(found.excluded, inner)
    made[unknown] = share[unknown] = np.nan
    return dataclasses.replace(tiles, label=made, truth=share)


def by_share(share: Float[np.ndarray, " n"], name: str, least: float) -> Float[np.ndarray, " n"]:
    """Labels by `any` or `share@X` from shares; nan where the share is.

    Args:
        share: of every tile.
        name: of the rule, as `parse` gives it.
        least: share of the rule.
    """
    made = share > 0 if name == "any" else share >= least - _EXACT
    return np.where(np.isnan(share), np.nan, made.astype(np.float64))


def ceiling(tiles: Tiles) -> float:
    r"""Pixel IoU of a classifier that calls every tile as labelled, inside tissue.

    $$ J = \frac{\sum_{l=1} t}{\sum_{l=1} \max(s, t) + \sum_{l=0} t} $$

    with t the share of a tile that is tumour, s that of tissue and l its label; nan without tumour
    or where no tile has both a share and a label.
    """
    known = ~np.isnan(tiles.truth) & ~np.isnan(tiles.label)
    truth, called = tiles.truth[known], tiles.label[known] == 1
    if not truth.any():
        return math.nan
    whole = np.maximum(tiles.tissue[known], truth)
    return float(truth[called].sum() / (whole[called].sum() + truth[~called].sum()))
