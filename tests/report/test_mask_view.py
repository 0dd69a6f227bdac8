"""Pictures of masks: every pixel has the colour of its error, and lines stand where objects end."""

import numpy as np
import pytest
from matplotlib import colormaps
from matplotlib.colors import to_rgb
from PIL import Image

from wsrpn.report import draw, marks, mask_panels, mask_view
from wsrpn.report.mask_panels import ALARM, HIT, MISS
from wsrpn.report.mask_view import MaskPicture

SIZE = (60, 80)


def objects(*squares, size=SIZE):
    """Squares (top, left, side) with numbers from 1 on."""
    found = np.zeros(size, dtype=np.int32)
    for number, (top, left, side) in enumerate(squares, start=1):
        found[top : top + side, left : left + side] = number
    return found


def picture(**changes):
    found = objects((10, 10, 20), (40, 60, 10))
    given = {
        "image": np.full(SIZE, 0.5),
        "name": "a.png",
        "score": np.where(found > 0, 0.9, 0.1),
        "found": found,
        "truth": objects((10, 20, 20)),
        "said": "Jaccard 0.29",
        "threshold": 0.5,
    }
    return MaskPicture(**(given | changes))


def rendered(figure, dpi=100):
    figure.set_dpi(dpi)
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3] / 255


def words(figure):
    """All words of a picture."""
    inside = [text.get_text() for axes in figure.axes for text in axes.texts]
    return [*inside, *(text.get_text() for text in figure.texts)]


