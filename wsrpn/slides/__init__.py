"""Slides: score tables, truth, and the mathematics on the lattice of tiles."""
