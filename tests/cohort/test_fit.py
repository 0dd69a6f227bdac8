import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from tests.cohort.cohorts import called, coarse, cohort, reached, tiles, world
from wsrpn.cohort import fit
from wsrpn.cohort.cases import cases_of, levels_of
from wsrpn.cohort.objective import parse
from wsrpn.slides import apply
from wsrpn.slides.calibration import Steps

OBJECTIVES = ("iou", "f1", "youden", "specificity@0.9", "fp_mm2@0.3", "fp_regions@2", "fnr@0.5")


def fitted(found, steps, objective, over, without=()):
    """The threshold of a fit that leaves slides out by number."""
    cases = cases_of(found.slides, seed=0)
    aim = parse(objective)
    regions = aim.name == "fp_regions"
    (_, levels), *_ = levels_of(cases, [steps], regions=regions, listen=None)
    keep = ~np.isin(np.arange(cases.folds), cases.fold[list(without)])[None]
    return float(fit.thresholds(cases, levels, keep, aim, over)[0])


def small(seed, *, slides=3, most=6, values=4):
    """Slides of a few tiles with few different scores; some without tumour, some all tumour."""
    random = np.random.default_rng(seed)
    made = []
    for i in range(slides):
        shape = tuple(random.integers(1, most, size=2))
        label = random.random(shape) < random.choice([0.0, 0.3, 0.7, 1.0])
        made.append(tiles(f"s{i}", random.integers(0, values, size=shape), label))
    return cohort(*made)


@pytest.mark.parametrize("over", ["macro", "pooled"])
@pytest.mark.parametrize("objective", ["iou", "f1", "youden"])
@given(
    seed=st.integers(0, 10_000),
    values=st.integers(1, 12),
    steps=st.sampled_from([Steps(), Steps("z", 1.0, 2.0, np.inf, unit="tile")]),
)
def test_no_other_threshold_is_better(over, objective, steps, seed, values):
    found = small(seed, values=values)
    tumour = [(s.label == 1).any() for s in found.slides]
    after = [apply.values(s, steps) for s in found.slides]
    finite = np.unique(np.concatenate(after))
    finite = finite[np.isfinite(finite)]
    threshold = fitted(found, steps, objective, over)
    if not any(tumour):
        assert threshold == np.inf
        return
    ours = reached(found, after, threshold, objective, over)
    best = [reached(found, after, t, objective, over) for t in [*finite, np.inf]]
    assert ours == pytest.approx(max(best), abs=1e-12)


@pytest.mark.parametrize("over", ["macro", "pooled"])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_fit_without_slides_is_a_plain_fit_of_the_others(over, objective):
    steps = Steps("mad", 128.0, 3 * 128.0**2, 1e5)
    for found in (world(1, slides=5, side=12, normal=2), coarse(world(2, slides=5, side=9))):
        for without in ([0], [1, 4]):
            names = {s.slide for i, s in enumerate(found.slides) if i not in without}
            apart = fitted(found, steps, objective, over, without)
            assert apart == fitted(found.only(names), steps, objective, over)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_scores_of_a_slide_left_out_do_not_move_a_threshold(objective):
    found = world(3, slides=5, side=12, normal=2)
    for i, slide in enumerate(found.slides):
        other = tiles(
            slide.slide, np.linspace(-9, 9, 144).reshape(12, 12), slide.lattice.spread(slide.label)
        )
        changed = cohort(*(other if s is slide else s for s in found.slides))
        before = fitted(found, Steps(), objective, "macro", [i])
        assert before == fitted(changed, Steps(), objective, "macro", [i])


@pytest.mark.parametrize("over", ["macro", "pooled"])
@pytest.mark.parametrize("objective", ["iou", "f1", "youden"])
def test_leaving_stretches_out_loses_no_optimum(over, objective, monkeypatch):
    for seed in range(2):
        found = world(seed, slides=4, side=40, burden=(0.2, 0.5), shift=1.0)
        with monkeypatch.context() as patch:
            patch.setattr(fit, "STRIDE", 10**9)
            every = fitted(found, Steps("z"), objective, over, [1])
        assert fitted(found, Steps("z"), objective, over, [1]) == every


def test_few_candidates_are_looked_at(monkeypatch):
    seen = []
    plain = fit.counts
    monkeypatch.setattr(fit, "counts", lambda v, at: seen.append(len(at)) or plain(v, at))
    found = world(1, slides=4, side=60, burden=(0.3, 0.5))
    fitted(found, Steps(), "iou", "macro")
    tumour = sum(int((s.label == 1).sum()) for s in found.slides)
    assert sum(seen) < tumour / 4


