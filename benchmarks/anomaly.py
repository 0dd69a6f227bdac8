"""The slide anomaly model on breast histology: VAEs, heads on their encoders, plain classifiers.

    python benchmarks/anomaly.py DATA_FOLDER WORK_FOLDER [--seeds 3] [--only vae-b1 …]

DATA_FOLDER holds `idc/tiles.csv` (tiles of 171 patients with positions, split by patient). Every
run is `wsrpn train` and `wsrpn score` on the command line; finished ones are skipped, so an
interrupted study goes on. Then steps and threshold are fitted on the scores of the split `val` and
judged on `test`. The tables and the curves of KL go to `docs/results/anomaly.md`; intervals are
over test patients, who are drawn together for all seeds and arms, so differences are paired.
"""

import argparse
import concurrent.futures
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from skimage.color import rgb2hed
from study import cell, write, wsrpn

from wsrpn import config as configs
from wsrpn.cohort.calibrate import calibrate
from wsrpn.cohort.evaluate import evaluate
from wsrpn.metrics.image import ranking
from wsrpn.metrics.intervals import draws, figure
from wsrpn.slides import table
from wsrpn.slides.normalise import numbers
from wsrpn.tiles import Cohort, Tiles
from wsrpn.tiling import sets
from wsrpn.tiling.store import TilePixels
from wsrpn.train.folder import read_metrics
from wsrpn.types import Figure

RESULTS = Path(__file__).parent.parent / "docs" / "results" / "anomaly.md"
CURVES = RESULTS.with_name("anomaly-kl.svg")
REPLICATES = 2000
# Tiles of 50 pixels, read at their own size: nothing is gained by enlarging them.
SIZE = ("data.size=48", "model.depth=4")
FIGURES = {
    "auroc": "AUROC, mean over patients",
    "ap": "AP, mean over patients",
    "auroc_pooled": "AUROC, pooled",
    "ap_pooled": "AP, pooled",
    "auroc_pooled_z": "AUROC, pooled after z",
    "iou": "IoU, mean over patients",
    "iou_pooled": "IoU, pooled",
    "iou_oracle": "IoU, oracle",
}


@dataclass(frozen=True)
class Arm:
    """One row: a preset, what is changed in it, and the columns of its scores that are judged.

    Attributes:
        name: of the row and of its run folders.
        preset: of the package.
        changes: `--set` of it; {seed} and {work} are filled in.
        scores: columns, the first is the model's own choice.
        seeds: trainings; 0 for as many as the study has.
        after: whether it takes its encoder from another arm's run.
        of: arm whose weights are scored once more with these changes, instead of a training.
    """

    name: str
    preset: str
    changes: tuple[str, ...] = ()
    scores: tuple[str, ...] = ("score",)
    seeds: int = 0
    after: bool = False
    of: str = ""


