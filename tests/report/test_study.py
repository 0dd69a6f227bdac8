import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.collections import PolyCollection
from matplotlib.patches import Rectangle
from PIL import Image
from sklearn.isotonic import IsotonicRegression

from wsrpn import boxes
from wsrpn.comparison import Comparison, Method
from wsrpn.errors import InputError
from wsrpn.metrics.sizes import size_of
from wsrpn.report import arms, draw, fonts, labels, marks, placing, side_by_side, study, tradeoff
from wsrpn.types import Box, Dataset, Detections, Figure, Record

STRANGE = [
    "$x",
    r"$\frac{1}{2$ and $\undefined$",
    "a_b^c",
    "基线 · 熵 0.3",
    "a\nb\t\x07",
    "é" * 90,
    "",
]
LONG = "concentration 0.{} + sparsity 0.3 + box alignment 0.2 + {} × {} grid"


def long_names(count):
    return [LONG.format(i, 7 + i % 3 * 7, 7 + i % 3 * 7) for i in range(count)]


def words(figure):
    """Everything that is written beside ticks, with its box in pixels."""
    figure.canvas.draw()
    found = list(figure.texts)
    for axes in figure.axes:
        found += [*axes.texts, axes.title, axes._left_title, axes.xaxis.label, axes.yaxis.label]
    return [(t.get_text(), t.get_window_extent()) for t in found if t.get_text().strip()]


def assert_legible(figure, *, dpi=150):
    """No words on others, none cut off by the border."""
    figure.set_dpi(dpi)
    page = figure.bbox
    written = words(figure)
    for text, box in written:
        assert box.x0 >= -1, text
        assert box.x1 <= page.x1 + 1, text
        assert box.y0 >= -1, text
        assert box.y1 <= page.y1 + 1, text
    for (one, a), (other, b) in itertools.combinations(written, 2):
        wide, high = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
        assert wide <= 1 or high <= 1, f"{one!r} lies on {other!r}"


def said(figure):
    return " ".join(" ".join(text for text, _ in words(figure)).split())


def line_of(axes, arm):
    (found,) = [line for line in axes.lines if line.get_label() == arm]
    return found


# Words and places


@given(st.lists(st.tuples(st.floats(-50, 250), st.floats(0.5, 12)), min_size=1, max_size=12))
def test_spread_labels_are_the_least_squares_ones_without_overlap(pairs):
    wanted, heights = (np.array(column) for column in zip(*pairs, strict=True))
    placed = placing.spread(wanted, heights, 0.0, 200.0)
    order = np.argsort(wanted, kind="stable")
    gaps = np.diff(placed[order]) - (heights[order][1:] + heights[order][:-1]) / 2
    assert gaps.min(initial=0) >= -1e-9
    assert (placed - heights / 2).min() >= -1e-9
    assert (placed + heights / 2).max() <= 200 + 1e-9
    shift = np.cumsum(heights[order]) - heights[order] / 2
    outside = IsotonicRegression(y_min=0.0, y_max=200.0 - heights.sum())
    wished = outside.fit_transform(np.arange(len(order)), wanted[order] - shift) + shift
    assert placed[order] == pytest.approx(wished, abs=1e-6)


def test_labels_that_are_apart_stay_where_they_are_wanted():
    wanted = np.array([80.0, 20.0, 50.0])
    assert placing.spread(wanted, np.full(3, 10.0), 0.0, 100.0) == pytest.approx(wanted)


@settings(max_examples=8)
@given(
    seed=st.integers(0, 9999), count=st.integers(1, 20), crowd=st.sampled_from([5.0, 40.0, 150.0])
)
def test_labels_around_points_do_not_meet_and_stay_inside(seed, count, crowd):
    rng = np.random.default_rng(seed)
    points = np.clip(rng.normal([240, 160], crowd, (count, 2)), 10, [470, 310])
    sizes = np.stack([rng.uniform(8, 90, count), np.full(count, 10.0)], axis=1)
    reach = np.array([30.0, 0.0])
    bars = np.concatenate([points - reach, points + reach], axis=1)
    corners = placing.around(points, sizes, (490.0, 330.0), bars=bars, dots=points + 5)
    assert (corners >= 0).all()
    assert (corners + sizes <= [490, 330]).all()
    for i, j in itertools.combinations(range(count), 2):
        shared = np.minimum(corners[i] + sizes[i], corners[j] + sizes[j])
        assert (shared - np.maximum(corners[i], corners[j])).min() <= 0


