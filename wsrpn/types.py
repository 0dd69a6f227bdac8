"""The values that flow, in order of flow.

Letters of shapes: `b` images, `k` classes, `r` regions, `n` boxes, `c` channels, `h w` pixels,
`gh gw` grid cells. A *label* is 1 (present), 0 (known to be absent) or nan (unknown). Boxes say
their format: `xyxy` or `cxcywh`; `_px` is pixels of the stored file, and without it a coordinate is
a share of the image, in [0, 1]. *Logits* are before and *scores* after the sigmoid.
"""

import dataclasses
import hashlib
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")


@dataclass(frozen=True)
class Box:
    """One box of truth: the index of its class and its corners in pixels of the stored file."""

    label: int
    xyxy_px: tuple[float, float, float, float]


@dataclass(frozen=True)
class Record:
    """One image as a table knows it: no pixels are opened to make it.

    Attributes:
        id: unique in its data set; the path as the table writes it.
        path: the file.
        patient: whoever must not be in two splits; the id where nothing is known.
        labels: per class of the data set 1, 0 or nan.
        split: where the source puts it, or None.
        boxes: gold boxes, for evaluation and pictures only.
        boxes_known: False leaves the image out of box figures.
        text: report or caption, "" where there is none.
        mask: per-pixel truth, or None.
        drr: digitally reconstructed radiograph beside the image, or None.
        extra: further columns of the table, for example `source` and `view`.
    """

    id: str
    path: Path
    patient: str
    labels: tuple[float, ...]
    split: Split | None = None
    boxes: tuple[Box, ...] = ()
    boxes_known: bool = True
    text: str = ""
    mask: Path | None = None
    drr: Path | None = None
    extra: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_clear(self) -> bool:
        """Whether the image is known to show nothing: all of its labels are 0."""
        return bool(self.labels) and all(label == 0 for label in self.labels)


@dataclass(frozen=True)
class Dataset:
    """Records with the names of their classes.

    Attributes:
        name: how the user asked for it.
        classes: names, in the order of `Record.labels`.
        records: the images.
        notes: what the reader wants the user to know (counted skips, renamed classes).
        numbers: what the source calls the classes, where it has numbers of its own (COCO).
        training_notes: further notes, for whoever trains on it.
    """

    name: str
    classes: tuple[str, ...]
    records: tuple[Record, ...]
    notes: tuple[str, ...] = ()
    numbers: tuple[int | str, ...] = ()
    training_notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.records)

    def where(self, keep: Callable[[Record], bool]) -> "Dataset":
        """The data set of the records for which `keep` is true."""
        return dataclasses.replace(self, records=tuple(r for r in self.records if keep(r)))

    def split(self, name: Split) -> "Dataset":
        """The records of one split."""
        return self.where(lambda record: record.split == name)

    def labels(self) -> Float[np.ndarray, "b k"]:
        """All labels as one array."""
        rows = [record.labels for record in self.records]
        return np.array(rows, dtype=np.float64).reshape(len(rows), len(self.classes))

    def digest(self) -> str:
        """A fingerprint of which images these are, for provenance."""
        return digest_of(record.id for record in self.records)

    def label_digest(self) -> str:
        """A fingerprint of which image has which labels."""
        return digest_of(f"{r.id}\0{[float(v) for v in r.labels]}" for r in self.records)


def digest_of(names: Iterable[str]) -> str:
    """sha256 of a set of names, whatever their order."""
    return hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()


@dataclass(frozen=True)
class Sample:
    """One decoded image with its truth, moved together by the transforms.

    Attributes:
        id: of the record.
        image: grey levels in [0, 1].
        labels: 1, 0 or nan per class.
        boxes: xyxy as shares of `image`.
        box_labels: class of each box.
        size_px: height and width of the stored file.
        mask: per-pixel truth in [0, 1], or None.
        drr: radiograph reconstructed from the patient's CT, in [0, 1], or None.
    """

    id: str
    image: Float[Tensor, "c h w"]
    labels: Float[Tensor, " k"]
    boxes: Float[Tensor, "n 4"]
    box_labels: Int[Tensor, " n"]
    size_px: tuple[int, int]
    mask: Float[Tensor, "1 h w"] | None = None
    drr: Float[Tensor, "1 h w"] | None = None


@dataclass(frozen=True)
class Texts:
    """Embedded captions of a batch, `l` levels of detail per image (1 for a flat caption).

    Attributes:
        vectors: from the frozen text encoder; zeros where an image has no text at a level.
        ids: number of the distinct text, the same for equal texts; -1 where there is none.
    """

    vectors: Float[Tensor, "b l d"]
    ids: Int[Tensor, "b l"]


