"""`wsrpn compare` where the runs answer every pixel."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from . import mask_source, methods, options

if TYPE_CHECKING:
    from wsrpn.comparison import Comparison
    from wsrpn.types import Dataset


def takes(places: Sequence[methods.Place]) -> bool:
    """Whether all answer every pixel.

    Raises:
        InputError: some do and others do not.
    """
    from wsrpn.errors import InputError

    pixels = [mask_source.takes(place.path) for place in places]
    if any(pixels) and not all(pixels):
        one, other = (places[pixels.index(is_one)].path for is_one in (True, False))
        raise InputError(
            f"{one} answers every pixel and {other} does not; figures of masks and of boxes are "
            "not compared."
        )
    return all(pixels)


def compare(
    places: Sequence[methods.Place], *, data: str, split: str, device: str, on_error: str,
    separate: bool, listed: bool, how: Mapping[str, Any],
) -> tuple["Comparison", bool]:  # fmt: skip
    """Figures of pixels, outlines and objects, and whether an image could not be read.

    Args:
        places: run folders, or folders of maps.
        data: DATA, or "" for what each run was trained on.
        split: which images.
        device: where models run.
        on_error: stop or skip at an image that cannot be read.
        separate: leave runs apart that differ in the seed.
        listed: compare on the images that all have.
        how: further arguments of `wsrpn.segmentation.compare.compare`.
    """
    from wsrpn.segmentation import compare as comparing
    from wsrpn.segmentation import evaluate as judging

    found: list[methods.Run[comparing.Entry]] = []
    sources, failed = [], False
    first: Dataset | None = None
    for place in places:
        fitted = mask_source.calibration(place.path, None)
        own = mask_source.answers(
            place.path, data=data, split=split, device=device, on_error=on_error,
            only_listed=listed, fitted=fitted, quiet=True,
        )  # fmt: skip
        chosen = mask_source.cut(own.maps, own.run, fitted)
        with options.progress(place.name, len(own.maps)) as bar:
            evidence, notes = judging.gather(own.maps, own.dataset, chosen, listen=bar.advance)
        if own.maps.graded and fitted is None:
            notes.append(mask_source.UNCALIBRATED)
        seed, source, kind = methods.trained(place.path) if own.run else (None, "", None)
        entry = comparing.Entry(place.name, evidence, seed, notes, own.maps.provenance)
        found.append(methods.Run(place.given, entry, kind))
        sources.append(source)
        failed = failed or bool(own.maps.failed)
        first = first or own.dataset
    assert first is not None
    runs, told = methods.grouped(found, separate=separate)
    comparison = comparing.compare(runs, first.name, listed=listed, **how)
    for run, source in zip(found, sources, strict=True):
        if source not in ("", first.name):
            told.append(f"{run.entry.name} was trained on {source}; scored on {first.name}.")
    warnings = (*first.notes, *told, *comparison.warnings)
    return dataclasses.replace(comparison, warnings=warnings), failed
