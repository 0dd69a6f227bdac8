import csv
import io

import numpy as np
import pytest
from skimage.measure import regionprops

from tests.segmentation.worlds import discs
from wsrpn.masks import clean
from wsrpn.segmentation import objects_table


def told(mask, pixels=None):
    numbers = clean.objects(mask)
    score = np.full(mask.shape, 32768, dtype=np.uint16)
    pixels = np.full(mask.shape, 0.25, dtype=np.float32) if pixels is None else pixels
    lines = objects_table.rows("a", numbers, score, pixels)
    text = "\n".join(",".join(line) for line in [objects_table.COLUMNS, *lines])
    return numbers, list(csv.DictReader(io.StringIO(text)))


def test_shapes_are_those_of_skimage():
    rng = np.random.default_rng(0)
    mask = discs((60, 90), (20, 20, 9), (60, 40, 14), (84, 5, 8), (5, 55, 0.5)) > 0
    mask[30:34, 2:30] = True
    pixels = rng.random(mask.shape).astype(np.float32)
    numbers, rows = told(mask, pixels)
    known = regionprops(numbers, intensity_image=pixels)
    assert len(rows) == len(known) == 5
    for row, one in zip(rows, known, strict=True):
        assert int(row["area_px"]) == one.area
        assert float(row["perimeter_px"]) == pytest.approx(one.perimeter_crofton, abs=0.01)
        assert float(row["major_px"]) == pytest.approx(one.axis_major_length, abs=0.01)
        assert float(row["minor_px"]) == pytest.approx(one.axis_minor_length, abs=0.01)
        assert float(row["intensity"]) == pytest.approx(one.intensity_mean, abs=1e-4)
        top, left, bottom, right = one.bbox
        assert (row["touches_border"] == "yes") == (min(top, left, 60 - bottom, 90 - right) == 0)


def test_a_disc_is_round_and_a_bar_is_not():
    (disc,) = told(discs((60, 60), (30, 30, 20)) > 0)[1]
    assert 0.95 < float(disc["circularity"]) <= 1
    bar = np.zeros((60, 60), dtype=bool)
    bar[20:23, 5:55] = True
    assert float(told(bar)[1][0]["circularity"]) < 0.3
