"""`predict`: from a run folder and images to detections in pixels of the original files."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

import wsrpn
from wsrpn import checkpoint, compute, files
from wsrpn import config as configs
from wsrpn import models as model_parts
from wsrpn.calibration import Calibration
from wsrpn.config import RunConfig
from wsrpn.data import loader
from wsrpn.detections import detections
from wsrpn.errors import InputError
from wsrpn.text import TextTable, table
from wsrpn.types import (
    Batch,
    Dataset,
    Detections,
    ModelOutput,
    Predictions,
    TextSpace,
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
        text: what `run.json` says of the text encoder, None for a run that reads no text.
    """

    folder: Path
    config: RunConfig
    classes: tuple[str, ...]
    model: nn.Module
    digest: str
    text: Mapping[str, Any] | None = None

    def provenance(self) -> dict[str, Any]:
        """What predictions say about where they come from."""
        name = self.config.model["name"]
        said: dict[str, Any] = {
            "wsrpn": wsrpn.__version__,
            "model": name,
            "weights_sha256": self.digest,
        }
        if self.cuts_maps:
            said["map_thresholds"] = list(self.config.inference.map_thresholds)
        return {**said, "notes": list(self.notes)} if self.notes else said

    @property
    def notes(self) -> tuple[str, ...]:
        """What has to be said wherever results of the run are shown."""
        stand_in = (self.text or {}).get("stand_in")
        return (stand_in,) if stand_in else ()

    @property
    def cuts_maps(self) -> bool:
        """Whether boxes come from class maps: of models that give maps and propose no regions."""
        gives = model_parts.models.facts(self.config.model["name"])["gives"]
        return "maps" in gives and "regions" not in gives

    def cut_at(self, threshold: float) -> "TrainedRun":
        """The run with its maps cut into boxes at another share of their range.

        Raises:
            InputError: the model proposes regions, or gives no maps.
        """
        if not self.cuts_maps:
            name = self.config.model["name"]
            raise InputError(
                f"Model {name} does not cut its boxes out of maps; leave --map-threshold out."
            )
        inference = dataclasses.replace(self.config.inference, map_thresholds=(threshold,))
        config = dataclasses.replace(self.config, inference=inference)
        return dataclasses.replace(self, config=config)

    def calibrated(self, calibration: Calibration | None) -> "TrainedRun":
        """The run with its maps cut where a calibration says, if it says so."""
        cut = calibration.map_threshold if calibration is not None else None
        return self if cut is None or not self.cuts_maps else self.cut_at(cut)


def open_run(folder: Path, *, device: str = "auto") -> TrainedRun:
    """Load the best weights of a run folder.

    Raises:
        InputError: not a run folder, or no undamaged checkpoint in it.
    """
    for name in ("config.yaml", "run.json"):
        if not (folder / name).is_file():
            raise InputError(f"{folder}: not a run folder (no {name}); `wsrpn train` makes one.")
    config = configs.load(folder / "config.yaml")
    facts = files.read_json(folder / "run.json", what="the facts of a run")
    saved = checkpoint.load(folder / "checkpoints", "best")
    if not isinstance(facts, dict) or not isinstance(facts.get("classes"), list):
        raise InputError(f"{folder / 'run.json'}: damaged, it has no list 'classes'; train again.")
    classes = tuple(facts["classes"])
    # The weights come from the checkpoint; the file they were initialised from may be gone.
    options = {**config.model, "weights": "none"} if "weights" in config.model else config.model
    text = facts.get("text")
    if text is not None and not (isinstance(text, dict) and isinstance(text.get("width"), int)):
        raise InputError(f"{folder / 'run.json'}: damaged, 'text' has no width; train again.")
    model = model_parts.build(options, classes=len(classes), text=_space(text, len(classes)))
    try:
        model.load_state_dict(checkpoint.below("model", saved.tensors))
    except RuntimeError as error:
        reason = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise InputError(f"{folder}: the checkpoint does not fit its config ({reason}).") from None
    chosen = compute.choose_device(device)
    return TrainedRun(folder, config, classes, model.eval().to(chosen), saved.state["sha256"], text)


def refuse_tiles(run: TrainedRun) -> None:
    """Stop where a run has a model of tiles, which answers nothing about a radiograph.

    Raises:
        InputError: names the command for such runs.
    """
    name = run.config.model["name"]
    if model_parts.models.facts(name).get("input") == "tiles":
        raise InputError(
            f"{run.folder}: model {name} is for tiles of slides; `wsrpn score {run.folder} SLIDE…` "
            "writes their scores into the run, and calibrate, eval and heatmap take it then."
        )


