"""One table of several: z-scores, alignment by area, weights given and chosen."""

import dataclasses
import json

import numpy as np
import pytest
import shapely
from hypothesis import given as drawn
from hypothesis import strategies as st

from tests.cohort.cohorts import cohort, tiles
from wsrpn.cohort import weigh
from wsrpn.cohort.calibrate import calibrate
from wsrpn.cohort.combine import aligned, combine, mean
from wsrpn.cohort.ensemble import Ensemble, given, names_of, seen
from wsrpn.errors import InputError
from wsrpn.slides import table
from wsrpn.slides.calibration import Steps
from wsrpn.slides.phantom import cohort as phantoms
from wsrpn.tiles import Lattice


def lattice_of(seed, *, side, size, origin=(0.0, 0.0), cells=6, keep=0.8):
    """A slide of random scores on a lattice of its own."""
    random = np.random.default_rng(seed)
    there = random.random((cells, cells)) < keep
    there[0, 0] = True
    row, column = np.nonzero(there)
    made = tiles("s", np.zeros((1, len(row))), np.zeros((1, len(row))))
    return dataclasses.replace(
        made,
        lattice=Lattice(origin, (side, side), column, row, there.shape),
        size_px0=(size, size),
        score=random.standard_normal(len(row)),
    )


def slowly(first, other, values):
    """The same by intersecting boxes, tile by tile."""
    boxes = [shapely.box(*c, *(c + np.array(other.size_px0))) for c in other.corner_px0]
    found = []
    for corner in first.corner_px0:
        box = shapely.box(*corner, *(corner + np.array(first.size_px0)))
        area = np.array([box.intersection(one).area for one in boxes])
        some = area.sum() >= 0.01 * box.area
        found.append((area * values).sum() / area.sum() if some else np.nan)
    return np.array(found)


# --- alignment


@drawn(
    st.integers(0, 10**6), st.floats(20, 300), st.floats(0.5, 2.0), st.floats(-200, 200),
    st.floats(30, 120),
)  # fmt: skip
def test_tiles_of_another_level_say_their_mean_over_the_shared_area(seed, side, over, shift, fine):
    first = lattice_of(seed, side=fine, size=fine, origin=(5.0, -3.0))
    other = lattice_of(seed + 1, side=side, size=side * over, origin=(shift, shift / 2), cells=4)
    found = aligned(first, other, other.score)
    expected = slowly(first, other, other.score)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


def test_the_same_tiles_say_the_same():
    one = lattice_of(3, side=97.3, size=97.3)
    np.testing.assert_allclose(aligned(one, one, one.score), one.score, rtol=1e-12)


def test_the_same_tiles_say_the_same_though_they_overlap():
    one = lattice_of(3, side=48.65, size=97.3)
    np.testing.assert_array_equal(aligned(one, one, one.score), one.score)
    fewer = dataclasses.replace(one, tissue=np.where(np.arange(len(one)) == 4, 0.0, 1.0))
    found = aligned(one, fewer, one.score)
    assert found[4] != one.score[4]  # without its own tile, those that overlap it speak
    np.testing.assert_array_equal(np.delete(found, 4), np.delete(one.score, 4))
    coarse = lattice_of(3, side=48.65, size=194.6)  # as large a step, but larger tiles
    np.testing.assert_allclose(
        aligned(one, coarse, coarse.score), slowly(one, coarse, coarse.score)
    )


def test_tiles_without_tissue_say_nothing_of_others():
    first = tiles("s", [[0.0, 0.0]], [[0, 0]])
    other = tiles("s", [[1.0, 5.0]], [[0, 0]], tissue=[[1.0, 0.0]])
    np.testing.assert_array_equal(aligned(first, other, other.score), [1.0, np.nan])


# --- the mean


def test_the_score_is_the_weighted_mean_of_z_scores():
    random = np.random.default_rng(0)
    a, b = random.normal(3, 2, (5, 7)), random.normal(-1, 0.1, (5, 7))
    labels = np.zeros((5, 7))
    made = combine(
        [cohort(tiles("s", a, labels)), cohort(tiles("s", b, labels))], given([], ["a", "b"])
    )
    z = [((one - one.mean()) / one.std()).ravel() for one in (a, b)]
    np.testing.assert_allclose(made.slides[0].score, 0.6 * z[0] + 0.4 * z[1], atol=1e-12)
    np.testing.assert_allclose(made.slides[0].others["score_b"], z[1], atol=1e-12)
    assert not made.notes


