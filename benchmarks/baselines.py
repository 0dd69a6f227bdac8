"""Every baseline beside WSRPN: same backbone, same budget, same way from maps to boxes.

    python benchmarks/baselines.py DATA_FOLDER WORK_FOLDER [--study side tb …] [--only METHOD …]
    [--jobs 2]

DATA_FOLDER holds `tbx11k/side.csv`, `tb.csv` and `covid_seg/images.csv`. Every run is `wsrpn
train`, `calibrate` and `eval`; finished ones are skipped, so an interrupted study goes on, and
`--only-tables` runs nothing. Methods that read another map off the same network (Grad-CAM and
Grad-CAM++ off CAM's) or merge the same boxes otherwise share one training: its run folder with
another config.

Where maps become boxes by one threshold, it is chosen per run by AP on the gold boxes of the
validation split (`wsrpn calibrate --map-threshold auto`). WSRPN has no such threshold; its guide,
spread and sharpness were chosen on the same split of `side.csv`, once for all runs.

Runs trained on `tb.csv` also answer for `covid_seg`, whose lesion boxes they never saw: another
disease, other scanners; ground glass and consolidation count as what the model calls Tuberculosis.
The tables go to `docs/results/baselines.md`. `--set` and `--seeds` make everything small, to try
the script.
"""

import argparse
import concurrent.futures
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from study import Arm, Study, entry, finished, folder, table, write, wsrpn
from tuberculosis import LITE, PLACES, SIDE, STILL, constant

from wsrpn import config as configs
from wsrpn import predictions as prediction_files
from wsrpn.calibration import Calibration
from wsrpn.compare import Entry, compare
from wsrpn.config import DataConfig
from wsrpn.data import base, mapping
from wsrpn.types import Dataset

RESULTS = Path(__file__).parent.parent / "docs" / "results" / "baselines.md"
FIGURES = ("ap@0.1", "ap@0.3", "ap@0.5", "rodeo", "pointing_game", "auroc")
BOXES = FIGURES[:-1]  # all but two images of covid_seg have lesions: no AUROC
FUSED = "inference.merge=wbf"
LADDER = "inference.map_thresholds=[0.3, 0.4, 0.5, 0.6, 0.7]"
ARMS = (
    Arm("wsrpn", "wsrpn"),
    Arm("wsrpn, 2 places", "wsrpn", PLACES),
    Arm("wsrpn + wbf", "wsrpn", (FUSED,)),
    Arm("cam", "cam"),
    Arm("cam + wbf", "cam", (FUSED, LADDER, "inference.map_components=3")),
    Arm("grad-cam", "grad-cam"),
    Arm("grad-cam-pp", "grad-cam-pp"),
    Arm("mil-max", "mil-max"),
    Arm("mil-mean", "mil-mean"),
    Arm("mil-lse", "mil-lse"),
    Arm("mil-attention", "mil-attention"),
    Arm("weldon", "weldon"),
    Arm("pcam", "pcam"),
)
# A class of side.csv is of one lung.
ONE_LUNG = tuple(arm for arm in ARMS if arm.name != "wsrpn, 2 places")
READS = {"wsrpn + wbf": "wsrpn", "cam + wbf": "cam", "grad-cam": "cam", "grad-cam-pp": "cam"}
STUDIES = {
    "side": Study(
        "side.csv, EfficientNet-Lite0 with ImageNet weights, frozen, 320 pixels",
        "tbx11k/side.csv", ONE_LUNG, (*SIDE, *LITE, *STILL, "data.size=320"), FIGURES, seeds=3,
    ),
    "tb": Study(
        "tb.csv, EfficientNet-Lite0 with ImageNet weights, frozen, 224 pixels",
        "tb.csv", ARMS, (*LITE, *STILL, "train.epochs=4"), FIGURES, seeds=3,
    ),
}  # fmt: skip
GROUPS = {"tb": "source"}  # columns of the data with figures of their own
LESIONS = "Tuberculosis=GroundGlassOpacities|Consolidation"
ELSEWHERE = {"tb": "covid_seg/images.csv"}
CONSTANT = "constant box (uses gold boxes)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--study", nargs="*", default=list(STUDIES), choices=list(STUDIES))
    parser.add_argument("--only", nargs="*", default=[], choices=[arm.name for arm in ARMS])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--set", action="append", default=[], dest="changes")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--only-tables", action="store_true")
    asked = parser.parse_args()
    lines: list[str] = []
    for name in asked.study:
        study = STUDIES[name]
        study = replace(study, changes=(*study.changes, *asked.changes), seeds=asked.seeds)
        if not asked.only_tables:
            run_all(name, study, asked.data, asked.work / name, asked.jobs, asked.only)
        lines += tables(name, study, asked.data, asked.work / name)
    write(asked.results, "baselines.py", "Baselines", lines)