VAE = ("score_recon", "score_kl", "score_both")
ARMS = (
    Arm("vae-b1", "vae-b1", SIZE, VAE),
    Arm("vae-b2", "vae-b2", SIZE, VAE),
    Arm("head-b1", "vae-head", (*SIZE, "model.weights={work}/vae-b1-{seed}"), after=True),
    Arm("head-b2", "vae-head", (*SIZE, "model.weights={work}/vae-b2-{seed}"), after=True),
    Arm("classifier", "tile-classifier", ("data.size=48", "model.backbone=resnet18")),
    Arm(
        "classifier-imagenet",
        "tile-classifier",
        (
            "data.size=96",
            "model.backbone=efficientnet_lite0",
            "model.weights=imagenet",
            "train.lr=3.0e-4",
        ),
    ),
)
# What needs no model: tumour is dense with nuclei, and so darker in red light than the rest.
PLAIN = Arm("no model", "", scores=("score_red", "score_haematoxylin", "score_edges"), seeds=1)
# The same weights, scored in another way.
RESCORED = tuple(
    Arm(f"{of}, {name}", of, (change,), ("score_recon",), after=True, of=of)
    for of in ("vae-b1", "vae-b2")
    for name, change in (
        ("error by SSIM", "model.error=ssim"),
        ("error without skips", "model.score_skips=false"),
    )
)
# What else may matter, each against vae-b1 with the first seed alone.
VARIANTS = (
    Arm("b1 without skips", "vae-b1", (*SIZE, "model.skips=false"), VAE, 1),
    Arm("b1 with plain KL", "vae-b1", (*SIZE, "losses.latent.capacity=0"), VAE, 1),
    Arm("b1 per pixel", "vae-b1", (*SIZE, "losses.reconstruction.per=pixel"), VAE, 1),
    Arm(
        "b1 with a ceiling for KL",  # max(KL − C, 0), as the source's public code has it
        "vae-b1",
        (*SIZE, "losses.latent.one_sided=true", "losses.reconstruction.per=pixel"),
        VAE,
        1,
    ),
    Arm("b1 with L1", "vae-b1", (*SIZE, "losses.reconstruction.kind=l1"), VAE, 1),
    Arm("b1 with SSIM", "vae-b1", (*SIZE, "losses.reconstruction.kind=ssim"), VAE, 1),
    Arm("b1 with Macenko", "vae-b1", (*SIZE, "tiles.stain=macenko"), VAE, 1),
    Arm("b1 with Reinhard", "vae-b1", (*SIZE, "tiles.stain=reinhard"), VAE, 1),
)
CLAIMS = (("vae-b1", 0.78, 0.78), ("vae-b2", 0.82, 0.85))  # the source's AUROC, found and hoped for


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("data", type=Path)
    asked.add_argument("work", type=Path)
    asked.add_argument("--seeds", type=int, default=3)
    asked.add_argument("--jobs", type=int, default=2, help="runs at a time, one thread each")
    asked.add_argument("--only", nargs="*", default=[])
    asked.add_argument("--only-tables", action="store_true")
    asked.add_argument("--results", type=Path, default=RESULTS)
    given = asked.parse_args()
    every = (PLAIN, *ARMS, *RESCORED, *VARIANTS)
    wanted = [arm for arm in every if not given.only or arm.name in given.only]
    if not given.only_tables:
        run_all(wanted, given.data, given.work, seeds=given.seeds, jobs=given.jobs)
    write(given.results, "anomaly.py", "Slide anomaly model", lines(given.work, given.seeds))


def run_all(wanted: Sequence[Arm], data: Path, work: Path, *, seeds: int, jobs: int) -> None:
    """Every run that is not done; heads come after the encoders that they are on."""
    for later in (False, True):
        with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
            tasks = {
                pool.submit(run, arm, data, work, seed): folder(work, arm, seed).name
                for arm in wanted
                for seed in range(min(arm.seeds or seeds, seeds))
                if arm.after == later
            }
            for task in concurrent.futures.as_completed(tasks):
                failed = task.exception()
                print(tasks[task], f"failed: {failed}" if failed else "done", flush=True)


def folder(work: Path, arm: Arm, seed: int) -> Path:
    """Where a run lies."""
    return work / f"{arm.name.replace(' ', '-').replace(',', '')}-{seed}"


def run(arm: Arm, data: Path, work: Path, seed: int) -> None:
    """Train and score; nothing if both are done."""
    out = folder(work, arm, seed)
    if (out / "done").exists():
        return
    shutil.rmtree(out, ignore_errors=True)
    log = out.with_name(f"{out.name}.log.txt")
    log.parent.mkdir(parents=True, exist_ok=True)
    tiles = str(data / "idc" / "tiles.csv")
    if not arm.preset:
        plain(tiles, out)
        return
    if arm.of:
        rescore(arm, work / f"{arm.of}-{seed}", out, tiles, log)
        return
    filled = [change.format(seed=seed, work=work) for change in arm.changes]
    changes = [word for change in filled for word in ("--set", change)]
    words = ["train", arm.preset, "--data", tiles, "--out", str(out), "--seed", str(seed)]
    wsrpn(*words, *changes, log=log)
    wsrpn("score", str(out), "--data", tiles, "--out", str(out / "scores.parquet"), log=log)
    (out / "done").touch()


def plain(tiles: str, out: Path) -> None:
    """Scores of a tile by the mean of its colours and of its edges."""
    config = configs.load("vae-b1", [f"data.source={tiles}", "data.size=50"])
    found = sets.load(config)
    levels = TilePixels(found, config.data.size).take(np.arange(len(found))) / 255
    grey = levels.mean(axis=3)
    edges = sum(np.abs(np.diff(grey, axis=axis)).mean(axis=(1, 2)) for axis in (1, 2))
    columns = {
        "slide": [found.slides[index].id for index in found.slide],
        "split": [found.slides[index].split for index in found.slide],
        **dict(zip(("x", "y"), found.corner_px0.T, strict=True)),
        **dict(zip(("width", "height"), found.size_px0.T, strict=True)),
        "label": found.label,
        "score_red": -levels[..., 0].mean(axis=(1, 2)),
        "score_haematoxylin": rgb2hed(levels)[..., 0].mean(axis=(1, 2)),
        "score_edges": edges,
    }
    out.mkdir(parents=True)
    pyarrow.parquet.write_table(pa.table(columns), out / "scores.parquet")
    (out / "done").touch()


