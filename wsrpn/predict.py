"""`predict`: from a run folder and images to detections in pixels of the original files."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import nn

import wsrpn
from wsrpn import boxes, checkpoint, compute, files, gaussian, maps
from wsrpn import config as configs
from wsrpn import models as model_parts
from wsrpn.config import InferenceConfig, RunConfig
from wsrpn.data import loader
from wsrpn.errors import InputError
from wsrpn.types import (
    Batch,
    Dataset,
    Detections,
    ModelOutput,
    Predictions,
    RegionFigures,
    Regions,
)


@dataclass(frozen=True)
class TrainedRun:
    """A run folder, ready to predict.

    Attributes:
        folder: where it lies.
        config: of the training.
        classes: names, in the order of the logits.
        model: with the best weights, in evaluation mode.
        digest: sha256 of the weights.
    """

    folder: Path
    config: RunConfig
    classes: tuple[str, ...]
    model: nn.Module
    digest: str

    def provenance(self) -> dict[str, Any]:
        """What predictions say about where they come from."""
        name = self.config.model["name"]
        return {"wsrpn": wsrpn.__version__, "model": name, "weights_sha256": self.digest}


def open_run(folder: Path, *, device: str = "auto") -> TrainedRun:
    """Load the best weights of a run folder.

    Raises:
        InputError: not a run folder, or no undamaged checkpoint in it.
    """
    if not (folder / "config.yaml").is_file() or not (folder / "run.json").is_file():
        raise InputError(f"{folder}: not a run folder (no config.yaml); `wsrpn train` makes one.")
    config = configs.load(folder / "config.yaml")
    facts = files.read_json(folder / "run.json", what="the facts of a run")
    saved = checkpoint.load(folder / "checkpoints", "best")
    if not isinstance(facts, dict) or not isinstance(facts.get("classes"), list):
        raise InputError(f"{folder / 'run.json'}: damaged, it has no list 'classes'; train again.")
    classes = tuple(facts["classes"])
    # The weights come from the checkpoint; the file they were initialised from may be gone.
    options = {**config.model, "weights": "none"} if "weights" in config.model else config.model
    model = model_parts.build(options, classes=len(classes))
    try:
        model.load_state_dict(checkpoint.below("model", saved.tensors))
    except RuntimeError as error:
        reason = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise InputError(f"{folder}: the checkpoint does not fit its config ({reason}).") from None
    chosen = compute.choose_device(device)
    return TrainedRun(folder, config, classes, model.eval().to(chosen), saved.state["sha256"])


def outputs(
    run: TrainedRun, dataset: Dataset, *, failed: dict[str, str] | None = None, batch: int = 16
) -> Iterator[tuple[Batch, ModelOutput]]:
    """The model's output on every image, batch by batch, in order.

    Args:
        run: the trained model.
        dataset: the images; labels and boxes are not looked at.
        failed: gets id → reason of images that cannot be read; without it such an image raises.
        batch: images at a time.
    """
    device = next(run.model.parameters()).device
    dtype = compute.precision(run.config.train.precision, device)
    last = compute.wants_channels_last(run.config.train.channels_last, device, dtype)
    model = run.model.to(memory_format=torch.channels_last) if last else run.model  # type: ignore[call-overload]
    samples = loader.ImageDataset(dataset, size=run.config.data.size, cache="none")
    feed = loader.batches(samples, batch=batch, on_error="stop" if failed is None else "skip")
    for images in feed:
        with torch.no_grad(), compute.autocast(dtype, device):
            yield images, model(images.to(device, channels_last=last))
    if failed is not None:
        failed |= feed.failed


def predict(
    run: TrainedRun,
    dataset: Dataset,
    *,
    on_error: str = "stop",
    listen: Callable[[int], None] | None = None,
) -> Predictions:
    """Detections on every image.

    Args:
        run: the trained model.
        dataset: the images.
        on_error: `stop` at an image that cannot be read, or `skip` it and list it.
        listen: called with the number of images done since the last call.

    Raises:
        InputError: an image cannot be read and `on_error` is `stop`.
    """
    failed: dict[str, str] = {}
    found: list[Detections] = []
    for batch, output in outputs(run, dataset, failed=failed if on_error == "skip" else None):
        found += detections(batch, output, run.config.inference)
        if listen:
            listen(len(batch.ids))
    return Predictions(run.classes, tuple(found), run.provenance(), failed)


def detections(batch: Batch, output: ModelOutput, config: InferenceConfig) -> list[Detections]:
    """Detections of a batch: from its regions if the model proposes any, else from its maps."""
    logits = output.logits.float().cpu().numpy()
    proposals = (
        _from_regions(output.regions) if output.regions is not None else _from_maps(output, config)
    )
    figures = _region_figures(output.regions) if output.regions is not None else None
    found = []
    for index, name in enumerate(batch.ids):
        size_px = (int(batch.sizes_px[index][0]), int(batch.sizes_px[index][1]))
        xyxy, scores, classes = proposals[index]
        xyxy_px = boxes.clip(xyxy * np.tile(size_px[::-1], 2), size_px)
        keep = _select(xyxy_px, scores, classes, config)
        found.append(
            Detections(
                id=name,
                size_px=size_px,
                xyxy_px=xyxy_px[keep],
                scores=scores[keep],
                classes=classes[keep],
                image_logits=logits[index],
                regions=figures[index] if figures is not None else None,
            )
        )
    return found


Proposals = tuple[np.ndarray, np.ndarray, np.ndarray]


def _from_regions(regions: Regions) -> list[Proposals]:
    """Each region once per class, scored with its class probability."""
    xyxy = boxes.cxcywh_to_xyxy(regions.boxes).float().cpu().numpy()
    scores = regions.logits.sigmoid().float().cpu().numpy()
    count, classes = scores.shape[1:]
    which = np.tile(np.arange(classes), count)
    return [
        (np.repeat(xyxy[i], classes, axis=0), scores[i].reshape(-1), which)
        for i in range(len(scores))
    ]


def _from_maps(output: ModelOutput, config: InferenceConfig) -> list[Proposals]:
    """Areas of each class map, scored with image probability × mean height of the area."""
    if output.maps is None:
        empty = (np.zeros((0, 4)), np.zeros(0), np.zeros(0, dtype=np.int64))
        return [empty] * len(output.logits)
    class_maps = output.maps.float().cpu().numpy()
    scores = output.logits.sigmoid().float().cpu().numpy()
    found = []
    for i in range(len(class_maps)):
        parts = [
            maps.boxes(m, thresholds=config.map_thresholds, components=config.map_components)
            for m in class_maps[i]
        ]
        xyxy = np.concatenate([part[0] for part in parts])
        heights = np.concatenate([part[1] * scores[i, c] for c, part in enumerate(parts)])
        which = np.concatenate([np.full(len(part[1]), c) for c, part in enumerate(parts)])
        found.append((xyxy, heights, which))
    return found


def _select(
    xyxy_px: Float[np.ndarray, "n 4"],
    scores: np.ndarray,
    classes: np.ndarray,
    config: InferenceConfig,
) -> np.ndarray:
    """Indices of the boxes to report: not empty, above the floor, the best per class."""
    good = np.flatnonzero((scores >= config.min_score) & (boxes.area(xyxy_px) > 0))
    kept = good[boxes.nms(xyxy_px[good], scores[good], classes[good], threshold=config.nms_iou)]
    rank = np.zeros(len(kept), dtype=np.int64)
    for c in np.unique(classes[kept]):
        own = classes[kept] == c
        rank[own] = np.arange(own.sum())
    return kept[rank < config.max_per_class]


def _region_figures(regions: Regions) -> list[RegionFigures]:
    """Sharpness and alignment of every region's map."""
    values = {
        "entropy": gaussian.entropy(regions.log_x, regions.log_y),
        "entropy_normalized": gaussian.normalized_entropy(regions.log_x, regions.log_y),
        "alignment_error": (regions.means - regions.boxes[..., :2]).norm(dim=-1),
        "top_patch": gaussian.top_patch(regions.log_x, regions.log_y),
    }
    arrays = {name: value.float().cpu().numpy() for name, value in values.items()}
    scores = regions.logits.sigmoid().float().cpu().numpy()
    return [
        RegionFigures(scores=scores[i], **{name: value[i] for name, value in arrays.items()})
        for i in range(len(scores))
    ]