def test_a_lone_label_stands_next_to_its_point_and_not_on_it():
    point, size = np.array([[100.0, 100.0]]), np.array([[40.0, 10.0]])
    corner = placing.around(
        point, size, (300.0, 300.0), bars=np.zeros((0, 4)), dots=np.zeros((0, 2))
    )
    gap = np.hypot(*(placing.nearest_edge(corner, size[0], point[0])[0] - point[0]))
    assert 3 < gap < 12


def test_a_label_is_clear_if_it_is_nearer_to_its_own_point_than_to_all_others():
    corners, size = np.array([[10.0, 10.0], [50.0, 10.0]]), np.array([20.0, 10.0])
    own, other = np.array([5.0, 15.0]), np.array([[75.0, 15.0]])
    assert placing.clear(corners, size, own, other).tolist() == [True, False]
    assert placing.clear(corners, size, own, other[:0]).tolist() == [True, True]
    both = placing.around(
        np.array([[100.0, 100.0], [112.0, 100.0]]), np.full((2, 2), [30.0, 10.0]), (300.0, 300.0),
        bars=np.zeros((0, 4)), dots=np.zeros((0, 2)),
    )  # fmt: skip
    assert both[0, 0] + 15 < 106 < both[1, 0] + 15  # each at its own side


@given(text=st.text("ab +×.0123456789中$_", max_size=120), lines=st.integers(1, 4))
def test_wrapped_words_fit_and_nothing_is_lost_where_there_is_room(text, lines):
    broken = labels.wrap(text, 70.0, 7.0, lines=lines)
    assert broken.count("\n") < lines
    assert all(labels.width(line, 7.0) <= 70 for line in broken.split("\n") if len(line) > 1)
    if "…" not in broken:
        assert "".join(broken.split()) == "".join(fonts.legible(text).split())


def test_a_name_that_is_too_long_keeps_its_ends():
    broken = labels.wrap("begin " + "x" * 300 + " end", 100.0, 7.0, lines=2)
    assert broken.startswith("begin")
    assert broken.endswith("end")
    assert "…" in broken


def test_the_measured_width_is_that_of_the_drawn_text_at_every_resolution():
    for dpi, text in itertools.product((100, 150, 300), ("arm 0", *long_names(2), "基线")):
        figure = marks.new(9.0, 1.0)
        figure.set_dpi(dpi)
        text = fonts.legible(text)
        drawn = figure.text(0, 0, text, fontsize=7.5, **fonts.style()).get_window_extent()
        assert drawn.width * 72 / dpi <= 1.01 * labels.width(text, 7.5) + 0.3


def test_letters_without_a_font_are_written_as_numbers_so_names_differ():
    one, other = fonts.legible("\U0010fffd a"), fonts.legible("\U0010fffe a")
    assert one != other
    assert all(ord(letter) < 128 for letter in one + other)


# Curves


def rows(values, *, start=1, name="val/entropy", **more):
    return [{"epoch": float(start + i), name: v, **more} for i, v in enumerate(values)]


def test_a_curve_is_the_mean_of_the_runs_in_a_band_from_the_lowest_to_the_highest():
    runs = [rows([3.0, 2.0, 1.0]), rows([4.0, 2.5, 3.0]), rows([3.5, 1.5, 0.5])]
    figure = study.curves({"base": runs, "other": [rows([1.0, 1.0, 1.0])]}, figures=["val/entropy"])
    (axes,) = figure.axes
    line = line_of(axes, "base")
    assert line.get_xdata().tolist() == [1, 2, 3]
    assert line.get_ydata() == pytest.approx([3.5, 2.0, 1.5])
    bands = [c for c in axes.collections if isinstance(c, PolyCollection)]
    assert len(bands) == 1  # one run has none
    corners = {tuple(point) for point in bands[0].get_paths()[0].vertices}
    assert {(1, 3.0), (1, 4.0), (2, 1.5), (2, 2.5), (3, 0.5), (3, 3.0)} <= corners
    assert axes._left_title.get_text() == "entropy (nats)"
    assert axes.get_xlabel() == "epoch"
    assert "mean of 1 to 3 runs" in said(figure)


