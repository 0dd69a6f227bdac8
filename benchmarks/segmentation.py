"""What losses and parts do for segmentation: beads and nuclei, pasted nodules and lesions.

    python benchmarks/segmentation.py DATA_FOLDER WORK_FOLDER [--seeds 3] [--studies beads …]

DATA_FOLDER holds `beads`, `nuclei`, `covid_seg`, `tb_labels` and `nodule_statistics`. Every run is
`wsrpn train`, `calibrate` and `eval` on the command line, one thread each; finished ones are
skipped, so an interrupted study goes on. Figures are of the split `test`, at 0.5 and at the
threshold that was fitted on `val`. Intervals of values are over test images (patients, where an
image has one), those of differences over test images, which are drawn together for all arms, and
over the seeds that both arms have (`wsrpn.metrics.seeds`). The tables go to
`docs/results/segmentation.md`.
"""

import argparse
import concurrent.futures
import csv
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage
from study import Arm, cell, folder, write, wsrpn

from wsrpn import files
from wsrpn.config import DataConfig
from wsrpn.data import base, images
from wsrpn.data.phantom import nodules
from wsrpn.masks import truth
from wsrpn.masks.calibration import MaskCalibration
from wsrpn.metrics import pixels, seeds
from wsrpn.metrics.intervals import draws, figure
from wsrpn.segmentation import maps
from wsrpn.train.folder import read_metrics
from wsrpn.types import Dataset, Figure

RESULTS = Path(__file__).parent.parent / "docs" / "results" / "segmentation.md"
REPLICATES = 2000
FIGURES = {
    "jaccard": "Jaccard at 0.5",
    "jaccard_fitted": "Jaccard, fitted threshold",
    "dice_fitted": "Dice, fitted threshold",
    "precision": "precision at 0.5",
    "recall": "recall at 0.5",
    "foreground": "found ÷ true area at 0.5",
    "specificity_fitted": "specificity, fitted threshold",
}
EXTRA = ("boundary_f1", "object_ap@0.5")  # of the report, mean over seeds


@dataclass(frozen=True)
class Study:
    """One table.

    Attributes:
        key: name of its folder, and on the command line.
        title: over the table.
        data: below the data folder, or a phantom; "" for what `prepare` makes.
        arms: rows.
        changes: of every arm.
        pairs: arms whose difference is told, first minus second.
        seeds: of arms that are trained with fewer of them than the study.
    """

    key: str
    title: str
    data: str
    arms: tuple[Arm, ...]
    changes: tuple[str, ...]
    pairs: tuple[tuple[str, str], ...]
    seeds: Mapping[str, int] = field(default_factory=dict)

    def source(self, data: Path, work: Path) -> str:
        """DATA as the command line takes it."""
        if self.data.startswith("phantom:"):
            return self.data
        return str(data / self.data) if self.data else str(work / self.key / "data")


def phases(**weights: float) -> str:
    """`--set` for one phase with these losses."""
    inside = ", ".join(f"{name}: {weight}" for name, weight in weights.items())
    return f"phases=[{{weights: {{{inside}}}}}]"


