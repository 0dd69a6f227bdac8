"""Tiles a second of `wsrpn score` against the bare model, and its memory over ten slides.

    python benchmarks/slide_scoring.py [TILES]

The slide is a phantom pyramid of at least 20,000 tiles of 96 pixels with tissue, JPEG as scanners
write it. Ours is the whole command in a process of its own, from opening the slide to the table,
without the start of Python and the loading of weights, as the command itself reports it. The other
side is the same network in such a process on batches that are ready in memory: same batch,
precision, threads and layout. They take turns; the ratio is the median over pairs. Memory is the
peak of the process for one slide, for ten, and for these ten three times under other names: what
grows with the number of slides would go on growing.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

PRESET = "vae-b1"
TILES, SIDE, MPP, BATCH, PAIRS = 20_000, 96, 0.972, 256, 3
BARE = 12  # batches that are timed, after two that are not
SLIDES, AGAIN, FEW = 10, 3, 2_000  # of the memory


def slides(folder: Path, count: int, tiles: int) -> list[Path]:
    """Pyramids with at least so many whole tiles of tissue each."""
    from wsrpn.slides import phantom_file, phantom_slide

    found = []
    for index in range(count):
        made = phantom_slide.generate(
            f"s{index}", (0, index), tiles=round(1.04 * tiles), burden=0.05, mpp=MPP,
            tile=float(SIDE),
        )  # fmt: skip
        found.append(folder / f"slide_{tiles}_{index}.tif")
        phantom_file.write(found[-1], made, (0, index))
    return found


def trained(folder: Path) -> Path:
    """A run of the preset after one epoch; what it has learned does not matter here."""
    data = "phantom:slides?slides=6&tiles=60&tile=96&mpp=0.972&burden=0.1-0.2"
    words = ["train", PRESET, "--data", data, "--out", str(folder / "run"), "--epochs", "1"]
    called(words)
    return folder / "run"


def called(words: list[str]) -> dict[str, Any]:
    """A command in a process of its own; its document, if it has one, and its peak in MiB."""
    code = (
        "import resource, sys; from wsrpn_cli.app import main\n"
        "try: main()\n"
        "finally: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, check=True
    )
    document: dict[str, Any] = json.loads(done.stdout) if done.stdout.strip() else {}
    return {**document, "peak": int(done.stderr.split()[-1]) / 1024}


def scored(run: Path, paths: list[Path], out: Path) -> dict[str, Any]:
    """`wsrpn score` of slides that were never scored."""
    words = ["score", str(run), *map(str, paths), "--out", str(out), "--batch", str(BATCH)]
    return called([*words, "--json"])


def bare(run: Path) -> float:
    """Tiles a second of the network on batches that are ready."""
    done = subprocess.run(
        [sys.executable, __file__, "--bare", str(run)], capture_output=True, text=True, check=True
    )
    return float(done.stdout)


def bare_here(run: Path) -> float:
    """The same in this process: what `scores` of the model takes, as the command calls it."""
    import torch

    from wsrpn import compute
    from wsrpn.predict import open_run
    from wsrpn.scoring.engine import Engine
    from wsrpn.types import Batch

    engine = Engine(open_run(run), batch=BATCH)
    layout = torch.channels_last if engine.last else torch.contiguous_format
    images = torch.rand(BATCH, 3, SIDE, SIDE).to(engine.device).to(memory_format=layout)
    batch = Batch(
        ids=("",) * BATCH,
        images=images,
        labels=torch.full((BATCH, 1), torch.nan),
        sizes_px=torch.full((BATCH, 2), SIDE),
    )
    took = []
    with torch.inference_mode(), compute.autocast(engine.dtype, engine.device):
        for _ in range(BARE + 2):
            start = time.perf_counter()
            next(iter(engine.model.scores(batch).values())).sum().item()
            took.append(time.perf_counter() - start)
    return BATCH / statistics.median(took[2:])


def measure(tiles: int = TILES) -> list[dict[str, Any]]:
    """Rows for the table of all benchmarks; seconds are for 1000 tiles."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run = trained(folder)
        large = slides(folder, 1, tiles)
        pairs, count = [], 0
        for pair in range(PAIRS):
            before = bare(run)
            found = scored(run, large, folder / f"large_{pair}.parquet")
            after = bare(run)
            count = round(found["metrics"]["tiles"]["value"])
            pairs.append((found["metrics"]["tiles_per_second"]["value"], (before + after) / 2))
        ours, theirs = (statistics.median(one) for one in zip(*pairs, strict=True))
        small = slides(folder, SLIDES, FEW)
        first = scored(run, small[:1], folder / "one.parquet")["peak"]
        whole = scored(run, small, folder / "ten.parquet")["peak"]
        listed = [f"{p.stem}_{turn},{p.name}" for turn in range(AGAIN) for p in small]
        (folder / "slides.csv").write_text("\n".join(["slide,file", *listed]) + "\n")
        most = scored(run, [folder / "slides.csv"], folder / "more.parquet")["peak"]
    return [
        {
            "what": f"`wsrpn score`, {PRESET}, {count:,} tiles of {SIDE} px: tiles/s {ours:.0f} ÷ "
            f"bare model on ready batches {theirs:.0f} (times of 1000 tiles)",
            "ours": 1000 / ours, "theirs": 1000 / theirs,
            "ratio": statistics.median(a / b for a, b in pairs), "goal": "≥ 0.9",
        },
        {
            "what": f"peak memory of scoring {SLIDES} slides ÷ one slide ({whole:.0f} against "
            f"{first:.0f} MiB)",
            "ours": None, "theirs": None, "ratio": whole / first, "goal": "flat",
        },
        {
            "what": f"the same of {SLIDES * AGAIN} slides ÷ {SLIDES} ({most:.0f} MiB)",
            "ours": None, "theirs": None, "ratio": most / whole, "goal": "flat",
        },
    ]  # fmt: skip


def main() -> None:
    if sys.argv[1:2] == ["--bare"]:
        print(bare_here(Path(sys.argv[2])))
        return
    for row in measure(*(int(word) for word in sys.argv[1:2])):
        print(row)


if __name__ == "__main__":
    main()
