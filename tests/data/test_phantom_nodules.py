"""Films with lung nodules: the law of JSRT, exact masks, and a DRR that knows no nodule."""

import math

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from wsrpn.data import manifest
from wsrpn.data.phantom import cxr, film, jsrt_law, nodules
from wsrpn.data.phantom.jsrt_law import CONTRAST, MEDIAN_MM, RIGHT_SHARE, SPREAD, SUBTLETY_SHARES
from wsrpn.data.phantom.nodules import generate
from wsrpn.errors import InputError

SIZE = 128


@pytest.fixture(scope="module")
def drawn():
    """Many nodules in one pair of lungs of 256 px and 1.4 mm."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:256, :256] / 255
    lungs = sum(((x - at) / 0.18) ** 2 + ((y - 0.5) / 0.35) ** 2 < 1 for at in (0.28, 0.72)) > 0
    return lungs, [jsrt_law.draw(rng, lungs, mm_per_px=1.4) for _ in range(600)]


@pytest.fixture(scope="module")
def films():
    return [generate(5, index, size=SIZE) for index in range(24)]


def test_sizes_and_degrees_follow_the_law(drawn):
    _, found = drawn
    for degree, share in SUBTLETY_SHARES.items():
        sizes = [n.diameter_mm for n in found if n.subtlety == degree]
        assert len(sizes) / len(found) == pytest.approx(share, abs=0.06)
        error = 4 * SPREAD / math.sqrt(len(sizes))
        assert math.log(np.median(sizes)) == pytest.approx(math.log(MEDIAN_MM[degree]), abs=error)
    assert math.fsum(SUBTLETY_SHARES.values()) == pytest.approx(1)
    every = np.array([n.diameter_mm for n in found])
    assert every.min() >= 5
    assert every.max() <= 60
    assert np.log(every).std() == pytest.approx(0.418, abs=0.05)  # that of the table


def test_places_follow_the_law_of_their_side_and_lie_in_the_lungs(drawn):
    lungs, found = drawn
    at = np.array([ndimage.center_of_mass(n.attenuation) for n in found])
    right = at[:, 1] < 128
    assert right.mean() == pytest.approx(RIGHT_SHARE, abs=0.06)
    assert lungs[tuple(at.round().astype(int).T)].mean() > 0.97
    rows = np.flatnonzero(lungs.any(1))
    down = (at[:, 0] - rows[0]) / (rows[-1] - rows[0])
    # The ovals have no room at the apex, so the right mean is a little lower than the table's.
    assert down[right].mean() == pytest.approx(jsrt_law.RIGHT.down[0], abs=0.09)
    assert down[~right].mean() == pytest.approx(jsrt_law.LEFT.down[0], abs=0.06)
    assert down[~right].mean() > down[right].mean() + 0.04


def test_places_have_the_means_spreads_and_correlation_of_the_table_of_jsrt():
    """Of 80 films of the table, as its rows say it; lungs in a field without walls."""
    rng = np.random.default_rng(1)
    lungs = np.zeros((600, 600), bool)
    lungs[200:401, 200:401] = True
    at = np.array([jsrt_law.place(rng, lungs, np.ones_like(lungs)) for _ in range(6000)])
    right = at[:, 1] < 300
    assert right.mean() == pytest.approx(0.65, abs=0.025)
    down, lateral = (at[:, 0] - 200) / 200, np.abs(at[:, 1] - 300) / 100
    for side, means, spreads, correlation in (
        (right, (0.602, 0.364), (0.159, 0.216), 0.46),
        (~right, (0.644, 0.505), (0.171, 0.254), -0.05),
    ):
        both = np.stack((lateral[side], down[side]))
        assert both.mean(axis=1) == pytest.approx(means, abs=0.02)
        assert both.std(axis=1) == pytest.approx(spreads, abs=0.015)
        assert np.corrcoef(both)[0, 1] == pytest.approx(correlation, abs=0.06)


def test_degrees_and_sizes_have_the_shares_and_medians_of_the_table_of_jsrt(drawn):
    _, found = drawn
    for degree, share, median in (
        (1, 0.225, 13.9), (2, 0.1375, 15.5), (3, 0.275, 15.1), (4, 0.3, 17.1), (5, 0.0625, 21.6),
    ):  # fmt: skip
        sizes = [n.diameter_mm for n in found if n.subtlety == degree]
        assert len(sizes) / len(found) == pytest.approx(share, abs=0.06)
        assert math.log(np.median(sizes)) == pytest.approx(
            math.log(median), abs=1.6 / math.sqrt(len(sizes))
        )


def test_a_mask_has_the_area_of_its_diameter_and_holds_all_that_was_added(drawn):
    _, found = drawn
    ratios = []
    for nodule in found[:150]:
        assert (nodule.attenuation[~nodule.mask] == 0).all()
        assert (nodule.attenuation[nodule.mask] > 0).all()
        assert nodule.attenuation.max() <= CONTRAST[nodule.subtlety] + 1e-6
        assert ndimage.label(nodule.mask)[1] == 1
        if np.flatnonzero(nodule.mask.any(0))[0] > 0:
            ratios.append(nodule.mask.sum() * 1.96 / (math.pi / 4 * nodule.diameter_mm**2))
    assert np.median(ratios) == pytest.approx(1, abs=0.03)


def test_a_more_obvious_degree_is_denser():
    assert list(CONTRAST.values()) == sorted(CONTRAST.values())
    clean = generate(2, 4, size=SIZE, nodules=0)
    added = []
    for degree in (1, 3, 5):
        made = generate(2, 4, size=SIZE, nodules=1, subtlety=degree)
        inside = made.objects > 0
        added.append((made.image - clean.image)[inside].max())
    assert 0.005 < added[0] < added[1] < added[2]


def test_the_same_seed_and_index_give_the_same_film_in_any_order(films):
    again = generate(5, 17, size=SIZE)
    for name in ("image", "drr", "objects"):
        assert getattr(again, name).tobytes() == getattr(films[17], name).tobytes()
    assert not np.array_equal(generate(6, 17, size=SIZE).image, films[17].image)


def test_a_film_with_a_nodule_differs_from_the_one_without_in_its_mask_alone():
    for index in range(6):
        with_one, without = (generate(1, index, size=SIZE, nodules=n) for n in (1, 0))
        changed = with_one.image != without.image
        inside = with_one.objects > 0
        assert not (changed & ~inside).any()
        assert changed[inside].mean() > 0.9
        assert (with_one.image >= without.image).all()
        assert np.array_equal(with_one.drr, without.drr)


def test_without_nodules_it_is_the_film_of_the_other_phantom():
    for index in range(4):
        expected = cxr.generate(7, index, size=SIZE, findings=(), distractors=0.5)
        made = generate(7, index, size=SIZE, nodules=0, distractors=0.5)
        assert np.array_equal(made.image, expected.image)


def test_about_38_in_a_hundred_films_have_none_and_others_one_unless_more_are_asked_for(films):
    counts = [len(generate(8, index, size=32).nodules) for index in range(70)]
    assert set(counts) == {0, 1}
    assert counts.count(0) / 70 == pytest.approx(0.38, abs=0.15)
    more = [generate(8, i, size=SIZE, most=4, normal_share=0.0) for i in range(12)]
    assert {len(made.nodules) for made in more} == {1, 2, 3, 4}
    for made in more:
        assert set(np.unique(made.objects)) == set(range(len(made.nodules) + 1))


def test_every_nodule_has_a_pixel_of_its_own_however_many_there_are():
    # The fifth of seed 1 would have one that a later one covers, were that not drawn again.
    for made in (generate(1, index, size=64, nodules=20) for index in range(6)):
        assert len(made.nodules) == 20
        assert set(np.unique(made.objects)) == set(range(21))


def test_a_film_without_a_drr_is_the_same_film_of_one_chest_alone(monkeypatch):
    expected = generate(4, 2, size=64)
    built = []
    build = nodules.bodies.build
    monkeypatch.setattr(nodules.bodies, "build", lambda *a, **k: built.append(a) or build(*a, **k))
    made = generate(4, 2, size=64, drr=False)
    assert made.drr is None
    assert len(built) == 1
    assert np.array_equal(made.image, expected.image)
    assert np.array_equal(made.objects, expected.objects)


def test_a_box_is_the_tight_bound_of_its_nodule(films):
    for made in films:
        assert len(made.boxes) == len(made.nodules)
        for box, nodule in zip(made.boxes, made.nodules, strict=True):
            x1, y1, x2, y2 = (int(v) for v in box.xyxy_px)
            assert nodule.mask[y1:y2, x1:x2].sum() == nodule.mask.sum()
            for line in (nodule.mask[y1], nodule.mask[y2 - 1], nodule.mask[:, x1],
                         nodule.mask[:, x2 - 1]):  # fmt: skip
                assert line.any()


def test_a_drr_is_the_same_chest_coarser_without_grain_and_not_quite_in_place(films):
    for made in films[:8]:
        assert made.drr.shape == (SIZE // 2, SIZE // 2)
        assert made.drr.min() >= 0
        assert made.drr.max() <= 1
        small = made.image.reshape(SIZE // 2, 2, SIZE // 2, 2).mean((1, 3))
        assert np.corrcoef(small.ravel(), made.drr.ravel())[0, 1] > 0.9
        grain = [np.median(np.abs(ndimage.laplace(plane))) for plane in (small, made.drr)]
        assert grain[1] < grain[0]
    other = np.corrcoef(films[0].drr.ravel(), films[3].drr.ravel())[0, 1]
    assert other < 0.995  # of another patient


def test_written_films_are_read_back_as_they_are(tmp_path):
    made = nodules.write(tmp_path / "set", images=8, size=64, seed=3, most=3)
    by_manifest = manifest.manifest(root=tmp_path / "set")
    for index, (record, plain) in enumerate(zip(made.records, by_manifest.records, strict=True)):
        expected = generate(3, index, size=64, patient=int(record.patient[1:]), most=3)
        pixels, numbers, drr = (
            np.asarray(Image.open(path)) for path in (record.path, record.mask, record.drr)
        )
        assert (pixels == np.round(expected.image * 255)).all()
        assert (drr == np.round(expected.drr * 255)).all()
        assert (numbers == expected.objects).all()
        assert record.boxes == plain.boxes == expected.boxes
        assert record.labels == (float(bool(expected.nodules)),)
        assert record.extra["subtlety"] == "|".join(str(n.subtlety) for n in expected.nodules)
    bare = nodules.write(tmp_path / "bare", images=2, size=64, drr=False)
    assert all(record.drr is None for record in bare.records)


def test_pasting_changes_the_mask_alone_and_only_upwards():
    clean = generate(0, 1, size=256, nodules=0).image
    for seed in range(8):
        made, mask = nodules.paste(clean, np.random.default_rng(seed), count=2)
        assert mask.any()
        assert (made[~mask] == clean[~mask]).all()
        assert (made[mask] >= clean[mask] - 1e-6).all()
        assert made.max() <= 1
        again, _ = nodules.paste(clean, np.random.default_rng(seed), count=2)
        assert np.array_equal(made, again)


@pytest.mark.parametrize("level", [0.0, 0.0005, 0.5, 0.9995, 1.0])
def test_pasting_on_black_and_on_white_never_darkens_and_nothing_added_changes_nothing(level):
    clean, lungs = np.full((64, 64), level, np.float32), np.ones((64, 64), bool)
    made, mask = nodules.paste(clean, np.random.default_rng(0), lungs=lungs, subtlety=5)
    assert mask.any()
    assert (made >= clean).all()
    assert made.max() <= 1
    assert (made[~mask] == clean[~mask]).all()
    rng = np.random.default_rng(0)
    assert np.array_equal(nodules.paste(clean, rng, lungs=lungs, contrast=0.0)[0], clean)


def test_pasted_nodules_are_as_large_as_the_spacing_says():
    clean = generate(0, 1, size=256, nodules=0).image
    areas = [
        nodules.paste(clean, np.random.default_rng(4), mm_per_px=mm)[1].sum() for mm in (0.5, 1.0)
    ]
    assert areas[0] / areas[1] == pytest.approx(4, rel=0.1)
    width = 2048 * 0.175  # of a film of JSRT, where nothing is said
    default = nodules.paste(clean, np.random.default_rng(4))[1]
    told = nodules.paste(clean, np.random.default_rng(4), mm_per_px=width / 256)[1]
    assert np.array_equal(default, told)


def test_lung_fields_are_found_on_films_and_lie_on_both_sides():
    for index in range(8):
        made = generate(9, index, size=256, nodules=0, distractors=0.0)
        found = nodules.lung_fields(made.image)
        thorax = nodules._thorax((9, index), nodules.patients.draw_pose(
            nodules.stream((9, index), nodules._POSE)), 256)  # fmt: skip
        assert found[thorax.field].mean() > 0.6
        assert thorax.lung[found].mean() > 0.5
        for half in (found[:, :128], found[:, 128:]):
            assert half.any()


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_where_no_lungs_are_seen_two_ovals_take_their_place(level):
    found = nodules.lung_fields(np.full((90, 70), level, np.float32))
    assert ndimage.label(found)[1] == 2
    assert 0.1 < found.mean() < 0.4
    assert found.shape == (90, 70)


def test_wrong_use_is_one_sentence():
    clean, rng = np.full((64, 64), 0.3, np.float32), np.random.default_rng(0)
    with pytest.raises(InputError, match="no pixel of the image is lung"):
        nodules.paste(clean, rng, lungs=np.zeros((64, 64), bool))
    with pytest.raises(InputError, match="from 1"):
        nodules.paste(clean, rng, subtlety=6)
    with pytest.raises(InputError, match="mm_per_px=0"):
        nodules.paste(clean, rng, mm_per_px=0.0)


def test_the_curve_of_pasting_is_in_the_middle_of_those_that_films_are_exposed_with():
    """Grey levels of a ramp of attenuation rise along the logistic curve that pasting follows."""
    ramp = np.tile(np.linspace(0.5, 2.5, 50, dtype=np.float32), (50, 1))
    slopes = []
    for seed in range(30):
        grey = film.expose(ramp, np.random.default_rng(seed), np.random.default_rng(0), 0.0)
        level = np.log(grey / (1 - grey))[0, 15:35]
        slopes.append((level[-1] - level[0]) / (ramp[0, 34] - ramp[0, 15]))
    assert np.mean(slopes) == pytest.approx(nodules.CURVE, abs=0.25)