ADAPTIVE = (
    "phases=[{until: 0.05, weights: {dice: 0.5, focal: 0.5}}, "
    "{weights: {dice: 0.7, focal: 0.3}, ramp: 30}]"
)
FAST = "train.lr=1.0e-3"
LOSSES = (
    Arm("dice", "beads", (phases(dice=1),)),
    Arm("focal", "beads", (phases(focal=1),)),
    Arm("combined", "beads"),
    Arm("tversky", "beads", (phases(tversky=1), "losses.tversky={fp_weight: 0.3, fn_weight: 0.7}")),
    Arm("adaptive", "beads", (ADAPTIVE,)),
    Arm("with boundary", "beads", (phases(dice=0.6, focal=0.3, boundary=0.1),)),
)
REASONS = (
    Arm("dice, rate 1e-3", "beads", (phases(dice=1), FAST)),
    Arm("focal, rate 1e-3", "beads", (phases(focal=1), FAST)),
    Arm("combined, rate 1e-3", "beads", (FAST,)),
    Arm("dice, no smoothing", "beads", (phases(dice=1), "losses.dice.smooth=1.0e-6")),
    Arm("dice, start at 0.01", "beads", (phases(dice=1), "model.prior=0.01")),
    Arm("focal, start at 0.01", "beads", (phases(focal=1), "model.prior=0.01")),
    Arm("combined, start at 0.01", "beads", ("model.prior=0.01",)),
    Arm("dice, no dropout", "beads", (phases(dice=1), "model.dropout=0")),
)
BEADS = ("model.width=8", "train.epochs=30", "train.patience=0")
LOSS_PAIRS = (
    ("combined", "dice"), ("combined", "focal"), ("focal", "dice"), ("tversky", "dice"),
    ("adaptive", "combined"), ("with boundary", "combined"), ("dice, rate 1e-3", "dice"),
    ("combined, rate 1e-3", "combined"), ("focal, rate 1e-3", "focal"),
    ("combined, rate 1e-3", "dice, rate 1e-3"), ("dice, no smoothing", "dice"),
    ("dice, start at 0.01", "dice"), ("focal, start at 0.01", "focal"),
    ("combined, start at 0.01", "combined"),
    ("combined, start at 0.01", "dice, start at 0.01"), ("dice, no dropout", "dice"),
)  # fmt: skip
# Rates at which something is learned in the time there is, and weights that were trained before.
NODULE = (
    "model.backbone=efficientnet_lite0", "model.weights=imagenet", "model.decoder_width=128",
    "model.prior=0.01",
    "train.lr=1.0e-3", "train.backbone_lr=1.0e-4", "data.size=256", "train.patience=0",
    "train.batch=4", "losses.weighted_bce.pos_weight=20",
)  # fmt: skip
# Parts are compared with skip connections and without, as the source has them; and under a weight
# of true pixels of 20, because with the source's 100 and more everything is answered as foreground.
WEIGH, SKIPS = "losses.weighted_bce.pos_weight=", "model.skips=true"
PLAIN = ("model.attention=none", phases(tversky=0.4, focal=0.3, weighted_bce=0.3))
SLOW = ("train.lr=2.0e-5", "train.backbone_lr=5.0e-6")
PARTS = (
    Arm("skips", "nodule", (SKIPS,)),
    Arm("no skips", "nodule"),
    Arm("skips, no attention", "nodule", (SKIPS, *PLAIN)),
    Arm("skips, multi-scale", "nodule", (SKIPS, "model.attention=multiscale")),
    Arm("skips, bilinear", "nodule", (SKIPS, "model.upsample=bilinear")),
    Arm("skips, frozen", "nodule", (SKIPS, "model.trainable=0")),
    Arm("skips, pos_weight 1", "nodule", (SKIPS, f"{WEIGH}1")),
    Arm("skips, pos_weight 100", "nodule", (SKIPS, f"{WEIGH}100")),
    Arm("skips, pos_weight dynamic", "nodule", (SKIPS, f"{WEIGH}dynamic")),
    Arm("skips, the source's rates", "nodule", (SKIPS, *SLOW)),
    Arm("skips, start at 0.5", "nodule", (SKIPS, "model.prior=0.5")),
    Arm("no skips, no attention", "nodule", PLAIN),
    Arm("no skips, multi-scale", "nodule", ("model.attention=multiscale",)),
    Arm("no skips, bilinear", "nodule", ("model.upsample=bilinear",)),
    Arm("no skips, frozen", "nodule", ("model.trainable=0",)),
    Arm("no skips, pos_weight dynamic", "nodule", (f"{WEIGH}dynamic",)),
)
PART_PAIRS = (
    *((arm.name, arm.name.partition(",")[0]) for arm in PARTS[2:]),
    ("no skips", "skips"),
    ("skips, multi-scale", "skips, no attention"),
    ("skips, pos_weight 100", "skips, pos_weight 1"),
)
STUDIES = (
    Study("beads", "Beads: losses at 512 × 512, batch 4", "beads", LOSSES + REASONS, BEADS,
          LOSS_PAIRS, {arm.name: 1 for arm in REASONS}),
    Study("nuclei", "Nuclei: the same", "nuclei", LOSSES, BEADS, LOSS_PAIRS),
    Study("pasted", "Nodules pasted into normal radiographs", "", PARTS,
          (*NODULE, "train.epochs=12"), PART_PAIRS),
    Study("covid_seg", "Lesions of COVID-19", "covid_seg", PARTS,
          (*NODULE, "train.epochs=40"), PART_PAIRS),
)  # fmt: skip


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("data", type=Path)
    asked.add_argument("work", type=Path)
    asked.add_argument("--seeds", type=int, default=3)
    asked.add_argument("--jobs", type=int, default=2, help="runs at a time, one thread each")
    asked.add_argument("--studies", nargs="*", default=[])
    asked.add_argument("--only", nargs="*", default=[], help="arms")
    asked.add_argument("--only-tables", action="store_true")
    asked.add_argument("--results", type=Path, default=RESULTS)
    given = asked.parse_args()
    wanted = [one for one in STUDIES if not given.studies or one.key in given.studies]
    if not given.only_tables:
        run_all(wanted, given)
    told = [line for study in STUDIES for line in lines(study, given.data, given.work, given.seeds)]
    write(given.results, "segmentation.py", "Segmentation", told)


