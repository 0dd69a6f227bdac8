"""A fitted calibration of score maps: where to cut, what is too small, and what an object is.

Made by `wsrpn.segmentation.calibrate`, kept as JSON, applied by evaluation, prediction and drawing.
A pixel is foreground where `score >= threshold` and its connected area has `min_size_px` pixels.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from wsrpn import files
from wsrpn.errors import InputError
from wsrpn.masks.clean import MIN_DISTANCE_PX, Touching
from wsrpn.types import Figure

SCHEMA = 1
KIND = "masks"
DEFAULT_THRESHOLD = 0.5


@dataclass(frozen=True)
class MaskCalibration:
    """Numbers with where they come from.

    Attributes:
        threshold: on scores in [0, 1].
        min_size_px: areas of fewer pixels are removed.
        touching: an area is an object, or split where it has a waist.
        min_distance_px: of the centres of two objects in one area, see `wsrpn.masks.clean`.
        objective: what they are best for: `jaccard`, `dice` or `object_f1`.
        ids: images that it was fitted on.
        patients: of these images.
        provenance: data, split, digests, version, weights.
        before: name → figure at a threshold of 0.5 with nothing removed.
        after: the same with these numbers, on the same images.
        held_out: the same on images held out patient by patient; empty if not asked for.
        warnings: what the user should know.
    """

    threshold: float = DEFAULT_THRESHOLD
    min_size_px: int = 0
    touching: Touching = "joined"
    min_distance_px: int = MIN_DISTANCE_PX
    objective: str = ""
    ids: tuple[str, ...] = ()
    patients: tuple[str, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    before: Mapping[str, Figure] = field(default_factory=dict)
    after: Mapping[str, Figure] = field(default_factory=dict)
    held_out: Mapping[str, Figure] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    kind: str = KIND

    def refuse_other_model(self, provenance: Mapping[str, Any]) -> None:
        """Where both sides say whose scores they know, they must say the same.

        Raises:
            InputError: they do not.
        """
        mine = self.provenance.get("maps", {}).get("weights_sha256")
        theirs = provenance.get("weights_sha256")
        if mine and theirs and mine != theirs:
            raise InputError(
                "The calibration was fitted to other weights than those of these maps (was the run "
                "trained on since?). Calibrate again, or name the one that fits."
            )

    def save(self, path: Path) -> str:
        """Write as JSON, atomically. Returns the sha256."""
        return files.write_json(path, {"schema": SCHEMA, **dataclasses.asdict(self)})

    @staticmethod
    def load(path: Path) -> "MaskCalibration":
        """Read what `save` wrote.

        Raises:
            InputError: no calibration of maps, of another version, or damaged.
        """
        found = files.read_json(path, what="a calibration")
        if not isinstance(found, dict) or "schema" not in found:
            raise InputError(f"{path}: not a calibration; `wsrpn calibrate` writes one.")
        if found["schema"] != SCHEMA or found.get("kind") != KIND:
            raise InputError(
                f"{path}: a calibration of kind '{found.get('kind')}', schema {found['schema']}; "
                f"score maps need kind '{KIND}', schema {SCHEMA}. Calibrate the run or its maps."
            )
        try:
            return _parsed(found)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"{path}: damaged calibration ({error!r}). Calibrate again.") from None


def _parsed(found: Mapping[str, Any]) -> MaskCalibration:
    known = {f.name for f in dataclasses.fields(MaskCalibration)}
    values: dict[str, Any] = {name: value for name, value in found.items() if name in known}
    values["threshold"] = float(found["threshold"])
    for name, least in (("min_size_px", 0), ("min_distance_px", 1)):
        values[name] = int(found[name])
        if values[name] < least:
            raise ValueError(f"{name} is {values[name]}")
    if values["touching"] not in get_args(Touching):
        raise ValueError(f"touching is {values['touching']}")
    if not 0 <= values["threshold"] <= 1.1:  # just above 1 is a cut that nothing reaches
        raise ValueError(f"threshold is {values['threshold']}")
    for name in ("ids", "patients", "warnings"):
        values[name] = tuple(str(one) for one in values.get(name, ()))
    for name in ("before", "after", "held_out"):
        values[name] = {n: Figure(**figure) for n, figure in values.get(name, {}).items()}
    dict(dict(values.get("provenance", {})).get("maps", {}))  # both are mappings
    return MaskCalibration(**values)
