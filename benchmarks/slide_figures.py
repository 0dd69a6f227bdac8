"""Figures of slides: FROC, pixel AUROC, lesions and bootstrap beside the usual ways.

    python benchmarks/slide_figures.py

The usual ways are written here from their rules, for timing: FROC one threshold after the other
over arrays of all confidences (the challenge's evaluation converts lists at every threshold on top
of that), pixel AUROC over painted pixels, lesions by the distance of every pixel. Equal values are
checked in the same run. Medians of interleaved repeats in one process, one thread.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import shapely
from scipy import ndimage
from sklearn.metrics import roc_auc_score

from wsrpn.metrics.froc import RATES, Froc, Hits, lesions
from wsrpn.metrics.pooled import Pooled
from wsrpn.metrics.tiles import Weighed, pixels, ranked

Pair = tuple[Callable[[], Any], Callable[[], Any]]


def detected(slides: int = 129, detections: int = 20_000, seed: int = 0) -> list[Hits]:
    """What detections come to on as many slides as CAMELYON16's test set; a third has lesions."""
    rng = np.random.default_rng(seed)
    made = []
    for i in range(slides):
        found = rng.beta(4, 2, rng.integers(1, 12) if i % 3 == 0 else 0)
        found[rng.random(len(found)) < 0.2] = np.nan
        made.append(Hits(found, rng.beta(1, 4, detections // slides)))
    return made


def froc_loop(slides: list[Hits]) -> float:
    """The rule: at every threshold count false alarms and lesions found."""
    false = np.concatenate([slide.false for slide in slides])
    found = np.nan_to_num(np.concatenate([slide.found for slide in slides]), nan=-np.inf)
    levels = sorted({level for level in (*false, *found) if level > -np.inf})
    alarms = [(false >= level).sum() / len(slides) for level in levels] + [0.0]
    reached = [(found >= level).sum() / len(found) for level in levels] + [0.0]
    return float(np.interp(RATES, alarms[::-1], reached[::-1]).mean())


def painted(side: int = 24, seed: int = 0) -> tuple[Weighed, np.ndarray, np.ndarray]:
    """A slide of 10,000 tiles with their pixels, 5.8 million of them."""
    rng = np.random.default_rng(seed)
    truth = rng.random((100 * side, 100 * side)) < 0.02
    share = truth.reshape(100, side, 100, side).mean(axis=(1, 3))
    score = rng.normal(size=share.shape) + 20 * share
    weights = pixels(share.ravel(), np.ones(share.size), float(side * side))
    pixel = score.repeat(side, 0).repeat(side, 1).ravel()
    return Weighed(score.ravel(), *weights), truth.ravel(), pixel


def scored(slides: int = 20, tiles: int = 20_000, seed: int = 0) -> list[Weighed]:
    """Slides with 3 % tumour tiles."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(slides):
        label = (rng.random(tiles) < 0.03).astype(np.float64)
        made.append(Weighed(rng.normal(size=tiles) + label, label, 1 - label))
    return made


def resampled_by_sklearn(slides: list[Weighed], counts: np.ndarray) -> list[float]:
    """AUROC of the tiles of a replicate, written out with weights."""
    label = np.concatenate([s.positive for s in slides])
    value = np.concatenate([s.value for s in slides])
    many = [len(s.value) for s in slides]
    return [roc_auc_score(label, value, sample_weight=row.repeat(many)) for row in counts]


def tumour(seed: int = 0) -> tuple[shapely.Geometry, np.ndarray]:
    """Blobs on 3125 × 3125 pixels of 8 µm, as a shape and as a mask."""
    rng = np.random.default_rng(seed)
    discs = [
        shapely.Point(*rng.uniform(300, 2800, 2)).buffer(rng.uniform(5, 90)) for _ in range(60)
    ]
    shape = shapely.union_all(discs)
    mask = np.zeros((3125, 3125), dtype=bool)
    for disc in discs:
        left, top, right, bottom = map(int, disc.bounds)
        x, y = np.meshgrid(np.arange(left, right + 2) + 0.5, np.arange(top, bottom + 2) + 0.5)
        mask[top : bottom + 2, left : right + 2] |= shapely.contains_xy(disc, x, y)
    return shape, mask


def labelled(mask: np.ndarray, um_per_px: float = 8.0) -> int:
    """The rule on pixels: how many lesions there are."""
    near = ndimage.distance_transform_edt(~mask) < 75 / (um_per_px * 2)
    return int(ndimage.label(ndimage.binary_fill_holes(near), np.ones((3, 3)))[1])


def beside(pair: Pair, repeats: int) -> tuple[float, float, float]:
    """Median seconds of both and the median ratio theirs ÷ ours, in turn."""
    times = np.array([[_seconds(work) for work in pair] for _ in range(repeats)])
    return (*np.median(times, axis=0), statistics.median(times[:, 1] / times[:, 0]))


def _seconds(work: Callable[[], Any], least: float = 0.05) -> float:
    """Seconds of one call; of calls that are over soon, as many as take a twentieth second."""
    calls, start = 0, time.perf_counter()
    while not calls or time.perf_counter() - start < least:
        work()
        calls += 1
    return (time.perf_counter() - start) / calls


def measure(repeats: int = 3) -> list[dict[str, Any]]:
    """Rows of seconds; `ratio` is theirs ÷ ours, `gap` how far the values are apart."""
    hits = detected()
    tiles, truth, pixel = painted()
    cohort = scored()
    counts = np.random.default_rng(0).multinomial(20, np.full(20, 1 / 20), 1000).astype(float)
    shape, mask = tumour()
    few = counts[:10]
    one = np.ones((1, len(hits)))
    cases: list[tuple[str, str, Pair, float, float]] = [
        (
            "FROC, 129 slides, 20,000 detections: threshold by threshold", "≥ 300",
            (lambda: float(Froc(hits).figures(one)["froc"][0]), lambda: froc_loop(hits)), 1, 1,
        ),
        (
            "pixel AUROC, 10,000 tiles, 5.8 million pixels: painted, scikit-learn", "–",
            (lambda: ranked(tiles)[0], lambda: roc_auc_score(truth, pixel)), 1, 1,
        ),
        (
            "lesions, 60 blobs: distance of every pixel of 3125 × 3125", "–",
            (lambda: len(lesions(shape, 8.0)), lambda: labelled(mask)), 1, 1,
        ),
        (
            "one of 1,000 resamples of pooled AUROC, 20 slides, 400,000 tiles: scikit-learn", "–",
            (
                lambda: Pooled(cohort, auroc="a").figures(counts)["a"][:10].mean(),
                lambda: np.mean(resampled_by_sklearn(cohort, few)),
            ), 1000, 10,
        ),
    ]  # fmt: skip
    rows = []
    for what, goal, pair, per, their_per in cases:
        gap = abs(float(pair[0]()) - float(pair[1]()))
        own, theirs, ratio = beside(pair, repeats)
        ratio *= per / their_per
        times = {"ours": own / per, "theirs": theirs / their_per}
        rows.append({"what": what, **times, "ratio": ratio, "goal": goal, "gap": gap})
    return rows


def main() -> None:
    print(f"{'ours s':>10} {'theirs s':>10} {'ratio':>8}  goal      what")
    for r in measure():
        print(
            f"{r['ours']:>10.4g} {r['theirs']:>10.4g} {r['ratio']:>8.4g}  {r['goal']:<9} "
            f"{r['what']} (values differ by {r['gap']:.1e})"
        )


if __name__ == "__main__":
    main()