def run_all(wanted: Sequence[Study], given: argparse.Namespace) -> None:
    """Every run that is not done, seed by seed, so that a table is complete as early as can be."""
    for study in wanted:
        if study.key == "pasted":
            paste(given.data, given.work / "pasted" / "data")
    with concurrent.futures.ThreadPoolExecutor(given.jobs) as pool:
        tasks = {
            pool.submit(run, study, arm, given.data, given.work, seed): (study.key, arm.name, seed)
            for seed in range(given.seeds)
            for study in wanted
            for arm in study.arms
            if seed < study.seeds.get(arm.name, given.seeds)
            and (not given.only or arm.name in given.only)
        }
        for task in concurrent.futures.as_completed(tasks):
            failed = task.exception()
            print(*tasks[task], f"failed: {failed}" if failed else "done", flush=True)


def run(study: Study, arm: Arm, data: Path, work: Path, seed: int) -> None:
    """The commands for one arm and seed; nothing if they are done."""
    out = folder(work / study.key, arm, seed)
    log = out.with_name(f"{out.name}.log.txt")
    if (out / "done").exists():
        return
    if not (out / "trained").exists():
        shutil.rmtree(out, ignore_errors=True)
        log.parent.mkdir(parents=True, exist_ok=True)
        changes = [word for change in (*study.changes, *arm.changes) for word in ("--set", change)]
        words = ["train", arm.preset, "--data", study.source(data, work), "--out", str(out)]
        wsrpn(*words, "--seed", str(seed), *changes, log=log)
        (out / "trained").touch()
    wsrpn("calibrate", str(out), log=log)
    wsrpn("eval", str(out), "--bootstrap", "0", log=log)
    (out / "done").touch()


