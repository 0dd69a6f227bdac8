"""What the three panels and the contact sheet show."""

import dataclasses
import io

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.collections import PathCollection

from tests.report import views
from wsrpn.report import draw, slide_marks, slide_panel, slide_sheet, slide_view

FOUND = np.zeros((100, 100), dtype=bool)
FOUND[30:32, 41:45] = True


def drawn(figure, dpi=100):
    figure.set_dpi(dpi)
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3].astype(int)


def at(figure, axes, x, y, picture):
    """The pixel of a picture at a place of an axes."""
    across, up = axes.transData.transform((x, y))
    return picture[int(picture.shape[0] - up), int(across)]


def words(figure):
    return [t.get_text() for t in figure.findobj(lambda a: hasattr(a, "get_text")) if t.get_text()]


def rings_of(axes):
    return sum(len(c.get_offsets()) for c in axes.collections if isinstance(c, PathCollection)) // 2


def test_a_tumour_of_six_tiles_on_a_huge_slide_is_ringed_boxed_and_shown_larger():
    figure = slide_panel.panel(views.large(found=FOUND))
    truth, heat, both, *zoomed, _bar = figure.axes
    assert [rings_of(axes) for axes in (truth, heat, both)] == [1, 0, 1]
    assert len(zoomed) == 3
    left, right = zoomed[0].get_xlim()
    assert 6 <= 100 * (right - left) / 100_000 <= 40
    assert all(axes.patches for axes in (truth, heat, both))
    said = words(figure)
    assert "Ground truth" in said
    assert "Heatmap" in said
    assert "Overlay" in said
    assert any("6 tiles" in word for word in said)
    assert any(word.startswith("IoU 0.40") for word in said)
    assert "5 mm" in said


def test_colours_are_those_of_the_scale_at_the_place_of_the_tile():
    one = views.large()
    figure = slide_panel.panel(one)
    picture = drawn(figure, 200)
    zoomed = figure.axes[4]
    colours = slide_view.paint(one.heat, one.colour)[..., :3].astype(int)
    for row, column in ((30, 40), (31, 42), (27, 38), (33, 45)):
        x, y = 1000 * (column + 0.5), 1000 * (row + 0.5)
        np.testing.assert_allclose(at(figure, zoomed, x, y, picture), colours[row, column], atol=2)


def test_a_thumbnail_lies_under_the_tiles_where_the_slide_has_it():
    one = views.large()
    thumbnail = np.full((100, 100, 3), 240, dtype=np.uint8)
    thumbnail[30:32, 40:43] = (10, 120, 30)  # as large as the tumour
    one = dataclasses.replace(one, picture=thumbnail, tumour=shapely.MultiPolygon())
    figure = slide_panel.panel(one)
    picture = drawn(figure, 200)
    green = at(figure, figure.axes[0], 41_500, 31_000, picture)
    assert green[1] > green[0] + 40
    assert at(figure, figure.axes[0], 60_000, 60_000, picture).min() > 220


def test_nothing_is_said_that_nobody_knows():
    bare = views.view(np.ones((40, 40), dtype=bool), mpp=None)
    figure = slide_panel.panel(bare)
    assert len(figure.axes) == 4  # no closer look, nothing to look at
    said = words(figure)
    assert not any("µm" in word or " mm" in word or "IoU" in word for word in said)
    assert any("truth not known" in word for word in said)
    assert not figure.legends


@pytest.mark.parametrize("name", ["$x_1$ & <b>", "切片 一", "a" * 300])
@pytest.mark.parametrize("shape", [(1, 1), (2, 90), (90, 2)])
def test_odd_names_and_odd_shapes_are_drawn(name, shape):
    one = views.view(np.ones(shape, dtype=bool), name=name, label=np.zeros(shape),
                     found=np.ones(shape, dtype=bool), colour=(0.5, 0.5))  # fmt: skip
    assert drawn(slide_panel.panel(one)).std() > 0


def test_a_slide_without_any_value_is_drawn_empty():
    one = views.view(np.ones((5, 5), dtype=bool))
    one = dataclasses.replace(one, heat=np.full((5, 5), np.nan), threshold=np.inf,
                              found=np.zeros(25, dtype=bool))  # fmt: skip
    assert "called tumour (nowhere)" in words(slide_panel.panel(one))


