"""Tiles made of known stains, for tests of looks."""

import numpy as np

# Unit densities of a haematoxylin and an eosin.
STAINS = np.array([[0.65, 0.70, 0.29], [0.15, 0.95, 0.27]])
STAINS /= np.linalg.norm(STAINS, axis=1, keepdims=True)
OTHERS = np.array([[0.75, 0.60, 0.28], [0.25, 0.88, 0.40]])  # of another laboratory
OTHERS /= np.linalg.norm(OTHERS, axis=1, keepdims=True)


def strengths(*, seed=0, tiles=8, side=48):
    """How much of each stain is where: mostly one of them, some mixed, some glass."""
    rng = np.random.default_rng(seed)
    kind = rng.choice(4, (tiles, side, side), p=[0.3, 0.4, 0.1, 0.2])
    amount = rng.uniform(0.3, 1.0, (tiles, side, side, 2))
    share = np.array([[1, 0], [0, 1], [1, 1], [0, 0]])[kind]
    return amount * share


def levels(strength, stains=STAINS, *, light=(255, 255, 255), factor=(1.0, 1.0)):
    """8-bit RGB by the Beer–Lambert law."""
    density = (strength * np.array(factor)) @ stains
    return np.clip(np.round(np.exp(-density) * np.array(light)), 0, 255).astype(np.uint8)
