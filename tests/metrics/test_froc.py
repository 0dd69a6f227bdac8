"""CAMELYON16's FROC: hand-worked cases for every trap, and its rules done slowly on pixels."""

import numpy as np
import pytest
import shapely
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import ndimage
from skimage.measure import regionprops

from wsrpn.errors import InputError
from wsrpn.metrics import froc
from wsrpn.metrics.froc import Froc, Hits, Lesions, Points, hits, lesions, major_axis
from wsrpn.metrics.points import detections, peaks, read_detections

ONE = np.ones((1, 1))
seeds = st.integers(0, 10_000)


def points(*rows):
    """Detections from (confidence, x, y)."""
    flat = np.array(rows, dtype=float).reshape(-1, 3)
    return Points(flat[:, 1:], flat[:, 0])


def of(found=(), false=()):
    """Hits from best confidences of targets (None: missed) and confidences of false alarms."""
    best = np.array([np.nan if one is None else one for one in found], dtype=float)
    return Hits(best, np.array(false, dtype=float))


def square(x, y, side=400.0):
    return shapely.box(x, y, x + side, y + side)


def sensitivities(*slides):
    found = Froc(slides).figures(np.ones((1, len(slides))))
    return [float(found[f"froc@{rate:g}"][0]) for rate in froc.RATES]


# --- lesions --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("gap", "many"), [(74.0, 1), (75.0, 2), (76.0, 2)])
def test_pieces_less_than_75_um_apart_are_one_lesion_and_at_75_two(gap, many):
    two = shapely.union(square(0, 0), square(400 + gap, 0))
    assert len(lesions(two, 1.0)) == many
    assert len(lesions(shapely.affinity.scale(two, 4, 4, origin=(0, 0)), 0.25)) == many


def test_a_chain_of_pieces_is_one_lesion():
    chain = shapely.union_all([square(470.0 * i, 0) for i in range(4)])
    assert len(lesions(chain, 1.0)) == 1


def test_holes_are_filled_and_a_detection_in_one_is_a_hit():
    ring = shapely.Point(0, 0).buffer(1000).difference(shapely.Point(0, 0).buffer(600))
    truth = lesions(ring, 1.0)
    assert len(truth) == 1
    assert hits(points((0.7, 0, 0)), truth).found.tolist() == [0.7]


def test_an_island_in_the_hole_of_a_ring_belongs_to_its_lesion():
    ring = shapely.Point(0, 0).buffer(1000).difference(shapely.Point(0, 0).buffer(600))
    assert len(lesions(ring.union(shapely.Point(0, 0).buffer(200)), 1.0)) == 1


def test_a_detection_up_to_37_um_beside_the_tumour_is_a_hit():
    truth = lesions(square(0, 0), 0.5)  # 37.5 µm are 75 pixels
    assert hits(points((1, -74, 100)), truth).found.tolist() == [1.0]
    assert hits(points((1, -76, 100)), truth).false.tolist() == [1.0]


def test_nothing_has_no_lesion_not_even_in_the_corner():
    truth = lesions(shapely.Polygon(), 0.243)
    assert len(truth) == 0
    found = hits(points((0.9, 0, 0), (0.8, 5, 5)), truth)
    assert found.found.tolist() == []
    assert found.false.tolist() == [0.9, 0.8]


def test_a_circle_is_its_own_ellipse_and_275_um_are_a_target():
    # Grown by 37.5 µm: a disc of 199 µm stays isolated cells, one of 201 µm does not.
    for across, target in ((199.0, False), (201.0, True)):
        truth = lesions(shapely.Point(50, 80).buffer(across / 2, quad_segs=64), 1.0)
        assert truth.major_um[0] == pytest.approx(across + 75, rel=1e-3)
        assert truth.target.tolist() == [target]
    assert Lesions((square(0, 0),), np.array([froc.TARGET_UM])).target.tolist() == [True]


def test_the_major_axis_is_that_of_the_ellipse_not_the_longest_distance():
    bar = shapely.box(0, 0, 180, 0.1)  # grown: 255 × 75 µm with round ends
    truth = lesions(bar, 1.0)
    corners = shapely.get_coordinates(truth.shapes[0])
    feret = np.linalg.norm(corners[:, None] - corners, axis=2).max()
    assert feret < froc.TARGET_UM < truth.major_um[0]
    assert truth.target.tolist() == [True]


@given(seeds)
def test_the_major_axis_is_that_of_a_rotated_ellipse_anywhere(seed):
    rng = np.random.default_rng(seed)
    long, short = np.sort(rng.uniform(1, 50, 2))[::-1]
    shape = shapely.Point(0, 0).buffer(0.5, quad_segs=200)
    shape = shapely.affinity.rotate(shapely.affinity.scale(shape, long, short), rng.uniform(0, 180))
    shape = shapely.affinity.translate(shape, *rng.uniform(0, 1e5, 2))
    assert major_axis(shape) == pytest.approx(long, rel=1e-4)
    assert major_axis(shape.reverse()) == pytest.approx(long, rel=1e-4)


