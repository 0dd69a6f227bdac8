"""Several trained methods on the same masks: figures side by side, and paired differences.

The counterpart of `wsrpn.compare`, with the figures of `wsrpn.segmentation.figures`. Every run
meets the same draws of patients, and is cut with its own calibration.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from wsrpn import sides
from wsrpn.comparison import Comparison
from wsrpn.errors import InputError, counted, nearest
from wsrpn.metrics import intervals
from wsrpn.segmentation import remarks
from wsrpn.segmentation.evidence import Evidence
from wsrpn.segmentation.figures import FIGURES as KNOWN
from wsrpn.segmentation.figures import values
from wsrpn.types import digest_of

FIGURES = ("jaccard", "dice", "precision", "recall", "boundary_f1", "object_f1", "specificity")


@dataclass(frozen=True)
class Entry:
    """What one run answered.

    Attributes:
        name: of the run.
        evidence: counts of every image, see `wsrpn.segmentation.evidence.gather`.
        seed: of the training, None where nobody knows.
        notes: what must be said of it.
        provenance: of its maps.
    """

    name: str
    evidence: Evidence
    seed: int | None = None
    notes: Sequence[str] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)


def compare(
    methods: Mapping[str, Sequence[Entry]],
    data: str,
    *,
    figures: Sequence[str] = (),
    baseline: str | None = None,
    bootstrap: int = 1000,
    seed: int = 0,
    listed: bool = False,
    over_seeds: bool = True,
) -> Comparison:
    """Methods on one data set.

    Args:
        methods: name → runs that differ in nothing but the seed.
        data: name of the data set.
        figures: names to compare, or `all`; `FIGURES` where none are given, as far as they are
            defined.
        baseline: the method that is taken from the others; the first where none is named.
        bootstrap: replicates (of patients) behind the intervals; 0 gives none.
        seed: of the replicates.
        listed: keep the images that all runs have and count the others, rather than stop where
            they have not the same.
        over_seeds: False leaves the seeds out of the intervals of differences.

    Raises:
        InputError: fewer than two methods, not the same images or not the same truth, an unknown
            figure or baseline.
    """
    base = sides.check(methods, baseline)
    check_figures(figures)
    methods, lost = _aligned(methods, listed)
    measured = _measured(methods, figures, bootstrap, seed)
    differences = sides.differences(
        methods, base, measured, bootstrap=bootstrap, seed=seed, over_seeds=over_seeds
    )
    entries = [entry for runs in methods.values() for entry in runs]
    first = entries[0].evidence
    notes = [
        *sides.told([(entry.name, entry.notes) for entry in entries]),
        *lost,
        *remarks.left_out(first),
        *_remarks(entries),
        *sides.reading(methods, differences, len(measured.figures), bootstrap),
    ]
    return Comparison(
        figures=measured.figures,
        classes=(),
        methods=sides.methods_of(methods, measured),
        differences=differences,
        warnings=tuple(dict.fromkeys(notes)),
        provenance={
            "data": data,
            "images": len(first),
            "patients": len(set(first.patients)),
            "objects": int(first.objects[:, -1].sum()),
            "images_digest": digest_of(first.ids),
            "bootstrap": bootstrap,
            "seed": seed,
            "maps": {entry.name: dict(entry.provenance) for entry in entries},
            "baseline": base,
        },
    )


def _remarks(entries: Sequence[Entry]) -> list[str]:
    """One sentence for all runs that find far too much, and one for those that find nothing."""
    notes = []
    floods = [(e.name, remarks.flood(e.evidence)) for e in entries]
    wide = [f"{name} ({times:.0f})" for name, times in floods if times > remarks.FLOODED]
    if wide:
        notes.append(
            f"Several times as many pixels are found as are foreground, by {', '.join(wide)}; with "
            "everything as foreground the Jaccard index would be "
            f"{remarks.jaccard_all(entries[0].evidence):.3f}."
        )
    silent = [(e.name, remarks.silent(e.evidence)) for e in entries]
    none = [f"{name} ({count})" for name, count in silent if count]
    if none:
        notes.append(f"precision leaves out images with nothing found, of {', '.join(none)}.")
    return notes


def check_figures(figures: Sequence[str]) -> None:
    """Stop at a figure that there is not, before models run.

    Raises:
        InputError: names the nearest.
    """
    for figure in figures:
        if figure not in KNOWN and tuple(figures) != ("all",):
            near = nearest(figure, KNOWN)
            raise InputError(f"--metric: no figure is called '{figure}'. {near}")


def refuse_other_images(first: str, ids: Collection[str], other: str, own: Collection[str]) -> None:
    """Stop where two runs do not answer for the same images.

    Args:
        first: name of a run.
        ids: its images.
        other: name of another.
        own: images of that.

    Raises:
        InputError: says how many they have in common.
    """
    both = len(set(ids) & set(own))
    if both == len(ids) == len(own):
        return
    common = "--images listed takes those in common, " if both else ""
    raise InputError(
        f"{first} and {other} do not answer for the same images ({len(ids)} and {len(own)}, "
        f"{both} in common); {common}--data names data that both are judged on."
    )


def _aligned(
    methods: Mapping[str, Sequence[Entry]], listed: bool
) -> tuple[dict[str, list[Entry]], list[str]]:
    """The runs with the same images in the same order and the same truth, and what was lost."""
    entries = [entry for runs in methods.values() for entry in runs]
    first = entries[0]
    for other in () if listed else entries[1:]:
        refuse_other_images(first.name, first.evidence.ids, other.name, other.evidence.ids)
    common = set.intersection(*(set(entry.evidence.ids) for entry in entries))
    if not common:
        raise InputError(f"{', '.join(e.name for e in entries)}: no image that all answer for.")
    ids = [name for name in first.evidence.ids if name in common]
    gone = sorted(set().union(*(entry.evidence.ids for entry in entries)) - common)
    some = f"{', '.join(gone[:5])}{', …' if len(gone) > 5 else ''}"
    told = f"{counted(len(gone), 'image')} left out that not all runs answer for: {some}."
    kept = {
        name: [replace(entry, evidence=entry.evidence.of(ids)) for entry in runs]
        for name, runs in methods.items()
    }
    for entry in (entry for runs in kept.values() for entry in runs):
        _refuse_other_truth(next(iter(kept.values()))[0], entry)
    return kept, [told] if gone else []


def _refuse_other_truth(first: Entry, other: Entry) -> None:
    """Stop where the masks of an image have other areas or another number of objects."""
    mine, theirs = (
        np.column_stack([e.pixels[:, [0, 2]].sum(1), e.pixels.sum(1), e.objects[:, -1]])
        for e in (first.evidence, other.evidence)
    )
    apart = np.flatnonzero((mine != theirs).any(1))
    if len(apart):
        raise InputError(
            f"{first.name} and {other.name} are judged by other masks of "
            f"'{first.evidence.ids[apart[0]]}'; name data that both are judged on with --data."
        )


def _measured(
    methods: Mapping[str, Sequence[Entry]], figures: Sequence[str], bootstrap: int, seed: int
) -> sides.Measured:
    first = next(iter(methods.values()))[0].evidence
    blocks = list(intervals.draws(first.patients, replicates=bootstrap, seed=seed))
    drawn = np.concatenate([np.ones((1, len(first))), *blocks])
    found = {
        name: [values(entry.evidence, drawn) for entry in runs] for name, runs in methods.items()
    }
    wanted = KNOWN if tuple(figures) == ("all",) else tuple(dict.fromkeys(figures or FIGURES))
    rows = {
        name: {figure: np.stack([one[figure] for one in runs])[..., None] for figure in wanted}
        for name, runs in found.items()
    }
    if not figures:  # what no truth defines was not asked for
        wanted = tuple(
            f for f in wanted if any(~np.isnan(own[f][:, 0]).all() for own in rows.values())
        )
    return sides.Measured(wanted, (), rows, dict.fromkeys(wanted), frozenset())
