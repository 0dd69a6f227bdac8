"""Small made-up data sets and predictions of them, nasty ones included."""

from pathlib import Path

import numpy as np

from wsrpn.metrics.evidence import BoxTable
from wsrpn.types import Box, Dataset, Detections, Predictions, Record, RegionFigures

CLASSES = ("Mass", "Nodule", "Effusion")


def boxes_of(rows):
    """A table from (image, label, x1, y1, x2, y2[, score]) in rising order of images."""
    flat = np.array([[*row, 1.0][:7] for row in rows], dtype=np.float64).reshape(-1, 7)
    return BoxTable(
        flat[:, 0].astype(np.int64), flat[:, 1].astype(np.int64), flat[:, 2:6], flat[:, 6]
    )


def random_boxes(rng, images, classes, most, *, ties=True):
    """Boxes on a coarse lattice, so that equal scores and equal overlaps are common."""
    rows = []
    for image in range(images):
        for _ in range(rng.integers(0, most + 1)):
            x, y, w, h = (int(v) * 4 for v in rng.integers(1, 6, 4))
            score = rng.integers(1, 6) / 8 if ties else rng.random()
            rows.append((image, rng.integers(classes), x, y, x + w, y + h, score))
    return boxes_of(rows)


def detections(name, rows=(), logits=(0.0, 0.0, 0.0), regions=None):
    """One image from (class, x1, y1, x2, y2, score)."""
    flat = np.array(rows, dtype=np.float64).reshape(-1, 6)
    return Detections(
        name,
        (64, 64),
        flat[:, 1:5],
        flat[:, 5],
        flat[:, 0].astype(np.int64),
        np.array(logits),
        regions,
    )


def record(name, labels=(0.0, 0.0, 0.0), boxes=(), **more):
    """One record; boxes as (class, x1, y1, x2, y2)."""
    truth = tuple(Box(int(label), tuple(map(float, xyxy))) for label, *xyxy in boxes)
    return Record(name, Path(name), more.pop("patient", name), labels, boxes=truth, **more)


def world(seed=0, images=40):
    """A data set of three classes and predictions with some skill; Effusion never occurs."""
    rng = np.random.default_rng(seed)
    records, answers = [], []
    for i in range(images):
        labels = (float(rng.random() < 0.5), float(rng.random() < 0.3), 0.0)
        truth, rows = [], []
        for label in range(3):
            x, y = rng.integers(0, 40, 2)
            if labels[label]:
                truth.append((label, x, y, x + 16, y + 16))
            dx, dy = rng.integers(-6, 7, 2)
            rows.append((label, x + dx, y + dy, x + dx + 16, y + dy + 16, rng.random()))
        logits = 2 * (np.array(labels) - 0.5) + rng.normal(0, 1.5, 3)
        figures = RegionFigures(
            rng.random((4, 3)), rng.random(4), rng.random(4), rng.random(4), rng.random(4)
        )
        source = {"source": "ab"[i % 2]}
        records.append(record(f"i{i}.png", labels, truth, patient=f"p{i // 2}", extra=source))
        answers.append(detections(f"i{i}.png", rows, logits, figures))
    return (
        Predictions(CLASSES, tuple(answers), {"config_sha256": "c"}),
        Dataset("made up", CLASSES, tuple(records)),
    )
