"""A tiny table of tiles: pictures of a pink ground with purple nuclei, larger ones in tumour."""

import csv
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 32


def tile(rng: np.random.Generator, *, tumour: bool) -> np.ndarray:
    """One tile of RGB levels."""
    levels = np.array([0.93, 0.75, 0.86]) + 0.03 * rng.standard_normal((SIDE, SIDE, 1))
    y, x = (np.mgrid[:SIDE, :SIDE] + 0.5) / SIDE
    for _ in range(9 if tumour else 4):
        across, down = rng.uniform(0.1, 0.9, 2)
        spread = 2 * (0.09 if tumour else 0.05) ** 2
        spot = np.exp(-((x - across) ** 2 + (y - down) ** 2) / spread)
        levels = levels - spot[..., None] * np.array([0.5, 0.6, 0.3])
    return (255 * levels.clip(0, 1)).astype(np.uint8)


def folder(to: Path, *, slides: int = 8, each: int = 6, val: int = 2, labels: str = "both") -> Path:
    """A folder with `tiles.csv`: the last `val` slides validate; every second tile is tumour.

    Args:
        to: made.
        slides: one patient each.
        each: tiles of a slide.
        val: slides of the split val.
        labels: `both`, or `normal` or `tumour` for all tiles.
    """
    to.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    rows = []
    for slide in range(slides):
        for n in range(each):
            tumour = labels == "tumour" or (labels == "both" and n % 2 == 1)
            name = f"s{slide}_{n}.png"
            Image.fromarray(tile(rng, tumour=tumour)).save(to / name)
            rows.append({
                "slide": f"s{slide}", "patient": f"p{slide}", "x": SIDE * n, "y": 0, "width": SIDE,
                "height": SIDE, "image": name, "label": "tumor" if tumour else "normal",
                "split": "val" if slide >= slides - val else "train", "mpp": 1.0,
            })  # fmt: skip
    with (to / "tiles.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return to
