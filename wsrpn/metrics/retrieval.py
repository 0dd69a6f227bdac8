r"""Does an image find its text, and a text its image? Share of queries answered in the first k.

An image looks among the distinct texts; a text among the images, and every image that has this text
is a right answer. Queries count as their images do: a text that three images have asks three times.
Candidates are the distinct images and texts of the rows' images: one that a replicate draws twice
stands there once, so a query is never beaten by a copy of itself, and one that is not drawn does
not stand there at all.

Candidates of equal score come in any order: with g wrong ones above the best right one, and on its
level t wrong and m right ones, k places give a hit with probability
$1 - \binom{t}{k-g} / \binom{t+m}{k-g}$. So a model that gives all the same score is at chance, not
at 0 or 1. Scores are rounded to six digits: what differs by less is noise of the arithmetic.

A replicate has fewer candidates than the data, which makes every query easier; therefore the
intervals are moved back by that bias (`Values.recentred_above`).
"""

import numpy as np
from jaxtyping import Bool, Float, Int

from wsrpn.metrics.evidence import Evidence, Pairs, Values, metrics, share

PLACES = (1, 5)
DIGITS = 6
AHEAD = 16  # best candidates looked at first; more only where they decide nothing
DIRECTIONS = ("image_to_text", "text_to_image")


@metrics.register("retrieval")
class Retrieval:
    """Gives `retrieval@1` and `retrieval@5`, means of both directions, and each direction.

    The directions are `retrieval@1_image_to_text` and `retrieval@1_text_to_image`; what chance
    gives is `retrieval_chance@1`. All are undefined where fewer than two texts are to choose from.

    Args:
        evidence: predictions and truth.

    Reference:
        Recall at k of Karpathy and Fei-Fei, CVPR 2015, with equal texts and equal scores defined.
    """

    def __init__(self, evidence: Evidence) -> None:
        self.pairs = evidence.pairs
        if self.pairs is not None:
            first, self.owner = _texts(self.pairs)
            cosines = self.pairs.images @ self.pairs.texts[first].T
            self.scores = np.round(cosines, DIGITS)
            self.own = self.owner[:, None] == np.arange(len(first))

    def figures(self, counts: Float[np.ndarray, "r b"]) -> dict[str, Values]:
        """Values per row of weights."""
        shape = (len(PLACES), len(counts), len(DIRECTIONS))
        found, chance = np.full(shape, np.nan), np.full(shape, np.nan)
        if self.pairs is not None:
            self._fill(found, chance, counts[:, self.pairs.at])
        named = {}
        for k, sides, lucky in zip(PLACES, found, chance, strict=True):
            named[f"retrieval@{k}"] = sides.mean(1)
            for d, direction in enumerate(DIRECTIONS):
                named[f"retrieval@{k}_{direction}"] = sides[:, d]
            named[f"retrieval_chance@{k}"] = lucky.mean(1)
        return {name: Values(values, recentred_above=0.0) for name, values in named.items()}

    def _fill(
        self,
        found: Float[np.ndarray, "p r 2"],
        chance: Float[np.ndarray, "p r 2"],
        counts: Float[np.ndarray, "r n"],
    ) -> None:
        """Shares of hits, and those of chance, where there are two texts at least."""
        texts = counts @ self.own  # how often each distinct text asks
        defined = (texts > 0).sum(1) > 1
        sides = (
            (self.scores, self.own, counts, texts > 0),
            (self.scores.T, self.own.T, texts, counts > 0),
        )
        for d, (scores, right, weights, there) in enumerate(sides):
            good = there.astype(np.float64) @ right.T  # right answers of each query
            wrong = there.sum(1, keepdims=True) - good
            for p, hits in enumerate(hit_chances(scores, right, there)):
                lucky = _lucky(wrong, good, np.full_like(good, PLACES[p]))
                for values, into in ((hits, found), (lucky, chance)):
                    mean = share((weights * values).sum(1), weights.sum(1))
                    into[p, :, d] = np.where(defined, mean, np.nan)


