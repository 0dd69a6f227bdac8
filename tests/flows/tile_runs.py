"""Small trainings on tiles: 48 tiles of 32 pixels, seconds from end to end."""

from pathlib import Path
from typing import Any

from tests.flows import runs
from wsrpn import config as configs
from wsrpn.config import RunConfig

# What makes several processes learn what one would: nothing is drawn.
ALIKE = ("model.sample=false", "model.skip_dropout=0")


def vae(source: Path, *changes: str) -> RunConfig:
    """An autoencoder: three epochs of three steps, colours normalised, all kinds of changes."""
    model = {"name": "vae", "latent": 8, "width": 8, "depth": 3, "score": "both"}
    return _config(source, *changes, model=model, losses={
        "reconstruction": {"per": "image"}, "latent": {"capacity": 20.0, "reached": 2.0},
    }, phases=[
        {"weights": {"reconstruction": 1.0, "latent": 0.2}, "until": 1.0},
        {"weights": {"reconstruction": 1.0, "latent": 1.0}, "ramp": 1.0},
    ])  # fmt: skip


def head(source: Path, run: Path, *changes: str) -> RunConfig:
    """A head on the encoder of a trained one."""
    return _config(
        source, "train.freeze_backbone=true", "train.monitor=auroc", *changes,
        model={"name": "tile_head", "weights": str(run)}, phases=[{"weights": {"image_bce": 1.0}}],
    )  # fmt: skip


def classifier(source: Path, *changes: str) -> RunConfig:
    """A small backbone with one linear layer."""
    return _config(
        source, "train.monitor=auroc", *changes,
        model={"name": "tile_classifier", "backbone": "tiny"},
        phases=[{"weights": {"image_bce": 1.0}}],
    )  # fmt: skip


def _config(source: Path, *changes: str, **sections: Any) -> RunConfig:
    plain = dict.fromkeys(("rotate", "translate", "scale"), 0)
    tree: dict[str, Any] = {
        "data": {"source": str(source), "size": 32, "augment": {
            **plain, "turns": True, "stain": 0.1, "brightness": 0.05, "contrast": 0.05,
        }},
        "train": {"epochs": 3, "batch": 6, "lr": 2e-3, "precision": "fp32", "ema": 0.5,
                  "monitor": "loss"},
        "tiles": {"stain": "reinhard", "mpp": 1.0},
        **sections,
    }  # fmt: skip
    return configs.parse(runs.changed(tree, *changes))