def run_all(
    name: str, study: Study, data: Path, work: Path, jobs: int, only: Sequence[str]
) -> None:
    """All runs that are not done; those that share a training stay together."""
    wanted = [arm for arm in study.arms if not only or arm.name in only]
    trained = {arm.name: arm for arm in study.arms if arm.name not in READS}
    families = {
        root: [arm for arm in wanted if READS.get(arm.name, arm.name) == root] for root in trained
    }

    def together(root: str, seed: int) -> None:
        for arm in (trained[root], *families[root]):
            run(name, study, arm, data, work, seed)

    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        tasks = {
            pool.submit(together, root, seed): f"{root}-{seed}"
            for seed in range(study.seeds)
            for root, arms in families.items()
            if arms
        }
        for task in concurrent.futures.as_completed(tasks):
            failed = task.exception()
            print(tasks[task], f"failed: {failed}" if failed else "done", flush=True)


def run(name: str, study: Study, arm: Arm, data: Path, work: Path, seed: int) -> None:
    """The commands for one method and seed; nothing if they are done."""
    out = folder(work, arm, seed)
    if (out / "done").exists():
        return
    shutil.rmtree(out, ignore_errors=True)
    log = out.with_name(f"{out.name}.log.txt")
    log.parent.mkdir(parents=True, exist_ok=True)
    if arm.name in READS:
        reread(work / f"{READS[arm.name]}-{seed}", out, arm)
    else:
        changes = [word for change in (*study.changes, *arm.changes) for word in ("--set", change)]
        words = ("train", arm.preset, "--data", study.source(data), "--out", str(out))
        wsrpn(*words, "--seed", str(seed), *changes, log=log)
    cut = ("--map-threshold", "auto") if one_threshold(arm) else ()
    wsrpn("calibrate", str(out), *cut, log=log)
    by = ("--by", GROUPS[name]) if name in GROUPS else ()
    wsrpn("eval", str(out), "--bootstrap", "0", *by, log=log)
    if name in ELSEWHERE:
        other = ("--data", str(data / ELSEWHERE[name]), "--split", "all", "--map", LESIONS)
        wsrpn("eval", str(out), *other, "--out", str(elsewhere(out)), "--bootstrap", "0", log=log)
    (out / "done").touch()


def elsewhere(run_folder: Path) -> Path:
    """Where a run's answers on the other data lie."""
    return run_folder / "eval-elsewhere"


def one_threshold(arm: Arm) -> bool:
    """Whether boxes come from maps that are cut once."""
    return not arm.preset.startswith("wsrpn") and LADDER not in arm.changes


def reread(trained: Path, out: Path, arm: Arm) -> None:
    """A run folder under another config: same weights, another map or other boxes."""
    left = shutil.ignore_patterns("eval-*", "calibration.json", "reliability.png", "done")
    shutil.copytree(trained, out, ignore=left)
    model = configs.load(arm.preset).model["name"]
    changed = configs.load(out / "config.yaml", [f"model.name={model}", *arm.changes])
    (out / "config.yaml").write_text(configs.dump(changed), "utf-8")


