import numpy as np
import pytest
from matplotlib.colors import to_rgb

from wsrpn.errors import InputError
from wsrpn.report import draw, marks
from wsrpn.types import Box, Detections

CLASSES = ("Mass", "Nodule", "Effusion")
SIZE = (60, 120)


def detections(boxes, scores, labels):
    return Detections(
        id="a",
        size_px=SIZE,
        xyxy_px=np.array(boxes, dtype=float).reshape(-1, 4),
        scores=np.array(scores, dtype=float),
        classes=np.array(labels, dtype=np.int64),
        image_logits=np.zeros(len(CLASSES)),
    )


def picture(**changes):
    given = {
        "image": np.full(SIZE, 0.3),
        "classes": CLASSES,
        "name": "film.png",
        "truth": (Box(1, (20.0, 10.0, 50.0, 40.0)),),
        "detections": detections([[60, 20, 90, 50], [5, 5, 20, 20]], [0.8, 0.1], [1, 1]),
        "patch_maps": np.zeros((3, 3, 6)),
        "region_maps": np.full((2, 5, 10), 1 / 50),
        "region_scores": np.array([[0.1, 0.9, 0.0], [0.0, 0.2, 0.0]]),
    }
    return draw.Picture(**(given | changes))


def rendered(figure, dpi=100):
    figure.set_dpi(dpi)
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3] / 255


def at(figure, axes, x_px, y_px):
    """Row and column in the rendered picture of a point of an image."""
    x, y = axes.transData.transform((x_px, y_px))
    return round(figure.canvas.get_width_height()[1] - y - 0.5), round(x - 0.5)


def texts(figure):
    return " | ".join(t.get_text() for axes in figure.axes for t in axes.texts)


@pytest.mark.parametrize("grid", [(3, 6), (7, 7), (4, 5)])
@pytest.mark.parametrize("size", [(60, 120), (90, 45), (64, 64)])
def test_a_map_peaks_at_the_centre_of_its_cell_whatever_the_shapes(grid, size):
    for row, column in [(0, 0), (1, 3), (grid[0] - 1, grid[1] - 1)]:
        cells = np.zeros(grid)
        cells[row, column] = 1.0
        smooth = draw.upsample(cells, size)
        assert smooth.shape == size
        wanted = ((row + 0.5) / grid[0] * size[0], (column + 0.5) / grid[1] * size[1])
        bright = np.argwhere(smooth >= 0.98 * smooth.max()) + 0.5
        assert (
            np.abs(np.median(bright, 0) - wanted).max()
            <= 0.5
            * max(size[0] / grid[0], size[1] / grid[1])
            * (row in (0, grid[0] - 1) or column in (0, grid[1] - 1))
            + 1.0
        )


def test_upsampling_keeps_a_constant_and_stays_between_zero_and_the_peak():
    assert draw.upsample(np.full((2, 3), 0.4), (31, 17)) == pytest.approx(0.4)
    rough = np.random.default_rng(0).random((5, 7))
    smooth = draw.upsample(rough, (80, 40))
    assert smooth.min() >= 0
    assert smooth.max() <= rough.max()


@pytest.mark.parametrize("size", [(60, 120), (120, 60)])
def test_the_brightest_overlay_pixel_of_the_picture_lies_at_the_cell_centre(size):
    cells = np.zeros((3, 3, 6))
    cells[1, 1, 4] = 1.0
    plain = picture(image=np.zeros(size), truth=(), detections=None, patch_maps=cells,
                    region_maps=None, region_scores=None)  # fmt: skip
    figure = draw.panel(plain, show=(1,))
    pixels = rendered(figure)
    axes = figure.axes[1]
    top, left = at(figure, axes, 0, 0)
    bottom, right = at(figure, axes, size[1], size[0])
    inside = pixels[top + 2 : bottom - 1, left + 2 : right - 1].sum(-1)
    rows, columns = np.nonzero(inside >= 0.995 * inside.max())
    wanted = at(figure, axes, 4.5 / 6 * size[1], 1.5 / 3 * size[0])
    assert np.median(rows) + top + 2 == pytest.approx(wanted[0], abs=2)
    assert np.median(columns) + left + 2 == pytest.approx(wanted[1], abs=2)