def legends(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def colour(figure, axes, row, column):
    """Of the rendered picture at the middle of a pixel of the image."""
    x, y = axes.transData.transform((column + 0.5, row + 0.5))
    return rendered(figure)[round(figure.canvas.get_width_height()[1] - y), round(x)]


def lines(axes):
    """Vertices of all contours, by colour."""
    found = {}
    for line in axes.collections:
        here = tuple(np.round(line.get_edgecolor()[0][:3], 3))
        found[here] = np.concatenate([path.vertices for path in line.get_paths()])
    return found


def test_every_error_has_its_colour():
    found = np.array([[True, True], [False, False]])
    truth = np.array([[True, False], [True, False]])
    drawn = mask_view.errors(found, truth)
    for place, meant in (((0, 0), HIT), ((0, 1), ALARM), ((1, 0), MISS)):
        np.testing.assert_allclose(drawn[place][:3] * 255, meant)
        assert 0 < drawn[place][3] < 1, "the image is seen below"
    assert drawn[1, 1, 3] == 0


def test_colours_stand_on_the_pixels_of_the_errors():
    figure = mask_view.panel(picture())
    axes = figure.axes[1]
    ground = colour(figure, axes, 5, 5)
    np.testing.assert_allclose(ground, 0.6 * 0.5, atol=0.01)
    for (row, column), meant in (((20, 25), HIT), ((20, 15), ALARM), ((20, 35), MISS)):
        blended = 0.75 * np.array(meant) / 255 + 0.25 * ground
        np.testing.assert_allclose(colour(figure, axes, row, column), blended, atol=0.01)


def test_outlines_run_along_the_edges_of_objects():
    drawn = lines(mask_view.panel(picture()).axes[0])
    for kind, (top, left, bottom, right) in (
        (marks.TRUTH, (10, 20, 30, 40)), (marks.FOUND, (10, 10, 50, 70)),
    ):  # fmt: skip
        x, y = drawn[tuple(np.round(to_rgb(kind), 3))].T
        np.testing.assert_allclose((y.min(), x.min(), y.max(), x.max()), (top, left, bottom, right))


def test_objects_are_matched_and_not_only_counted():
    found = objects((10, 10, 20), (40, 60, 10), (0, 0, 5))
    truth = objects((10, 12, 20), (50, 10, 8))
    said = words(mask_view.panel(picture(found=found, truth=truth)))
    assert "1 matched, 2 false, 1 missed at IoU 0.5" in said


def test_lines_around_small_objects_are_thinner():
    def widths(side):
        some = objects((10, 10, side), (30, 60, side), size=(200, 200))
        flat = np.full((200, 200), 0.5)
        axes = mask_view.panel(picture(image=flat, score=flat, found=some, truth=some)).axes[0]
        return [line.get_linewidth()[0] for line in axes.collections]

    large, small = widths(60), widths(5)
    assert large == pytest.approx([2.4 * 0.9, 0.9])
    assert small[0] == pytest.approx(2.4 * small[1])
    across = 5 * 72 * 3.4 / 200  # points on the page
    assert sum(small) < across / 4, "what lies inside is seen"


def test_the_overlay_is_as_large_as_the_image_and_lines_lie_on_the_rims():
    shown = picture(truth=objects((10, 30, 20), (40, 60, 10)))
    painted = mask_view.overlay(shown)
    assert painted.shape == (*SIZE, 3)
    found, truth = (np.array(to_rgb(c)) * 255 for c in (marks.FOUND, marks.TRUTH))
    for row, column in ((10, 10), (29, 29), (20, 10), (40, 60), (49, 69)):
        np.testing.assert_allclose(painted[row, column], found, atol=0.5)
    for row, column in ((9, 35), (10, 35), (11, 35), (41, 65), (39, 65)):
        np.testing.assert_allclose(painted[row, column], truth, atol=0.5)
    for row, column in ((5, 5), (20, 20), (45, 65), (13, 45)):
        assert painted[row, column].tolist() == [128] * 3
    bare = mask_view.overlay(picture(truth=None))
    assert not (bare == truth.round().astype(np.uint8)).all(-1).any()


def test_an_object_at_the_edge_of_the_image_has_a_line_there():
    whole = objects((0, 0, 60), size=(60, 60))
    flat = np.full((60, 60), 0.5)
    figure = mask_view.panel(picture(image=flat, score=flat, found=whole, truth=whole))
    ends = lines(figure.axes[0])[tuple(np.round(to_rgb(marks.FOUND), 3))]
    np.testing.assert_allclose((ends.min(), ends.max()), (0, 60))
    assert figure.axes[0].get_xlim() == (0, 60)


def test_objects_that_touch_have_outlines_of_their_own():
    beside = objects((10, 10, 20), (10, 30, 20))
    kept = mask_view.inside(beside)
    assert kept.sum() == (beside > 0).sum() - 20
    assert not kept[10:30, 29].any()
    below = mask_view.inside(beside.T)
    assert (below == kept.T).all()
    assert (mask_view.inside(objects((10, 10, 20))) == (objects((10, 10, 20)) > 0)).all()


def test_objects_and_pixels_are_counted_before_the_picture_is_reduced(monkeypatch):
    monkeypatch.setattr(mask_view, "SIDE", 20)
    said = words(mask_view.panel(picture()))
    assert "1 matched, 1 false, 0 missed at IoU 0.5" not in said  # their IoU is a third
    assert "0 matched, 2 false, 1 missed at IoU 0.5" in said
    assert "200 px hit, 300 false alarm, 200 missed" in said
    assert "a.png · Jaccard 0.29" in said
    assert "threshold 0.50" in said


def test_a_picture_is_reduced_to_means_and_objects_keep_their_places():
    whole = picture()
    small = whole.within(40)
    assert small.image.shape == small.score.shape == small.found.shape == (30, 40)
    np.testing.assert_allclose(
        small.score, whole.score.reshape(30, 2, 40, 2).mean((1, 3)), atol=1e-6
    )
    assert (small.found == objects((5, 5, 10), (20, 30, 5), size=(30, 40))).all()
    assert (small.truth == objects((5, 10, 10), size=(30, 40))).all()
    assert whole.within(80) is whole
    assert picture(truth=None).within(8).truth is None
    thin = picture(found=objects((0, 0, 1), size=SIZE)).within(7)
    assert thin.image.shape == (5, 7)


def test_scores_share_one_scale_and_the_threshold_is_marked():
    figure = mask_view.panel(picture())
    shown = figure.axes[2].get_images()[0]
    assert shown.get_clim() == (0, 1)
    assert shown.get_cmap().name == mask_panels.SCORES, "as in the pictures of a training"
    np.testing.assert_allclose(shown.get_array(), picture().score)
    (mark,) = [line for line in figure.axes[3].lines if line.get_marker() == "v"]
    assert list(mark.get_xdata()) == [0.5]


def test_without_a_truth_there_are_no_errors_and_no_figures():
    figure = mask_view.panel(picture(truth=None, said="", threshold=None))
    assert legends(figure) == ["found"]
    assert "2 objects found" in words(figure)
    assert "Image, no truth is known" in words(figure)
    assert not any("hit" in text for text in words(figure))
    assert figure.axes[1].get_images()[0].get_array().mean() == 0.5


def test_masks_without_an_object_are_drawn():
    empty = np.zeros(SIZE, dtype=np.int32)
    figure = mask_view.panel(picture(found=empty, truth=empty, threshold=1.1))
    assert "0 matched, 0 false, 0 missed at IoU 0.5" in words(figure)
    assert lines(figure.axes[0]) == {}
    rendered(figure)


def test_attention_and_drr_have_places_of_their_own():
    grid = np.zeros((3, 4))
    grid[1, 2] = 0.8
    drr = np.full((30, 40), 0.25)
    figure = mask_view.panel(picture(attention=grid, drr=drr))
    said = words(figure)
    assert {"Attention", "DRR of the CT", "0.00 (clear) to 0.80"} <= {*said}
    looked = figure.axes[3].get_images()[1]
    row, column = np.unravel_index(looked.get_array().argmax(), SIZE)
    assert (row // 20, column // 20) == (1, 2)
    assert (figure.axes[4].get_images()[0].get_array() == 0.25).all()
    assert looked.get_clim() == (0, pytest.approx(0.8))
    assert looked.colorbar is not None
    assert (looked.cmap(0.8)[:3]) == colormaps[mask_panels.ATTENTION](0.8)[:3]
    assert looked.cmap(0)[3] == 0, "the image is seen where nobody looks"
    # The DRR has axes of its own, the attention and its scale two.
    assert len(mask_view.panel(picture(drr=drr)).axes) == len(figure.axes) - 2


def test_attention_that_is_flat_is_pale_and_told():
    figure = mask_view.panel(picture(attention=np.full((3, 4), 0.5)))
    assert "0.50 (clear) to 0.50, the same everywhere" in words(figure)
    shown = figure.axes[3].get_images()[1]
    assert shown.cmap(shown.norm(shown.get_array())).max(axis=(0, 1))[3] == 0


def test_a_sheet_has_every_image_with_its_figures():
    shown = [picture(), picture(name="b.png", truth=None, said="")]
    figure = mask_view.contact_sheet(shown, columns=3, title="beads")
    assert {"a.png", "Jaccard 0.29", "b.png", "beads"} <= {*words(figure)}
    assert legends(figure) == ["found", "hit", "false alarm", "line: truth, area: miss"]
    assert legends(mask_view.contact_sheet(shown[:1])) == ["hit", "false alarm", "miss"]
    assert legends(mask_view.contact_sheet(shown[1:])) == ["found"]


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
def test_the_same_picture_gives_the_same_bytes(suffix, tmp_path):
    for name in ("a", "b"):
        draw.save(mask_view.panel(picture()), tmp_path / f"{name}.{suffix}", dpi=60)
    assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()
    if suffix == "png":
        with Image.open(tmp_path / "a.png") as drawn:
            assert drawn.width > 400
