"""What an autoencoder makes of tiles: originals, reconstructions, and how they differ."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from wsrpn.report import arms
from wsrpn.report.arms import EDGE
from wsrpn.report.marks import Drawing

_CELL, _GAP, _APART = 0.92, 0.05, 0.16  # inches: of a tile, between tiles, between the labels
_LEFT, _TOP = 1.02, 0.24  # inches: names of the rows, of the labels
_BAR = 0.42  # inches below: the scale of the differences
_FULL = 0.25  # difference of a channel that has the strongest colour, at least
_LINES = ("original", "reconstruction", "without skips", "|difference|")


@dataclass(frozen=True)
class Rows:
    """Tiles and what came back, all in [0, 1].

    Attributes:
        images: what the model was given.
        decoded: what it made of them.
        latent: the same from the latent alone, without skips.
        names: label of each tile; tiles of a label stand together.
    """

    images: Float[np.ndarray, "n h w 3"]
    decoded: Float[np.ndarray, "n h w 3"]
    latent: Float[np.ndarray, "n h w 3"]
    names: tuple[str, ...]

    @property
    def differences(self) -> Float[np.ndarray, "n h w"]:
        """Mean absolute difference over the channels."""
        return np.abs(self.images - self.decoded).mean(axis=-1)


def sheet(rows: Rows, *, title: str = "") -> Drawing:
    """Tiles in columns; below each what came back, that from the latent alone, and the difference.

    All differences share one scale of colours, so that tiles can be compared; the number below is
    the mean over the tile.

    Args:
        rows: at least one tile.
        title: heading.
    """
    gaps = [_APART * (a != b) for a, b in zip(rows.names, ("", *rows.names), strict=False)]
    left = _LEFT + np.arange(len(rows.names)) * (_CELL + _GAP) + np.cumsum(gaps) - gaps[0]
    high = _CELL * rows.images.shape[1] / rows.images.shape[2]
    under = _TOP + len(_LINES) * (high + _GAP)
    note = (
        "Difference: mean over the channels of |original − reconstruction|, and below each tile "
        "its mean. A decoder that makes the same without skips takes all from the latent."
    )
    width = float(left[-1]) + _CELL + 2 * EDGE
    page = arms.page(width, under + 0.14 + _BAR, title, note)
    # One pair of axes in inches: tiles with axes of their own would take ten times as long.
    axes = page.axes(0.0, page.top, width, under)
    most = max(_FULL, float(np.quantile(rows.differences, 0.995)))
    for place, line in enumerate((rows.images, rows.decoded, rows.latent, rows.differences)):
        y = _TOP + place * (high + _GAP)
        page.text(_LEFT - 0.08, page.top + y + high / 2, _LINES[place], fontsize=7.5, ha="right")
        for x, picture in zip(left.tolist(), line, strict=True):
            # Three channels are colours as they are; one takes the map.
            shown = axes.imshow(np.clip(picture, 0, 1), cmap="magma", vmin=0, vmax=most,
                                interpolation="nearest", aspect="auto",
                                extent=(x, x + _CELL, y + high, y))  # fmt: skip
    axes.set(xlim=(0, width), ylim=(under, 0))
    axes.set_axis_off()
    for x, gap, name, lost in zip(left.tolist(), gaps, rows.names, rows.differences, strict=True):
        if gap:
            page.text(x, page.top + 0.13, name, fontsize=8.5, weight="bold")
        page.text(x + _CELL / 2, page.top + under + 0.05, f"{lost.mean():.3f}", fontsize=7,
                  ha="center")  # fmt: skip
    _scale(page, shown, page.top + under + 0.22)
    return page.figure


def _scale(page: arms.Page, shown: Any, y: float) -> None:
    """The colours of the differences."""
    axes = page.axes(_LEFT, y, 1.6, 0.08)
    page.figure.colorbar(shown, cax=axes, orientation="horizontal")
    axes.tick_params(labelsize=6.5, length=2, pad=1.5)