def test_gaps_and_nan_are_left_out_and_a_shorter_run_makes_the_line_thin():
    long, short = rows([3.0, math.nan, 1.0, 2.0]), rows([1.0, math.nan, 3.0])
    long.append({"epoch": math.nan, "val/entropy": 9.0})
    long.append({"epoch": 5.0})
    figure = study.curves({"a": [long, short]}, figures=["val/entropy"])
    line = line_of(figure.axes[0], "a")
    assert line.get_xdata().tolist() == [1, 3, 4]
    assert line.get_ydata() == pytest.approx([2.0, 2.0, 2.0])
    strong = [
        one for one in figure.axes[0].lines
        if one.get_xdata() is not line and np.isnan(one.get_ydata()).any()
    ]  # fmt: skip
    assert [np.isnan(one.get_ydata()).tolist() for one in strong] == [[False, False, True]]
    assert strong[0].get_linewidth() > line.get_linewidth()
    assert "thin lines: fewer runs" in said(figure)


def test_figures_that_no_run_has_are_not_drawn_but_named():
    one = {"a": [rows([1.0, 2.0])], "b": [rows([1.0, 2.0], name="val/ap@0.3")], "c": []}
    figure = study.curves(one, figures=["val/entropy", "val/none", "val/ap@0.3", "val/entropy"])
    assert [axes._left_title.get_text() for axes in figure.axes] == ["entropy (nats)", "ap@0.3"]
    text = said(figure)
    assert "No run has val/none." in text
    assert "Without val/entropy: b, c." in text
    assert "Without val/ap@0.3: a, c." in text
    nothing = study.curves({"a": [[]]}, figures=["val/x"], title="Empty")
    assert not nothing.axes
    assert "No run has val/x." in said(nothing)
    assert not study.curves({}, figures=[]).axes


def test_names_stand_at_the_ends_of_their_lines_in_their_order():
    figure = study.curves(
        {"low": [rows([5.0, 1.0])], "high": [rows([1.0, 5.0])]}, figures=["val/entropy"]
    )
    (axes,) = figure.axes
    figure.canvas.draw()
    for name, end in (("low", 1.0), ("high", 5.0)):
        (text,) = [t for t in axes.texts if t.get_text() == name]
        middle = text.get_window_extent()
        assert (middle.y0 + middle.y1) / 2 == pytest.approx(
            axes.transData.transform((2, end))[1], abs=8
        )
        assert middle.x0 > axes.bbox.x1


@pytest.mark.parametrize("count", [1, 3, 7, 8, 20])
def test_curves_of_many_arms_with_long_names_stay_legible(count):
    rng = np.random.default_rng(count)
    arms_ = {
        name: [
            rows(rng.uniform(1, 2) + rng.normal(0, 0.01, 6), **{"val/ap@0.3": 0.2, "val/loss": 0.5})
            for _ in range(2)
        ]
        for name in long_names(count)
    }
    shown = ["val/entropy", "val/ap@0.3", "val/loss", "val/none"]
    assert_legible(study.curves(arms_, figures=shown, title="Long " * 60), dpi=100 + count % 2 * 50)


def test_arms_differ_in_colour_or_style_and_the_first_is_the_strongest():
    many = {f"arm {i}": [rows([float(i), i + 1.0])] for i in range(20)}
    (axes,) = study.curves(many, figures=["val/entropy"]).axes
    lines = [line_of(axes, arm) for arm in many]
    assert len({(line.get_color(), str(line._unscaled_dash_pattern)) for line in lines}) == 20
    assert all(line.get_linewidth() < lines[0].get_linewidth() for line in lines[1:])
    assert [line.get_color() for line in lines[:7]] == list(draw.LINES)


def test_a_hundredfold_fall_is_drawn_on_a_logarithmic_axis_and_a_figure_with_zero_is_not():
    def scale(values):
        (axes,) = study.curves({"a": [rows(values)]}, figures=["val/entropy"]).axes
        return axes.get_yscale()

    assert scale([5.0, 0.01]) == "log"
    assert scale([5.0, 0.1]) == "linear"
    assert scale([5.0, 0.0]) == "linear"