def slow_lesions(mask, um_per_px):
    """The challenge's rules on pixels: labels, and which of them are isolated tumour cells."""
    if not mask.any():  # the distance from nothing is no distance
        return np.zeros(mask.shape, dtype=int), []
    near = ndimage.distance_transform_edt(~mask) < 75 / (um_per_px * 2)
    label, _ = ndimage.label(ndimage.binary_fill_holes(near), np.ones((3, 3)))
    axes = [region.axis_major_length for region in regionprops(label)]
    return label, [i + 1 for i, axis in enumerate(axes) if axis < 275 / um_per_px]


@given(seeds)
def test_lesions_are_those_of_the_rules_on_fine_pixels(seed):
    rng = np.random.default_rng(seed)
    um = 5.0  # of a pixel
    discs = [
        shapely.Point(*rng.uniform(150, 1350, 2)).buffer(rng.uniform(30, 160)) for _ in range(7)
    ]
    tumour = shapely.union_all(discs[:5]).difference(shapely.union_all(discs[5:]))
    truth = lesions(tumour, 1.0)
    # Only scenes in which a pixel more or less decides nothing can be told on pixels.
    for pixel in (-um, um):
        other = lesions(tumour.buffer(pixel), 1.0)
        assume(len(other) == len(truth) and other.target.sum() == truth.target.sum())
    x, y = np.meshgrid(*[np.arange(300) * um + um / 2] * 2)
    mask = shapely.contains_xy(tumour, x, y)
    label, isolated = slow_lesions(mask, um)
    assert label.max() == len(truth)
    assert len(isolated) == (~truth.target).sum()
    where = rng.uniform(0, 1500, (60, 2))
    outline = shapely.union_all(truth.shapes).boundary
    where = where[shapely.distance(shapely.points(where), outline) > 2 * um]
    sure = rng.permutation(len(where)).astype(float)
    found = hits(Points(where, sure), truth)
    at = label[(where[:, 1] / um).astype(int), (where[:, 0] / um).astype(int)]
    assert sorted(found.false) == sorted(sure[at == 0])
    assert found.ignored == np.isin(at, isolated).sum()
    targets = [i for i in range(1, label.max() + 1) if i not in isolated]
    best = [max(sure[at == i], default=None) for i in targets]
    assert sorted(found.found[~np.isnan(found.found)]) == sorted(b for b in best if b is not None)
    assert np.isnan(found.found).sum() == best.count(None)


# --- hits -----------------------------------------------------------------------------------------


def test_of_several_hits_the_surest_counts_and_none_is_a_false_alarm():
    truth = lesions(square(0, 0), 1.0)
    found = hits(points((0.2, 10, 10), (0.9, 20, 20), (0.5, 30, 30), (0.7, 900, 900)), truth)
    assert found.found.tolist() == [0.9]
    assert found.false.tolist() == [0.7]
    assert found.ignored == 0


def test_a_hit_on_isolated_tumour_cells_counts_neither_way():
    cells, target = shapely.Point(2000, 2000).buffer(20), square(0, 0)
    found = hits(points((0.9, 2000, 2000), (0.8, 5, 5)), lesions(cells.union(target), 1.0))
    assert found.found.tolist() == [0.8]
    assert found.false.tolist() == []
    assert found.ignored == 1


def test_x_runs_to_the_right():
    truth = lesions(shapely.box(1000, 0, 1400, 200), 1.0)
    assert hits(points((1, 1200, 100)), truth).found.tolist() == [1.0]
    assert np.isnan(hits(points((1, 100, 1200)), truth).found).all()


def test_where_nobody_judges_nothing_is_a_false_alarm_and_a_hit_stays_a_hit():
    truth, unknown = lesions(square(0, 0), 1.0), shapely.box(300, 0, 2000, 400)
    found = hits(points((0.9, 350, 10), (0.8, 1000, 10), (0.7, 5000, 10)), truth, unknown)
    assert found.found.tolist() == [0.9]
    assert found.false.tolist() == [0.7]
    assert found.ignored == 1


def test_a_detection_outside_the_slide_is_a_false_alarm():
    assert hits(points((0.3, -50, -9e9)), lesions(square(0, 0), 1.0)).false.tolist() == [0.3]


# --- the curve ------------------------------------------------------------------------------------


def test_the_lowest_score_belongs_to_the_curve():
    # Two lesions, both found, no false alarm: the challenge's code ends at 0.5.
    assert sensitivities(of(found=(0.9, 0.4))) == [1.0] * 6
    assert sensitivities(of(found=(0.9,))) == [1.0] * 6


