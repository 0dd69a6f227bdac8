"""A run that is its own truth: the model answers how bright a pixel is, so every figure is known.

A bright disc of level v has the score sigmoid(20 · (v - 0.5)).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import nn

from tests import make
from wsrpn import checkpoint, files
from wsrpn import config as configs
from wsrpn.models import models
from wsrpn.types import Batch, ModelOutput

NAME = "bright"


class Bright(nn.Module):
    """Logit per pixel = 20 · (grey level - 0.5), plus what `offset` says."""

    multiple, seen = 8, 0

    def __init__(self, *, classes: int, offset: float = 0.0) -> None:
        super().__init__()
        self.offset = nn.Parameter(torch.tensor(offset))

    def forward(self, batch: Batch) -> ModelOutput:
        logits = 20 * (batch.images - 0.5) + self.offset
        return ModelOutput(logits=logits.flatten(1).amax(1, keepdim=True), mask_logits=logits)


@contextmanager
def bright() -> Iterator[None]:
    """The model is known inside, and forgotten behind."""
    models.register(NAME, gives=("mask_logits", "logits"), input="masks")(Bright)
    try:
        yield
    finally:
        del models._parts[NAME], models._facts[NAME]


def discs(shape: tuple[int, int], *where: tuple[float, float, float]) -> Float[np.ndarray, "h w"]:
    """1 inside discs (x, y, radius), 0 outside."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    inside = np.zeros(shape)
    for x, y, radius in where:
        inside[(columns - x) ** 2 + (rows - y) ** 2 < radius**2] = 1
    return inside


def data(folder: Path, *, images: int = 6, numbered: bool = False, **more: Any) -> Path:
    """A manifest: two grey discs (0.45, truth) an image and bright specks (0.9, no truth).

    So a cut at 0.5 finds the specks alone; one at 0.2 with specks removed finds the truth exactly.
    """
    rows = []
    for n in range(images):
        name, shape = f"{n:02d}", (60 + n, 80)
        truth = [(20.0 + n, 20.0, 9.0), (55.0, 40.0, 8.0)]
        apart = [discs(shape, one) for one in truth]
        picture = 0.45 * sum(apart) + 0.9 * discs(shape, (70.0, 8.0, 2.0), (5.0, 50.0, 1.5))
        make.image(folder / f"{name}.png", picture)
        numbers = sum((k + 1 if numbered else 1) * one for k, one in enumerate(apart))
        (folder / "masks").mkdir(exist_ok=True, parents=True)
        from PIL import Image

        Image.fromarray(np.asarray(numbers, dtype=np.uint8)).save(folder / "masks" / f"{name}.png")
        split = ("train", "val", "test")[n % 3]
        rows.append({
            "image": f"{name}.png", "patient": f"p{n}", "split": split, "mask": f"masks/{name}.png",
            "site": "ab"[n % 2], **more,
        })  # fmt: skip
    return make.manifest(folder, rows, pictures=False)


def run(folder: Path, source: Path | str, *changes: str, offset: float = 0.0) -> Path:
    """A run folder of the model, as a training leaves it."""
    tree: dict[str, Any] = {
        "model": {"name": NAME, "offset": offset},
        "data": {"source": str(source), "size": 64},
        "masks": {"scale": "native", "tile": 64, "margin": 8},
        "train": {"precision": "fp32"},
        "phases": [{"weights": {"dice": 1.0}}],
    }
    for change in changes:
        key, _, value = change.partition("=")
        section, _, name = key.partition(".")
        tree[section][name] = int(value) if value.isdigit() else value
    config = configs.parse(tree)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(configs.dump(config))
    files.write_json(folder / "run.json", {"classes": ["foreground"]})
    tensors = checkpoint.flatten("model", Bright(classes=1, offset=offset).state_dict())
    checkpoint.save(folder / "checkpoints", "best", checkpoint.Checkpoint(1, tensors, {}))
    if Path(str(source)).exists():
        from wsrpn.data import base, splits

        splits.write(base.load(config.data), folder / "splits.csv")
    return folder
