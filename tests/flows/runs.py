"""Small trainings: 24 images of 48 pixels, a tiny backbone, seconds from end to end."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch

from tests import make
from wsrpn import checkpoint
from wsrpn import config as configs
from wsrpn.config import RunConfig

# What makes several processes learn what one would: each has its own dropout and, in the backbone's
# batch norms, the statistics of its own images.
ALIKE = ("model.dropout=0", "train.batch=8", "train.freeze_backbone=true")
LABELS = ("left", "right", "left|right", "")


def data(folder: Path, *, train: int = 16, val: int = 8) -> Path:
    """A manifest: a spot on the left, on the right, on both sides or on none."""
    rows = []
    for n in range(train + val):
        name, label = f"{n:02d}.png", LABELS[n % 4]
        picture = np.full((48, 48), 0.005 * n)
        for side, x in (("left", 0.25), ("right", 0.75)):
            if side in label:
                picture = picture + make.blob((48, 48), (x, 0.3 + 0.01 * n), 0.12)
        make.image(folder / name, picture.clip(0, 1))
        split = "train" if n < train else "val"
        rows.append({"image": name, "patient": f"p{n}", "split": split, "labels": label})
    return make.manifest(folder, rows, pictures=False)


def config(source: Path, *changes: str, **sections: Any) -> RunConfig:
    """A config of three epochs with four steps each, with `a.b=value` changes."""
    tree: dict[str, Any] = {
        "model": {"name": "cam", "backbone": "tiny", "dropout": 0.2},
        "data": {"source": str(source), "size": 48},
        "train": {"epochs": 3, "batch": 4, "lr": 1e-3, "precision": "fp32", "ema": 0.9},
        "phases": [{"weights": {"image_bce": 1.0}}],
    }
    for name, section in sections.items():
        old = tree.get(name, {})
        tree[name] = {**old, **section} if isinstance(section, dict) else section
    for change in changes:
        configs._set(tree, change)
    return configs.parse(tree)


def wsrpn(source: Path, *changes: str, **sections: Any) -> RunConfig:
    """The same with the detector, both its losses and a phase that ramps."""
    model = {"name": "wsrpn", "width": 32, "heads": 4, "regions": 4}
    phases = [
        {"weights": {"detection": 1.0}, "until": 1.0},
        {"weights": {"detection": 1.0, "cell_consistency": 0.5}, "ramp": 1.0},
    ]
    return config(source, *changes, **{"model": model, "phases": phases, **sections})


def vl(source: Path, *changes: str, **sections: Any) -> RunConfig:
    """A detector and a tower that learns from captions: learned weights, a vote fitted at the end.

    The contrast comes with the second epoch, so that projections wait for their phase.
    """
    model = {"name": "fusion_late", "width": 32, "heads": 4, "regions": 4, "embedding": 8}
    phases = [
        {"weights": {"detection": 1.0}, "until": 1.0},
        {"weights": {"detection": 1.0, "contrastive": 0.5, "consistency": 0.5}, "ramp": 1.0},
    ]
    text = {"encoder": "hashing", "captions": "labels", "cache": str(source / "text")}
    usual = {"model": model, "phases": phases, "text": text, "train": {"weighting": "uncertainty"}}
    return config(source, *changes, **{**usual, **sections})


def fingerprint(out: Path) -> dict[str, str]:
    """sha256 of everything a finished training leaves that must not depend on how it got there."""
    found = {"metrics.csv": _sha(out.joinpath("metrics.csv").read_bytes())}
    for kind in ("last", "best"):
        saved = checkpoint.load(out / "checkpoints", kind)
        state = {k: saved.state[k] for k in ("history", "value", "epoch") if k in saved.state}
        tensors = dict(sorted(saved.tensors.items()))
        found[f"{kind}-{saved.step} tensors"] = _sha(safetensors.torch.save(tensors))
        found[f"{kind}-{saved.step} state"] = _sha(json.dumps(state, sort_keys=True).encode())
    return found


def _sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
