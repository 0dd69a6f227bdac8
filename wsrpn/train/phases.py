"""Loss weights as a function of the epoch alone, so that a resumed run sees the same ones."""

from collections.abc import Sequence

from wsrpn.config import Phase


def weights_at(phases: Sequence[Phase], epoch: float) -> dict[str, float]:
    """The weight of every loss at a moment of training.

    Phases are half-open: one with `until=2` holds in [0, 2). After the last `until` the last phase
    stays. A phase with a `ramp` starts from the weights of the phase before (0 before the first)
    and moves linearly.

    Args:
        phases: in order.
        epoch: epochs done, with fractions.

    Example:
        >>> early = Phase(weights={"a": 1.0}, until=2.0)
        >>> late = Phase(weights={"a": 0.0, "b": 1.0}, ramp=2.0)
        >>> weights_at([early, late], 1.99), weights_at([early, late], 3.0)
        ({'a': 1.0}, {'a': 0.5, 'b': 0.5})
    """
    start, before = 0.0, Phase(weights={})
    for index, phase in enumerate(phases):
        last = index == len(phases) - 1
        if last or phase.until is None or epoch < phase.until:
            return _ramped(before, phase, epoch - start)
        start, before = phase.until, phase
    return {}


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


def _ramped(before: Phase, phase: Phase, elapsed: float) -> dict[str, float]:
    if phase.ramp <= 0 or elapsed >= phase.ramp:
        return dict(phase.weights)
    share = elapsed / phase.ramp
    names = dict.fromkeys([*before.weights, *phase.weights])
    return {
        name: (1 - share) * before.weights.get(name, 0.0) + share * phase.weights.get(name, 0.0)
        for name in names
    }