def paste(data: Path, out: Path) -> None:
    """Nodules after the law of JSRT in the normal radiographs of `tb_labels`; one in five has none.

    They are of the highest degree, 5 (obvious): of all degrees nothing is learned from 127 images.
    There is no CT of these patients. In its place the clean radiograph stands as `drr`: coarser,
    shifted and of another contrast, as a projection of a CT is, and without the nodule.
    """
    if (out / "images.csv").exists():
        return
    shutil.rmtree(out, ignore_errors=True)
    normal = base.load(DataConfig(source=str(data / "tb_labels"))).where(
        lambda record: not any(record.labels)
    )
    for name in ("images", "masks", "drr"):
        (out / name).mkdir(parents=True)
    rows = []
    for index, record in enumerate(normal.records):
        rng = np.random.default_rng([7, index])
        clean = images.read(record.path)
        image, mask = clean, np.zeros(clean.shape, dtype=bool)
        for _ in range(0 if rng.random() < 0.2 else int(rng.integers(1, 3))):
            image, more = nodules.paste(image, rng, subtlety=5)
            mask |= more
        name = f"{index:04d}.png"
        shift = rng.uniform(-3, 3, size=2)
        drr = ndimage.shift(ndimage.gaussian_filter(clean, 2.5), shift, order=1, mode="nearest")
        drr = np.clip(0.5 + rng.uniform(0.7, 1.1) * (drr - 0.5), 0, 1)
        for place, plane in (("images", image), ("drr", drr), ("masks", mask)):
            levels = np.round(np.asarray(plane, dtype=np.float64) * 255).astype(np.uint8)
            Image.fromarray(levels).save(out / place / name)
        label = "Nodule" if mask.any() else ""
        rows.append((f"images/{name}", record.patient, record.split, label, f"masks/{name}",
                     f"drr/{name}", record.extra.get("source", "")))  # fmt: skip
    with (out / "images.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("image", "patient", "split", "labels", "mask", "drr", "source"))
        writer.writerows(rows)


@dataclass(frozen=True)
class Judged:
    """One arm on the test images.

    Attributes:
        seeds: that are done.
        values: figure → value of every image, mean over seeds.
        single: figure → value of every image, seed by seed.
        by_seed: figure → mean over the images, seed by seed.
        extra: further figures, mean over seeds.
        threshold: fitted, seed by seed.
        kept: epoch that was kept, seed by seed.
    """

    seeds: tuple[int, ...]
    values: Mapping[str, np.ndarray]
    single: Mapping[str, Sequence[np.ndarray]]
    by_seed: Mapping[str, Sequence[float]]
    extra: Mapping[str, float]
    threshold: tuple[float, ...]
    kept: tuple[int, ...]


def judge(study: Study, arm: Arm, test: Dataset, work: Path, most: int) -> Judged | None:
    """The figures of an arm; None before a seed is done."""
    done = [s for s in range(most) if (folder(work / study.key, arm, s) / "done").exists()]
    if not done:
        return None
    folders = [folder(work / study.key, arm, seed) for seed in done]
    found = [once(one, test) for one in folders]
    reports = [files.read_json(f / "eval-test" / "report.json", what="a report") for f in folders]
    return Judged(
        tuple(done),
        {name: mean_known([f[name] for f in found]) for name in FIGURES},
        {name: [f[name] for f in found] for name in FIGURES},
        {name: [mean(f[name]) for f in found] for name in FIGURES},
        {n: mean([r["metrics"].get(n, {}).get("value") for r in reports]) for n in EXTRA},
        tuple(MaskCalibration.load(f / "calibration.json").threshold for f in folders),
        tuple(kept_epoch(f) for f in folders),
    )


def mean(values: Sequence[float | None] | np.ndarray) -> float:
    """Mean of those that are defined."""
    known = [v for v in values if v is not None and v == v]
    return float(np.mean(known)) if known else math.nan


def mean_known(values: Sequence[np.ndarray]) -> np.ndarray:
    """Mean over seeds where it is defined."""
    stacked = np.stack(values)
    known = ~np.isnan(stacked)
    sums = np.where(known, stacked, 0).sum(0)
    return np.where(known.any(0), sums / np.maximum(known.sum(0), 1), np.nan)


def kept_epoch(run_folder: Path) -> int:
    rows = [row for row in read_metrics(run_folder) if "val/dice" in row]
    return int(max(rows, key=lambda row: row["val/dice"])["epoch"])


def once(run_folder: Path, test: Dataset) -> dict[str, np.ndarray]:
    """Figures of every test image by one run."""
    level = MaskCalibration.load(run_folder / "calibration.json").threshold
    found: dict[str, list[float]] = {name: [] for name in FIGURES}
    answers = maps.of_folder(run_folder / "eval-test" / "maps", test)
    for record in test.records:
        score = answers.of(record.id).score
        known = truth.of(record, score.shape)
        there = known.inside
        for suffix, threshold in (("", 0.5), ("_fitted", level)):
            answer = maps.found(score, threshold)
            counted = pixels.rows([pixels.counts(answer, there)])
            names = ("jaccard", "dice", "precision", "recall")
            values = {name: float(pixels.values(name, counted)[0]) for name in names}
            true = int(there.sum())
            values["foreground"] = answer.sum() / true if true else math.nan
            values["specificity"] = float(pixels.specificity(counted)[0])
            for name, value in values.items():
                if name + suffix in found:
                    found[name + suffix].append(value)
    return {name: np.array(values) for name, values in found.items()}


def lines(study: Study, data: Path, work: Path, most: int) -> list[str]:
    """The tables of a study, as far as it is done."""
    if not (work / study.key).exists():
        return []
    source = DataConfig(source=study.source(data, work))
    test, _ = truth.usable(base.load(source), "test")
    rows = np.concatenate(
        list(draws([r.patient for r in test.records], replicates=REPLICATES, seed=0))
    )
    found = {
        arm.name: one
        for arm in study.arms
        if (one := judge(study, arm, test, work, most)) is not None
    }
    head = f"| arm | seeds | {' | '.join(FIGURES.values())} | {' | '.join(EXTRA)} | epoch kept |"
    told = [f"## {study.title}", "", f"{len(test)} test images; `--set` of every arm: "
            f"`{' '.join(study.changes)}`.", "", head,
            "|-|-|" + "-|" * (len(FIGURES) + len(EXTRA) + 1)]  # fmt: skip
    for name, one in found.items():
        cells = [cell(figure(mean(v), pixels.macro(v, rows))) for v in one.values.values()]
        cells += [f"{value:.3f}" for value in one.extra.values()]
        epochs = ", ".join(map(str, one.kept))
        told.append(f"| {name} | {len(one.seeds)} | {' | '.join(cells)} | {epochs} |")
    return [*told, "", *pairs(study, found, rows), *by_seed(found)]


def pairs(study: Study, found: Mapping[str, Judged], drawn: np.ndarray) -> list[str]:
    """Paired differences on the seeds that both have, and ratios of the means."""
    told = ["Differences, paired over test images and seeds:", "",
            f"| | seeds | {FIGURES['jaccard']} | {FIGURES['jaccard_fitted']} "
            "| ratio of Jaccard at 0.5 |", "|-|-|-|-|-|"]  # fmt: skip
    for above, below in study.pairs:
        if above not in found or below not in found:
            continue
        one, other = found[above], found[below]
        shared = [seed for seed in one.seeds if seed in other.seeds]
        if not shared:
            continue
        noise = seeds.noise(shared, shared, replicates=REPLICATES, seed=0)
        cells = []
        for name in ("jaccard", "jaccard_fitted"):
            rows = [drawn_values(own, name, shared, drawn) for own in (one, other)]
            (gap,) = seeds.difference(rows[0][..., None], rows[1][..., None], noise)
            cells.append(cell(gap, sign=True))
        rows = [drawn_values(own, "jaccard", shared, drawn) for own in (one, other)]
        cells.append(cell(ratio(rows[0], rows[1], noise)))
        told.append(f"| {above} − {below} | {len(shared)} | {' | '.join(cells)} |")
    return [*told, ""]


def drawn_values(one: Judged, name: str, shared: Sequence[int], drawn: np.ndarray) -> np.ndarray:
    """Mean over all images, then over those of every draw: a row per seed."""
    kept = [one.single[name][one.seeds.index(seed)] for seed in shared]
    whole = np.ones((1, drawn.shape[1]))
    return np.stack([pixels.macro(values, np.concatenate([whole, drawn])) for values in kept])


def ratio(above: np.ndarray, below: np.ndarray, noise: seeds.Noise | None) -> Figure:
    """Ratio of the means over seeds; other seeds move its logarithm as they move those of runs."""
    value = above[:, 0].mean() / below[:, 0].mean() if below[:, 0].any() else math.nan
    if min(above.min(), below.min()) <= 0:  # no logarithm
        return Figure.of(float(value))
    drawn = np.log(above[:, 1:].mean(0) / below[:, 1:].mean(0))
    if noise is not None and noise.draws[0] is not None:
        apart = np.log(above[:, 0] / below[:, 0])
        drawn = drawn + noise.draws[0] * apart.std(ddof=1) / math.sqrt(len(apart))
    return figure(float(value), np.exp(drawn))


def by_seed(found: Mapping[str, Judged]) -> list[str]:
    told = ["Seed by seed (Jaccard at 0.5; fitted threshold):", ""]
    for name, one in found.items():
        values = ", ".join(f"{v:.3f}" for v in one.by_seed["jaccard"])
        cut = ", ".join(f"{v:.3f}" for v in one.threshold)
        spread = np.std(one.by_seed["jaccard"], ddof=1) if len(one.seeds) > 1 else math.nan
        told.append(f"- {name}: {values} (deviation {spread:.3f}); {cut}")
    return [*told, ""]


if __name__ == "__main__":
    main()
