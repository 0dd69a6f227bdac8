"""What text does for the detector: five ways of fusion, their parameters, their time.

    python benchmarks/fusion.py DATA_FOLDER WORK_FOLDER [--study phantom …] [--only ARM …]
    [--jobs 2]

DATA_FOLDER holds `tbx11k/side.csv` and `covid_notes/images.csv`; phantoms are made on the spot.
Finished runs are skipped, so an interrupted study goes on; `--only-tables` runs nothing. The tables
go to `docs/results/fusion.md`. `--set`, `--seeds` and `--phantoms` make everything small, to try
the script; what is in WORK_FOLDER then must not be mixed with the study.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from study import Arm, Study, compared, finished, folder, run_all, table, write
from tuberculosis import LITE, SIDE, STILL

from wsrpn import compute, models
from wsrpn import config as configs
from wsrpn.comparison import Comparison
from wsrpn.config import RunConfig
from wsrpn.losses import Objective, weightings
from wsrpn.models.base import backbones_of, describe
from wsrpn.train.loop import Step, set_training
from wsrpn.train.optimiser import adamw, clip
from wsrpn.train.run import complete
from wsrpn.types import Batch, Texts, TextSpace

RESULTS = Path(__file__).parent.parent / "docs" / "results" / "fusion.md"
BOXES = ("ap@0.1", "ap@0.3", "ap@0.5", "rodeo", "pointing_game", "auroc")
RETRIEVAL = (
    "retrieval@1_image_to_text", "retrieval@1_text_to_image", "retrieval_chance@1",
    "retrieval@5_image_to_text", "retrieval@5_text_to_image", "retrieval_chance@5",
)  # fmt: skip
CLAIM = 0.11  # relative gain in AP that the source states for the optimisation level
WORDS = 384  # width of MiniLM's vectors
# The consistency loss needs no text: without this arm its gain would be the text's.
AGREE = (
    "phases=[{until: 2, weights: {detection: 1.0}}, "
    "{weights: {detection: 1.0, consistency: 0.5}}]"
)  # fmt: skip
FIVE = (
    Arm("none", "fusion-none"),
    Arm("none + consistency", "fusion-none", (AGREE,)),
    Arm("independent", "fusion-independent"),
    Arm("late", "fusion-late"),
    Arm("mid", "fusion-mid"),
    Arm("optimisation", "fusion-optimisation"),
)
NEXT_STEPS = (
    Arm(
        "optimisation + hard negatives",
        "fusion-optimisation",
        ("losses.contrastive={hardness: 0.5}",),
    ),
    Arm("optimisation + uncertainty", "fusion-optimisation", ("train.weighting=uncertainty",)),
    Arm("optimisation + hierarchical", "fusion-optimisation", ("text.levels=hierarchical",)),
)
TINY = (
    "model.backbone=tiny", "data.size=160", "train.lr=2e-3", "model.dropout=0.1",
    "train.weight_decay=1e-4",
)  # fmt: skip
STUDIES = {
    "phantom": Study(
        "Phantoms with informative reports, tiny backbone from nothing, 160 pixels",
        "phantom:cxr?images=800&size=160&seed=1",
        FIVE,
        TINY,
        (*BOXES, *RETRIEVAL),
        seeds=5,
    ),
    "next": Study(
        "The source's next steps, on the same phantoms, beside optimisation-level fusion",
        "phantom:cxr?images=800&size=160&seed=1",
        (FIVE[-1], *NEXT_STEPS),
        TINY,
        (*BOXES, *RETRIEVAL),
        seeds=3,
    ),
    "side": Study(
        "side.csv, captions from labels, EfficientNet-Lite0 with ImageNet weights, frozen, 320 px",
        "tbx11k/side.csv",
        FIVE,
        (*SIDE, *LITE, *STILL, "data.size=320", "text.captions=labels"),
        (*BOXES, *RETRIEVAL),
        seeds=3,
    ),
    "covid": Study(
        "covid_notes with clinical notes, EfficientNet-Lite0 with ImageNet weights, frozen, 224 px",
        "covid_notes/images.csv",
        (FIVE[0], FIVE[-1]),
        (*LITE, *STILL, "data.size=224", "text.captions=text", "data.classes=[COVID-19]"),
        ("auroc", "image_ap", *RETRIEVAL),
        seeds=5,
    ),
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--study", nargs="*", default=list(STUDIES), choices=list(STUDIES))
    parser.add_argument("--only", nargs="*", default=[], help="names of arms")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--seeds", type=int, help="fewer than the study has")
    parser.add_argument("--phantoms", help="other phantoms, to try the script")
    parser.add_argument("--set", nargs="*", default=[], help="changes for every run")
    parser.add_argument("--only-tables", action="store_true")
    parser.add_argument("--results", type=Path, default=RESULTS)
    asked = parser.parse_args()
    lines: list[str] = []
    for name, plan in STUDIES.items():
        study = replace(plan, changes=(*plan.changes, *asked.set), seeds=asked.seeds or plan.seeds)
        if name in ("phantom", "next") and asked.phantoms:
            study = replace(study, data=asked.phantoms)
        work = asked.work / name
        if name in asked.study and not asked.only_tables:
            run_all(study, asked.data, work, jobs=asked.jobs, seeds=study.seeds, only=asked.only)
        lines += section(study, asked.data, work)
    write(asked.results, "fusion.py", "What text does for the detector", lines)


def section(study: Study, data: Path, work: Path) -> list[str]:
    """Table, verdict, parameters and times of one study; nothing before two arms are done."""
    found, test = compared(study, data, work)
    if found is None:
        return []
    head = [f"### {study.title}", "", f"{len(test)} test images."]
    return [*table(found, head=head), *verdict(found), *costs(study, work, found.classes), ""]


def verdict(found: Comparison) -> list[str]:
    """What became of the source's claim, where there are boxes."""
    figure = "ap@0.3"
    gap = found.difference("optimisation")
    if gap is None or figure not in found.figures:
        return []
    alone = next(m for m in found.methods if m.name == "none").figures[figure].value
    change = gap.figures[figure]
    if not alone or change.value is None or change.low is None or change.high is None:
        return []
    relative = [value / alone for value in (change.value, change.low, change.high)]
    if relative[1] > 0:
        words = "text helps" if relative[0] >= CLAIM else "text helps, by less than claimed"
    else:
        words = "text hurts" if relative[2] < 0 else "no difference that these data can tell from 0"
    return [
        f"Claim of the source: optimisation-level fusion gains {CLAIM:+.0%} AP. Here, {figure}: "
        f"{relative[0]:+.0%} ({relative[1]:+.0%} … {relative[2]:+.0%}, over {gap.covers}): "
        f"{words}.",
        "",
    ]