def rescore(arm: Arm, trained: Path, out: Path, tiles: str, log: Path) -> None:
    """Score the weights of a finished run with other options of its model."""
    shutil.copytree(trained, out, ignore=shutil.ignore_patterns("scores*", "done"))
    config = configs.load(out / "config.yaml", arm.changes)
    (out / "config.yaml").write_text(configs.dump(config))
    wsrpn("score", str(out), "--data", tiles, "--out", str(out / "scores.parquet"), log=log)
    (out / "done").touch()


@dataclass(frozen=True)
class Judged:
    """One score of one arm on the test patients.

    Attributes:
        whole: figure → value, mean over seeds.
        drawn: figure → the same on every replicate.
        by_seed: figure → value of each seed.
        per_patient: patient → AUROC, mean over seeds.
    """

    whole: Mapping[str, float]
    drawn: Mapping[str, np.ndarray]
    by_seed: Mapping[str, Sequence[float]]
    per_patient: Mapping[str, float]


def judge(work: Path, arm: Arm, seeds: int, score: str) -> Judged | None:
    """The figures of one score; None before a seed is done."""
    folders = [folder(work, arm, seed) for seed in range(arm.seeds or seeds)]
    found = [once(one, score) for one in folders if (one / "done").exists()]
    if not found:
        return None
    names = found[0][0]
    return Judged(
        {name: float(np.mean([f[0][name] for f in found])) for name in names},
        {name: np.mean([f[1][name] for f in found], axis=0) for name in names},
        {name: [f[0][name] for f in found] for name in names},
        {who: float(np.mean([f[2][who] for f in found])) for who in found[0][2]},
    )


def once(
    run_folder: Path, score: str
) -> tuple[dict[str, float], dict[str, np.ndarray], dict[str, float]]:
    """Figures of one run: whole, on every replicate, and the AUROC of every patient."""
    cohort = table.read(run_folder / "scores.parquet", score=score)
    test = of_split(cohort, "test")
    whole, drawn, patients = ranked(test)
    # Tiles are a few in a hundred of their slide, so neighbours are missing: normalise and cut.
    fitted = calibrate(
        of_split(cohort, "val"), smooth=[0.0], min_area=[0.0], max_hole=[0.0], unit="tile",
        bootstrap=0,
    )  # fmt: skip
    report = evaluate(test, calibration=fitted, bootstrap=0)
    for name, key in (("iou", "iou_macro"), ("iou_pooled", "iou"), ("iou_oracle", "iou_oracle")):
        whole[name] = report.metrics[key].value or 0.0
    rows = weights(test.slides)
    for name, key in (("iou", "iou"), ("iou_oracle", "iou_oracle")):
        values = [per_slide(report.per_slide, tiles.slide, key) for tiles in test.slides]
        drawn[name] = mean_of(np.array(values), rows)
    drawn["iou_pooled"] = np.full(len(rows), np.nan)
    return whole, drawn, patients


def per_slide(found: Mapping[str, Mapping[str, Figure]], slide: str, name: str) -> float:
    value = found.get(slide, {}).get(name, Figure(None)).value
    return np.nan if value is None else value


def of_split(cohort: Cohort, split: str) -> Cohort:
    return cohort.only({tiles.slide for tiles in cohort.slides if tiles.split == split})


