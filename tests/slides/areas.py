"""Random areas with everything that makes them hard: holes, islands in holes, several parts."""

import numpy as np
import shapely


def star(rng: np.random.Generator, x: float, y: float, radius: float) -> shapely.Polygon:
    """A ring around a centre that does not cross itself."""
    angle = np.sort(rng.uniform(0, 2 * np.pi, 24))
    reach = radius * rng.uniform(0.6, 1.0, 24)
    return shapely.make_valid(
        shapely.Polygon(np.stack([x + reach * np.cos(angle), y + reach * np.sin(angle)], 1))
    )


def nested(seed: int) -> shapely.Geometry:
    """Two pieces: one with two holes and an island in one of these, one somewhere else."""
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(20_000, 90_000, 2)
    outer = star(rng, x, y, 1000)
    holes = shapely.union_all([star(rng, x - 200, y, 180), star(rng, x + 200, y, 180)])
    island = star(rng, x - 200, y, 60)
    return shapely.union_all([outer - holes, island, star(rng, x + 5000, y, 300)])
