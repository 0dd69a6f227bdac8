"""Figures of tiles against pixels that are painted, scikit-learn, and cohorts written out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, jaccard_score, roc_auc_score

from wsrpn.metrics import intervals
from wsrpn.metrics.image import ranking
from wsrpn.metrics.pooled import Pooled
from wsrpn.metrics.tiles import (
    Means,
    Overlap,
    SlidePanel,
    Weighed,
    burden_groups,
    mean_over,
    pixels,
    ranked,
)

seeds = st.integers(0, 10_000)


def labelled(rng, n, *, levels=6):
    """Tiles of weight 1 with many ties."""
    label = (rng.random(n) < 0.3).astype(float)
    return Weighed(rng.integers(0, levels, n) + label * (rng.random(n) < 0.5), label, 1 - label)


def written_out(slides, counts):
    """All tiles of a cohort in which slide i is there counts[i] times."""
    repeated = [s for s, many in zip(slides, counts, strict=True) for _ in range(int(many))]
    value, positive, negative = (
        np.concatenate([np.zeros(0), *(getattr(s, name) for s in repeated)])
        for name in ("value", "positive", "negative")
    )
    return Weighed(value, positive, negative)


# --- pixels ---------------------------------------------------------------------------------------


@given(seeds)
def test_pixel_auroc_is_that_of_all_painted_pixels(seed):
    rng = np.random.default_rng(seed)
    rows, columns, side = 5, 7, 8
    score = rng.integers(0, 6, (rows, columns)).astype(float)
    tumour = rng.random((rows * side, columns * side)) < rng.random((rows, columns)).repeat(
        side, 0
    ).repeat(side, 1)
    tissue = tumour | (rng.random(tumour.shape) < 0.6)
    by_tile = [m.reshape(rows, side, columns, side).mean(axis=(1, 3)) for m in (tumour, tissue)]
    weights = pixels(by_tile[0].ravel(), by_tile[1].ravel(), float(side * side))
    painted = score.repeat(side, 0).repeat(side, 1)
    auroc, ap = ranked(Weighed(score.ravel(), *weights))
    assert auroc == pytest.approx(roc_auc_score(tumour[tissue], painted[tissue]), abs=1e-10)
    assert ap == pytest.approx(average_precision_score(tumour[tissue], painted[tissue]), abs=1e-10)


def test_glass_around_the_tissue_does_not_raise_the_pixel_auroc():
    # SLIDES §0 row 7: at a tissue share of 13.6 % an AUROC of 0.78 over all pixels reads 0.97.
    rng = np.random.default_rng(0)
    score, truth = rng.normal(size=400), (rng.random(400) < 0.1).astype(float)
    score += truth
    alone, _ = ranked(Weighed(score, *pixels(truth, np.ones(400), 64.0)))
    glass = np.full(2500, score.min() - 1)
    both = np.concatenate([score, glass])
    padded = [np.concatenate([one, np.zeros(2500)]) for one in (truth, np.ones(400))]
    assert ranked(Weighed(both, *pixels(*padded, 64.0)))[0] == alone
    everywhere = ranked(Weighed(both, *pixels(padded[0], np.ones(2900), 64.0)))[0]
    assert everywhere > 0.95 > 0.9 > alone


def test_tumour_that_the_tissue_mask_misses_stays_tumour():
    positive, negative = pixels(np.array([0.5, 0.0]), np.array([0.25, 0.0]), 100.0)
    assert positive.tolist() == [50.0, 0.0]
    assert negative.tolist() == [0.0, 0.0]


def test_a_value_of_minus_infinity_ranks_like_any_other():
    value = np.array([-np.inf, -np.inf, -50.0, 1.0])
    label = np.array([1.0, 0.0, 0.0, 1.0])
    low = np.array([-99.0, -99.0, -50.0, 1.0])
    assert ranked(Weighed(value, label, 1 - label)) == ranked(Weighed(low, label, 1 - label))
    found = Pooled([Weighed(value, label, 1 - label)], auroc="a", ap="p").figures(np.ones((1, 1)))
    assert (found["a"][0], found["p"][0]) == pytest.approx(ranked(Weighed(low, label, 1 - label)))


# --- pooled ranking -------------------------------------------------------------------------------


@given(seeds)
def test_pooled_auroc_and_ap_are_those_of_the_cohort_written_out(seed):
    rng = np.random.default_rng(seed)
    slides = [labelled(rng, int(n)) for n in rng.integers(1, 30, 4)]
    counts = rng.integers(0, 3, (5, 4)).astype(float)
    found = Pooled(slides, auroc="auroc", ap="ap").figures(counts)
    for i, row in enumerate(counts):
        tiles = written_out(slides, row)
        label = tiles.positive
        if 0 < label.sum() < len(label):
            assert found["auroc"][i] == pytest.approx(roc_auc_score(label, tiles.value), abs=1e-10)
            slow = average_precision_score(label, tiles.value)
            assert found["ap"][i] == pytest.approx(slow, abs=1e-10)
        else:
            assert np.isnan(found["auroc"][i])


@given(seeds)
def test_pooled_figures_of_any_weights_are_those_of_the_shared_ranking(seed):
    rng = np.random.default_rng(seed)
    slides = [Weighed(rng.integers(0, 9, 20) / 3, *rng.random((2, 20))) for _ in range(3)]
    counts = rng.random((4, 3))
    found = Pooled(slides, auroc="auroc", ap="ap").figures(counts)
    value = np.concatenate([s.value for s in slides])
    both = [np.concatenate([getattr(s, name) for s in slides]) for name in ("positive", "negative")]
    weights = np.hstack([counts.repeat(20, 1) * both[0], counts.repeat(20, 1) * both[1]])
    auroc, ap = ranking(np.repeat([1.0, 0.0], 60), np.tile(value, 2), weights)
    np.testing.assert_allclose(found["auroc"], auroc, atol=1e-10)
    np.testing.assert_allclose(found["ap"], ap, atol=1e-10)


def test_pooled_ap_in_blocks_and_on_fewer_levels(monkeypatch):
    rng = np.random.default_rng(1)
    label = (rng.random(6000) < 0.2).astype(float)
    slides = [
        Weighed(rng.normal(size=3000) + part, part, 1 - part) for part in label.reshape(2, 3000)
    ]
    whole = Pooled(slides, auroc="a", ap="p").figures(np.ones((1, 2)))["p"][0]
    monkeypatch.setattr("wsrpn.metrics.pooled.BLOCK", 7)
    assert Pooled(slides, auroc="a", ap="p").figures(np.ones((1, 2)))["p"][0] == pytest.approx(
        whole, abs=1e-12
    )
    monkeypatch.setattr("wsrpn.metrics.pooled.MOST", 400 * 50)
    thin = Pooled(slides, auroc="a", ap="p").figures(np.ones((50, 2)))["p"]
    assert thin != pytest.approx(whole, abs=1e-12)  # fewer levels were looked at …
    assert thin == pytest.approx(whole, abs=2e-3)  # … which moves little


def test_slide_offsets_hurt_the_pooled_auroc_only():
    rng = np.random.default_rng(2)
    slides = []
    for _ in range(3):
        label = (rng.random(200) < 0.3).astype(float)
        slides.append(Weighed(rng.integers(0, 6, 200) + 4 * label, label, 1 - label))
    moved = [Weighed(s.value + 100 * i, s.positive, s.negative) for i, s in enumerate(slides)]
    assert [ranked(s) for s in slides] == [ranked(s) for s in moved]
    ones = np.ones((1, 3))
    before, after = (Pooled(s, auroc="a").figures(ones)["a"][0] for s in (slides, moved))
    assert after < before - 0.1


# --- overlap --------------------------------------------------------------------------------------


@given(seeds)
def test_overlap_is_that_of_the_tiles_written_out(seed):
    rng = np.random.default_rng(seed)
    called, truth = rng.random((2, 4, 30)) < 0.4
    truth[:, 0] = True  # slides without tumour have a test of their own
    called[:, 1] = True
    cells = [(called & truth), (called & ~truth), (~called & truth)]
    counts = rng.integers(1, 3, (3, 4)).astype(float)
    found = Overlap(np.stack([c.sum(axis=1) for c in cells], axis=1).astype(float)).figures(counts)
    for i, row in enumerate(counts.astype(int)):
        pooled = jaccard_score(truth.repeat(row, 0).ravel(), called.repeat(row, 0).ravel())
        each = [jaccard_score(t, c) for t, c in zip(truth, called, strict=True)]
        assert found["iou"][i] == pytest.approx(pooled)
        assert found["iou_macro"][i] == pytest.approx(np.average(each, weights=row))
        assert found["dice"][i] == pytest.approx(2 * pooled / (1 + pooled))
        precision, recall = found["precision"][i], found["recall"][i]
        assert 2 / (1 / precision + 1 / recall) == pytest.approx(found["dice"][i])


def test_a_slide_without_tumour_has_no_iou_and_counts_where_slides_are_pooled():
    part = Overlap(np.array([[2.0, 0.0, 0.0], [0.0, 6.0, 0.0]]))
    both = part.figures(np.ones((1, 2)))
    assert both["iou_macro"][0] == 1.0  # neither 0 nor 1 of the slide without tumour is in it
    assert both["iou"][0] == 0.25
    alone = part.figures(np.array([[0.0, 1.0]]))
    assert all(np.isnan(v[0]) for v in alone.values())


def test_names_and_choice_of_overlap_figures():
    part = Overlap(np.ones((1, 3)), names="pixel_{}_ceiling", only=("iou",))
    assert set(part.figures(np.ones((1, 1)))) == {"pixel_iou_ceiling", "pixel_iou_ceiling_macro"}


def test_overlap_without_a_threshold_is_undefined():
    found = Overlap(np.full((2, 3), np.nan)).figures(np.ones((1, 2)))
    assert all(np.isnan(v[0]) for v in found.values())


def test_a_mean_leaves_out_what_is_undefined():
    counts = np.array([[1.0, 1.0, 1.0], [0.0, 2.0, 1.0], [0.0, 1.0, 0.0]])
    found = mean_over(counts, np.array([1.0, np.nan, 0.5]))
    np.testing.assert_array_equal(found, [0.75, 0.5, np.nan])


# --- panel ----------------------------------------------------------------------------------------


def test_slides_of_one_patient_are_drawn_together():
    values = {"x": np.array([0.0, 1.0, 0.0, 1.0])}
    together = SlidePanel([Means(values)], ["a", "a", "b", "b"], bootstrap=200, seed=0)
    assert together.figures()["x"].low == together.figures()["x"].high == 0.5
    apart = SlidePanel([Means(values)], ["a", "b", "c", "d"], bootstrap=200, seed=0)
    assert apart.figures()["x"].low < 0.5 < apart.figures()["x"].high


def test_a_mask_gives_the_figures_of_the_slides_in_it_and_each_those_of_one():
    panel = SlidePanel(
        [Means({"x": np.array([1.0, 2.0, 6.0])})], ["a", "b", "c"], bootstrap=0, seed=0
    )
    part = np.array([0.0, 0.0, 1.0])
    assert panel.figures(np.array([1.0, 0.0, 1.0]))["x"].value == 3.5
    drawn = SlidePanel(panel.parts, panel.patients, bootstrap=50, seed=0).figures(part)["x"]
    assert (drawn.low, drawn.value, drawn.high) == (None, 6.0, None)  # of a single patient
    assert [one["x"].value for one in panel.each()] == [1.0, 2.0, 6.0]


def test_a_figure_that_is_undefined_without_one_patient_has_no_interval():
    one, two = np.array([[np.nan, 1.0, 3.0, np.nan], [np.nan, 1.0, 2.0, 4.0]])
    parts = [Means({"one": one, "two": two})]
    panel = SlidePanel(parts, ["a", "b", "b", "c"], bootstrap=200, seed=0)
    found = panel.figures()
    assert (found["one"].low, found["one"].value, found["one"].high) == (None, 2.0, None)
    assert found["two"].low < found["two"].value < found["two"].high
    _, drawn = panel.values()
    assert np.isnan(drawn["one"]).all()  # so a difference of two has no interval either
    assert len(drawn["one"]) == 200
    without_c = panel.figures(np.array([1.0, 1.0, 1.0, 0.0]))
    assert without_c["two"].low is None
    alone = SlidePanel(parts, ["a"] * 4, bootstrap=50, seed=0).figures()
    assert all(figure.low is None for figure in alone.values())


@pytest.mark.parametrize("cells", [1, 7, 4_000_000])
def test_rows_without_one_patient_leave_out_all_of_its_slides(monkeypatch, cells):
    monkeypatch.setattr(intervals, "CELLS", cells)
    rows = np.concatenate(list(intervals.left_out(["b", "a", "b", "c"])))
    assert rows.tolist() == [[1, 0, 1, 1], [0, 1, 0, 1], [1, 1, 1, 0]]


def test_groups_of_burden_share_no_slide_at_their_borders():
    burden = np.array([0.0, 1e-9, 0.000999, 0.001, 0.0199, 0.02, 0.9, np.nan])
    assert burden_groups(burden).tolist() == [0, 1, 1, 2, 2, 3, 3, -1]
