"""Several radiologists read one image: one label per class, and one box per finding."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from wsrpn import boxes
from wsrpn.data.lookup import Corners

Votes = Literal["majority", "any", "unanimous"]


def present(votes: int, readers: int, rule: Votes) -> bool:
    """Whether a finding counts as there.

    Args:
        votes: radiologists who saw it.
        readers: radiologists who looked.
        rule: `majority` more than half of them, `any` one, `unanimous` all.

    Example:
        >>> [present(1, 3, rule) for rule in ("majority", "any", "unanimous")]
        [False, True, False]
    """
    if rule == "any":
        return votes > 0
    return votes == readers if rule == "unanimous" else 2 * votes > readers


def fuse(readers: Sequence[Sequence[Corners]], *, threshold: float = 0.5) -> list[Corners]:
    """Boxes of one finding by several readers, those of the same place averaged.

    Weighted box fusion (Solovyev et al., 2021, §3) with equal weights and one change: a reader has
    at most one box in a cluster, since two boxes of one reader are two lesions. A box joins the
    cluster whose mean it overlaps most, if by more than `threshold`, else it begins a new one.

    Args:
        readers: boxes of each reader, xyxy.
        threshold: IoU.

    Returns:
        The mean of every cluster, in the order in which they began.

    Example:
        >>> fuse([[(0.0, 0.0, 10.0, 10.0)], [(0.0, 0.0, 10.0, 12.0), (50.0, 50.0, 60.0, 60.0)]])
        [(0.0, 0.0, 10.0, 11.0), (50.0, 50.0, 60.0, 60.0)]
    """
    clusters: list[list[Corners]] = []
    for found in readers:
        joined = _joined([_mean(cluster) for cluster in clusters], found, threshold)
        for number, box in enumerate(found):
            if number in joined:
                clusters[joined[number]].append(box)
            else:
                clusters.append([box])
    return [_mean(cluster) for cluster in clusters]


def _joined(means: Sequence[Corners], found: Sequence[Corners], threshold: float) -> dict[int, int]:
    """Box → cluster, best overlap first, each at most once."""
    if not means or not found:
        return {}
    overlap = boxes.iou(np.array(found, dtype=float), np.array(means, dtype=float))
    joined: dict[int, int] = {}
    for flat in np.argsort(-overlap, axis=None, kind="stable"):
        box, cluster = divmod(int(flat), len(means))
        if overlap[box, cluster] <= threshold:
            break
        if box not in joined and cluster not in joined.values():
            joined[box] = cluster
    return joined


def _mean(cluster: Sequence[Corners]) -> Corners:
    x1, y1, x2, y2 = np.mean(cluster, axis=0).tolist()
    return (x1, y1, x2, y2)
