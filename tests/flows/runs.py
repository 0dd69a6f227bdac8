"""Small trainings: 24 images of 48 pixels, a tiny backbone, seconds from end to end."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import yaml

from tests import make
from wsrpn import checkpoint
from wsrpn import config as configs
from wsrpn.config import RunConfig

# What makes several processes learn what one would: each has its own dropout and, in the backbone's
# batch norms, the statistics of its own images.
ALIKE = ("model.dropout=0", "train.batch=8", "train.freeze_backbone=true")
LABELS = ("left", "right", "left|right", "")
SHARP = {"detection": 1.0, "concentration": 0.1, "sparsity": 0.2, "class_suppression": 0.3}
RAMP = [
    {"weights": {"detection": 1.0}, "until": 1.0},
    {"weights": SHARP, "ramp": 1.5, "curve": "cosine"},
]


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


def boxes(folder: Path) -> Path:
    """The same manifest with boxes: the halves of the image that have a spot."""
    lines = ["image,label,x,y,width,height"]
    for n, (name, *_, label) in enumerate(
        line.split(",") for line in (folder / "images.csv").read_text().split()[1:]
    ):
        sides = {side: x for side, x in (("left", 2), ("right", 26)) if side in label}
        lines += [f"{name},{side},{x},6,20,{30 + n % 5}" for side, x in sides.items()]
    (folder / "boxes.csv").write_text("\n".join(lines) + "\n")
    return folder


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
    return configs.parse(changed(tree, *changes))


def changed(tree: dict[str, Any], *changes: str) -> dict[str, Any]:
    """A tree of plain values with `a.b=value` changes, in place."""
    for change in changes:
        key, _, value = change.partition("=")
        configs._put(tree, key, yaml.safe_load(value), where=change)
    return tree


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


def sharp(source: Path, *changes: str, **sections: Any) -> RunConfig:
    """A detector whose Gaussians have a head of their own, with losses that come in a ramp."""
    changes = ("model.gaussian_head=free", *changes)
    return wsrpn(source, *changes, **{"phases": RAMP, **sections})


def scaled(source: Path, *changes: str) -> RunConfig:
    """The same with losses divided by their sizes, and with an eye on the boxes."""
    return sharp(source, "train.weighting=scale", "train.watch_boxes=true", *changes)


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