def test_the_epoch_after_which_other_losses_begin_is_marked_if_the_arms_agree():
    def run(border):
        plain, more = {"weight/a": 1.0}, {"weight/a": 0.5, "weight/b": 0.1}
        return [
            {"epoch": float(e), "val/x": 1.0 * e, **(more if e > border else plain)}
            for e in range(1, 6)
        ]

    def dotted(borders):
        figure = study.curves({str(i): [run(b)] for i, b in enumerate(borders)}, figures=["val/x"])
        at = [line.get_xdata() for line in figure.axes[0].lines if not len(line.get_ydata()) > 2]
        upright = [x[0] for x in at if len(x) == 2 and x[0] == x[1]]
        return upright, "other losses" in said(figure)

    assert dotted([2, 2]) == ([2.0], True)
    assert dotted([2, 9]) == ([2.0], True)  # an arm without phases has no say
    assert dotted([2, 3]) == ([], False)
    assert dotted([9]) == ([], False)


# The trade-off


def method(name, x, y, *, runs=((), ()), interval=True):
    def figure(value, half):
        if value is None:
            return Figure(None)
        return Figure(value, value - half, value + half) if interval else Figure(value)

    return Method(
        name=name,
        runs=tuple(f"r{i}" for i in range(max(1, len(runs[0])))),
        seeds=tuple(range(max(1, len(runs[0])))),
        figures={"entropy": figure(x, 0.1), "ap@0.3": figure(y, 0.02)},
        per_class={},
        per_run={"entropy": tuple(runs[0]) or (x,), "ap@0.3": tuple(runs[1]) or (y,)},
    )


def comparison(*methods):
    return Comparison(
        ("entropy", "ap@0.3"), ("Mass",), methods, (), (), {"baseline": methods[0].name}
    )


def test_points_intervals_and_runs_are_drawn_at_their_values():
    runs = ((2.9, None, 3.1), (0.18, 0.2, 0.22))
    figure = study.pareto(comparison(method("base", 3.0, 0.2, runs=runs), method("b", 2.0, 0.1)))
    (axes,) = figure.axes
    assert line_of(axes, "base").get_xydata().tolist() == [[3.0, 0.2]]
    drawn = [line.get_xydata().tolist() for line in axes.lines]
    assert [[2.9, 0.2], [3.1, 0.2]] in drawn
    assert any(len(d) == 2 and np.allclose(d, [[3.0, 0.18], [3.0, 0.22]]) for d in drawn)
    assert [[2.9, 0.18], [3.1, 0.22]] in drawn  # a run without one of the figures is no point
    assert "entropy (nats)" in axes.get_xlabel()
    assert "ap@0.3" in axes.get_ylabel()
    rings = [line for line in axes.lines if line.get_markersize() > 10]
    assert [line.get_xydata().tolist() for line in rings] == [[[3.0, 0.2]]]
    for low, high in (axes.get_xlim(), axes.get_ylim()):
        assert low < high


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=9))
def test_the_front_is_what_no_other_point_beats(pairs):
    x, y = (np.array(column, dtype=float) for column in zip(*pairs, strict=True))
    slow = [not any((a <= p and b >= q) and (a < p or b > q) for a, b in pairs) for p, q in pairs]
    assert tradeoff.front(x, y).tolist() == slow


def test_arms_on_the_front_are_filled_and_joined_by_steps():
    figure = study.pareto(
        comparison(method("a", 3.0, 0.3), method("b", 1.0, 0.1), method("c", 2.0, 0.2),
                   method("d", 2.5, 0.15))
    )  # fmt: skip
    (axes,) = figure.axes
    assert line_of(axes, "front").get_xydata().tolist() == [
        [1.0, 0.1], [2.0, 0.1], [2.0, 0.2], [3.0, 0.2], [3.0, 0.3],
    ]  # fmt: skip
    white = {a for a in "abcd" if line_of(axes, a).get_markerfacecolor() == "white"}
    assert white == {"d"}


def test_arms_without_a_figure_are_named_in_the_footer_and_nothing_else_changes():
    figure = study.pareto(
        comparison(method("base", 3.0, 0.2), method("cam", None, 0.3), method("x", 2.0, None))
    )
    assert "Without ap@0.3 or entropy: cam, x." in said(figure)
    assert line_of(figure.axes[0], "base").get_xydata().tolist() == [[3.0, 0.2]]
    assert not [t for t in figure.axes[0].texts if t.get_text() in ("cam", "x")]
    none = study.pareto(comparison(method("a", None, None)), good="rodeo", against="ece")
    assert "No arm has both figures. Without rodeo or ece: a." in said(none)