def test_a_table_with_itself_keeps_the_order_whatever_the_weights():
    one = phantoms(slides=2, tiles=200)
    made = combine([one, one], given([0.3, 0.7], ["a", "b"]))
    for now, was in zip(made.slides, one.slides, strict=True):
        np.testing.assert_array_equal(np.argsort(now.score), np.argsort(was.score))
        np.testing.assert_array_equal(now.label, was.label)


def test_tiles_without_a_partner_are_counted_and_have_what_is_there():
    a = tiles("s", [[1.0, 2.0, 6.0]], [[0, 0, 1]])
    b = tiles("s", [[4.0, 2.0, np.nan]], [[0, 0, 0]])
    made = combine([cohort(a), cohort(b)], given([0.5, 0.5], ["a", "b"]))
    z = (a.score - 3) / a.score.std()
    np.testing.assert_allclose(made.slides[0].score, [(z[0] + 1) / 2, (z[1] - 1) / 2, z[2]])
    assert any("1 of 3 tiles of a have no partner" in note for note in made.notes)
    # Even where the table that is there weighs nothing.
    alone = combine([cohort(a), cohort(b)], given([0, 1], ["a", "b"]))
    np.testing.assert_allclose(alone.slides[0].score, [1, -1, z[2]])


def test_slides_of_one_table_alone_are_listed_with_the_table_that_lacks_them():
    two = [tiles(name, [[1.0, 2.0]], [[0, 1]]) for name in ("s", "t")]
    made = combine([cohort(*two), cohort(two[0])], given([], ["a", "b"]))
    assert [one.slide for one in made.slides] == ["s"]
    assert made.failed == {"t": "no scores of it in b"}
    with pytest.raises(InputError, match="no slide is in all"):
        combine([cohort(two[0]), cohort(two[1])], given([], ["a", "b"]))


def test_slides_whose_tables_share_no_place_are_listed():
    a, b = (lattice_of(seed, side=50.0, size=50.0) for seed in (1, 2))
    far = dataclasses.replace(b.lattice, origin_px0=(1e5, 1e5))
    away = dataclasses.replace(b, lattice=far)
    same = dataclasses.replace(a, slide="t"), dataclasses.replace(b, slide="t")
    made = combine([cohort(a, same[0]), cohort(away, same[1])], given([], ["a", "b"]))
    assert [one.slide for one in made.slides] == ["t"]
    assert "no tile of b meets one of a" in made.failed["s"]
    with pytest.raises(InputError, match="full-size pixels of the same file"):
        combine([cohort(a), cohort(away)], given([], ["a", "b"]))


def test_the_mean_of_nothing_weighed_is_of_all_that_is_there():
    found = mean(np.array([[1.0, np.nan], [2.0, np.nan], [np.nan, 5.0]]), (0.0, 0.0, 1.0))
    np.testing.assert_array_equal(found, [1.5, 5.0])


def test_the_table_reads_back_with_the_scores_of_its_members(tmp_path):
    one = phantoms(slides=2, tiles=100, tile=96.0)
    made = combine([one, one], given([], ["a", "b"]))
    table.write(made, tmp_path / "both.parquet")
    for column, values in (
        ("score", made.slides[0].score), ("score_b", made.slides[0].others["score_b"])
    ):  # fmt: skip
        read = table.read(tmp_path / "both.parquet", score=column)
        np.testing.assert_array_equal(read.slides[0].score, values)


# --- weights


@pytest.mark.parametrize(
    ("weights", "words"),
    [([1], "1 weight for 2 tables"), ([0, 0], "one above 0"), ([-1, 2], "0 or more"),
     ([float("nan"), 1], "0 or more")],
)  # fmt: skip
def test_weights_that_are_none_are_refused(weights, words):
    with pytest.raises(InputError, match=words):
        given(weights, ["a", "b"])


def test_three_tables_count_alike_unless_told():
    assert given([], ["a", "b", "c"]).weights == pytest.approx((1 / 3,) * 3)


def test_names_are_of_files_or_folders_and_never_twice(tmp_path):
    def named(*paths):
        return names_of([tmp_path / path for path in paths])

    assert named("vae.parquet", "head b.csv.gz") == ["vae", "head_b"]
    assert named("vae/scores.parquet", "head/scores.parquet") == ["vae", "head"]
    assert named("scores.parquet", "scores.parquet") == ["scores_1", "scores_2"]


def twofold(*, slides=6, seed=0):
    """Scores of one truth by a model that knows it, and by one that knows nothing."""
    many = {"slides": slides, "tiles": 250, "seed": seed, "burden": "0.1-0.3", "normal": 0.0}
    good = phantoms(**many, auc=0.95)
    random = np.random.default_rng(seed)
    blind = [
        dataclasses.replace(one, score=random.standard_normal(len(one))) for one in good.slides
    ]
    return good, dataclasses.replace(good, slides=tuple(blind))


