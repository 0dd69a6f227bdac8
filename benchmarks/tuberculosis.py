"""WSRPN against CAM and Grad-CAM on tuberculosis X-rays: one budget, three seeds.

    python benchmarks/tuberculosis.py DATA_FOLDER WORK_FOLDER [--study side-efficientnet …] [--seeds
    3]

DATA_FOLDER holds `tbx11k/side.csv` and `tb.csv`. Every run is `wsrpn train`, `calibrate`, `eval`
and `heatmap` on the command line; finished runs are skipped, so an interrupted study goes on. The
tables go to `docs/results/tuberculosis.md`: means over seeds, with 95 % intervals over patients
(each bootstrap replicate draws the same patients for all seeds and methods, so differences are
paired).

Grad-CAM reads another map off the network that CAM trains: the same run folder under another model
name. The row `constant box` has the median gold box of the training split in every image. It uses
what no weakly supervised method may see; it says how much of a figure is knowing where a finding
usually is.
"""

import argparse
import datetime
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from wsrpn import predictions as prediction_files
from wsrpn.calibration import Calibration
from wsrpn.config import DataConfig
from wsrpn.data import base, images
from wsrpn.metrics.gather import gather
from wsrpn.metrics.panel import Panel
from wsrpn.types import Dataset, Detections, Predictions

FIGURES = ("ap@0.1", "ap@0.3", "ap@0.5", "rodeo", "pointing_game", "auroc")
METHODS = ("wsrpn", "cam", "grad-cam")
RESULTS = Path(__file__).parent.parent / "docs" / "results" / "tuberculosis.md"
SIDE = ["data.augment.flip=0.5", "data.augment.flip_swaps=[[TB image-left, TB image-right]]"]
LITE = [
    "model.backbone=efficientnet_lite0", "model.weights=imagenet", "model.grid=7",
    "train.freeze_backbone=true", "train.precision=fp32", "train.epochs=12",
    "train.validate_every=12",
    "data.augment.rotate=0", "data.augment.translate=0", "data.augment.scale=0",
]  # fmt: skip
STILL = ["data.augment.brightness=0", "data.augment.contrast=0"]  # flips alone: LITE computes once
DENSE = ["model.backbone=densenet121", "model.grid=14", "data.size=160"]
PLACES = ("model.places=2",)  # tuberculosis may be in both lungs; a class of side.csv in one


@dataclass(frozen=True)
class Study:
    """One table.

    Attributes:
        title: what the table says over it.
        data: file below the data folder.
        changes: `--set` for every method.
        by: column with figures of their own.
        wsrpn: `--set` for WSRPN alone.
    """

    title: str
    data: str
    changes: list[str]
    by: str | None = None
    wsrpn: tuple[str, ...] = ()