def tables(name: str, study: Study, data: Path, work: Path) -> list[str]:
    """What is done of a study."""
    done = finished(study, work)
    common = sorted(set.intersection(*map(set, done.values()))) if done else []
    if len(done) < 2 or not common:
        return []
    runs = {arm: [folder(work, arm, seed) for seed in common] for arm in done}
    whole = base.load(DataConfig(source=study.source(data)))
    test = whole.split("test")
    methods = {arm.name: [entry(r, test, s) for r, s in zip(runs[arm], common, strict=True)]
               for arm in done}  # fmt: skip
    head = [f"### {study.title}", "", f"{len(test)} test images, {said(common)}."]
    lines = beside(methods, whole, test, FIGURES, head)
    lines += ["Maps were cut at: " + "; ".join(cuts(runs)) + ".", ""]
    if name in GROUPS:
        lines += groups(runs, GROUPS[name])
    if name in ELSEWHERE:
        lines += cross(study, whole, runs, data / ELSEWHERE[name])
    return lines


def said(seeds: Sequence[int]) -> str:
    return f"seeds {', '.join(map(str, seeds))}"


def beside(
    methods: Mapping[str, Sequence[Entry]],
    whole: Dataset,
    test: Dataset,
    figures: Sequence[str],
    head: Sequence[str],
) -> list[str]:
    """The methods and the constant box of the training split in one table."""
    typical = Entry(CONSTANT, constant(whole, test))
    found = compare({**methods, CONSTANT: [typical]}, test, figures=figures, over_seeds=False)
    return table(found, head=head)


def cuts(runs: Mapping[Arm, Sequence[Path]]) -> list[str]:
    """The map thresholds that validation chose, run by run."""
    found = []
    for arm, folders in runs.items():
        chosen = [Calibration.load(one / "calibration.json").map_threshold for one in folders]
        if one_threshold(arm):
            found.append(f"{arm.name} {', '.join('–' if c is None else f'{c:g}' for c in chosen)}")
    return found


def groups(runs: Mapping[Arm, Sequence[Path]], column: str) -> list[str]:
    """Figures within each value of a column, where it cannot stand for the label."""
    reports = {
        arm.name: [json.loads((one / "eval-test" / "report.json").read_text()) for one in folders]
        for arm, folders in runs.items()
    }
    values = sorted({v for found in reports.values() for one in found for v in one["per_group"]})
    columns = [
        (value, figure)
        for value in values
        for figure in ("ap@0.1", "ap@0.3", "auroc")
        if any(mean(found, value, figure) != "–" for found in reports.values())
    ]
    lines = [
        f"Within one {column} (mean over seeds; what one {column} cannot define is left out):",
        "",
        f"| | {' | '.join(f'{value}: {figure}' for value, figure in columns)} |",
        f"|-|{'-|' * len(columns)}",
    ]
    for arm, found in reports.items():
        cells = [mean(found, value, figure) for value, figure in columns]
        lines.append(f"| {arm} | {' | '.join(cells)} |")
    return [*lines, ""]


def mean(reports: Sequence[dict], group: str, figure: str) -> str:
    values = [one["per_group"].get(group, {}).get(figure, {}).get("value") for one in reports]
    return "–" if None in values or not values else f"{np.mean(values):.3f}"


def cross(
    study: Study, whole: Dataset, runs: Mapping[Arm, Sequence[Path]], source: Path
) -> list[str]:
    """The same runs on data that they have not seen anything of."""
    other = base.load(DataConfig(source=str(source)))
    lesions = mapping.align(other, whole.classes, mapping.parse([LESIONS]))
    methods = {
        arm.name: [
            Entry(
                one.name,
                prediction_files.read(elsewhere(one) / "predictions.json", lesions),
                Calibration.load(one / "calibration.json"),
                int(one.name.rpartition("-")[2]),
            )
            for one in folders
        ]
        for arm, folders in runs.items()
    }
    head = [
        f"### Trained on {study.data}, asked for lesions in {source.parent.name}",
        "",
        f"{len(lesions)} images, `--map '{LESIONS}'`; calibrated on {study.data}.",
    ]
    return beside(methods, whole, lesions, BOXES, head)


if __name__ == "__main__":
    main()
