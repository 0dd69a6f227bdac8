"""Draws that can be repeated, whatever was killed and however many processes share a study."""

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial

from wsrpn.study.plan import Search
from wsrpn.study.ranges import mixed

_LARGEST = 100_000  # combinations that are drawn without repeating one


class Sampler(BaseSampler):
    """Draws that depend on the seed, the number of the trial and what was seen before it.

    Optuna's samplers go on from their last draw, so a study that was killed would not draw what the
    unbroken one does, and two processes with one seed would draw the same. Here each draw has a
    sampler of its own. Random draws from choices alone repeat no combination before all were there.

    Args:
        study: says which sampler, its seed, and the ranges.
    """

    def __init__(self, study: Search) -> None:
        self.kind, self.seed = study.sampler, study.seed
        self.sizes = {key: len(values.choices) for key, values in study.ranges.items()}

    def _one(self, trial: FrozenTrial, key: str = "") -> BaseSampler:
        seed = mixed(self.seed, trial.number, key)
        if self.kind == "random":
            return RandomSampler(seed=seed)
        with quiet():  # usual since Optuna 5, experimental before
            return TPESampler(seed=seed, multivariate=True, constant_liar=True)

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Keys that are drawn together."""
        return self._one(trial).infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Their values."""
        return self._one(trial).sample_relative(study, trial, search_space)

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """The value of a key that is drawn by itself."""
        if isinstance(param_distribution, CategoricalDistribution) and self.kind == "random":
            total = math.prod(self.sizes.values())
            if 0 < total <= _LARGEST:
                place = np.random.default_rng(self.seed).permutation(total)[trial.number % total]
                at = np.unravel_index(int(place), tuple(self.sizes.values()))
                return param_distribution.choices[at[list(self.sizes).index(param_name)]]
        one = self._one(trial, param_name)
        return one.sample_independent(study, trial, param_name, param_distribution)


@contextmanager
def quiet() -> Iterator[None]:
    """No warnings that parts of Optuna are experimental, or meant for another loop than ours."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
        warnings.filterwarnings("ignore", message="Heartbeat of storage")
        yield
