"""A large image through the command line: peak memory, time, and equality with one whole pass.

    python benchmarks/whole_image.py [SIDE]

`wsrpn predict RUN IMAGE --objects` with the network and tiles of the preset `beads`, on an image of
4096 × 4096 pixels by default. The goal is a peak of less than 2 GB for the whole process, imports
included.
"""

import contextlib
import dataclasses
import os
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from wsrpn import config as configs
from wsrpn.data import images
from wsrpn.masks.calibration import MaskCalibration
from wsrpn.predict import open_run
from wsrpn.segmentation.engine import answer
from wsrpn.train.run import train

GOAL_GB = 2.0
CHILD = """
import resource, sys
from wsrpn_cli.app import app
code = app(sys.argv[1:], standalone_mode=False)
print("peak_kb", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
sys.exit(code or 0)
"""


def picture(side: int, path: Path) -> None:
    """Bright discs on a dark ground, many of which touch, with noise."""
    draw = np.random.default_rng(0)
    image = draw.normal(60, 12, (side, side)).astype(np.float32)
    for _ in range(side * side // 4000):
        x, y, radius = draw.uniform(0, side), draw.uniform(0, side), draw.uniform(8, 24)
        low, high = (max(int(c - radius), 0) for c in (y, x))
        part = image[low : int(y + radius) + 2, high : int(x + radius) + 2]
        rows, columns = np.ogrid[low : low + part.shape[0], high : high + part.shape[1]]
        part[(rows - y) ** 2 + (columns - x) ** 2 < radius**2] += 90
    Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(path)


def run_folder(folder: Path) -> Path:
    """The network of the preset after a minute on phantoms: it finds blobs, and not well."""
    data = "phantom:beads?images=24&size=256&beads=20-40"
    short = ("data.size=256", "train.epochs=12", "train.lr=3.0e-3", "train.patience=0")
    config = configs.load("beads", [f"data.source={data}", *short])
    train(config, folder, device="cpu")
    MaskCalibration(min_size_px=30, touching="watershed").save(folder / "calibration.json")
    return folder


def predict(run: Path, image: Path, out: Path) -> tuple[float, float]:
    """Seconds and GB at the peak of `wsrpn predict`, a process of its own."""
    words = ["predict", str(run), str(image), "--out", str(out), "--objects", "--device", "cpu"]
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", CHILD, *words], capture_output=True, text=True, check=False
    )
    seconds = time.perf_counter() - start
    if done.returncode:
        raise RuntimeError(done.stderr)
    return seconds, int(done.stdout.split("peak_kb")[1]) * 1024 / 1e9


def whole_image(side: int = 4096, equal: int = 1536) -> list[dict[str, Any]]:
    """Rows of the table: memory and time of a large image, and tiles against a whole pass."""
    with tempfile.TemporaryDirectory() as name, contextlib.chdir(name):
        folder = Path(name)
        run = run_folder(folder / "run")
        picture(side, folder / "large.png")
        seconds, peak = predict(run, folder / "large.png", folder / "out")
        worst = difference(run, equal, folder)
    return [
        {
            "what": f"`wsrpn predict --objects`, {side} × {side}: peak memory in GB, time beside",
            "ours": seconds, "theirs": None, "ratio": peak, "goal": f"≤ {GOAL_GB:g} GB",
        },
        {
            "what": f"tiles against one pass, {equal} × {equal}: largest difference of a score",
            "ours": None, "theirs": None, "ratio": worst, "goal": "≤ 1e-3",
        },
    ]  # fmt: skip


def difference(folder: Path, side: int, place: Path) -> float:
    """Largest difference of a score between tiles and the whole image in one pass."""
    run = open_run(folder, device="cpu")
    picture(side, place / "equal.png")
    image = images.read(place / "equal.png")
    one = dataclasses.replace(run.config.masks, tile=4096, margin=0)
    whole = dataclasses.replace(run, config=dataclasses.replace(run.config, masks=one))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        apart, together = answer(run, image), answer(whole, image)
    if together.std() < 1000:
        raise RuntimeError("the answer is flat, so it would be equal in any case")
    return float(np.abs(apart / 65535 - together / 65535).max())


def measure() -> list[dict[str, Any]]:
    """For `benchmarks/run.py`."""
    return whole_image()


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", str(torch.get_num_threads()))
    for row in whole_image(int(sys.argv[1]) if len(sys.argv) > 1 else 4096):
        print({key: value for key, value in row.items() if value is not None})
