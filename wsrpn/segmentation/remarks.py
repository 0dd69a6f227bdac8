"""What must be said of counts: what a mean leaves out, and answers that are all or nothing."""

from wsrpn.errors import counted
from wsrpn.segmentation.evidence import Evidence

FLOODED = 3.0  # times as much foreground as there is
JOINED_TRUTH = (
    "Masks that do not number their objects are taken apart into connected areas for figures of "
    "objects, so there two that touch are one ({})."
)


def left_out(evidence: Evidence) -> list[str]:
    """Sentences about images that a mean leaves out, and about objects that nobody numbered."""
    notes = []
    there = evidence.pixels[:, 0] + evidence.pixels[:, 2] > 0
    empty = int((~there).sum())
    if empty:
        notes.append(
            f"{counted(empty, 'image')} with an empty mask: of specificity, pooled figures and "
            "objects, and of no mean over images."
        )
    whole = int((there & ~evidence.numbered).sum())
    if whole:
        notes.append(JOINED_TRUTH.format(counted(whole, "image")))
    return notes


def remarks(evidence: Evidence) -> list[str]:
    """Sentences about images in which nothing is found, and about far too much that is found."""
    notes = []
    nothing, times = silent(evidence), flood(evidence)
    if nothing:
        notes.append(f"precision leaves out {counted(nothing, 'image')} with nothing found.")
    if times > FLOODED:
        found, known, every = (
            evidence.pixels[:, at].sum() for at in ([0, 1], [0, 2], [0, 1, 2, 3])
        )
        notes.append(
            f"{times:.1f} times as many pixels are found as are foreground "
            f"({found / every:.1%} of all, and {known / every:.1%}); with everything as foreground "
            f"the Jaccard index would be {jaccard_all(evidence):.3f}."
        )
    return notes


def silence(evidence: Evidence) -> list[str]:
    """A sentence if there is foreground and none is found."""
    if evidence.pixels[:, :2].any() or not evidence.pixels[:, 2].any():
        return []
    return ["Nothing is found in any image; `wsrpn calibrate` may find a lower threshold."]


def silent(evidence: Evidence) -> int:
    """Images with foreground in which nothing is found."""
    there = evidence.pixels[:, 0] + evidence.pixels[:, 2] > 0
    return int((there & (evidence.pixels[:, :2].sum(1) == 0)).sum())


def flood(evidence: Evidence) -> float:
    """How many times as many pixels are found as are foreground; 0 where none is."""
    known = evidence.pixels[:, [0, 2]].sum()
    return float(evidence.pixels[:, :2].sum() / known) if known else 0.0


def jaccard_all(evidence: Evidence) -> float:
    """Mean Jaccard index over the images with foreground if everything were found: its share."""
    share = evidence.pixels[:, [0, 2]].sum(1) / evidence.pixels.sum(1)
    return float(share[share > 0].mean()) if (share > 0).any() else 0.0
