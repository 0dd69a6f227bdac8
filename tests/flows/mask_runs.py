"""Small trainings on masks: 14 images of about 48 pixels with discs, seconds from end to end."""

from pathlib import Path
from typing import Any

import numpy as np

from tests import make
from tests.flows import runs
from wsrpn import config as configs
from wsrpn.config import RunConfig

SIZES = ((48, 48), (70, 52), (30, 64))  # height and width; with `native` some need several windows
COLUMNS = ("image", "patient", "split", "labels", "mask")


def discs(
    folder: Path, *, train: int = 9, val: int = 5, test: int = 0,
    sizes: tuple[tuple[int, int], ...] = SIZES[:1], drr: bool = False,
) -> Path:  # fmt: skip
    """A manifest: bright discs on a grey ramp. Every fourth image has none, and no mask either.

    Masks number their objects. With `drr` every second image has a darker copy beside it.
    """
    rows = []
    splits = ["train"] * train + ["val"] * val + ["test"] * test
    for n, split in enumerate(splits):
        size, name = sizes[n % len(sizes)], f"{n:02d}.png"
        inside = objects(n, size) if n % 4 != 3 else np.zeros(size, np.uint8)
        ramp = 0.2 + 0.01 * n + 0.2 * np.linspace(0, 1, size[1])
        make.image(folder / name, np.where(inside > 0, 0.8, ramp) * np.ones(size))
        row = {"image": name, "patient": f"p{n}", "split": split}
        row |= {"labels": "bead" if inside.any() else "", "mask": ""}
        if inside.any():
            make.image(folder / "masks" / name, inside)
            row["mask"] = f"masks/{name}"
        if drr:
            row["drr"] = f"drr/{name}" if n % 2 else ""
            make.image(folder / "drr" / name, 0.5 * ramp * np.ones(size))
        rows.append(row)
    return make.manifest(folder, rows, pictures=False)


def objects(n: int, size: tuple[int, int]) -> np.ndarray:
    """Two discs that do not touch, numbered."""
    y, x = np.mgrid[: size[0], : size[1]]
    found = np.zeros(size, np.uint8)
    for number, (cy, cx) in enumerate(((0.3, 0.3), (0.65, 0.4 + 0.04 * n)), start=1):
        found[(y - cy * size[0]) ** 2 + (x - cx * size[1]) ** 2 < (3 + n % 3) ** 2] = number
    return found


def unet(source: Path, *changes: str, **sections: Any) -> RunConfig:
    """A U-Net: three epochs of three steps, two losses that change places, all kinds of changes."""
    tree: dict[str, Any] = {
        "model": {"name": "unet", "width": 4, "depth": 2, "dropout": 0.2},
        "data": {"source": str(source), "size": 48, "augment": {"turns": True, "flip": 0.5}},
        "train": {"epochs": 3, "batch": 3, "lr": 3e-3, "precision": "fp32", "ema": 0.5,
                  "monitor": "dice"},
        "phases": [
            {"weights": {"dice": 0.5, "focal": 0.5}, "until": 1.0},
            {"weights": {"dice": 0.7, "focal": 0.3}, "ramp": 4.0},
        ],
        **sections,
    }  # fmt: skip
    return configs.parse(runs.changed(tree, *changes))


def native(source: Path, *changes: str) -> RunConfig:
    """The same on crops of 32 pixels."""
    return unet(source, "masks.scale=native", "data.size=32", *changes)


def nodule(source: Path, *changes: str) -> RunConfig:
    """Attention from DRRs where there are such, and a loss for it."""
    model = {
        "name": "nodule", "backbone": "tiny", "decoder_width": 16, "attention_width": 32,
        "trainable": 5,
    }  # fmt: skip
    phases = [{"weights": {"tversky": 0.4, "weighted_bce": 0.3, "attention": 0.1}}]
    changes = ("train.backbone_lr=0.001", *changes)
    return unet(source, *changes, model=model, phases=phases)
