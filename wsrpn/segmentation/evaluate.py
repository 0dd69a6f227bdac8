"""`eval` of score maps: all figures, and what must be said with them."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

import wsrpn
from wsrpn.errors import InputError, nearest
from wsrpn.evaluate import NO_GROUP
from wsrpn.masks.calibration import MaskCalibration
from wsrpn.metrics import contours
from wsrpn.segmentation.evidence import Evidence, gather, usable
from wsrpn.segmentation.figures import figures
from wsrpn.segmentation.maps import Maps
from wsrpn.segmentation.remarks import jaccard_all, left_out, remarks, silence
from wsrpn.types import Dataset, Record, Report, digest_of


def evaluate(
    maps: Maps,
    dataset: Dataset,
    chosen: MaskCalibration,
    *,
    bootstrap: int = 1000,
    seed: int = 0,
    by: str | None = None,
    listen: Callable[[int], None] | None = None,
    keep: Callable[[Evidence], None] | None = None,
) -> Report:
    """All figures of maps on a data set.

    Args:
        maps: scores.
        dataset: truth.
        chosen: threshold, smallest size and objects; see `wsrpn.segmentation.predict.settings`.
        bootstrap: replicates (of patients) behind the intervals; 0 gives none.
        seed: of the replicates.
        by: a column of `Record.extra`; each of its values gets its own figures in `per_group`.
        listen: called with the number of images done since the last call.
        keep: called with the counts of all images, see `wsrpn.segmentation.images_table`.

    Raises:
        InputError: nothing to judge, maps of another size than their images, a mask that cannot be
            read, a calibration of another model, or no such column.
    """
    groups = _groups(usable(maps, dataset)[0], dataset.name, by)  # before hours of work
    evidence, notes = gather(maps, dataset, chosen, listen=listen)
    if keep:
        keep(evidence)
    whole = figures(evidence, bootstrap=bootstrap, seed=seed)
    return Report(
        command="eval",
        version=wsrpn.__version__,
        metrics=whole,
        per_group={
            name: figures(evidence, mask=mask, bootstrap=bootstrap, seed=seed)
            for name, mask in groups.items()
        },
        warnings=(
            *dataset.notes, *notes, *left_out(evidence), *remarks(evidence),
            *silence(evidence),
        ),
        provenance=_provenance(evidence, maps, dataset, chosen, bootstrap, seed),
    )  # fmt: skip


def _groups(
    records: Sequence[Record], name: str, by: str | None
) -> dict[str, Float[np.ndarray, " b"]]:
    if by is None:
        return {}
    if all(record.extra.get(by) is None for record in records):
        known = sorted({column for record in records for column in record.extra})
        raise InputError(f"{name} has no column '{by}'. {nearest(by, known)}")
    cells = np.array([(record.extra.get(by) or "").strip() or NO_GROUP for record in records])
    return {str(value): (cells == value).astype(np.float64) for value in np.unique(cells)}


def _provenance(
    evidence: Evidence,
    maps: Maps,
    dataset: Dataset,
    chosen: MaskCalibration,
    bootstrap: int,
    seed: int,
) -> dict[str, Any]:
    *_, found, there = evidence.objects.sum(0)
    counts = evidence.pixels.sum(0)
    return {
        "data": dataset.name,
        "images": len(evidence),
        "patients": len(set(evidence.patients)),
        "images_digest": digest_of(evidence.ids),
        "foreground": float((counts[0] + counts[2]) / max(counts.sum(), 1)),
        "foreground_found": float((counts[0] + counts[1]) / max(counts.sum(), 1)),
        "jaccard_of_everything": jaccard_all(evidence),
        "objects": int(there),
        "objects_found": int(found),
        "images_with_numbered_objects": int(evidence.numbered.sum()),
        "calibrated": bool(chosen.objective),
        "threshold": chosen.threshold,
        "min_size_px": chosen.min_size_px,
        "touching": chosen.touching,
        "min_distance_px": chosen.min_distance_px,
        "boundary_tolerance_px": contours.TOLERANCE_PX,
        "bootstrap": bootstrap,
        "seed": seed,
        "failed": dict(maps.failed),
        "maps": dict(maps.provenance),
    }