@pytest.mark.parametrize("long", [False, True])
@pytest.mark.parametrize(
    ("count", "crowd"), [(1, 1.0), (2, 0.0), (6, 0.02), (20, 0.0), (20, 0.02), (20, 1.0)]
)
def test_names_of_the_trade_off_do_not_overlap(count, crowd, long):
    rng = np.random.default_rng(count)
    names = long_names(count) if long else [f"concentration 0.{i}" for i in range(count)]
    made = [
        method(name, 2.0 + crowd * rng.normal(), 0.3 + 0.1 * crowd * rng.normal(),
               runs=([2.0, 2.1], [0.3, 0.31]))
        for name in names
    ]  # fmt: skip
    figure = study.pareto(comparison(*made), title="One figure against another")
    assert_legible(figure)
    text = said(figure).replace(" ", "")
    assert all(name.replace(" ", "") in text for name in names)


def test_a_comparison_without_intervals_says_nothing_of_bars():
    figure = study.pareto(comparison(method("a", 2.0, 0.2, interval=False)))
    assert "Bars" not in said(figure)


# Maps


def detections(corners, scores, classes, size=(60, 60)):
    return Detections(
        id="a",
        size_px=size,
        xyxy_px=np.array(corners, dtype=float).reshape(-1, 4),
        scores=np.array(scores, dtype=float),
        classes=np.array(classes, dtype=np.int64),
        image_logits=np.zeros(3),
    )


def picture(**changes):
    first, second = np.full((6, 6), 0.002), np.full((6, 6), 1 / 36)
    first[1, 4] = 1 - 0.002 * 35
    given = {
        "image": np.full((60, 60), 0.3),
        "classes": ("Mass", "Nodule", "Effusion"),
        "name": "film.png",
        "truth": (Box(1, (30.0, 10.0, 50.0, 20.0)),),
        "detections": detections([[32, 10, 50, 22], [0, 0, 9, 9]], [0.9, 0.4], [1, 1]),
        "region_maps": np.stack([second, first]),
        "region_scores": np.array([[0.1, 0.2, 0.9], [0.0, 0.8, 0.0]]),
    }
    return draw.Picture(**(given | changes))


def image_axes(figure):
    return [axes for axes in figure.axes if axes.images]


def test_the_map_is_that_of_the_winning_region_at_its_cell_with_its_entropy_below():
    figure = study.maps({"before": [picture()], "after": [picture()]}, title="Maps")
    cells = image_axes(figure)
    assert len(cells) == 2
    overlay = next(i.get_array() for i in cells[0].images if i.get_array().shape[-1] == 4)
    row, column = np.unravel_index(overlay[..., 3].argmax(), overlay.shape[:2])
    assert (row + 0.5, column + 0.5) == (pytest.approx(15, abs=1), pytest.approx(45, abs=1))
    weights = picture().region_maps[1]
    entropy = -(weights * np.log(weights)).sum()
    overlap = boxes.iou(np.array([[32.0, 10, 50, 22]]), np.array([[30.0, 10, 50, 20]])).item()
    assert said(figure).count(f"{entropy:.2f} nats · IoU {overlap:.2f}") == 2
    assert "film.png · Nodule: medium, 5.56 % of the image" in said(figure)


def test_the_best_box_and_the_gold_box_are_drawn_at_their_pixels():
    figure = study.maps({"a": [picture()]})
    patches = [p for p in image_axes(figure)[0].patches if isinstance(p, Rectangle)]
    found = {tuple(np.ravel(p.get_bbox().get_points())): p.get_linestyle() for p in patches}
    assert found.keys() == {(32.0, 10.0, 50.0, 22.0), (30.0, 10.0, 50.0, 20.0)}
    assert found[32.0, 10.0, 50.0, 22.0] in ("solid", "-")
    assert found[30.0, 10.0, 50.0, 20.0] not in ("solid", "-")


@given(seed=st.integers(0, 999), share=st.floats(0.05, 0.95))
def test_a_line_holds_its_share_of_the_map(seed, share):
    field = np.random.default_rng(seed).random((9, 11)) ** 3
    found = side_by_side.holding(field, (share,))
    if found:
        held = field[field >= found[0]].sum() / field.sum()
        assert share <= held <= share + field.max() / field.sum() + 1e-9