@dataclass(frozen=True)
class TextSpace:
    """What a model that reads text must know of the encoder when it is built.

    Attributes:
        width: d, features of a text vector.
        prompts: embedded sentences for "class present" and "class absent".
    """

    width: int
    prompts: Float[Tensor, "k 2 d"]


@dataclass(frozen=True)
class Batch:
    """Stacked samples, as models and losses see them.

    Attributes:
        ids: of the samples.
        images: in [0, 1]; radiographs have one channel, tiles of slides three (RGB).
        labels: 1, 0 or nan per class.
        sizes_px: height and width of the stored file, or of the tile on its slide.
        texts: captions, or None without a text encoder.
        epoch: epochs of training done, a fraction inside one; for losses with a schedule.
        masks: per-pixel truth in [0, 1], for models that segment.
        drrs: reconstructed radiographs in [0, 1], zeros where an image has none; None where no
            image of the data has one.
        has_drr: which images have one; there where `drrs` is.
    """

    ids: tuple[str, ...]
    images: Float[Tensor, "b c h w"]
    labels: Float[Tensor, "b k"]
    sizes_px: Int[Tensor, "b 2"]
    texts: Texts | None = None
    epoch: float = 0.0
    masks: Float[Tensor, "b 1 h w"] | None = None
    drrs: Float[Tensor, "b 1 h w"] | None = None
    has_drr: Bool[Tensor, " b"] | None = None

    def to(self, device: torch.device | str, *, channels_last: bool = False) -> "Batch":
        """The batch on a device, its images in the memory format that convolutions like there."""
        layout = torch.channels_last if channels_last else torch.contiguous_format
        return dataclasses.replace(
            self,
            images=self.images.to(device, non_blocking=True, memory_format=layout),
            labels=self.labels.to(device, non_blocking=True),
            texts=self.texts and Texts(self.texts.vectors.to(device), self.texts.ids.to(device)),
            masks=None if self.masks is None else self.masks.to(device, non_blocking=True),
            drrs=None if self.drrs is None else self.drrs.to(device, non_blocking=True),
            has_drr=None if self.has_drr is None else self.has_drr.to(device, non_blocking=True),
        )


@dataclass(frozen=True)
class Regions:
    """What a model proposes: boxes, the Gaussians they pool with, and their classes.

    Attributes:
        boxes: cxcywh in [0, 1]; x runs along columns.
        means: centre (x, y) of each Gaussian.
        sigmas: standard deviation (x, y) of each Gaussian, as a share of the image.
        logits: class logits of each region.
        log_x: log of the map's column factor; each row sums to 1 after exp.
        log_y: log of the map's row factor. The map of a region is their outer product.
        attended: mean (x, y) and standard deviation (x, y) of the attention that each region was
            found by, or None for a model without it.
        beta: exponent of the kernel that the maps are of.
    """

    boxes: Float[Tensor, "b r 4"]
    means: Float[Tensor, "b r 2"]
    sigmas: Float[Tensor, "b r 2"]
    logits: Float[Tensor, "b r k"]
    log_x: Float[Tensor, "b r gw"]
    log_y: Float[Tensor, "b r gh"]
    attended: Float[Tensor, "b r 4"] | None = None
    beta: float = 2.0


@dataclass(frozen=True)
class PaperTerms:
    """What the original WSRPN's losses read; `f` is its no-finding class, the last one.

    Attributes:
        cells: class and no-finding probabilities of the cells, k + 1.
        patch_bag: image-level probabilities of the patch branch: k classes, then "some cell has no
            finding" (OR) and "no cell has a finding" (AND).
        roi_bag: the same of the ROI branch.
        regions: class and no-finding probabilities of the regions.
        kernels: Gaussians of the regions, 1 at their best cell.
        patch_features: projected class features of the patch branch.
        roi_features: projected class features of the ROI branch.
    """

    cells: Float[Tensor, "b kf gh gw"]
    patch_bag: Float[Tensor, "b kff"]
    roi_bag: Float[Tensor, "b kff"]
    regions: Float[Tensor, "b r kf"]
    kernels: Float[Tensor, "b r gh gw"]
    patch_features: Float[Tensor, "b k d"]
    roi_features: Float[Tensor, "b k d"]


@dataclass(frozen=True)
class Alignment:
    """Where image and text meet: unit vectors in one space.

    Attributes:
        image: of the images.
        text: of their captions per level, or None where the batch has no text.
        scale: factor on cosines, 1 / τ.
        bias: added to scaled cosines (SigLIP); 0 elsewhere.
    """

    image: Float[Tensor, "b e"]
    text: Float[Tensor, "b l e"] | None
    scale: Float[Tensor, ""]
    bias: Float[Tensor, ""]


