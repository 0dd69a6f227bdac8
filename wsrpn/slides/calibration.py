"""A fitted calibration of tile scores: the steps, one threshold, and where they come from.

Made by `wsrpn.cohort.calibrate`, kept as JSON, applied by evaluation and drawing. A tile is called
tumour where `value >= threshold`, its value being its score after the steps: normalised within its
slide, smoothed on the lattice, cleaned of small objects and small holes. Cleaning commutes with
thresholding, so it is done on the values.
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from wsrpn import files
from wsrpn.errors import InputError
from wsrpn.types import Figure

SCHEMA = 1
COMPARATOR = ">="

Unit = Literal["um", "tile"]
Over = Literal["macro", "pooled"]


@dataclass(frozen=True)
class Steps:
    """What is done to the scores of a slide before the threshold, in this order.

    Attributes:
        normalise: name of a normaliser of `wsrpn.slides.normalise`.
        smooth: σ of the Gaussian on the lattice, in micrometres or tile pitches; 0 for none.
        min_area: objects smaller than this are removed, in µm² or tiles; 0 for none.
        max_hole: holes up to this size are filled, in µm² or tiles; 0 for none, inf for all.
        unit: `um`, or `tile` where nobody knows how large a pixel is.
        connectivity: 4 or 8 neighbours make an object; the background has 4.
    """

    normalise: str = "none"
    smooth: float = 0.0
    min_area: float = 0.0
    max_hole: float = 0.0
    unit: Unit = "um"
    connectivity: Literal[4, 8] = 4


@dataclass(frozen=True)
class Chosen:
    """Steps that an earlier calibration chose, and on whom.

    Attributes:
        steps: what it chose.
        slides: whose truth it saw.
        patients: of these slides.
    """

    steps: Steps
    slides: tuple[str, ...] = ()
    patients: tuple[str, ...] = ()


@dataclass(frozen=True)
class Row:
    """One line of a table: steps under one shared threshold, and what they reach.

    Attributes:
        name: what the line adds to the one before, or what is chosen.
        steps: all that is done.
        objective: what the threshold is best for.
        threshold: fitted on all slides of the fit.
        fitted: name → figure on the slides of the fit.
        held_out: the same on slides left out in turn; empty if there were too few.
        gain: `held_out` minus that of the line before, paired over slides; empty in the first line.
        per_slide: slide → `iou` held out and `iou_oracle`; None where undefined. Only lines of the
            contribution have it.
    """

    name: str
    steps: Steps
    objective: str
    threshold: float
    fitted: Mapping[str, Figure] = field(default_factory=dict)
    held_out: Mapping[str, Figure] = field(default_factory=dict)
    gain: Mapping[str, Figure] = field(default_factory=dict)
    per_slide: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)


@dataclass(frozen=True)
class SlideCalibration:
    """Steps and a threshold with where they come from.

    Attributes:
        steps: what is done to the scores.
        threshold: on the values after the steps.
        objective: what the threshold is best for: `iou`, `f1`, `youden`, `specificity@X`,
            `fp_mm2@X`, `fp_regions@X`, `fnr@X`.
        over: `macro` (mean over slides) or `pooled` (counts of all slides together).
        score: column of the score table.
        rule: how tiles got their labels.
        tile_um: side of a tile, None without mpp.
        tile_px0: side of a tile in full-size pixels (median over slides).
        colour: values at the ends of the colour scale: 5th and 95th percentile over the cohort.
        slides: names of those it was fitted on.
        patients: of these slides.
        steps_from: slides and patients whose truth chose the steps, if others did; see `Chosen`.
        digest: of their names and scores.
        contribution: none → normalise → threshold → clean-up → smoothing, line by line.
        choices: candidates with their held-out figures, best first.
        figures: name → figure on the slides of the fit, `iou_oracle` among them.
        held_out: the same on slides left out in turn, steps and threshold chosen without them.
        provenance: table, version, rule's ceiling, options.
        warnings: what the user should know.
    """

    steps: Steps
    threshold: float
    objective: str = "iou"
    over: Over = "macro"
    score: str = "score"
    rule: str = ""
    tile_um: float | None = None
    tile_px0: float = 0.0
    colour: tuple[float, float] = (0.0, 1.0)
    slides: tuple[str, ...] = ()
    patients: tuple[str, ...] = ()
    steps_from: "Chosen | None" = None
    digest: str = ""
    contribution: tuple[Row, ...] = ()
    choices: tuple[Row, ...] = ()
    figures: Mapping[str, Figure] = field(default_factory=dict)
    held_out: Mapping[str, Figure] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    comparator: str = COMPARATOR
    kind: str = "slides"

    @property
    def chosen(self) -> Chosen:
        """The steps, and everybody whose truth had a part in them."""
        before = self.steps_from or Chosen(self.steps)
        slides = dict.fromkeys((*before.slides, *self.slides))
        patients = dict.fromkeys((*before.patients, *self.patients))
        return Chosen(self.steps, tuple(slides), tuple(patients))

    def save(self, path: Path) -> str:
        """Write as JSON, atomically (see `plain`). Returns the sha256."""
        return files.write_json(path, plain({"schema": SCHEMA, **dataclasses.asdict(self)}))

    @staticmethod
    def load(path: Path) -> "SlideCalibration":
        """Read what `save` wrote.

        Raises:
            InputError: no calibration of tile scores, of another version, or damaged.
        """
        found = files.read_json(path, what="a calibration")
        if not isinstance(found, dict) or "schema" not in found:
            raise InputError(f"{path}: not a calibration; `wsrpn calibrate` writes one.")
        if found["schema"] != SCHEMA or found.get("kind") != "slides":
            raise InputError(
                f"{path}: a calibration of kind '{found.get('kind')}', schema {found['schema']}; "
                f"tile scores need kind 'slides', schema {SCHEMA}. Calibrate the score table."
            )
        try:
            return _parsed(found)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"{path}: damaged calibration ({error!r}). Calibrate again.") from None


def kind_of(path: Path) -> str:
    """`slides`, `detection`, or "" for what is no calibration.

    Raises:
        InputError: no such file, or no JSON.
    """
    found = files.read_json(path, what="a calibration")
    return str(found.get("kind", "")) if isinstance(found, dict) and "schema" in found else ""


def plain(value: Any, key: str = "") -> Any:
    """Values as JSON can hold them: a hole without end is "all", a threshold without one null.

    Args:
        value: dictionaries, lists, numbers.
        key: under which it stands.
    """
    if isinstance(value, dict):
        return {name: plain(one, name) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one, key) for one in value]
    if isinstance(value, float) and math.isinf(value):
        return None if key == "threshold" else "all"
    return value


def _number(value: Any) -> float:
    """A number as `plain` wrote it."""
    return math.inf if value is None or value == "all" else float(value)


def _parsed(found: Mapping[str, Any]) -> SlideCalibration:
    known = {f.name for f in dataclasses.fields(SlideCalibration)}
    values: dict[str, Any] = {name: value for name, value in found.items() if name in known}
    if values["comparator"] != COMPARATOR:
        raise ValueError(f"comparator {values['comparator']}")
    values["steps"] = _steps(values["steps"])
    values["threshold"] = _number(values["threshold"])
    for name in ("contribution", "choices"):
        values[name] = tuple(_row(row) for row in values[name])
    for name in ("figures", "held_out"):
        values[name] = _figures(values[name])
    chosen = values.get("steps_from")
    if chosen is not None:
        slides, patients = (tuple(map(str, chosen[name])) for name in ("slides", "patients"))
        values["steps_from"] = Chosen(_steps(chosen["steps"]), slides, patients)
    values.setdefault("patients", ())
    for name in ("slides", "patients", "warnings"):
        values[name] = tuple(str(one) for one in values[name])
    low, high = (float(end) for end in values["colour"])
    return SlideCalibration(**{**values, "colour": (low, high)})


def _steps(found: Mapping[str, Any]) -> Steps:
    sizes = {name: _number(found[name]) for name in ("smooth", "min_area", "max_hole")}
    return Steps(**{**found, **sizes})


def _row(found: Mapping[str, Any]) -> Row:
    groups = {name: _figures(found[name]) for name in ("fitted", "held_out", "gain")}
    threshold = _number(found["threshold"])
    return Row(**{**found, **groups, "steps": _steps(found["steps"]), "threshold": threshold})


def _figures(found: Mapping[str, Any]) -> dict[str, Figure]:
    return {name: Figure(**figure) for name, figure in found.items()}
