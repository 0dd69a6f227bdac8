import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from tests.cohort.cohorts import tiles
from wsrpn.cohort.regions import merges


@pytest.mark.parametrize("connectivity", [4, 8])
@given(seed=st.integers(0, 10_000), rows=st.integers(1, 7), columns=st.integers(1, 7))
def test_regions_at_every_threshold_are_those_that_scipy_labels(connectivity, seed, rows, columns):
    random = np.random.default_rng(seed)
    grid = random.integers(0, 5, size=(rows, columns)).astype(float)
    grid[random.random(grid.shape) < 0.2] = np.nan  # no tile there
    if np.isnan(grid).all():
        grid[0, 0] = 1.0
    slide = tiles("s", grid, np.zeros_like(grid))
    values = slide.score.copy()
    values[values == 0] = -np.inf  # never called
    found = merges(slide.lattice, values, connectivity)
    structure = ndimage.generate_binary_structure(2, connectivity // 4)
    for threshold in (0.5, 1.0, 2.0, 2.5, 3.0, 4.0, 5.0):
        _, count = ndimage.label(slide.lattice.marked(values >= threshold), structure)
        assert (values >= threshold).sum() - (found >= threshold).sum() == count