def _texts(pairs: Pairs) -> tuple[Int[np.ndarray, " t"], Int[np.ndarray, " n"]]:
    """A first image of each distinct text, and the distinct text of each image."""
    _, first, owner = np.unique(pairs.ids, return_index=True, return_inverse=True)
    return first, owner


def hit_chances(
    scores: Float[np.ndarray, "q c"],
    right: Bool[np.ndarray, "q c"],
    there: Bool[np.ndarray, "r c"],
) -> Float[np.ndarray, "p r q"]:
    """Probability that a right candidate is among the first k of `PLACES`, per row and query.

    Args:
        scores: of every candidate for every query, higher is better.
        right: which candidates answer a query.
        there: which candidates a row has.

    Returns:
        0 where a row has no right candidate.
    """
    found = np.zeros((len(PLACES), len(there), len(scores)))
    columns = np.ascontiguousarray(there.T)
    for q in range(len(scores)):
        order = np.argsort(-scores[q], kind="stable")
        rows, ahead = np.arange(len(there)), AHEAD
        while len(rows):
            ahead = _whole_levels(scores[q], order, ahead)
            best = order[:ahead]
            seen = columns[best] if len(rows) == len(there) else columns[np.ix_(best, rows)]
            found[:, rows, q], decided = _first_right(scores[q, best], right[q, best], seen)
            rows = rows[~decided] if ahead < len(order) else rows[:0]
            ahead *= 4
    return found


def _whole_levels(scores: Float[np.ndarray, " c"], order: Int[np.ndarray, " c"], ahead: int) -> int:
    """At least so many candidates that no level of equal scores is cut."""
    if ahead >= len(order):
        return len(order)
    # Scores fall along `order`, so their negatives are sorted.
    return int(np.searchsorted(-scores[order], -scores[order[ahead - 1]], side="right"))


def _first_right(
    scores: Float[np.ndarray, " c"],
    right: Bool[np.ndarray, " c"],
    there: Bool[np.ndarray, "c r"],
) -> tuple[Float[np.ndarray, "p r"], Bool[np.ndarray, " r"]]:
    """Probability of a hit among the best candidates, and where more of them change nothing."""
    starts = np.flatnonzero(np.diff(scores, prepend=np.nan) != 0)
    wrong = np.add.reduceat(there & ~right[:, None], starts, axis=0, dtype=np.int32)
    good = np.add.reduceat(there & right[:, None], starts, axis=0, dtype=np.int32)
    rows, level = np.arange(there.shape[1]), (good > 0).argmax(0)  # the best with a right one
    tied, many = wrong[level, rows].astype(np.float64), good[level, rows].astype(np.float64)
    above = np.cumsum(wrong, axis=0)[level, rows] - tied
    chance = np.stack([_lucky(tied, many, np.maximum(k - above, 0)) for k in PLACES])
    return np.where(many > 0, chance, 0.0), (many > 0) | (wrong.sum(0) >= max(PLACES))


def _lucky(
    wrong: Float[np.ndarray, "*n"], right: Float[np.ndarray, "*n"], places: Float[np.ndarray, "*n"]
) -> Float[np.ndarray, "*n"]:
    r"""Probability of a right one among the first places of a random order.

    $1 - \binom{w}{s} / \binom{w + r}{s} = 1 - \prod_{i<s} (w - i) / (w + r - i)$.

    Example:
        >>> _lucky(np.array([3.0, 3.0, 0.0]), np.array([1.0, 1.0, 2.0]), np.array([1.0, 9.0, 0.0]))
        array([0.25, 1.  , 0.  ])
    """
    missed = np.ones_like(wrong)
    for i in range(int(min(places.max(initial=0), max(PLACES)))):
        left = np.maximum(wrong - i, 0) / np.maximum(wrong + right - i, 1)
        missed = np.where(i < places, missed * left, missed)
    return 1 - missed
