"""Score maps of a run on data: made once, kept in a folder, made again where they do not match.

A map is taken up if these weights, with this config, made it of this file, and its own bytes are
whole. So a killed command goes on where it was, and a damaged file costs one image.
"""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt16

from wsrpn import config as configs
from wsrpn import models as model_parts
from wsrpn.data import cache, images
from wsrpn.data.images import ImageReadError
from wsrpn.errors import InputError
from wsrpn.predict import TrainedRun
from wsrpn.segmentation import maps
from wsrpn.segmentation.engine import Answering
from wsrpn.segmentation.maps import Maps
from wsrpn.types import Dataset, Record

INPUT = "masks"
EVERY = 10  # seconds between two lists of what is there: so much is lost where a process is killed


def segments(run: TrainedRun) -> bool:
    """Whether the model of a run answers every pixel."""
    return model_parts.models.facts(run.config.model["name"]).get("input") == INPUT


def refuse_others(run: TrainedRun) -> None:
    """Stop where a run has a model that answers no pixels.

    Raises:
        InputError: names those that do.
    """
    if not segments(run):
        able = [n for n in model_parts.models if model_parts.models.facts(n).get("input") == INPUT]
        raise InputError(
            f"{run.folder}: model {run.config.model['name']} does not answer every pixel; those "
            f"that do: {', '.join(able)}."
        )


def looks_at_drrs(run: TrainedRun) -> bool:
    """Whether the model of a run takes a reconstructed radiograph beside the image."""
    facts = model_parts.models.facts(run.config.model["name"])
    return "attention" in facts["gives"] and run.config.model.get("attention") != "none"


def answers(
    run: TrainedRun,
    dataset: Dataset,
    folder: Path,
    *,
    on_error: str = "stop",
    listen: Callable[[int], None] | None = None,
) -> Maps:
    """The maps of a data set's images, from `folder` where they fit, else made and written.

    Args:
        run: a trained model that gives mask logits.
        dataset: the images.
        folder: of the maps; `maps.json` in it lists them.
        on_error: `stop` at an image that cannot be read, or `skip` it and list it.
        listen: called with the number of images done since the last call.

    Raises:
        InputError: the model answers no pixels, or an image cannot be read and `on_error` is
            `stop`.
    """
    refuse_others(run)
    provenance = {
        **run.provenance(),
        "config_sha256": cache.fingerprint([], configs.dump(run.config)),
    }
    before = maps.read_index(folder)
    old = before.get("files", {}) if before.get("provenance") == provenance else {}
    names = maps.names(record.id for record in dataset.records)
    engine, drrs = Answering(run), looks_at_drrs(run)
    listed: dict[str, Any] = {}
    failed: dict[str, str] = {}
    said = time.monotonic()

    def note() -> None:
        taken = {about["file"] for about in listed.values()}
        others = {name: about for name, about in old.items() if about["file"] not in taken}
        maps.write_index(folder, {"provenance": provenance, "files": {**others, **listed}})

    try:
        for record in dataset.records:
            about = wanted(record, f"{names[record.id]}.png")
            try:
                kept = _kept(folder, about, old.get(record.id))
                listed[record.id] = kept or _made(engine, record, folder, about, drrs=drrs)
            except ImageReadError as error:
                if on_error == "stop":
                    raise
                failed[record.id] = str(error)
            if time.monotonic() - said > EVERY:
                note()
                said = time.monotonic()
            if listen:
                listen(1)
    finally:  # what was made is not made again, whatever ended it
        note()
    paths = {name: folder / about["file"] for name, about in listed.items()}
    return Maps(paths, provenance, failed)


def wanted(record: Record, file: str) -> dict[str, Any]:
    """What a map of an image says of itself, but for its sha256."""
    beside = [record.drr] if record.drr is not None else []
    return {"file": file, "inputs": cache.fingerprint([record.path, *beside])}


def _kept(
    folder: Path, said: Mapping[str, Any], about: Mapping[str, Any] | None
) -> dict[str, Any] | None:
    """What is said of a map that is there, of this image, and whole; None without one."""
    if about is None or any(about.get(key) != value for key, value in said.items()):
        return None
    whole = maps.is_whole(folder / said["file"], str(about.get("sha256")))
    return dict(about) if whole else None


def _made(
    engine: Answering, record: Record, folder: Path, about: Mapping[str, Any], *, drrs: bool
) -> dict[str, Any]:
    """Make and write the map of one image; what is said of it."""
    digest = maps.write(folder / about["file"], answer_of(engine, record, drrs=drrs))
    return {**about, "sha256": digest}


def answer_of(engine: Answering, record: Record, *, drrs: bool) -> UInt16[np.ndarray, "h w"]:
    """The map of one image.

    Args:
        engine: of the run.
        record: the image.
        drrs: whether its reconstructed radiograph is read, if it has one.

    Raises:
        ImageReadError: it, or its radiograph, cannot be read.
        InputError: the answer is not finite.
    """
    beside = images.read(record.drr) if drrs and record.drr is not None else None
    try:
        return engine(images.read(record.path), beside)
    except ImageReadError:
        raise
    except InputError as error:
        raise InputError(f"{record.path}: {error}") from None