# Parameters and times, of what was built


def costs(study: Study, work: Path, classes: tuple[str, ...]) -> list[str]:
    """A row per arm: parameters, and the time of a training step beside that of the first arm."""
    runs = {
        arm.name: configs.load(folder(work, arm, seeds[0]) / "config.yaml")
        for arm, seeds in finished(study, work).items()
    }
    built = {name: stepper(config, len(classes)) for name, config in runs.items()}
    times = measure({name: step for name, (_, step) in built.items()})
    first = next(iter(times))
    lines = ["| | parameters | trainable | step, s | ÷ first |", "|-|-|-|-|-|"]
    for name, (counts, _) in built.items():
        ratio = statistics.median(a / b for a, b in zip(times[name], times[first], strict=True))
        lines.append(
            f"| {name} | {counts['parameters']:,} | {counts['trainable']:,} | "
            f"{statistics.median(times[name]):.3f} | {ratio:.3f} |"
        )
    lines += ["", "Step: forward, all losses of the last phase, backward, update; texts come from "
              f"the cache; {torch.get_num_threads()} threads, medians, ratios paired."]  # fmt: skip
    return lines


def stepper(config: RunConfig, classes: int) -> tuple[dict[str, int], Callable[[], None]]:
    """Counts of a model and one training step of it, as `wsrpn train` would do it."""
    config = complete(config)
    cpu = torch.device("cpu")
    dtype = compute.precision(config.train.precision, cpu)
    last = compute.wants_channels_last(config.train.channels_last, cpu, dtype)
    torch.manual_seed(0)
    section = {**config.model, "weights": "none"}
    model = models.build(
        section, classes=classes, text=TextSpace(WORDS, torch.randn(classes, 2, WORDS))
    )
    if config.train.freeze_backbone:
        for part in backbones_of(model):
            part.requires_grad_(False)
    model = model.to(memory_format=torch.channels_last) if last else model
    weighting = weightings[config.train.weighting](list(config.losses))
    take = Step(model, Objective(config.losses, weighting), dtype, cpu)
    optimizer = adamw(model, config.train, weighting)
    batch = batch_of(config, classes).to(cpu, channels_last=last)
    weights = config.phases[-1].weights

    def step() -> None:
        set_training(model, frozen=config.train.freeze_backbone)
        loss, _ = take(batch, weights)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        clip(model, config.train.clip)
        optimizer.step()

    return describe(model)["all"], step


def batch_of(config: RunConfig, classes: int) -> Batch:
    """Random images with as many captions as the config has levels."""
    count, size = config.train.batch, config.data.size
    levels = 3 if config.text.levels == "hierarchical" else 1
    return Batch(
        ids=tuple(map(str, range(count))),
        images=torch.rand(count, 1, size, size),
        labels=(torch.rand(count, classes) < 0.3).float(),
        sizes_px=torch.full((count, 2), size),
        texts=Texts(
            torch.randn(count, levels, WORDS), torch.arange(count * levels).view(count, -1)
        ),
    )


def measure(steps: dict[str, Callable[[], None]], *, repeats: int = 9) -> dict[str, list[float]]:
    """Seconds of each step, in turns, so that a busy machine slows all of them."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(repeats + 2):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if turn >= 2:
                times[name].append(time.perf_counter() - start)
    return times


if __name__ == "__main__":
    main()
