"""Small cohorts for the tests of this room, made from values, and slow ways to count on them."""

import dataclasses

import numpy as np
from scipy import ndimage

from wsrpn.tiles import Cohort, Lattice, Tiles

PITCH_PX0 = 256.0
MPP = 0.5


def tiles(
    name,
    score,
    label,
    *,
    patient=None,
    mpp=MPP,
    tissue=None,
    exhaustive=True,
    reference=None,
    size_px0=PITCH_PX0,
):
    """A slide from two grids; nan scores are places without a tile."""
    score, label = np.atleast_2d(np.asarray(score, float)), np.atleast_2d(np.asarray(label, float))
    row, column = np.nonzero(~np.isnan(score))
    lattice = Lattice((0.0, 0.0), (PITCH_PX0, PITCH_PX0), column, row, score.shape)
    truth = label[row, column]
    return Tiles(
        slide=name,
        patient=patient or name,
        lattice=lattice,
        size_px0=(size_px0, size_px0),
        score=score[row, column],
        label=truth,
        truth=truth,
        tissue=np.ones(len(row)) if tissue is None else np.asarray(tissue)[row, column],
        reference=None if reference is None else np.asarray(reference)[row, column],
        mpp=mpp,
        exhaustive=exhaustive,
    )


def cohort(*slides):
    return Cohort("made", tuple(slides))


def world(
    seed=0, *, slides=6, side=24, normal=1, shift=2.0, jitter=0.2, burden=(0.01, 0.2), **options
):
    """Blobs of tumour in correlated noise; every slide has a scale and an offset of its own."""
    random = np.random.default_rng(seed)
    made = []
    for i in range(slides):
        share = 0.0 if i < normal else float(np.exp(random.uniform(*np.log(burden))))
        blobs = ndimage.gaussian_filter(random.normal(size=(side, side)), 3)
        label = (blobs > np.quantile(blobs, 1 - share)) & (share > 0)
        noise = ndimage.gaussian_filter(random.normal(size=(side, side)), 0.7)
        score = noise / noise.std() + shift * label
        score = score * np.exp(jitter * random.normal()) + 3 * jitter * random.normal()
        made.append(tiles(f"s{i:02d}", score, label, **options))
    return cohort(*made)


def coarse(found, levels=7):
    """The same cohort with few different scores, so that ties are everywhere."""

    def rounded(one):
        return dataclasses.replace(one, score=np.round(one.score * levels / 4) * 4 / levels)

    return dataclasses.replace(found, slides=tuple(rounded(one) for one in found.slides))


def called(found, values, threshold):
    """Hits and false alarms per slide at a threshold, counted tile by tile."""
    pairs = list(zip(found.slides, values, strict=True))
    hits = [int(((v >= threshold) & (s.label == 1)).sum()) for s, v in pairs]
    false = [int(((v >= threshold) & (s.label == 0) & (s.tissue > 0)).sum()) for s, v in pairs]
    return np.array([hits, false], dtype=float)


def reached(found, values, threshold, objective, over):
    """IoU, F1 or Youden's J of a cohort at a threshold, by its definition."""
    hits, false = called(found, values, threshold)
    positives = np.array([(s.label == 1).sum() for s in found.slides], dtype=float)
    negatives = np.array(
        [((s.label == 0) & (s.tissue > 0)).sum() for s in found.slides], dtype=float
    )
    if over == "pooled":
        rows = [[x.sum()] for x in (hits, false, positives, negatives)]
    else:
        some = positives > 0
        rows = [x[some] for x in (hits, false, positives, negatives)]
    values = []
    for tp, fp, p, n in zip(*rows, strict=True):
        if objective == "iou":
            values.append(tp / (p + fp))
        elif objective == "f1":
            values.append(2 * tp / (2 * tp + fp + (p - tp)))
        else:
            values.append(tp / p - (fp / n if n else 0.0))
    return float(np.mean(values))