def ranked(test: Cohort) -> tuple[dict[str, float], dict[str, np.ndarray], dict[str, float]]:
    """What needs no threshold."""
    own = {}
    for tiles in test.slides:
        auroc, ap = ranking(tiles.label, tiles.score, np.ones((1, len(tiles))))
        own[tiles.slide] = (float(auroc[0]), float(ap[0]) if (tiles.label == 1).any() else np.nan)
    rows = weights(test.slides)
    label = np.concatenate([tiles.label for tiles in test.slides])
    raw = np.concatenate([tiles.score for tiles in test.slides])
    level = np.concatenate([z(tiles) for tiles in test.slides])
    each = np.repeat(rows, [len(tiles) for tiles in test.slides], axis=1)
    one = np.ones((1, len(label)))
    whole, drawn = {}, {}
    for place, name in enumerate(("auroc", "ap")):
        values = np.array([own[tiles.slide][place] for tiles in test.slides])
        whole[name] = float(np.nanmean(values))
        drawn[name] = mean_of(values, rows)
        whole[f"{name}_pooled"] = float(ranking(label, raw, one)[place][0])
        drawn[f"{name}_pooled"] = ranking(label, raw, each)[place]
    whole["auroc_pooled_z"] = float(ranking(label, level, one)[0][0])
    drawn["auroc_pooled_z"] = ranking(label, level, each)[0]
    return whole, drawn, {slide: auroc for slide, (auroc, _) in own.items()}


def z(tiles: Tiles) -> np.ndarray:
    centre, scale = numbers(tiles, "z")
    return (tiles.score - centre) / scale


def weights(slides: Sequence[Tiles]) -> np.ndarray:
    names = [tiles.patient for tiles in slides]
    return np.concatenate(list(draws(names, replicates=REPLICATES, seed=0)))