def refuse_masks(run: TrainedRun) -> None:
    """Stop where a run has a model that answers every pixel and finds no boxes.

    Raises:
        InputError: names the commands for such runs.
    """
    name = run.config.model["name"]
    if model_parts.models.facts(name).get("input") == "masks":
        raise InputError(
            f"{run.folder}: model {name} answers every pixel and has no boxes to give; calibrate, "
            "compare, eval, heatmap and predict take such a run."
        )


def _space(text: Mapping[str, Any] | None, classes: int) -> TextSpace | None:
    """The space that the model was built with; the prompts come with the weights."""
    if text is None:
        return None
    return TextSpace(text["width"], torch.zeros(classes, 2, text["width"]))


def captions(run: TrainedRun, dataset: Dataset) -> tuple[TextTable | None, tuple[str, ...]]:
    """The texts of the images by the encoder of the training, for retrieval; boxes never need them.

    Returns:
        The texts, or None where there are none or the encoder is not there, and what the user
        should know about that.
    """
    name = run.config.model["name"]
    if run.text is None or "alignment" not in model_parts.models.facts(name)["gives"]:
        return None, ()
    try:
        found = table(dataset, run.config.text, device=str(next(run.model.parameters()).device))
    except InputError as error:
        return None, (f"Retrieval is left out: {error}",)
    if found.facts["fingerprint"] != run.text["fingerprint"]:
        encoder = run.config.text.encoder
        return None, (
            f"Retrieval is left out: text.encoder={encoder} has other weights than in training.",
        )
    return found, tuple(note for note in found.notes if note not in run.notes)


def outputs(
    run: TrainedRun,
    dataset: Dataset,
    *,
    failed: dict[str, str] | None = None,
    batch: int = 16,
    texts: TextTable | None = None,
) -> Iterator[tuple[Batch, ModelOutput]]:
    """The model's output on every image, batch by batch, in order.

    Args:
        run: the trained model.
        dataset: the images; labels and boxes are not looked at.
        failed: gets id → reason of images that cannot be read; without it such an image raises.
        batch: images at a time.
        texts: captions to embed beside the images.

    Raises:
        InputError: the model is for tiles, or answers every pixel.
    """
    refuse_tiles(run)
    refuse_masks(run)
    device = next(run.model.parameters()).device
    dtype = compute.precision(run.config.train.precision, device)
    last = compute.wants_channels_last(run.config.train.channels_last, device, dtype)
    model = run.model.to(memory_format=torch.channels_last) if last else run.model  # type: ignore[call-overload]
    samples = loader.ImageDataset(dataset, size=run.config.data.size, cache="none")
    feed = loader.batches(samples, batch=batch, on_error="stop" if failed is None else "skip")
    for images in map(texts.attach, feed) if texts else feed:
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
    texts: TextTable | None = None,
) -> Predictions:
    """Detections on every image.

    Args:
        run: the trained model.
        dataset: the images.
        on_error: `stop` at an image that cannot be read, or `skip` it and list it.
        listen: called with the number of images done since the last call.
        texts: captions to embed beside the images, see `captions`.

    Raises:
        InputError: an image cannot be read and `on_error` is `stop`.
    """
    failed: dict[str, str] = {}
    found: list[Detections] = []
    skipped = failed if on_error == "skip" else None
    for batch, output in outputs(run, dataset, failed=skipped, texts=texts):
        found += detections(batch, output, run.config.inference)
        if listen:
            listen(len(batch.ids))
    return Predictions(run.classes, tuple(found), run.provenance(), failed)


def ladder(
    run: TrainedRun,
    dataset: Dataset,
    thresholds: Sequence[float],
    *,
    on_error: str = "stop",
    listen: Callable[[int], None] | None = None,
) -> dict[float, Predictions]:
    """Detections with the maps cut at each of several thresholds, from one pass of the model.

    Args:
        run: the trained model.
        dataset: the images.
        thresholds: shares of the maps' range.
        on_error: see `predict`.
        listen: see `predict`.

    Raises:
        InputError: the model gives no maps to cut, or an image cannot be read.
    """
    runs = {threshold: run.cut_at(threshold) for threshold in thresholds}
    failed: dict[str, str] = {}
    found: dict[float, list[Detections]] = {threshold: [] for threshold in thresholds}
    for batch, output in outputs(run, dataset, failed=failed if on_error == "skip" else None):
        for threshold, cut in runs.items():
            found[threshold] += detections(batch, output, cut.config.inference)
        if listen:
            listen(len(batch.ids))
    return {
        threshold: Predictions(run.classes, tuple(found[threshold]), cut.provenance(), failed)
        for threshold, cut in runs.items()
    }
