"""What the studies share: runs that are done once, several at a time, and tables of paired figures.

A *study* is one data set and several *arms*; an arm is a preset with changes, trained with several
seeds. Every run is `wsrpn train`, `calibrate` and `eval` on the command line, one thread each, in a
folder of its own; a finished run is skipped, so an interrupted study goes on.
"""

import concurrent.futures
import datetime
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from wsrpn import predictions as prediction_files
from wsrpn.calibration import Calibration
from wsrpn.compare import Entry, compare
from wsrpn.comparison import Comparison
from wsrpn.config import DataConfig
from wsrpn.data import base
from wsrpn.types import Dataset, Figure


@dataclass(frozen=True)
class Arm:
    """One row of a table: a preset and what is changed in it."""

    name: str
    preset: str
    changes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Study:
    """One table.

    Attributes:
        title: what the table says over it.
        data: DATA; a path is taken below the data folder.
        arms: its rows; differences are to the first.
        changes: `--set` for every arm.
        figures: its columns.
        seeds: trainings of each arm.
    """

    title: str
    data: str
    arms: tuple[Arm, ...]
    changes: tuple[str, ...]
    figures: tuple[str, ...]
    seeds: int

    def source(self, data: Path) -> str:
        """DATA as the command line takes it."""
        return self.data if self.data.startswith("phantom:") else str(data / self.data)


def folder(work: Path, arm: Arm, seed: int) -> Path:
    """Where a run lies."""
    return work / f"{arm.name.replace(' ', '-').replace('+', 'and')}-{seed}"


def run_all(
    study: Study, data: Path, work: Path, *, jobs: int, seeds: int, only: Sequence[str] = ()
) -> None:
    """All runs of a study that are not done, `jobs` at a time.

    A run that fails stops neither the others nor the table; what it said is in `log.txt`.
    """
    wanted = [a for a in study.arms if not only or a.name in only]
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        tasks = {
            pool.submit(run, study, arm, data, work, seed): folder(work, arm, seed)
            for seed in range(seeds)
            for arm in wanted
        }
        for task in concurrent.futures.as_completed(tasks):
            failed = task.exception()
            print(tasks[task].name, f"failed: {failed}" if failed else "done", flush=True)


def run(study: Study, arm: Arm, data: Path, work: Path, seed: int) -> None:
    """The commands for one arm and seed; nothing if they are done."""
    out = folder(work, arm, seed)
    if (out / "done").exists():
        return
    shutil.rmtree(out, ignore_errors=True)
    changes = [word for change in (*study.changes, *arm.changes) for word in ("--set", change)]
    words = ["train", arm.preset, "--data", study.source(data), "--out", str(out)]
    log = out.with_name(f"{out.name}.log.txt")
    log.parent.mkdir(parents=True, exist_ok=True)
    wsrpn(*words, "--seed", str(seed), *changes, log=log)
    wsrpn("calibrate", str(out), log=log)
    wsrpn("eval", str(out), "--bootstrap", "0", log=log)
    (out / "done").touch()


def wsrpn(*words: str, log: Path) -> None:
    """One command, one thread; its output goes to the log."""
    alone = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    with log.open("a") as told:
        print("$ wsrpn", *words, file=told, flush=True)
        command = [sys.executable, "-m", "wsrpn_cli.app", *words]
        subprocess.run(command, check=True, env=alone, stdout=told, stderr=subprocess.STDOUT)


def finished(study: Study, work: Path) -> dict[Arm, list[int]]:
    """Seeds that are done, of the arms that have some."""
    found = {
        arm: [s for s in range(study.seeds) if (folder(work, arm, s) / "done").exists()]
        for arm in study.arms
    }
    return {arm: seeds for arm, seeds in found.items() if seeds}


def compared(study: Study, data: Path, work: Path) -> tuple[Comparison | None, Dataset]:
    """The arms side by side on the test split; None before two of them are done.

    Only seeds count that every arm has, so that the differences are paired.
    """
    test = base.load(_data_config(study, data, work)).split("test")
    done = finished(study, work)
    common = sorted(set.intersection(*map(set, done.values()))) if done else []
    if len(done) < 2 or not common:
        return None, test
    methods = {
        arm.name: [entry(folder(work, arm, seed), test, seed) for seed in common] for arm in done
    }
    return compare(methods, test, figures=study.figures), test


def _data_config(study: Study, data: Path, work: Path) -> DataConfig:
    """The data as the runs had them: classes may have been chosen or renamed."""
    from wsrpn import config as configs

    arm, seeds = next(iter(finished(study, work).items()), (study.arms[0], []))
    if not seeds:
        return DataConfig(source=study.source(data))
    return configs.load(folder(work, arm, seeds[0]) / "config.yaml").data


def entry(run_folder: Path, test: Dataset, seed: int) -> Entry:
    """The predictions of a run with its calibration."""
    found = prediction_files.read(run_folder / "eval-test" / "predictions.json", test)
    calibration = Calibration.load(run_folder / "calibration.json")
    return Entry(run_folder.name, found, calibration, seed)


def table(found: Comparison, *, head: Sequence[str] = ()) -> list[str]:
    """A row per arm, then the differences to the first one, then the seeds one by one."""
    lines = [*head, "", f"| | {' | '.join(found.figures)} |", f"|-|{'-|' * len(found.figures)}"]
    for method in found.methods:
        cells = [cell(method.figures[f]) for f in found.figures]
        lines.append(f"| {method.name} | {' | '.join(cells)} |")
    for gap in found.differences:
        cells = [cell(gap.figures[f], sign=True) for f in found.figures]
        lines.append(f"| {gap.name} | {' | '.join(cells)} |")
    lines += ["", "Seed by seed:", ""]
    for method in found.methods:
        values = (
            f"{f} {', '.join('–' if v is None else f'{v:.3f}' for v in method.per_run[f])}"
            for f in found.figures
            if any(v is not None for v in method.per_run[f])
        )
        lines.append(f"- {method.name}: {'; '.join(values)}")
    return [*lines, ""]


def cell(figure: Figure, *, sign: bool = False) -> str:
    """A figure with its interval."""
    if figure.value is None:
        return "–"
    form = "+.3f" if sign else ".3f"
    if figure.low is None or figure.high is None:
        return f"{figure.value:{form}}"
    return f"{figure.value:{form}} ({figure.low:{form}} … {figure.high:{form}})"


def stamp(script: str) -> str:
    """The line that says what wrote a table, and where it begins."""
    found = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    when = datetime.date.today().isoformat()
    return f"<!-- written by benchmarks/{script} at {found.stdout.strip()} on {when} -->"


def write(results: Path, script: str, title: str, lines: Sequence[str]) -> None:
    """Replace the tables of a document; what people wrote above them stays."""
    head = results.read_text() if results.exists() else f"# {title}\n\n"
    head = head.split("<!-- written by")[0]
    results.parent.mkdir(parents=True, exist_ok=True)
    results.write_text(head + "\n".join([stamp(script), "", *lines]) + "\n")
    print(f"tables: {results}")