def test_a_table_that_knows_nothing_gets_little_weight_on_either_side():
    good, blind = twofold()
    first = weigh.fit([good, blind], ["good", "blind"], bootstrap=20)
    second = weigh.fit([blind, good], ["blind", "good"], bootstrap=20)
    assert first.weights[0] >= 0.8
    assert second.weights[1] >= 0.8
    assert len(first.tried) == 11
    assert all(sum(one.weights) == pytest.approx(1) for one in first.tried)
    values = [one.figure.value for one in first.tried]
    assert values == sorted(values, reverse=True)


def test_a_candidate_reaches_what_calibrate_reports_for_its_table():
    good, blind = twofold(slides=4)
    fitted = weigh.fit([good, blind], ["a", "b"], bootstrap=20)
    for one in fitted.tried[:3]:
        made = combine([good, blind], given(one.weights, ["a", "b"]))
        alone = calibrate(made, steps=Steps(unit="tile"), bootstrap=20)
        expected = alone.choices[0].held_out["iou_macro"].value
        assert one.figure.value == pytest.approx(expected, abs=1e-12)


def test_of_equally_good_weights_the_usual_ones_are_taken():
    good, _ = twofold(slides=4)
    fitted = weigh.fit([good, good], ["a", "b"], bootstrap=20)
    assert fitted.weights == pytest.approx((0.6, 0.4))
    three = weigh.fit([good, good, good], ["a", "b", "c"], bootstrap=20)
    assert len(three.tried) == 66
    assert max(three.weights) <= 0.4


def test_weights_are_chosen_again_without_each_patient():
    good, blind = twofold(slides=4)
    fitted = weigh.fit([good, blind], ["a", "b"], bootstrap=20)
    assert fitted.held_out["iou_macro"].value <= fitted.tried[0].figure.value + 1e-12
    alone = weigh.fit([good.only({good.slides[0].slide}), blind], ["a", "b"], bootstrap=20)
    assert any("very slides" in warning for warning in alone.warnings)
    assert not alone.held_out


def test_tables_that_got_no_weight_are_told_to_add_nothing():
    names = ["a", "b", "c"]
    assert weigh.unused(given([0, 1, 0], names)) == [
        "a, c add nothing to b on these slides: the weight is 0."
    ]
    assert weigh.unused(given([0.5, 0, 0.5], names)) == [
        "b adds nothing to a, c on these slides: the weight is 0."
    ]
    assert weigh.unused(given([1, 1, 1], names)) == []


@pytest.mark.parametrize(
    ("objective", "words"), [("fnr@0.1", "promise"), ("best", "best"), ("fp_mm2@1", "no tumour")]
)
def test_objectives_that_choose_nothing_are_refused(objective, words):
    good, blind = twofold(slides=2)
    with pytest.raises(InputError, match=words):
        weigh.fit([good, blind], ["a", "b"], objective=objective)


def test_a_fit_needs_several_tables_and_labels():
    good, _ = twofold(slides=2)
    with pytest.raises(InputError, match="2 to 5"):
        weigh.fit([good], ["a"])
    unknown = dataclasses.replace(
        good,
        slides=tuple(
            dataclasses.replace(t, label=np.full(len(t), np.nan), truth=np.full(len(t), np.nan))
            for t in good.slides
        ),
    )
    with pytest.raises(InputError, match="no slide has labels"):
        weigh.fit([unknown, good], ["a", "b"])


def test_weights_are_kept_and_say_whom_they_have_seen(tmp_path):
    good, blind = twofold(slides=7)
    names = {one.slide for one in good.slides[:3]}
    fitted = weigh.fit([good.only(names), blind], ["a", "b"], bootstrap=20)
    fitted.save(tmp_path / "combine.json")
    again = Ensemble.load(tmp_path / "combine.json")
    assert again == fitted
    made = combine([good, blind], again)
    (told,) = seen(made, again)
    assert "chosen on 3 slides" in told
    assert seen(made.only({good.slides[3].slide}), again) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kind": "slides"}, "no weights"),
        ({"schema": 9}, "schema 9"),
        ({"weights": [0.5]}, "damaged"),
        ({"tried": 3}, "damaged"),
    ],
)
def test_a_damaged_file_of_weights_is_told(tmp_path, change, words):
    path = tmp_path / "combine.json"
    given([], ["a", "b"]).save(path)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(InputError, match=words):
        Ensemble.load(path)