def test_a_threshold_lies_half_way_between_the_values_it_parts():
    slide = tiles("s", [[1.0, 2.0, 4.0, 8.0]], [[0, 0, 1, 1]])
    assert fitted(cohort(slide), Steps(), "iou", "macro") == 3.0
    assert fitted(cohort(slide), Steps(), "specificity@0.5", "macro") == 1.5


@pytest.mark.parametrize("over", ["macro", "pooled"])
@given(seed=st.integers(0, 10_000), least=st.sampled_from([0.0, 0.5, 0.75, 0.9, 1.0]))
def test_specificity_is_kept_by_the_lowest_threshold_that_can(over, seed, least):
    found = small(seed, slides=4, values=9)
    free = [s for s in found.slides if (s.label == 0).any()]

    def spared(threshold):
        kept = [((s.score < threshold) & (s.label == 0)).sum() for s in free]
        many = [(s.label == 0).sum() for s in free]
        each = np.array(kept) / np.array(many)
        return float(each.mean()) if over == "macro" else sum(kept) / sum(many)

    if not free:
        return
    threshold = fitted(found, Steps(), f"specificity@{least}", over)
    assert spared(threshold) >= least - 1e-12
    values = np.unique(np.concatenate([s.score for s in found.slides]))
    lower = values[values < threshold]
    assert all(spared(t) < least - 1e-12 for t in lower)


@pytest.mark.parametrize("connectivity", [4, 8])
@given(
    seed=st.integers(0, 10_000),
    most=st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.5]),
    depth=st.sampled_from([1, 3, 64]),
)
def test_regions_of_slides_without_tumour_keep_their_budget_from_there_up(
    connectivity, seed, most, depth
):
    random = np.random.default_rng(seed)
    # Slides share no value, and some have high ones only.
    grids = [random.integers(0, 9, size=(6, 6)) * (i + 1) + i / 4 for i in range(3)]
    sick = tiles("sick", random.normal(size=(6, 6)) + 20, np.ones((6, 6)))
    found = cohort(sick, *(tiles(f"n{i}", g, np.zeros_like(g)) for i, g in enumerate(grids)))
    structure = ndimage.generate_binary_structure(2, connectivity // 4)

    def crowd(threshold):
        return np.mean([ndimage.label(grid >= threshold, structure)[1] for grid in grids])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit, "DEPTH", depth)
        threshold = fitted(found, Steps(connectivity=connectivity), f"fp_regions@{most}", "macro")
    values = np.unique(grids)
    assert all(crowd(t) <= most for t in [threshold, *values[values >= threshold]])
    lower = values[values < threshold]
    assert not len(lower) or crowd(lower[-1]) > most


@given(seed=st.integers(0, 10_000), most=st.sampled_from([0.0, 0.1, 0.2, 0.5]))
def test_area_of_false_alarms_keeps_its_budget_and_no_lower_threshold_does(seed, most):
    found = small(seed, slides=4, values=9)
    normal = [s for s in found.slides if not s.label.any()]
    if not normal:
        return

    def area(threshold):
        return np.mean([(s.score >= threshold).sum() * 128.0**2 / 1e6 for s in normal])

    threshold = fitted(found, Steps(), f"fp_mm2@{most}", "macro")
    assert area(threshold) <= most + 1e-12
    lower = [t for s in normal for t in s.score if t < threshold]
    assert all(area(t) > most for t in lower)


@given(seed=st.integers(0, 10_000), limit=st.sampled_from([0.35, 0.5, 0.8]))
def test_a_promise_is_kept_by_the_highest_threshold_that_can(seed, limit):
    found = small(seed, slides=4, values=9)
    sick = [s for s in found.slides if s.label.any()]
    if len(sick) < 1 / limit - 1:
        return

    def bound(threshold):
        missed = [(s.score[s.label == 1] < threshold).mean() for s in sick]
        return (sum(missed) + 1) / (len(sick) + 1)

    threshold = fitted(found, Steps(), f"fnr@{limit}", "macro")
    assert bound(threshold) <= limit + 1e-9
    higher = [t for s in sick for t in s.score if t > threshold]
    values = np.unique(np.concatenate([s.score for s in found.slides]))
    assert all(bound(t) > limit for t in sorted(higher)[-1:] if t > values[values >= threshold][0])


def test_counts_of_fits_are_those_of_decisions():
    found = world(5)
    steps = Steps("left-half", 100.0, 3e4, np.inf)
    cases = cases_of(found.slides, seed=0)
    (_, levels), *_ = levels_of(cases, [steps], listen=None)
    for threshold in (-1.0, 0.0, 1.3):
        hits, false = fit.counts(levels, np.array([threshold]))
        decided = [apply.decide(s, steps, threshold).astype(float) for s in found.slides]
        assert np.array_equal(np.stack([hits, false])[..., 0], called(found, decided, 1.0))
