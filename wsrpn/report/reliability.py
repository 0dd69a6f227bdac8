"""The reliability plot: do scores mean what they say, before and after calibration."""

from pathlib import Path

import numpy as np

from wsrpn import files
from wsrpn.calibration import Calibration, sigmoid
from wsrpn.metrics import reliability
from wsrpn.metrics.gather import gather
from wsrpn.metrics.image import known
from wsrpn.types import Dataset, Predictions

BINS = 10
COLUMNS = 4


def draw_reliability(
    calibration: Calibration, predictions: Predictions, dataset: Dataset, path: Path
) -> None:
    """One panel per class: share of positives against mean score, raw and calibrated.

    Points are bins of equal mass; a calibrated model lies on the diagonal.

    Args:
        calibration: fitted.
        predictions: raw.
        dataset: labels of the same images.
        path: the picture, in a format that its suffix names.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    raw = gather(predictions, dataset)
    after = gather(calibration.apply(predictions), dataset)
    rows = -(-len(raw.classes) // COLUMNS)
    columns = min(COLUMNS, len(raw.classes))
    picture = Figure(figsize=(3 * columns, 3 * rows), layout="constrained")
    FigureCanvasAgg(picture)
    panels = picture.subplots(rows, columns, squeeze=False)
    for panel in panels.ravel()[len(raw.classes) :]:
        panel.set_axis_off()
    for k, (name, panel) in enumerate(zip(raw.classes, panels.ravel(), strict=False)):
        panel.plot([0, 1], [0, 1], color="0.7", linewidth=1)
        for evidence, label, colour in ((raw, "raw", "0.45"), (after, "calibrated", "tab:blue")):
            here = known(evidence)[:, k]
            scores = sigmoid(evidence.logits[here, k])
            x, y, _ = reliability.curve(evidence.labels[here, k], scores, bins=BINS)
            ece = reliability.calibration_error(
                evidence.labels[here, k], scores, np.ones((1, len(scores)))
            )
            panel.plot(x, y, "o-", color=colour, markersize=3, label=f"{label}, ECE {ece[0]:.3f}")
        panel.set(title=name, xlim=(0, 1), ylim=(0, 1), xlabel="score", ylabel="share present")
        panel.legend(fontsize="x-small", loc="upper left")
    files.write_with(path, picture.savefig)