def test_a_map_that_is_even_or_one_cell_is_drawn_without_a_warning():
    peak = np.zeros((1, 6, 6))
    peak[0, 0, 0] = 1.0
    for cells, entropy in ((np.full((1, 6, 6), 1 / 36), math.log(36)), (peak, 0.0)):
        one = picture(region_maps=cells, region_scores=np.ones((1, 3)))
        figure = study.maps({"a": [one]})
        figure.canvas.draw()
        assert f"{entropy:.2f} nats" in said(figure).replace("-0.00", "0.00")


def test_several_classes_have_colours_of_their_own_and_their_gold_boxes_are_named_once():
    truth = (Box(0, (2.0, 2.0, 20.0, 20.0)), Box(1, (30.0, 10.0, 50.0, 20.0)))
    both = picture(truth=truth)
    figure = study.maps({"a": [both], "b": [both]})
    cells = image_axes(figure)
    tints = [tuple(i.get_array()[0, 0, :3]) for i in cells[0].images if i.get_array().ndim == 3]
    assert len(set(tints)) == 2
    assert [t.get_text() for t in cells[0].texts] == ["Mass", "Nodule"]
    assert not cells[1].texts
    assert "no box" in said(figure)
    assert_legible(figure)


def test_a_model_without_regions_shows_its_patch_map_and_says_so():
    cells = np.zeros((3, 4, 4))
    cells[1, 2, 1] = 0.7
    figure = study.maps(
        {"cam": [picture(region_maps=None, region_scores=None, patch_maps=cells)],
         "bare": [picture(region_maps=None, region_scores=None, detections=None)]}
    )  # fmt: skip
    first, second = image_axes(figure)
    assert len(first.images) == 2
    assert len(second.images) == 1
    assert "no Gaussian map · IoU" in said(figure)
    assert "no Gaussian map · no box" in said(figure)


def test_an_image_without_gold_shows_the_classes_of_its_boxes():
    figure = study.maps({"a": [picture(truth=())]})
    text = said(figure)
    assert "film.png · no gold box" in text
    assert "nats" in text
    assert "IoU 0" not in text


@pytest.mark.parametrize("count", [1, 6, 7, 20])
def test_many_arms_are_broken_into_blocks_that_begin_with_the_first(count):
    names = long_names(count)
    figure = study.maps({name: [picture()] * 2 for name in names}, title="Many " * 50)
    blocks = max(1, math.ceil((count - 1) / (side_by_side.ACROSS - 1)))
    assert len(image_axes(figure)) == 2 * (count + blocks - 1)
    text = said(figure).replace(" ", "")
    assert text.count(names[0].replace(" ", "")) == blocks
    assert all(text.count(name.replace(" ", "")) == 1 for name in names[1:])
    assert_legible(figure)


def test_arms_with_different_images_are_refused_and_none_make_an_empty_page():
    with pytest.raises(ValueError, match="picture of every image"):
        study.maps({"a": [picture()], "b": []})
    assert "No images." in said(study.maps({}))
    assert "No images." in said(study.maps({"a": []}))


def test_large_images_are_drawn_small_with_their_boxes_in_place():
    big = picture(
        image=np.random.default_rng(0).random((1200, 800)),
        truth=(Box(1, (400.0, 600.0, 800.0, 1200.0)),),
        detections=detections([[0, 0, 400, 600]], [0.9], [1], size=(1200, 800)),
    )
    small = big.within(300)
    assert small.image.shape == (300, 200)
    assert small.image.mean() == pytest.approx(big.image.mean(), abs=1e-3)
    assert small.truth[0].xyxy_px == (100.0, 150.0, 200.0, 300.0)
    assert small.detections.xyxy_px.tolist() == [[0, 0, 100, 150]]
    assert small.detections.size_px == (300, 200)
    assert big.within(1200) is big


# All of them