def test_the_opacity_follows_the_map_and_leaves_the_anatomy():
    colour = draw.tint(np.array([[0.0, 0.25, 0.5, 2.0]]), 1.0)
    assert colour[0, :, 3] == pytest.approx([0.0, 0.155, 0.31, 0.62])
    assert draw.tint(np.ones((2, 2)), 0.0)[..., 3].max() == 0


def test_the_map_of_a_class_joins_its_regions_by_noisy_or():
    maps = np.array([[[0.5, 0.3, 0.2]], [[0.1, 0.1, 0.8]]])
    scores = np.array([[0.9, 0.0], [0.4, 0.5]])
    made = picture(
        region_maps=maps, region_scores=scores, classes=("a", "b"), truth=(), patch_maps=None
    )
    absent = [1.0, 1.0, 1.0]
    for r in range(2):
        absent = [absent[j] * (1 - scores[r, 0] * maps[r, 0, j] / maps[r].max()) for j in range(3)]
    slow = [1 - a for a in absent]
    assert made.region_map(0)[0] == pytest.approx(slow)
    assert made.region_map(1)[0] == pytest.approx(0.5 * maps[1, 0] / 0.8)


def test_boxes_are_drawn_at_their_pixels_in_their_colours():
    figure = draw.panel(picture(image=np.zeros(SIZE), patch_maps=None), show=(1,))
    pixels = rendered(figure, dpi=200)

    def close(point, colour, axes):
        row, column = at(figure, axes, *point)
        near = pixels[row - 2 : row + 3, column - 2 : column + 3].reshape(-1, 3)
        return np.abs(near - to_rgb(colour)).max(-1).min() < 0.1

    left, right = figure.axes[:2]
    corner_ends = [(20.0, 12.0), (50.0, 38.0)]
    assert all(close(point, marks.TRUTH, left) for point in corner_ends)
    assert not close((35, 25), marks.TRUTH, left)
    edges = [(60, 35), (90, 35), (75, 20), (75, 50)]
    assert all(close(point, marks.FOUND, right) for point in edges)
    assert not any(close(point, marks.FOUND, left) for point in edges)


def test_boxes_below_the_threshold_are_not_drawn_and_the_title_says_the_threshold():
    both = draw.panel(picture(), show=(1,))
    assert "0.80" in texts(both)
    assert "0.10" in texts(both)
    cut = draw.panel(picture(), show=(1,), thresholds={1: 0.4})
    assert "best 0.80, threshold 0.40" in texts(cut)
    assert "0.10" not in texts(cut)
    assert "best 0.80, threshold 0.95" in texts(
        draw.panel(picture(), show=(1,), thresholds={1: 0.95})
    )


def test_only_the_best_boxes_are_drawn():
    many = detections([[i, 5, i + 9, 20] for i in range(8)], np.linspace(0.9, 0.2, 8), [1] * 8)
    said = texts(draw.panel(picture(detections=many), show=(1,), most=2))
    assert "0.80" in said
    assert "0.70" not in said


def test_the_same_scale_makes_a_weak_map_fainter_than_a_strong_one():
    def opacity(peak, scale):
        maps = np.full((3, 2, 4), peak)
        figure = draw.panel(
            picture(patch_maps=maps, region_maps=None, region_scores=None), show=(1,), scale=scale
        )
        return figure.axes[1].images[1].get_array()[..., 3].max()

    assert opacity(0.5, 1.0) == pytest.approx(0.31)
    assert opacity(1.0, 1.0) == pytest.approx(0.62)
    assert opacity(0.5, None) == pytest.approx(0.62)
    assert opacity(0.03, None) == pytest.approx(0.062)