@dataclass(frozen=True)
class Latent:
    """What an encoder says of an image: a Gaussian with a diagonal covariance, `z` dimensions.

    Attributes:
        mean: of every dimension.
        log_variance: natural logarithm of the variance.
    """

    mean: Float[Tensor, "b z"]
    log_variance: Float[Tensor, "b z"]


@dataclass(frozen=True)
class ModelOutput:
    """What every model gives; parts it does not have are None.

    Attributes:
        logits: image-level answer per class.
        maps: per-cell class logits.
        patch_logits: image-level answer of the patch branch.
        roi_logits: image-level answer of the ROI branch (noisy-OR as a logit).
        regions: proposals.
        paper: what only the original's losses read.
        alignment: image and text in one space.
        reconstruction: the image as it was decoded, in [0, 1].
        latent: what it was decoded from.
        mask_logits: answer per pixel of the image.
        attention: where a model looks, as logits on its feature grid.
    """

    logits: Float[Tensor, "b k"]
    maps: Float[Tensor, "b k gh gw"] | None = None
    patch_logits: Float[Tensor, "b k"] | None = None
    roi_logits: Float[Tensor, "b k"] | None = None
    regions: Regions | None = None
    paper: PaperTerms | None = None
    alignment: Alignment | None = None
    reconstruction: Float[Tensor, "b c h w"] | None = None
    latent: Latent | None = None
    mask_logits: Float[Tensor, "b 1 h w"] | None = None
    attention: Float[Tensor, "b 1 gh gw"] | None = None


@dataclass(frozen=True)
class RegionFigures:
    """Figures of the Gaussian maps of one image's regions, before any selection.

    Attributes:
        scores: class scores per region.
        entropy: nats.
        entropy_normalized: entropy over log of the number of cells.
        alignment_error: distance of Gaussian centre and box centre, shares of the image.
        top_patch: largest cell weight.
    """

    scores: Float[np.ndarray, "r k"]
    entropy: Float[np.ndarray, " r"]
    entropy_normalized: Float[np.ndarray, " r"]
    alignment_error: Float[np.ndarray, " r"]
    top_patch: Float[np.ndarray, " r"]


@dataclass(frozen=True)
class Detections:
    """What a model says of one image, in pixels of the stored file.

    Attributes:
        id: of the record.
        size_px: height and width of the stored file.
        xyxy_px: boxes, clipped to the image.
        scores: per box, in [0, 1].
        classes: class index per box.
        image_logits: image-level answer; nan where whoever made the boxes gave none.
        regions: figures of the Gaussian maps, or None for a model without them.
        embedding: unit vector of the image in the space shared with text, or None.
        text_embedding: that of its caption, or None.
        text_id: number of the distinct caption, the same for equal ones; -1 where there is none.
    """

    id: str
    size_px: tuple[int, int]
    xyxy_px: Float[np.ndarray, "n 4"]
    scores: Float[np.ndarray, " n"]
    classes: Int[np.ndarray, " n"]
    image_logits: Float[np.ndarray, " k"]
    regions: RegionFigures | None = None
    embedding: Float[np.ndarray, " e"] | None = None
    text_embedding: Float[np.ndarray, " e"] | None = None
    text_id: int = -1


@dataclass(frozen=True)
class Predictions:
    """Detections of a data set, with the names of the classes and where they come from."""

    classes: tuple[str, ...]
    images: tuple[Detections, ...]
    provenance: Mapping[str, Any] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Figure:
    """A figure with its interval; all None where it is undefined.

    Attributes:
        value: the figure on all images.
        low: 2.5th percentile of the bootstrap.
        high: 97.5th percentile.
    """

    value: float | None
    low: float | None = None
    high: float | None = None

    @staticmethod
    def of(value: float, low: float = math.nan, high: float = math.nan) -> "Figure":
        """A figure in which nan becomes None, as JSON wants it."""
        return Figure(*(None if math.isnan(x) else float(x) for x in (value, low, high)))


@dataclass(frozen=True)
class Report:
    """Figures of a run on a data set: the one JSON document of the command line."""

    command: str
    version: str
    metrics: Mapping[str, Figure]
    per_class: Mapping[str, Mapping[str, Figure]] = field(default_factory=dict)
    per_group: Mapping[str, Mapping[str, Figure]] = field(default_factory=dict)
    per_slide: Mapping[str, Mapping[str, Figure]] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """The report as plain values for JSON."""
        return dataclasses.asdict(dataclasses.replace(self, warnings=tuple(self.warnings)))
