"""Scores of tiles: a trained run over slides, slide by slide, on one machine or several."""