def test_rows_are_the_classes_with_truth_or_a_box_and_the_best_where_none_is():
    assert picture().shown() == (1,)
    assert picture(detections=detections([[0, 0, 9, 9]], [0.7], [2])).shown() == (1, 2)
    weak = detections([[0, 0, 9, 9]], [0.2], [2])
    assert picture(truth=(), detections=weak).shown() == (2,)
    assert picture(detections=weak).shown({2: 0.1}) == (1, 2)
    assert picture(detections=weak).shown({2: 0.3}) == (1,)
    assert picture(detections=weak).shown() == (1, 2)  # chosen by an operating point below ½
    assert picture(truth=(), detections=None).shown() == (0,)


@pytest.mark.parametrize("case", ["nothing", "twelve", "long", "maps only", "tall"])
def test_odd_pictures_are_drawn_without_a_warning(case, tmp_path):
    many = tuple(f"class {i}" for i in range(12))
    long = tuple(f"{name} of a very long and winding description " * 3 for name in CLASSES)
    shapes = {
        "nothing": (picture(detections=detections([], [], []), truth=()), None),
        "twelve": (
            picture(classes=many, patch_maps=np.ones((12, 3, 6)), region_maps=None,
                    region_scores=None), range(12),
        ),
        "long": (picture(classes=long, name="path/" * 60), None),
        "maps only": (picture(region_maps=None, region_scores=None, detections=None), None),
        "tall": (picture(image=np.ones((300, 20))), None),
    }  # fmt: skip
    made, show = shapes[case]
    draw.save(draw.panel(made, show=show), tmp_path / "a.png", dpi=40)
    draw.save(draw.contact_sheet([made] * 3, columns=2, title=case), tmp_path / "b.png", dpi=40)
    assert (tmp_path / "a.png").stat().st_size > 1000
    assert (tmp_path / "b.png").stat().st_size > 1000


def test_titles_do_not_overlap_each_other_or_the_images():
    long = tuple(f"{name} with a long name that goes on and on" for name in CLASSES)
    figure = draw.panel(
        picture(classes=long, truth=(Box(0, (1.0, 1.0, 9.0, 9.0)), Box(1, (1.0, 1.0, 9.0, 9.0))))
    )
    rendered(figure)
    images = [axes.get_window_extent() for axes in figure.axes]
    titles = [
        t.get_window_extent()
        for axes in figure.axes
        for t in axes.texts
        if t.get_text()[0] in "12GPB" or "with" in t.get_text()
    ]
    assert len(titles) >= 8
    for index, one in enumerate(titles):
        assert not any(one.overlaps(other) for other in titles[index + 1 :])
        assert not any(one.overlaps(image) for image in images)


def test_a_contact_sheet_has_one_cell_per_picture_with_its_caption():
    figure = draw.contact_sheet([picture()] * 5, ["first", "second"], columns=3)
    said = texts(figure)
    assert len(figure.axes) == 6
    assert sum(bool(axes.images) for axes in figure.axes) == 5
    assert "first" in said
    assert said.count("film.png") == 3
    assert "Nodule 0.80" in said


def test_curves_draw_losses_left_and_figures_right_with_gaps():
    rows = [
        {"epoch": "0", "loss": "2.0", "loss_patch": "1.5", "auroc": "", "lr": "0.1"},
        {"epoch": "1", "loss": "1.0", "loss_patch": "0.5", "auroc": "0.8", "lr": "0.1"},
    ]
    left, right = draw.curves(rows).axes
    assert [line.get_label() for line in left.lines] == ["loss", "loss_patch"]
    assert [line.get_label() for line in right.lines] == ["auroc"]
    assert left.lines[0].get_ydata().tolist() == [2.0, 1.0]
    assert right.lines[0].get_xdata().tolist() == [1.0]
    assert not draw.curves([]).axes[0].lines


@pytest.mark.parametrize("suffix", [".png", ".pdf", ".svg"])
def test_the_same_picture_gives_the_same_bytes(tmp_path, suffix):
    for name in ("a", "b"):
        draw.save(draw.panel(picture()), tmp_path / f"{name}{suffix}", dpi=60)
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"a{suffix}", f"b{suffix}"]


def test_another_suffix_is_refused_in_a_sentence(tmp_path):
    with pytest.raises(InputError, match=r"a\.gif: a picture ends in \.png"):
        draw.save(draw.curves([]), tmp_path / "a.gif")