def test_a_missed_lesion_is_missed_at_every_threshold_below_zero_too():
    assert sensitivities(of(found=(-1.0, None), false=(-2.0, -3.0))) == [0.5] * 6
    assert sensitivities(of(found=(0.0, None))) == [0.5] * 6


def test_a_slide_without_detections_counts_in_the_number_of_slides():
    finding = of(found=(0.5,), false=(0.9,))
    # Alone the first point right of nothing is 1 false alarm a slide; with three more it is ¼.
    assert sensitivities(finding) == [0.0, 0.0, 1.0, 1.0, 1.0, 1.0]
    assert sensitivities(finding, of(), of(), of()) == [1.0] * 6
    assert sensitivities(finding, None, None, None) == sensitivities(finding)


def test_the_curve_is_linear_between_points_and_level_beyond_both_ends():
    # One slide; falling: hit .9, false .8, false .7, hit .6, and two lesions more are missed.
    slide = of(found=(0.9, 0.6, None, None), false=(0.8, 0.7))
    # Points: (0, 0), (0, ¼), (1, ¼), (2, ¼), (2, ½).
    assert sensitivities(slide) == [0.25, 0.25, 0.25, 0.5, 0.5, 0.5]
    # Hit and false alarm of the same score come at once: (0, 0) → (1, 1).
    assert sensitivities(of(found=(0.5,), false=(0.5,))) == [0.25, 0.5, 1.0, 1.0, 1.0, 1.0]


def test_the_score_is_the_mean_of_the_six_sensitivities():
    slide = of(found=(0.9, 0.6, None, None), false=(0.8, 0.7))
    figures = Froc([slide]).figures(ONE)
    assert figures["froc"][0] == pytest.approx((3 * 0.25 + 3 * 0.5) / 6)


def test_without_targets_there_is_no_score():
    assert np.isnan(Froc([of(false=(0.5,))]).figures(ONE)["froc"][0])
    assert np.isnan(Froc([of()]).figures(ONE)["froc"][0])
    assert np.isnan(Froc([None]).figures(ONE)["froc"][0])


def slow_froc(slides, rates=froc.RATES):
    """The rules, one threshold after the other."""
    found = [f for s in slides for f in s.found]
    false = [f for s in slides for f in s.false]
    curve = [(0.0, 0.0)]
    for t in sorted({f for f in [*found, *false] if not np.isnan(f)}, reverse=True):
        curve.append(
            (
                sum(f >= t for f in false) / len(slides),
                sum(f >= t for f in found) / len(found),
            )
        )
    return np.mean([np.interp(rate, *zip(*curve, strict=True)) for rate in rates])


@given(seeds)
def test_the_score_of_any_weights_is_that_of_the_slides_written_out(seed):
    rng = np.random.default_rng(seed)
    slides = []
    for _ in range(4):
        found = rng.integers(-3, 6, rng.integers(0, 4)).astype(float)
        found[rng.random(len(found)) < 0.3] = np.nan
        slides.append(Hits(found, rng.integers(-3, 6, rng.integers(0, 9)).astype(float)))
    counts = rng.integers(0, 3, (4, 4)).astype(float)
    scores = Froc(slides).figures(counts)["froc"]
    for row, score in zip(counts.astype(int), scores, strict=True):
        out = [s for s, many in zip(slides, row, strict=True) for _ in range(many)]
        if sum(len(s.found) for s in out):
            assert score == pytest.approx(slow_froc(out), abs=1e-12)
        else:
            assert np.isnan(score)


@given(seeds)
def test_what_lies_beyond_the_highest_rate_is_not_looked_at_and_changes_nothing(seed):
    rng = np.random.default_rng(seed)
    slides = [Hits(rng.integers(0, 40, 5) / 8, rng.integers(0, 40, 60) / 8) for _ in range(3)]
    counts = rng.multinomial(3, [1 / 3] * 3, 6).astype(float)
    for rates in ((0.25, 1.0), (1 / 3, 2 / 3, 4.0)):
        scores = Froc(slides, rates=rates).figures(counts)["froc"]
        for row, score in zip(counts.astype(int), scores, strict=True):
            out = [s for s, many in zip(slides, row, strict=True) for _ in range(many)]
            assert score == pytest.approx(slow_froc(out, rates), abs=1e-12)


def test_a_lesion_found_right_after_the_last_false_alarm_of_a_rate_is_found_at_it():
    # Steps at first: 2 × 1 × 1 + 1 = 3; the third ends at exactly 1 false alarm, the hits follow.
    slide = of(found=(0.9, 0.8, 0.6, 0.5), false=(0.7, 0.4))
    assert Froc([slide], rates=(1.0,)).figures(ONE)["froc"][0] == 1.0


