"""From a model's output on a batch to boxes in pixels of the stored files.

One way for all models: regions where a model proposes them, areas of its class maps where it does
not; then the boxes that are worth reporting.
"""

from typing import Any

import numpy as np
from jaxtyping import Float, Int

from wsrpn import boxes, gaussian, maps
from wsrpn.config import InferenceConfig
from wsrpn.types import Batch, Detections, ModelOutput, RegionFigures, Regions


def detections(
    batch: Batch, output: ModelOutput, config: InferenceConfig | None
) -> list[Detections]:
    """Detections of a batch: from its regions if the model proposes any, else from its maps.

    Args:
        batch: the images.
        output: the model's.
        config: how boxes are made; None makes none, for whoever wants the other answers only.
    """
    logits = output.logits.float().cpu().numpy()
    proposals = _proposals(output, config) if config else [_nothing()] * len(logits)
    figures = _region_figures(output.regions) if output.regions is not None else None
    embeddings = _embeddings(batch, output)
    found = []
    for index, name in enumerate(batch.ids):
        size_px = (int(batch.sizes_px[index][0]), int(batch.sizes_px[index][1]))
        xyxy, scores, classes = proposals[index]
        xyxy_px = boxes.clip(xyxy * np.tile(size_px[::-1], 2), size_px)
        if config:
            xyxy_px, scores, classes = _select(xyxy_px, scores, classes, config)
        found.append(
            Detections(
                id=name,
                size_px=size_px,
                xyxy_px=xyxy_px,
                scores=scores,
                classes=classes,
                image_logits=logits[index],
                regions=figures[index] if figures is not None else None,
                **embeddings[index],
            )
        )
    return found


def _embeddings(batch: Batch, output: ModelOutput) -> list[dict[str, Any]]:
    """Vectors of each image and of its most detailed caption, in the space they share."""
    alignment, texts = output.alignment, batch.texts
    if alignment is None:
        return [{}] * len(batch.ids)
    images = alignment.image.float().cpu().numpy()
    found: list[dict[str, Any]] = [{"embedding": image} for image in images]
    if alignment.text is None or texts is None:
        return found
    vectors, ids = alignment.text.float().cpu().numpy(), texts.ids.cpu().numpy()
    for i, row in enumerate(ids):
        there = np.flatnonzero(row >= 0)
        if len(there):
            level = there[-1]
            found[i] |= {"text_embedding": vectors[i, level], "text_id": int(row[level])}
    return found


Proposals = tuple[np.ndarray, np.ndarray, np.ndarray]


def _nothing() -> Proposals:
    return np.zeros((0, 4)), np.zeros(0), np.zeros(0, dtype=np.int64)


def _proposals(output: ModelOutput, config: InferenceConfig) -> list[Proposals]:
    if output.regions is not None:
        return _from_regions(output.regions)
    return _from_maps(output, config)


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
        return [_nothing()] * len(output.logits)
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
    scores: Float[np.ndarray, " n"],
    classes: Int[np.ndarray, " n"],
    config: InferenceConfig,
) -> Proposals:
    """The boxes to report: not empty, above the floor, merged, the best per class."""
    good = np.flatnonzero((scores >= config.min_score) & (boxes.area(xyxy_px) > 0))
    xyxy_px, scores, classes = xyxy_px[good], scores[good], classes[good]
    if config.merge == "wbf":
        xyxy_px, scores, classes = boxes.weighted_box_fusion(
            xyxy_px, scores, classes, threshold=config.nms_iou, score=config.merge_score
        )
    else:
        kept = boxes.nms(xyxy_px, scores, classes, threshold=config.nms_iou)
        xyxy_px, scores, classes = xyxy_px[kept], scores[kept], classes[kept]
    rank = np.zeros(len(classes), dtype=np.int64)
    for c in np.unique(classes):
        own = classes == c
        rank[own] = np.arange(own.sum())
    keep = rank < config.max_per_class
    return xyxy_px[keep], scores[keep], classes[keep]


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
