"""Box figures: ours beside torchmetrics and faster-coco-eval, on the same made-up boxes.

    python benchmarks/detection_metrics.py

Both sides start from what a user holds in memory (one entry per image) and end with AP at seven
thresholds; medians of repeats in one process, one thread.
"""

import contextlib
import dataclasses
import io
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from wsrpn import compat
from wsrpn.evaluate import evaluate
from wsrpn.metrics.detection import CHEST_THRESHOLDS, average_precision
from wsrpn.metrics.gather import gather
from wsrpn.metrics.matching import match
from wsrpn.metrics.rodeo import Rodeo
from wsrpn.types import Box, Dataset, Detections, Predictions, Record

CLASSES = tuple(f"class {i}" for i in range(8))


def world(images: int, found: int, truth: int, seed: int = 0) -> tuple[Predictions, Dataset]:
    """Random boxes, each found box near a true one of a random class half of the time."""
    rng = np.random.default_rng(seed)
    answers, records = [], []
    for i in range(images):
        true = boxes(rng, truth)
        near = true[rng.integers(0, truth, found)] + rng.normal(0, 12, (found, 4))
        guess = np.where(rng.random((found, 1)) < 0.5, near, boxes(rng, found)).clip(0, 1024)
        guess[:, 2:] = np.maximum(guess[:, 2:], guess[:, :2] + 1)
        labels = rng.integers(0, 8, truth)
        present = tuple(float(k in labels) for k in range(8))
        gold = tuple(Box(int(k), tuple(b)) for k, b in zip(labels, true.tolist(), strict=True))
        records.append(Record(str(i), Path(str(i)), str(i), present, boxes=gold))
        kinds, logits = rng.integers(0, 8, found), rng.normal(0, 1, 8)
        answers.append(Detections(str(i), (1024, 1024), guess, rng.random(found), kinds, logits))
    return Predictions(CLASSES, tuple(answers)), Dataset("random", CLASSES, tuple(records))


def boxes(rng: np.random.Generator, many: int) -> np.ndarray:
    xy, wh = rng.uniform(0, 700, (many, 2)), rng.uniform(60, 320, (many, 2))
    return np.concatenate((xy, xy + wh), axis=1)


def ours(predictions: Predictions, dataset: Dataset) -> np.ndarray:
    evidence = gather(predictions, dataset)
    size = {"images": len(evidence), "classes": len(CLASSES)}
    matches = match(evidence.found, evidence.truth, CHEST_THRESHOLDS, **size)
    return average_precision(matches, np.ones((1, len(evidence))))[0]


def torchmetrics_inputs(predictions: Predictions, dataset: Dataset) -> tuple[list, list]:
    found = [
        {
            "boxes": torch.from_numpy(d.xyxy_px).float(),
            "scores": torch.from_numpy(d.scores).float(),
            "labels": torch.from_numpy(d.classes),
        }
        for d in predictions.images
    ]
    truth = [
        {
            "boxes": torch.tensor([b.xyxy_px for b in r.boxes]),
            "labels": torch.tensor([b.label for b in r.boxes]),
        }
        for r in dataset.records
    ]
    return found, truth


def with_torchmetrics(found: list, truth: list) -> float:
    from torchmetrics.detection import MeanAveragePrecision

    metric = MeanAveragePrecision(iou_thresholds=list(CHEST_THRESHOLDS))
    metric.update(found, truth)
    return float(metric.compute()["map"])


def coco_inputs(predictions: Predictions, dataset: Dataset) -> tuple[dict[str, Any], list]:
    found = [
        {"image_id": i, "category_id": int(k), "bbox": [x, y, u - x, v - y], "score": float(s)}
        for i, d in enumerate(predictions.images)
        for (x, y, u, v), s, k in zip(d.xyxy_px.tolist(), d.scores, d.classes, strict=True)
    ]
    flat = [(i, b.label, *b.xyxy_px) for i, r in enumerate(dataset.records) for b in r.boxes]
    truth = [
        {
            "id": n + 1,
            "image_id": i,
            "category_id": k,
            "bbox": [x, y, u - x, v - y],
            "area": (u - x) * (v - y),
            "iscrowd": 0,
        }
        for n, (i, k, x, y, u, v) in enumerate(flat)
    ]
    images = [{"id": i, "width": 1024, "height": 1024} for i in range(len(dataset))]
    categories = [{"id": k, "name": name} for k, name in enumerate(CLASSES)]
    return {"images": images, "categories": categories, "annotations": truth}, found


