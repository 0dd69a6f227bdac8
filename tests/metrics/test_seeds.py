"""Intervals of differences over patients and seeds: their limits, and what they cover."""

import numpy as np
import pytest
from scipy import stats

from wsrpn.metrics import seeds

PATIENTS, REPLICATES = 60, 300


def world(rng, runs, *, patient=1.0, seed=0.2, both=1.0):
    """Value and replicates of the runs of one method whose true figure is 0."""
    scores = (
        rng.normal(0, patient, PATIENTS)
        + rng.normal(0, seed, (runs, 1))
        + rng.normal(0, both, (runs, PATIENTS))
    )
    draws = rng.multinomial(PATIENTS, np.full(PATIENTS, 1 / PATIENTS), REPLICATES) / PATIENTS
    rows = np.concatenate([np.full((1, PATIENTS), 1 / PATIENTS), draws])
    return (scores @ rows.T)[:, :, None]


def interval(one, other, numbers):
    noise = seeds.noise(*numbers, replicates=REPLICATES, seed=0)
    (found,) = seeds.difference(one, other, noise)
    return found


def naive(rows, rng):
    """The interval of drawing patients and seeds with replacement."""
    chosen = rng.integers(0, len(rows), (REPLICATES, len(rows)))
    drawn = rows[chosen, np.arange(1, REPLICATES + 1)[:, None], 0].mean(1)
    return np.percentile(drawn, (2.5, 97.5))


REGIMES = {  # standard deviations of patients, seeds, and of both together
    "patients matter": {"patient": 1.0, "seed": 0.05, "both": 0.3},
    "both matter": {"patient": 1.0, "seed": 0.2, "both": 1.0},
    "seeds matter": {"patient": 0.3, "seed": 0.2, "both": 0.3},
}


@pytest.mark.parametrize("runs", [3, 5])
@pytest.mark.parametrize("regime", REGIMES)
def test_the_interval_holds_the_truth_as_often_as_it_says(regime, runs):
    rng = np.random.default_rng(1)
    held, simple = [], []
    for _ in range(200):
        rows = world(rng, runs, **REGIMES[regime])  # of the differences, seed by seed
        found = interval(rows, np.zeros_like(rows), [list(range(runs))] * 2)
        held.append(found.low <= 0 <= found.high)
        low, high = naive(rows, rng)
        simple.append(low <= 0 <= high)
    assert np.mean(held) >= 0.93
    if regime == "seeds matter":
        assert np.mean(simple) < 0.89  # which is why seeds are not simply drawn


def test_methods_with_other_seeds_are_covered_too():
    rng = np.random.default_rng(0)
    held = []
    for _ in range(200):
        one, other = world(rng, 3, patient=0.0, seed=0.3), world(rng, 4, patient=0.0, seed=0.3)
        found = interval(one, other, [[0, 1, 2], [5, 6, 7, 8]])
        held.append(found.low <= 0 <= found.high)
    assert np.mean(held) >= 0.93


def test_where_patients_do_not_matter_it_is_the_t_interval_of_the_seeds():
    values = np.array([0.1, 0.3, 0.35])
    rows = np.repeat(values[:, None, None], 2001, axis=1)
    noise = seeds.noise([1, 2, 3], [1, 2, 3], replicates=2000, seed=0)
    (found,) = seeds.difference(rows, np.zeros_like(rows), noise)
    low, high = stats.t.interval(0.95, 2, values.mean(), stats.sem(values))
    assert found.value == pytest.approx(values.mean())
    assert found.low == pytest.approx(low, abs=0.005)
    assert found.high == pytest.approx(high, abs=0.005)


def test_where_seeds_agree_it_is_the_bootstrap_of_patients():
    rows = np.repeat(world(np.random.default_rng(0), 1), 3, axis=0)
    zero = np.zeros_like(rows)
    both = interval(rows, zero, [[0, 1, 2]] * 2)
    (plain,) = seeds.difference(rows, zero, None)
    assert both.low == pytest.approx(plain.low)
    assert both.high == pytest.approx(plain.high)


def test_equal_seeds_meet_whatever_their_order():
    rng = np.random.default_rng(1)
    one = world(rng, 4)
    other = one - 0.5 + rng.normal(0, 1e-3, (4, 1, 1))
    straight = interval(one, other, [[7, 8, 9, 11]] * 2)
    turned = interval(one[::-1], other, [[11, 9, 8, 7], [7, 8, 9, 11]])
    assert straight.high - straight.low < 0.02
    assert turned.low == pytest.approx(straight.low)
    apart = interval(one, other, [[7, 8, 9, 11], [7, 8, 9, 10]])
    assert apart.high - apart.low > 0.1


def test_one_run_each_leaves_seeds_out_and_one_run_of_two_adds_nothing():
    assert seeds.noise([1], [1], replicates=10, seed=0) is None
    noise = seeds.noise([1, 2], [1], replicates=10, seed=0)
    assert noise.order is None
    assert noise.draws[1] is None
    assert seeds.noise([None, None], [None, None], replicates=10, seed=0).order is None
    assert seeds.noise([3, 3], [3, 3], replicates=10, seed=0).order is None


def test_an_undefined_figure_has_no_interval():
    rows = np.full((3, 11, 2), np.nan)
    rows[..., 1] = 1.0
    noise = seeds.noise([0, 1, 2], [0, 1, 2], replicates=10, seed=0)
    gone, same = seeds.difference(rows, rows, noise)
    assert gone.value is gone.low is gone.high is None
    assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)


def test_an_error_that_noise_raises_is_moved_back_before_seeds_are_added():
    rng = np.random.default_rng(0)
    rows = np.concatenate([np.full((2, 1, 1), 0.1), 0.3 + rng.normal(0, 0.01, (2, 400, 1))], 1)
    noise = seeds.noise([0, 1], [5, 6], replicates=400, seed=0)
    (found,) = seeds.difference(rows, np.zeros_like(rows), noise, above=-np.inf)
    assert (found.low + found.high) / 2 == pytest.approx(0.1, abs=0.005)
