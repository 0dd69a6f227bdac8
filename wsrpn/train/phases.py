"""Loss weights as a function of the epoch alone, so that a resumed run sees the same ones.

Schedules of a weight, all of them in the config:

- constant: a phase without a ramp;
- linear and cosine: `ramp` epochs from the weights before, in a straight line or along half a
  cosine (`Phase.curve`);
- adaptive: `train.weighting` learns a variance per loss (`uncertainty`) or divides each loss by its
  recent size (`scale`), times the weights from here (`wsrpn.losses.weighting`).
"""

import math
from collections.abc import Mapping, Sequence

from wsrpn.config import Phase


def weights_at(phases: Sequence[Phase], epoch: float) -> dict[str, float]:
    r"""The weight of every loss at a moment of training.

    Phases are half-open: one with `until=2` holds in [0, 2). After the last `until` the last phase
    stays. A phase with a `ramp` starts from the weights that the phase before ended with (0 before
    the first) and moves to its own by a share $s$ of the way, $t$ epochs after its start:

    $$ s = \frac{t}{\text{ramp}} \quad\text{or, with a cosine,}\quad
       s = \frac12 \Big( 1 - \cos \frac{π t}{\text{ramp}} \Big) $$

    A ramp that its phase is too short for ends where it got to.

    Args:
        phases: in order.
        epoch: epochs done, with fractions.

    Example:
        >>> early = Phase(weights={"a": 1.0}, until=2.0)
        >>> late = Phase(weights={"a": 0.0, "b": 1.0}, ramp=2.0)
        >>> weights_at([early, late], 1.99), weights_at([early, late], 3.0)
        ({'a': 1.0}, {'a': 0.5, 'b': 0.5})

        Dice from 0.5 to 0.7 and focal from 0.5 to 0.3 over 30 epochs, after one epoch of both
        alike:

        >>> alike = Phase(weights={"dice": 0.5, "focal": 0.5}, until=1.0)
        >>> overlap = Phase(weights={"dice": 0.7, "focal": 0.3}, ramp=30.0)
        >>> [weights_at([alike, overlap], epoch)["dice"] for epoch in (0.0, 1.0, 16.0, 31.0, 99.0)]
        [0.5, 0.5, 0.6, 0.7, 0.7]
    """
    start, weights = 0.0, dict[str, float]()
    for index, phase in enumerate(phases):
        end = math.inf if phase.until is None or index == len(phases) - 1 else phase.until
        weights = _ramped(weights, phase, min(epoch, end) - start)
        if epoch < end:
            break
        start = end
    return weights


def unreached(phases: Sequence[Phase], epochs: int) -> list[str]:
    """A sentence if later phases begin when the training has ended, with losses of theirs alone."""
    starts = [0.0, *(phase.until or 0.0 for phase in phases[:-1])]
    first = next((n for n, start in enumerate(starts) if start >= epochs), None)
    if first is None:
        return []
    used = {n for phase in phases[:first] for n, weight in phase.weights.items() if weight}
    lost = dict.fromkeys(n for p in phases[first:] for n, w in p.weights.items() if w)
    names = [name for name in lost if name not in used]
    told = f": {', '.join(names)} {'is' if len(names) == 1 else 'are'} not used" if names else ""
    return [
        f"phases {first + 1}… begin at epoch {starts[first]:g} and are never reached with "
        f"train.epochs={epochs}{told}."
    ]


def _ramped(before: Mapping[str, float], phase: Phase, elapsed: float) -> dict[str, float]:
    if phase.ramp <= 0 or elapsed >= phase.ramp:
        return dict(phase.weights)
    share = elapsed / phase.ramp
    if phase.curve == "cosine":
        share = math.sin(math.pi * share / 2) ** 2  # the same, without cancellation
    names = dict.fromkeys([*before, *phase.weights])
    return {
        name: before.get(name, 0.0) + share * (phase.weights.get(name, 0.0) - before.get(name, 0.0))
        for name in names
    }