def with_faster_coco(truth: dict[str, Any], found: list) -> float:
    from faster_coco_eval import COCO, COCOeval_faster

    with contextlib.redirect_stdout(io.StringIO()):
        gold = COCO(truth)
        judge = COCOeval_faster(gold, gold.loadRes(found), "bbox")
        judge.params.iouThrs = np.array(CHEST_THRESHOLDS)
        judge.params.areaRng, judge.params.areaRngLbl = [[0, 1e10]], ["all"]
        judge.evaluate()
        judge.accumulate()
    return float(judge.eval["precision"][..., 0, -1].mean())


def seconds(work: Callable[[], object], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def row(what: str, own: float, theirs: float | None, goal: str, **more: object) -> dict[str, Any]:
    ratio = None if theirs is None else theirs / own
    return {"what": what, "ours": own, "theirs": theirs, "ratio": ratio, "goal": goal, **more}


def measure(*, large: int = 100_000) -> list[dict[str, Any]]:
    """Rows of seconds; `ratio` is theirs ÷ ours."""
    compat.torchvision()
    torch.set_num_threads(1)
    rows = []
    for found, truth in ((10, 10), (10, 2)):
        sides = world(1000, found, truth)
        own = seconds(lambda: ours(*sides), 7)  # noqa: B023
        name = f"AP at 7 thresholds, 1,000 images × {found} boxes × {truth} true"
        tm, coco = torchmetrics_inputs(*sides), coco_inputs(*sides)
        value = float(np.nanmean(ours(*sides)))
        gap = abs(with_faster_coco(*coco) - value)
        theirs = seconds(lambda: with_torchmetrics(*tm), 3)  # noqa: B023
        rows.append(row(f"{name}: torchmetrics", own, theirs, "≥ 50"))
        theirs = seconds(lambda: with_faster_coco(*coco), 5)  # noqa: B023
        rows.append(row(f"{name}: faster-coco-eval", own, theirs, "≥ 1", gap=gap))
    sides = world(1000, 10, 10)
    evidence = gather(*sides)
    evidence = dataclasses.replace(evidence, chosen=evidence.found)
    ones = np.ones((1, len(evidence)))
    own = seconds(lambda: Rodeo(evidence).figures(ones), 7)
    rows.append(row("RoDeO, 1,000 images × 10 × 10", own, None, "≤ 0.08 s"))
    small = world(440, 2, 2)
    own = seconds(lambda: evaluate(*small, bootstrap=1000), 3) / 1000
    tm = torchmetrics_inputs(*small)
    theirs = seconds(lambda: with_torchmetrics(*tm), 3)
    what = "one of 1,000 bootstrap resamples of 440 images, all figures: torchmetrics' AP alone"
    rows.append(row(what, own, theirs, "≥ 100"))
    if large:
        sides = world(large, 10, 2)
        coco = coco_inputs(*sides)
        own = seconds(lambda: ours(*sides), 3)
        theirs = seconds(lambda: with_faster_coco(*coco), 1)
        rows.append(row(f"AP, {large:,} images × 10 × 2: faster-coco-eval", own, theirs, "≥ 1"))
    return rows


def main() -> None:
    print(f"{'ours s':>10} {'theirs s':>10} {'ratio':>8}  goal      what")
    for r in measure():
        theirs, ratio = ("-" if r[n] is None else f"{r[n]:.4g}" for n in ("theirs", "ratio"))
        gap = f" (AP differs by {r['gap']:.1e})" if "gap" in r else ""
        print(f"{r['ours']:>10.4g} {theirs:>10} {ratio:>8}  {r['goal']:<9} {r['what']}{gap}")


if __name__ == "__main__":
    main()