STUDIES = {
    "side-efficientnet": Study(
        "side.csv, EfficientNet-Lite0 with ImageNet weights, frozen, 320 pixels",
        "tbx11k/side.csv",
        [*SIDE, *LITE, "data.size=320"],
    ),
    "side-densenet": Study(
        "side.csv, DenseNet-121 from nothing, 160 pixels",
        "tbx11k/side.csv",
        [*SIDE, *DENSE, "train.epochs=8"],
    ),
    "tb-efficientnet": Study(
        "tb.csv, EfficientNet-Lite0 with ImageNet weights, frozen, 224 pixels",
        "tb.csv",
        [*LITE, "train.epochs=4"],
        "source",
        PLACES,
    ),
    "tb-densenet": Study(
        "tb.csv, DenseNet-121 from nothing, 160 pixels",
        "tb.csv",
        [*DENSE, "train.epochs=5"],
        "source",
        PLACES,
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--study", nargs="*", default=list(STUDIES), choices=list(STUDIES))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only-tables", action="store_true")
    asked = parser.parse_args()
    if not asked.only_tables:
        for name in asked.study:
            for seed in range(asked.seeds):
                for method in METHODS:
                    run(STUDIES[name], asked.data, asked.work / name, method, seed)
    write(asked.data, asked.work, asked.seeds)


def run(study: Study, data: Path, work: Path, method: str, seed: int) -> None:
    """The four commands for one method and seed; nothing if they are done."""
    out = work / f"{method}-{seed}"
    done = out / "done"
    if done.exists():
        return
    source = str(data / study.data)
    if method == "grad-cam":
        reread(work / f"cam-{seed}", out)
    else:
        shutil.rmtree(out, ignore_errors=True)
        own = study.wsrpn if method == "wsrpn" else ()
        changes = [part for change in (*study.changes, *own) for part in ("--set", change)]
        wsrpn("train", method, "--data", source, "--out", str(out), "--seed", str(seed), *changes)
    wsrpn("calibrate", str(out))
    wsrpn("eval", str(out), *(["--by", study.by] if study.by else []))
    wsrpn("heatmap", str(out), "--out", str(out / "heatmaps"), "--limit", "8")
    done.touch()


def reread(cam: Path, out: Path) -> None:
    """CAM's run folder as a Grad-CAM run: same weights, another map."""
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(cam, out, ignore=shutil.ignore_patterns("eval-*", "heatmaps", "done"))
    config = out / "config.yaml"
    config.write_text(config.read_text().replace("name: cam\n", "name: grad_cam\n"))


def wsrpn(*arguments: str) -> None:
    print("$ wsrpn", " ".join(arguments), flush=True)
    subprocess.run([sys.executable, "-m", "wsrpn_cli.app", *arguments], check=True)


def write(data: Path, work: Path, seeds: int) -> None:
    """All tables of the finished studies."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    when = datetime.date.today().isoformat()
    lines = [f"<!-- written by benchmarks/tuberculosis.py at {commit} on {when} -->", ""]
    for name, study in STUDIES.items():
        finished = [
            s
            for s in range(seeds)
            if all((work / name / f"{m}-{s}" / "done").exists() for m in METHODS)
        ]
        if finished:
            lines += table(study, data, work / name, finished)
    head = RESULTS.read_text().split("<!-- written by")[0] if RESULTS.exists() else ""
    RESULTS.write_text(head + "\n".join(lines) + "\n")
    print(f"tables: {RESULTS}")


def table(study: Study, data: Path, work: Path, seeds: Sequence[int]) -> list[str]:
    """One table: a row per method, then the differences to WSRPN."""
    whole = base.load(DataConfig(source=str(data / study.data)))
    test = whole.split("test")
    drawn = {
        method: [panel(work / f"{method}-{seed}", test) for seed in seeds] for method in METHODS
    }
    drawn["constant box (uses gold boxes)"] = [values(constant(whole, test), test, None)]
    lines = [
        f"### {study.title}",
        "",
        f"{len(test)} test images, seeds {', '.join(map(str, seeds))}.",
        "",
    ]
    lines += [f"| method | {' | '.join(FIGURES)} |", f"|-|{'-|' * len(FIGURES)}"]
    for method, runs in drawn.items():
        skip = {"auroc"} if method.startswith("constant") else set()
        cells = ["–" if f in skip else cell([r[f] for r in runs]) for f in FIGURES]
        lines.append(f"| {method} | {' | '.join(cells)} |")
    for rival in ("cam", "grad-cam"):
        pairs = zip(drawn["wsrpn"], drawn[rival], strict=True)
        gaps = [{f: a[f] - b[f] for f in FIGURES} for a, b in pairs]
        cells = [cell([gap[f] for gap in gaps], sign=True) for f in FIGURES]
        lines.append(f"| wsrpn − {rival} | {' | '.join(cells)} |")
    per_seed = [[f"{run[f][0]:.3f}" for run in drawn["wsrpn"]] for f in FIGURES]
    lines += ["", "WSRPN seed by seed: " + "; ".join(
        f"{name} {', '.join(values)}" for name, values in zip(FIGURES, per_seed, strict=True)) +
        "."]  # fmt: skip
    if study.by:
        lines += groups(work, seeds)
    return [*lines, ""]


def groups(work: Path, seeds: Sequence[int]) -> list[str]:
    """AUROC within each source, where no source can stand for the label."""
    lines = ["", "AUROC within one source (mean over seeds; sources with one label have none):", ""]
    for method in ("wsrpn", "cam"):
        reports = [
            json.loads((work / f"{method}-{s}" / "eval-test" / "report.json").read_text())
            for s in seeds
        ]
        for group in reports[0]["per_group"]:
            found = [r["per_group"][group]["auroc"]["value"] for r in reports]
            if None not in found:
                lines.append(f"- {method}, {group}: {np.mean(found):.3f}")
    return lines


def panel(run_folder: Path, test: Dataset) -> dict[str, np.ndarray]:
    """Value and bootstrap replicates of each figure of one run."""
    found = prediction_files.read(run_folder / "eval-test" / "predictions.json", test)
    return values(found, test, Calibration.load(run_folder / "calibration.json"))


def values(
    found: Predictions, test: Dataset, calibration: Calibration | None
) -> dict[str, np.ndarray]:
    """The value, then the replicates, of each figure."""
    thresholds = None
    if calibration:
        thresholds = dict(zip(calibration.classes, calibration.threshold, strict=True))
        found = calibration.apply(found)
    evidence = gather(found, test, thresholds=thresholds)
    value, replicates = Panel(evidence, bootstrap=1000, seed=0).values()
    return {f: np.concatenate([value[f].total, replicates[f].total]) for f in FIGURES}


def cell(runs: Sequence[np.ndarray], *, sign: bool = False) -> str:
    """Mean over runs with the interval of that mean over patients."""
    mean = np.mean(runs, axis=0)
    low, high = np.nanpercentile(mean[1:], [2.5, 97.5])
    form = "+.3f" if sign else ".3f"
    return f"{mean[0]:{form}} ({low:{form}} … {high:{form}})"


def constant(whole: Dataset, test: Dataset) -> Predictions:
    """The median gold box of each class, as shares of the image, in every test image."""
    shares: list[list[np.ndarray]] = [[] for _ in whole.classes]
    for record in whole.split("train").records:
        height, width = images.size(record.path)
        for box in record.boxes:
            shares[box.label].append(np.array(box.xyxy_px) / (width, height, width, height))
    typical = np.array([np.median(part, axis=0) for part in shares])
    count = len(whole.classes)
    found = []
    for record in test.records:
        height, width = images.size(record.path)
        found.append(
            Detections(
                record.id, (height, width), typical * (width, height, width, height),
                np.full(count, 0.5), np.arange(count), np.zeros(count),
            )
        )  # fmt: skip
    return replace(Predictions(whole.classes, ()), images=tuple(found))


if __name__ == "__main__":
    main()
