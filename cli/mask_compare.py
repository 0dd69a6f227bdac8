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
        InputError: some do and others do not, or are no run at all.
    """
    from wsrpn.errors import InputError

    pixels = [mask_source.takes(place.path) for place in places]
    if not any(pixels) or all(pixels):
        return all(pixels)
    one, other = (places[pixels.index(is_one)].path for is_one in (True, False))
    if other.is_dir() and not (other / "config.yaml").is_file():
        raise InputError(f"{other}: neither a run folder nor a folder of maps or masks.")
    raise InputError(
        f"{one} answers every pixel and {other} does not; figures of masks and of boxes are not "
        "compared."
    )


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
    from wsrpn.segmentation import evidence as judging

    comparing.check_figures(how["figures"])
    found: list[methods.Run[comparing.Entry]] = []
    trained: list[tuple[str, str, str]] = []
    failed = False
    first: Dataset | None = None
    for place in places:
        fitted = mask_source.calibration(place.path, None)
        own = mask_source.answers(
            place.path, data=data, split=split, device=device, on_error=on_error,
            only_listed=listed, fitted=fitted, quiet=True,
        )  # fmt: skip
        first = first or own.dataset
        if not listed:  # before hours of judging
            ids = [[r.id for r in dataset.records] for dataset in (first, own.dataset)]
            comparing.refuse_other_images(places[0].name, ids[0], place.name, ids[1])
        chosen = mask_source.cut(own.maps, own.run, fitted)
        with options.progress(place.name, len(own.maps)) as bar:
            counts, notes = judging.gather(own.maps, own.dataset, chosen, listen=bar.advance)
        notes += judging.unread(own.maps)
        if own.maps.graded and fitted is None:
            notes.append(mask_source.UNCALIBRATED)
        seed, source, kind = methods.trained(place.path) if own.run else (None, "", None)
        entry = comparing.Entry(place.name, counts, seed, notes, own.maps.provenance)
        found.append(methods.Run(place.given, entry, kind))
        trained.append((place.name, source, own.dataset.name))
        failed = failed or bool(own.maps.failed)
    assert first is not None
    runs, told = methods.grouped(found, separate=separate)
    comparison = comparing.compare(runs, first.name, listed=listed, **how)
    told += _elsewhere(trained, first.name)
    warnings = (*first.notes, *told, *comparison.warnings)
    return dataclasses.replace(comparison, warnings=warnings), failed


def _elsewhere(trained: Sequence[tuple[str, str, str]], judged: str) -> list[str]:
    """Sentences about runs that were trained on other data, or that are judged on other files.

    Args:
        trained: name of each run, the data it was trained on, the data it is judged on.
        judged: the data that the first is judged on.
    """
    several = len({source for _, source, _ in trained} - {""}) > 1
    notes = []
    for name, source, own in trained:
        if several and source not in ("", judged):
            where = (
                f"is judged on {judged}"
                if own == judged
                else f"is judged on its pictures and masks; the first run on {judged}"
            )
            notes.append(f"{name} was trained on {source} and {where}.")
    return notes