@pytest.mark.parametrize("name", STRANGE)
def test_strange_names_are_written_and_break_nothing(name, tmp_path):
    other = f"{name}2"
    curve = study.curves(
        {name: [rows([1.0, 2.0])], other: [rows([2.0, 3.0])]},
        figures=["val/entropy", f"val/{name}"],
        title=name,
    )
    point = study.pareto(
        comparison(method(name, 1.0, 0.2), method(other, None, 0.2)), title=name, good="ap@0.3"
    )
    film = picture(name=name, classes=(name, other, "c"))
    pictures = study.maps({name: [film], other: [film]}, title=name)
    for figure in (curve, point, pictures):
        draw.save(figure, tmp_path / "a.png", dpi=60)
        assert_legible(figure)
    assert all(t.get_parse_math() is False for t in curve.axes[0].texts + pictures.texts)


@pytest.mark.parametrize("suffix", [".png", ".pdf", ".svg"])
def test_the_same_values_give_the_same_bytes(tmp_path, suffix):
    for folder in ("a", "b"):
        made = {
            "curves": study.curves({"x": [rows([1.0, 3.0])], "y": []}, figures=["val/entropy"]),
            "pareto": study.pareto(comparison(method("x", 1.0, 0.2), method("y", 2.0, 0.3))),
            "maps": study.maps({"x": [picture()], "y": [picture()]}),
        }
        for name, figure in made.items():
            draw.save(figure, tmp_path / folder / f"{name}{suffix}", dpi=60)
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()


def test_units_are_those_of_the_figures_and_their_parts():
    assert arms.unit("val/entropy_large") == "entropy_large (nats)"
    assert arms.unit("top_patch_all") == "top_patch_all (share in the largest cell)"
    assert arms.unit("rodeo") == "rodeo"


# Which images


SMALL, MEDIUM, LARGE = (0.0, 0.0, 10.0, 10.0), (0.0, 0.0, 20.0, 20.0), (0.0, 0.0, 50.0, 50.0)


def record(folder, name, *corners, label=1.0, known=True):
    path = folder / f"{name}.png"
    Image.fromarray(np.zeros((100, 100), np.uint8)).save(path)
    found = tuple(Box(0, c) for c in corners)
    return Record(name, path, name, (label,), boxes=found, boxes_known=known)


def ids(dataset):
    return [one.id for one in dataset.records]


def test_one_image_of_each_size_is_chosen_the_first_that_has_this_size_alone(tmp_path):
    made = [
        record(tmp_path, "none"),
        record(tmp_path, "both", SMALL, LARGE),
        record(tmp_path, "large", LARGE),
        record(tmp_path, "small", SMALL, SMALL),
        record(tmp_path, "medium", MEDIUM),
        record(tmp_path, "small2", SMALL),
    ]
    dataset = Dataset("d", ("Mass",), tuple(made))
    assert size_of(np.array([0.01, 0.04, 0.25])).tolist() == [0, 1, 2]
    assert ids(study.chosen(dataset, ())) == ["small", "medium", "large"]
    assert ids(study.chosen(dataset, (), count=1)) == ["small"]
    assert ids(study.chosen(dataset, (), count=9)) == [
        "small", "medium", "large", "small2", "both",
    ]  # fmt: skip


def test_images_asked_for_come_in_their_order_once_and_an_unknown_one_is_named(tmp_path):
    dataset = Dataset("d", ("Mass",), tuple(record(tmp_path, name, SMALL) for name in "abc"))
    assert ids(study.chosen(dataset, ("c", "a", "c"), count=1)) == ["c", "a"]
    with pytest.raises(InputError, match=r"no image 'x'.*Known: a, b, c"):
        study.chosen(dataset, ("a", "x"))


def test_an_image_that_cannot_be_read_or_has_unknown_boxes_is_not_chosen(tmp_path):
    lost = record(tmp_path, "lost", SMALL)
    lost.path.write_bytes(b"no image")
    unknown = record(tmp_path, "unknown", SMALL, known=False)
    dataset = Dataset("d", ("Mass",), (lost, unknown, record(tmp_path, "good", SMALL)))
    assert ids(study.chosen(dataset, ())) == ["good"]


def test_without_boxes_the_first_images_with_a_finding_are_chosen(tmp_path):
    made = (record(tmp_path, "a", label=0.0), record(tmp_path, "b"), record(tmp_path, "c"))
    assert ids(study.chosen(Dataset("d", ("Mass",), made), (), count=1)) == ["b"]
    assert ids(study.chosen(Dataset("d", ("Mass",), made[:1]), ())) == ["a"]
    assert ids(study.chosen(Dataset("d", ("Mass",), ()), ())) == []