def test_blocks_of_rows_change_nothing(monkeypatch):
    rng = np.random.default_rng(0)
    slides = [Hits(rng.random(3), rng.random(20)) for _ in range(5)]
    counts = rng.integers(0, 3, (20, 5)).astype(float)
    whole = Froc(slides).figures(counts)["froc"]
    monkeypatch.setattr(froc, "CELLS", 200)
    np.testing.assert_array_equal(Froc(slides).figures(counts)["froc"], whole)


# --- peaks ----------------------------------------------------------------------------------------


def slow_peaks(grid, reach):
    """Take the highest, remove the square around it, again."""
    grid, found = grid.copy(), []
    while np.isfinite(grid).any():
        r, c = np.unravel_index(np.nanargmax(grid), grid.shape)
        found.append([int(r), int(c)])
        grid[max(r - reach[0], 0) : r + reach[0] + 1, max(c - reach[1], 0) : c + reach[1] + 1] = (
            np.nan
        )
    return found


@given(seeds)
def test_peaks_are_those_of_taking_the_highest_again_and_again(seed):
    rng = np.random.default_rng(seed)
    grid = rng.integers(0, 5, rng.integers(1, 12, 2)).astype(float)
    grid[rng.random(grid.shape) < 0.2] = np.nan
    reach = tuple(int(r) for r in rng.integers(0, 4, 2))
    assert peaks(grid, reach).tolist() == slow_peaks(grid, reach)


def test_of_equal_values_the_second_map_says_which_is_the_peak():
    grid = np.array([[1.0, 1.0, 1.0, -np.inf]])
    assert peaks(grid, (0, 2), ties=np.array([[1.0, 2.0, 3.0, 9.0]])).tolist() == [[0, 2]]
    grid = np.array([[1.0, 2.0, 1.0, -np.inf]])
    assert peaks(grid, (0, 2), ties=np.array([[1.0, 2.0, 3.0, 9.0]])).tolist() == [[0, 1]]


def test_a_detection_is_at_the_centre_of_its_tile_and_its_reach_is_in_um():
    grid = np.array([[5.0, 4.0, 3.0]])
    where = {"origin_px0": (10.0, 20.0), "pitch_px0": (100.0, 50.0), "size_px0": (80.0, 40.0)}
    near = detections(grid, **where, mpp=0.5, radius_um=50.0)
    assert near.xy_px0.tolist() == [[50.0, 40.0], [250.0, 40.0]]
    assert near.confidence.tolist() == [5.0, 3.0]
    assert len(detections(grid, **where, mpp=0.5, radius_um=49.0)) == 3
    assert len(detections(np.full((2, 2), np.nan), **where, mpp=0.5)) == 0


# --- files ----------------------------------------------------------------------------------------


def test_files_of_detections_have_no_header_and_an_empty_one_is_a_slide(tmp_path):
    (tmp_path / "test_001.csv").write_text("0.9,120,340\n\n0.5,1.5,2.5\n")
    (tmp_path / "Test_002.csv").write_text("")
    (tmp_path / "normal_3.csv").write_text("\ufeffconfidence,X,Y\n0.1,3,4\n", encoding="utf-8")
    (tmp_path / "readme.txt").write_text("not read")
    found = read_detections(tmp_path)
    assert set(found) == {"test_001", "Test_002", "normal_3"}
    assert found["test_001"].xy_px0.tolist() == [[120.0, 340.0], [1.5, 2.5]]
    assert found["test_001"].confidence.tolist() == [0.9, 0.5]
    assert len(found["Test_002"]) == 0
    assert found["normal_3"].confidence.tolist() == [0.1]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0.9;1;2\n", r"a\.csv, row 1: '0\.9;1;2' is not `confidence,X,Y`"),
        ("0.9,1,2\n0.8,1\n", r"a\.csv, row 2"),
        ("0.9,1,2\nnan,1,2\n", r"a\.csv, row 2"),
        ("0.9,1,inf\n", r"a\.csv, row 1"),
        ("x,y,confidence\n1,2,0.9\n", "in this order"),
        ("0.9,1,2,3\n", "row 1"),
    ],
)
def test_a_row_that_is_not_three_numbers_is_named(tmp_path, text, said):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(InputError, match=said):
        read_detections(tmp_path)


def test_a_folder_without_detections_is_refused(tmp_path):
    with pytest.raises(InputError, match="no CSV here"):
        read_detections(tmp_path)
    with pytest.raises(InputError, match="one CSV per slide"):
        read_detections(tmp_path / "nothing")
    (tmp_path / "a.csv").write_bytes(b"\xff\xfe0\x00")
    with pytest.raises(InputError, match="UTF-8"):
        read_detections(tmp_path)