def test_the_same_slide_gives_the_same_bytes(tmp_path):
    written = []
    for name in ("a.png", "b.png"):
        draw.save(slide_panel.panel(views.large(found=FOUND)), tmp_path / name, dpi=60)
        written.append((tmp_path / name).read_bytes())
    assert written[0] == written[1]


@given(seed=st.integers(0, 999), pieces=st.integers(1, 60))
def test_every_tumour_that_would_be_lost_has_a_ring_near(seed, pieces):
    random = np.random.default_rng(seed)
    x, y = random.uniform(0, 1e5, (2, pieces))
    side = random.choice([100.0, 900.0, 6000.0], pieces)
    whole = shapely.union_all(shapely.box(x, y, x + side, y + side))
    one = dataclasses.replace(views.large(side=20), tumour=whole)
    points, size = 200.0, 13.0
    rings = slide_marks.small_tumour(one, (0.0, 0.0, 1e5, 1e5), points=points, size_pt=size)
    reach = 0.5 * size * 1e5 / points
    parts = shapely.get_parts(whole)
    bounds = shapely.bounds(parts)
    seen = (bounds[:, 2:] - bounds[:, :2]).max(axis=1) * points / 1e5 >= 6
    large = shapely.union_all(parts[seen])
    for part in parts[~seen]:
        middle = np.array([(part.bounds[i] + part.bounds[i + 2]) / 2 for i in (0, 1)])
        near = np.hypot(*(rings - middle).T).min(initial=np.inf)
        assert near <= reach * (1 + 1e-9) or part.distance(large) <= reach


def test_the_threshold_is_marked_on_the_colour_bar_only_where_it_lies_on_it():
    for threshold, lines in ((0.5, 2), (7.0, 0)):
        one = dataclasses.replace(views.large(found=FOUND), threshold=threshold)
        bar = slide_panel.panel(one).axes[-1]
        assert len(bar.lines) == lines


def test_the_contact_sheet_has_a_place_for_every_slide():
    picture = io.BytesIO()
    slide_sheet.cell(views.large(found=FOUND)).savefig(picture, dpi=50)
    image = np.zeros((95, 95, 3), dtype=np.uint8)
    for count in (1, 5, 7, 23):
        cells = [slide_sheet.Cell((f"slide {i}", "no tumour", "3 tiles called"), image)
                 for i in range(count)]  # fmt: skip
        figure = slide_sheet.sheet(cells, title="cohort", colour=(0.0, 1.0), threshold=0.5)
        boxes = [axes.get_position().extents for axes in figure.axes[:-1]]
        assert len(boxes) == count
        areas = [shapely.box(*box) for box in boxes]
        assert shapely.union_all(areas).area == pytest.approx(sum(a.area for a in areas))
        assert {f"slide {i}" for i in range(count)} <= set(words(figure))
        assert not any("truth)" in word for word in words(figure))  # no tumour, no word of it


@pytest.mark.parametrize("count", [1, 2, 7])
def test_the_title_of_a_contact_sheet_is_whole_however_few_slides(count):
    title = "cmu30.parquet · score, blurred for the picture only"
    image = np.zeros((10, 10, 3), np.uint8)
    cells = [slide_sheet.Cell((f"s{i}", "no tumour", "none"), image) for i in range(count)]
    figure = slide_sheet.sheet(cells, title=title, colour=(0.0, 1.0))
    drawn = figure.texts[0]
    box = drawn.get_window_extent(figure.canvas.get_renderer())
    assert " ".join(drawn.get_text().split()) == title
    assert box.x1 <= figure.bbox.x1
    assert box.y1 <= figure.bbox.y1
    assert box.y0 >= figure.axes[0].get_window_extent().y1


def test_the_legend_under_a_single_slide_is_whole():
    image = np.zeros((10, 10, 3), np.uint8)
    cells = [slide_sheet.Cell(("s", "tumour 3 mm²", "none"), image)]
    for colour in (None, (0.0, 1.0)):
        figure = slide_sheet.sheet(cells, colour=colour, threshold=-0.0001234)
        box = figure.legends[0].get_window_extent(figure.canvas.get_renderer())
        assert box.x1 <= figure.bbox.x1