def mean_of(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Weighted means over the slides where a figure is defined."""
    known = ~np.isnan(values)
    return (rows[:, known] @ values[known]) / np.maximum(rows[:, known].sum(axis=1), 1e-12)


def lines(work: Path, seeds: int) -> list[str]:
    """Everything that is done so far."""
    found = {
        (arm.name, score): judged
        for arm in (PLAIN, *ARMS, *RESCORED, *VARIANTS)
        for score in arm.scores
        if (judged := judge(work, arm, seeds, score)) is not None
    }
    return [*main_table(found), *differences(found), *claims(found), *latent(work, seeds)]


Found = Mapping[tuple[str, str], Judged]


def main_table(found: Found) -> list[str]:
    head = ["| arm | score | " + " | ".join(FIGURES.values()) + " |"]
    head += ["|-|-|" + "-|" * len(FIGURES)]
    rows = [
        f"| {arm} | `{score}` | "
        + " | ".join(cell(figure(one.whole[name], one.drawn[name])) for name in FIGURES)
        + " |"
        for (arm, score), one in found.items()
    ]
    by_seed = [
        f"- {arm} `{score}`: "
        + "; ".join(
            f"{FIGURES[name]} {', '.join(f'{v:.3f}' for v in one.by_seed[name])}"
            for name in ("auroc", "auroc_pooled", "iou")
        )
        for (arm, score), one in found.items()
        if len(one.by_seed["auroc"]) > 1
    ]
    return ["## Test patients", "", *head, *rows, "", "Seed by seed:", "", *by_seed, ""]


def differences(found: Found) -> list[str]:
    """Paired differences that the source's expectations are about."""
    pairs = [
        (("vae-b1", "score_recon"), ("no model", "score_red")),
        (("vae-b2", "score_recon"), ("no model", "score_red")),
        (("head-b1", "score"), ("no model", "score_red")),
        (("classifier", "score"), ("no model", "score_red")),
        (("vae-b2", "score_recon"), ("vae-b1", "score_recon")),
        (("vae-b1", "score_both"), ("vae-b1", "score_recon")),
        (("vae-b2", "score_both"), ("vae-b2", "score_recon")),
        (("vae-b1, error by SSIM", "score_recon"), ("vae-b1", "score_recon")),
        (("vae-b1, error without skips", "score_recon"), ("vae-b1", "score_recon")),
        (("head-b1", "score"), ("vae-b1", "score_recon")),
        (("head-b2", "score"), ("head-b1", "score")),
        (("classifier", "score"), ("head-b1", "score")),
        (("classifier-imagenet", "score"), ("classifier", "score")),
    ]
    names = ("auroc", "auroc_pooled", "ap_pooled", "iou")
    told = ["| difference | " + " | ".join(FIGURES[name] for name in names) + " |"]
    told += ["|-|" + "-|" * len(names)]
    for above, below in pairs:
        if above in found and below in found:
            a, b = found[above], found[below]
            cells = [
                cell(figure(a.whole[n] - b.whole[n], a.drawn[n] - b.drawn[n]), sign=True)
                for n in names
            ]
            label = f"{above[0]} `{above[1]}` − {below[0]} `{below[1]}`"
            told.append(f"| {label} | {' | '.join(cells)} |")
    return ["## Differences, paired", "", *told, ""]


def claims(found: Found) -> list[str]:
    told = ["## The source's expectations", ""]
    for arm, low, high in CLAIMS:
        one = found.get((arm, "score_recon"))
        if one is not None:
            span = f"{low:.2f}" if low == high else f"{low:.2f} … {high:.2f}"
            got = figure(one.whole["auroc_pooled"], one.drawn["auroc_pooled"])
            judged = verdict(got, low, high)
            told.append(f"- {arm}: AUROC {span} expected, pooled {cell(got)} found: {judged}.")
    for arm in ("head-b1", "head-b2"):
        one = found.get((arm, "score"))
        if one is not None:
            got = figure(one.whole["iou"], one.drawn["iou"])
            told.append(
                f"- {arm}: IoU 0.50 … 0.60 expected, {cell(got)} found: {verdict(got, 0.5, 0.6)}."
            )
    return [*told, ""]


def verdict(got: Figure, low: float, high: float) -> str:
    if got.low is None or got.high is None:
        return "undefined"
    if got.high < low:
        return "**below**"
    if got.low > high:
        return "**above**"
    return "**within what the data can tell**"


def latent(work: Path, seeds: int) -> list[str]:
    """KL, active units and how far the decoder uses the latent, epoch by epoch."""
    runs = list(vaes(work, seeds))
    if not runs:
        return []
    told = ["## Is the latent collapsed?", "", f"![KL by epoch]({CURVES.name})", ""]
    told += ["| run | epochs | KL at the end (nats) | capacity | active units of 64 | rise of the "
             "reconstruction error when latents are swapped |", "|-|-|-|-|-|-|"]  # fmt: skip
    for name, rows in runs:
        last = [row for row in rows if "val/kl" in row][-1]
        told.append(
            f"| {name} | {last['epoch']:.0f} | {last['val/kl']:.1f} | "
            f"{last.get('train/capacity', 0):.1f} | {last['val/active_units']:.0f} | "
            f"{last['val/latent_use']:+.1%} |"
        )
    told += ["", "KL in nats at epochs 1, 2, 3, 5, 7, 10, 15, 20, 30:", ""]
    for name, rows in runs:
        at = {int(row["epoch"]): row["val/kl"] for row in rows if "val/kl" in row}
        shown = [f"{at[e]:.1f}" for e in (1, 2, 3, 5, 7, 10, 15, 20, 30) if e in at]
        told.append(f"- {name}: {', '.join(shown)}")
    draw(runs)
    return [*told, ""]


Rows = Sequence[Mapping[str, float]]


def vaes(work: Path, seeds: int) -> Iterator[tuple[str, Rows]]:
    for arm in (PLAIN, *ARMS, *RESCORED, *VARIANTS):
        if arm.preset and len(arm.scores) > 1 and not arm.of:
            for seed in range(arm.seeds or seeds):
                out = folder(work, arm, seed)
                if (out / "done").exists():
                    yield f"{arm.name}, seed {seed}", read_metrics(out)


def draw(runs: Sequence[tuple[str, Rows]]) -> None:
    """KL over epochs with the capacity that was asked for."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(figsize=(7.2, 4.0), layout="constrained")
    FigureCanvasSVG(canvas)
    axes = canvas.add_subplot()
    arms = {name.split(", seed")[0]: None for name, _ in runs}
    colours = {arm: f"C{place}" for place, arm in enumerate(arms)}
    for name, rows in runs:
        arm = name.split(", seed")[0]
        seen = [row for row in rows if "val/kl" in row]
        first = name.endswith("seed 0")
        epochs = [row["epoch"] for row in seen]
        axes.plot(
            epochs,
            [row["val/kl"] for row in seen],
            color=colours[arm],
            label=arm if first else None,
        )
        if first and arm in ("vae-b1", "vae-b2"):
            asked = [row.get("train/capacity", 0.0) for row in seen]
            axes.plot(epochs, asked, color=colours[arm], linestyle=":", linewidth=1)
    axes.set_xlabel("epoch")
    axes.set_ylabel("KL on normal validation tiles (nats); dotted: capacity")
    axes.legend(fontsize=8)
    canvas.savefig(CURVES)


if __name__ == "__main__":
    main()
