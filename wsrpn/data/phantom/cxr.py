"""`phantom:cxr`: frontal chest radiographs with exact ground truth and a report each.

Each film depends on (seed, index, patient) alone: any film can be made again by itself and in any
order. Patient, pose, findings, exposure, noise, distractors and words draw from streams of
their own, so a film with and the same film without a finding differ in nothing else.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from annotated_types import Ge, Le
from jaxtyping import Float
from PIL import Image
from scipy import ndimage

from wsrpn.config import Count, NotNegative, Share
from wsrpn.data.phantom import film, series
from wsrpn.data.phantom import findings as kinds
from wsrpn.data.phantom import patient as patients
from wsrpn.data.phantom import thorax as bodies
from wsrpn.data.phantom.findings import CLASSES, Finding
from wsrpn.data.phantom.planes import Plane
from wsrpn.data.phantom.reports import report
from wsrpn.data.phantom.series import stream
from wsrpn.data.phantom.thorax import Thorax
from wsrpn.errors import InputError, nearest
from wsrpn.types import Box, Dataset, Record, Split

_NAME = "phantom:cxr"
_PATIENT, _POSE, _FINDINGS, _EXPOSURE, _NOISE, _DEVICES, _WORDS, _CHOICE = range(8)
# Share of abnormal films with one, two and three classes.
_COUNTS = (0.5, 0.33, 0.17)
# Chance of a second finding of the class.
_DOUBLES = {"Nodule": 0.4, "Effusion": 0.2}


@dataclass(frozen=True)
class Phantom:
    """One film with everything that is known about it.

    Attributes:
        image: grey levels in [0, 1], bone white.
        labels: 1 or 0 per class of `CLASSES`.
        findings: what is on it, with masks; several may be of one class.
        text: the report.
    """

    image: Float[np.ndarray, "h w"]
    labels: tuple[float, ...]
    findings: tuple[Finding, ...]
    text: str

    @property
    def boxes(self) -> tuple[Box, ...]:
        """One box per finding, in the same order."""
        return tuple(Box(CLASSES.index(f.name), f.xyxy_px) for f in self.findings)


def generate(
    seed: int,
    index: int,
    *,
    size: int = 256,
    patient: int | None = None,
    findings: Sequence[str] | None = None,
    normal_share: float = 0.3,
    contrast: float = 1.0,
    noise: float = 1.0,
    distractors: float = 0.3,
) -> Phantom:
    """Make one film.

    Args:
        seed: of the data set.
        index: of the film in it.
        size: side in pixels, at least 32.
        patient: whose body; `index` where None.
        findings: names to put on it; None draws them.
        normal_share: share of films without a finding.
        contrast: factor of the attenuation of findings; lower is harder.
        noise: factor of the quantum noise.
        distractors: share of films with electrodes and wires.

    Raises:
        InputError: an unknown finding or a size below 32.
    """
    if size < 32:
        raise InputError(f"phantom:cxr: size is {size}, at least 32 is needed.")
    body, exam = (seed, index if patient is None else patient), (seed, index)
    names = _draw_names(stream(exam, _CHOICE), normal_share) if findings is None else findings
    plan = _plan(names, stream(exam, _FINDINGS))
    ratio = next((kinds.heart_ratio(rng, s) for n, s, rng in plan if n == "Cardiomegaly"), None)
    rng = stream(body, _PATIENT)
    anatomy = patients.draw_anatomy(rng)
    pose = patients.draw_pose(stream(exam, _POSE))
    thorax = bodies.build(anatomy, pose, rng, size=size, ratio=ratio or anatomy.heart)
    made, attenuation = _put(thorax, plan, contrast)
    attenuation = attenuation + film.devices(thorax, stream(exam, _DEVICES), distractors)
    image = film.expose(attenuation, stream(exam, _EXPOSURE), stream(exam, _NOISE), noise)
    present = {finding.name for finding in made}
    labels = tuple(float(name in present) for name in CLASSES)
    return Phantom(image, labels, made, report(made, stream(exam, _WORDS)))


def _draw_names(rng: np.random.Generator, normal_share: float) -> list[str]:
    if rng.random() < normal_share:
        return []
    count = 1 + int(rng.choice(len(_COUNTS), p=_COUNTS))
    names = [CLASSES[i] for i in rng.choice(len(CLASSES), count, replace=False)]
    # Nodules come in pairs now and then, effusions on both sides.
    return names + [n for n in names if rng.random() < _DOUBLES.get(n, 0)]


Plan = list[tuple[str, kinds.Size, np.random.Generator]]


def _plan(names: Sequence[str], rng: np.random.Generator) -> Plan:
    """Findings in the order of `ORDER`, each with its size class and a stream of its own."""
    for name in names:
        if name not in CLASSES:
            raise InputError(
                f"phantom:cxr: no finding is called '{name}'. {nearest(name, CLASSES)}"
            )
    streams = {name: rng.spawn(4) for name in CLASSES}
    plan: Plan = []
    for name in sorted(names, key=kinds.ORDER.index):
        stream = streams[name].pop(0)
        plan.append((name, kinds.SIZES[stream.integers(3)], stream))
    return plan


def _put(thorax: Thorax, plan: Plan, contrast: float) -> tuple[tuple[Finding, ...], Plane]:
    """All findings on a film; a second effusion goes to the other side."""
    made: list[Finding] = []
    attenuation = thorax.attenuation
    taken = np.zeros_like(thorax.field)
    for name, size, rng in plan:
        before = [f.side for f in made if f.name == name]
        for _ in range(8):
            finding, add = kinds.make(name, thorax, rng, size, taken=taken, contrast=contrast)
            if name != "Effusion" or finding.side not in before:
                break
        else:
            continue
        made.append(finding)
        attenuation = attenuation + add
        if name != "Cardiomegaly":
            taken |= ndimage.binary_dilation(finding.mask, iterations=3)
    return tuple(made), attenuation


def write(
    folder: Path,
    *,
    images: Count = 300,
    size: Annotated[int, Ge(32), Le(2048)] = 128,
    seed: Annotated[int, Ge(0)] = 0,
    normal_share: Share = 0.3,
    contrast: NotNegative = 1.0,
    noise: NotNegative = 1.0,
    distractors: Share = 0.3,
    masks: bool = False,
) -> Dataset:
    """Write films as 8-bit PNG with a manifest; the folder appears whole or not at all.

    The manifest has the further column `sizes`: one `NAME SIZE` per box, joined by `|`.

    Args:
        folder: must not exist yet, or be empty.
        images: how many films; the first of them are the same for every number.
        size: side in pixels.
        seed: of everything.
        normal_share: share of films without a finding.
        contrast: factor of the attenuation of findings.
        noise: factor of the quantum noise.
        distractors: share of films with electrodes and wires.
        masks: also write the union of each film's finding masks (255 inside).

    Raises:
        InputError: there is something in the folder.
    """

    def make(building: Path) -> Iterator[Record]:
        for index, patient, split in itertools.islice(series.patients(seed), images):
            phantom = generate(
                seed, index, size=size, patient=patient, normal_share=normal_share,
                contrast=contrast, noise=noise, distractors=distractors,
            )  # fmt: skip
            yield _save(phantom, building, index, patient, split, masks=masks)

    return series.write(folder, _NAME, CLASSES, make)


def read(folder: Path) -> Dataset:
    """The films of a folder that `write` made, with all of `CLASSES` even where one has no film."""
    return series.read(folder, _NAME, CLASSES)


def _save(
    phantom: Phantom, folder: Path, index: int, patient: int, split: Split, *, masks: bool
) -> Record:
    path = folder / "images" / f"{index:06d}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.round(phantom.image * 255).astype(np.uint8)).save(path)
    mask = None
    if masks:
        mask = folder / "masks" / path.name
        mask.parent.mkdir(exist_ok=True)
        seen = np.any([np.zeros(phantom.image.shape, bool), *(f.mask for f in phantom.findings)], 0)
        Image.fromarray(seen.astype(np.uint8) * np.uint8(255)).save(mask)
    return Record(
        id=f"images/{path.name}", path=path, patient=f"p{patient:05d}", labels=phantom.labels,
        split=split, boxes=phantom.boxes, text=phantom.text, mask=mask,
        extra={"sizes": "|".join(f"{f.name} {f.size}" for f in phantom.findings)},
    )  # fmt: skip
