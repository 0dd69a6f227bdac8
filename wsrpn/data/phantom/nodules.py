"""`phantom:nodules`: chest films with lung nodules, and what a CT would show without them.

The chest is that of `phantom:cxr` without any finding; nodules follow the law of JSRT (see
`jsrt_law`). The DRR is a projection of the same chest without the nodule: no grain and no wires,
half as many pixels, and not quite in the same place, as patients lie in a CT and stand before a
film. Each film depends on (seed, index, patient) alone, and a film with and the same film without a
nodule differ in nothing else.

`paste` puts nodules of the same law on any normal radiograph.
"""

import dataclasses
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from annotated_types import Ge, Le
from jaxtyping import Bool, Float, Int
from PIL import Image
from scipy import ndimage

from wsrpn.config import Count, NotNegative, Share
from wsrpn.data.phantom import film, jsrt_law, series
from wsrpn.data.phantom import patient as patients
from wsrpn.data.phantom import thorax as bodies
from wsrpn.data.phantom.jsrt_law import Nodule
from wsrpn.data.phantom.patient import Pose
from wsrpn.data.phantom.planes import Plane
from wsrpn.data.phantom.series import stream
from wsrpn.data.phantom.thorax import MM_PER_UNIT, Thorax
from wsrpn.types import Box, Dataset, Record, Split

CLASSES = ("Nodule",)
SIDE_MM = 2 * MM_PER_UNIT  # what a film shows
CURVE = 1.7  # rise of grey levels with attenuation, the middle of what `film.expose` draws
_NAME = "phantom:nodules"
# The first are the streams of phantom:cxr: the same bodies before the same films.
_PATIENT, _POSE, _EXPOSURE, _NOISE, _DEVICES = 0, 1, 3, 4, 5
_CHOICE, _NODULES, _DRR = 8, 9, 10
_TRIES = 20  # to find a nodule a place beside the others


@dataclass(frozen=True)
class Radiograph:
    """One film with everything that is known about it.

    Attributes:
        image: grey levels in [0, 1], bone white.
        nodules: what was added; where two overlap, the later one has the pixels.
        drr: grey levels of the projected CT, half as many pixels along a side; None where it was
            not asked for.
    """

    image: Float[np.ndarray, "h w"]
    nodules: tuple[Nodule, ...]
    drr: Float[np.ndarray, "a b"] | None

    @property
    def objects(self) -> Int[np.ndarray, "h w"]:
        """0 outside, the number of the nodule inside."""
        return numbered(self.image.shape, self.nodules)

    @property
    def boxes(self) -> tuple[Box, ...]:
        """The tight bound of each nodule, whole also where another one lies over it."""
        return tuple(Box(0, _bound(nodule.mask)) for nodule in self.nodules)


def numbered(size_px: tuple[int, ...], nodules: tuple[Nodule, ...]) -> Int[np.ndarray, "h w"]:
    """Masks of nodules as one plane of numbers."""
    objects = np.zeros(size_px, dtype=np.int32)
    for number, nodule in enumerate(nodules, start=1):
        objects[nodule.mask] = number
    return objects


def _bound(mask: Bool[np.ndarray, "h w"]) -> tuple[float, float, float, float]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def generate(
    seed: int,
    index: int,
    *,
    size: int = 256,
    patient: int | None = None,
    nodules: int | None = None,
    most: int = 1,
    normal_share: float = 0.38,
    subtlety: int | None = None,
    contrast: float = 1.0,
    noise: float = 1.0,
    distractors: float = 0.3,
    drr: bool = True,
) -> Radiograph:
    """Make one film.

    Args:
        seed: of the data set.
        index: of the film in it.
        size: side in pixels.
        patient: whose body; `index` where None.
        nodules: how many; None draws it. Fewer where there is no room for one beside the others.
        most: of them on a film that has any; JSRT has one.
        normal_share: share of films without a nodule; 93 of 247 in JSRT.
        subtlety: of all nodules, 1 to 5; None draws it.
        contrast: factor of the attenuation of nodules; lower is harder.
        noise: factor of the quantum noise.
        distractors: share of films with electrodes and wires.
        drr: whether the DRR is made, too, which takes as long as the film.
    """
    body, exam = (seed, index if patient is None else patient), (seed, index)
    choice = stream(exam, _CHOICE)
    drawn = 0 if choice.random() < normal_share else int(choice.integers(1, most + 1))
    pose = patients.draw_pose(stream(exam, _POSE))
    thorax = _thorax(body, pose, size)
    lungs = (thorax.lung > 0.2) & (thorax.field | (thorax.lung > 0.35))
    made: list[Nodule] = []
    taken = np.zeros_like(thorax.field)
    for rng in stream(exam, _NODULES).spawn(drawn if nodules is None else nodules):
        for _ in range(_TRIES):
            nodule = jsrt_law.draw(
                rng, lungs, mm_per_px=SIDE_MM / size, subtlety=subtlety, taken=taken
            )
            if _are_seen((*made, nodule)):
                break
        else:
            continue
        made.append(nodule)
        taken |= ndimage.binary_dilation(nodule.mask, iterations=max(2, size // 40))
    attenuation = sum((contrast * nodule.attenuation for nodule in made), thorax.attenuation)
    attenuation = attenuation + film.devices(thorax, stream(exam, _DEVICES), distractors)
    image = film.expose(attenuation, stream(exam, _EXPOSURE), stream(exam, _NOISE), noise)
    seen = _projected(body, pose, size, stream(exam, _DRR)) if drr else None
    return Radiograph(image, tuple(made), seen)


def _are_seen(nodules: tuple[Nodule, ...]) -> bool:
    """Whether each has a pixel of its own where later ones lie over earlier ones."""
    objects = numbered(nodules[0].mask.shape, nodules)
    return len(np.unique(objects[objects > 0])) == len(nodules)


def _thorax(body: tuple[int, int], pose: Pose, size: int) -> Thorax:
    rng = stream(body, _PATIENT)
    anatomy = patients.draw_anatomy(rng)
    return bodies.build(anatomy, pose, rng, size=size, ratio=anatomy.heart)


def _projected(
    body: tuple[int, int], pose: Pose, size: int, rng: np.random.Generator
) -> Float[np.ndarray, "a b"]:
    """The clean chest as a CT projects it: another pose, thick slices, no grain."""
    other = dataclasses.replace(
        pose,
        shift=(pose.shift[0] + rng.uniform(-0.03, 0.03), pose.shift[1] + rng.uniform(-0.03, 0.03)),
        angle=pose.angle + rng.uniform(-0.02, 0.02),
        scale=pose.scale * rng.uniform(0.98, 1.02),
        turn=pose.turn + rng.uniform(-0.008, 0.008),
    )
    attenuation = _thorax(body, other, size).attenuation
    smooth = ndimage.gaussian_filter(attenuation, (0.006 * size, 0.003 * size), truncate=3)
    grey = 1 / (1 + np.exp(-CURVE * (smooth - 1.6)))
    half = Image.fromarray(grey.astype(np.float32)).resize(
        (size // 2, size // 2), Image.Resampling.BOX
    )
    return np.clip(np.asarray(half), 0, 1)


def paste(
    image: Float[np.ndarray, "h w"],
    rng: np.random.Generator,
    *,
    mm_per_px: float | None = None,
    lungs: Bool[np.ndarray, "h w"] | None = None,
    count: int = 1,
    subtlety: int | None = None,
    contrast: float = 1.0,
) -> tuple[Float[np.ndarray, "h w"], Bool[np.ndarray, "h w"]]:
    """Nodules by the law on a normal frontal radiograph.

    A nodule adds attenuation, and a film's grey levels follow attenuation along a curve: levels
    move up it, so that grain, ribs and vessels stay, and nothing goes beyond white.

    Args:
        image: grey levels in [0, 1], bone white, upright, the patient's right on the left.
        rng: decides everything.
        mm_per_px: millimetres in the patient that a pixel shows; None takes the image to be as wide
            as a film of JSRT, 358 mm.
        lungs: where nodules may lie; None finds dark fields (`lung_fields`).
        count: how many.
        subtlety: 1 (extremely subtle) to 5 (obvious); None draws it.
        contrast: factor of their attenuation.

    Returns:
        The image with them, float32, and their pixels.

    Raises:
        InputError: see `jsrt_law.draw`.
    """
    lungs = lung_fields(image) if lungs is None else lungs
    spacing = 2048 * 0.175 / image.shape[1] if mm_per_px is None else mm_per_px
    mask = np.zeros(image.shape, dtype=bool)
    level = np.clip(image.astype(np.float64), 0.002, 0.998)
    level = np.log(level / (1 - level))
    added = np.zeros_like(level)
    for _ in range(count):
        nodule = jsrt_law.draw(
            rng, lungs, mm_per_px=spacing, subtlety=subtlety, taken=mask if mask.any() else None
        )
        added += CURVE * contrast * nodule.attenuation
        mask |= nodule.mask
    moved = 1 / (1 + np.exp(-(level + added)))
    # Black and white have no finite level: what is added never darkens, and nothing stays nothing.
    return np.where(added > 0, np.maximum(moved, image), image).astype(np.float32), mask


def lung_fields(image: Float[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """A rough guess at the lungs of a frontal radiograph: the dark fields that touch no edge.

    Where no two such fields are found, two ovals at the usual places. Good enough to put nodules
    on, and for nothing else.
    """
    height, width = image.shape
    small = np.asarray(
        Image.fromarray(image.astype(np.float32)).resize((96, 96), Image.Resampling.BOX)
    )
    smooth = ndimage.gaussian_filter(small, 1.5)
    inner = smooth[10:80, 10:86]
    dark = smooth < _between(inner)
    y, x = np.mgrid[:96, :96] / 95
    # Air beside the neck and the arms is dark as well: nothing in the corners is lung.
    dark &= (np.abs(x - 0.5) / 0.46) ** 2.2 + (np.abs(y - 0.48) / 0.42) ** 2.2 < 1
    dark = ndimage.binary_opening(dark, iterations=3)
    pieces, count = ndimage.label(dark)
    found = np.zeros_like(dark)
    for left in (True, False):
        half = (x < 0.5) if left else (x >= 0.5)
        sizes = np.bincount(pieces[half & (y > 0.15) & (y < 0.75)], minlength=count + 1)
        sizes[0] = 0
        if sizes.max() > 0.03 * small.size:
            found |= (pieces == int(sizes.argmax())) & half
    halves = [found[:, :48].sum(), found[:, 48:].sum()]
    if min(halves) < 0.04 * small.size or found.mean() > 0.6:
        found = sum(((x - at) / 0.15) ** 2 + ((y - 0.46) / 0.3) ** 2 < 1 for at in (0.29, 0.71)) > 0
    whole = Image.fromarray(ndimage.binary_fill_holes(found).astype(np.uint8))
    return np.asarray(whole.resize((width, height), Image.Resampling.NEAREST)) > 0


def _between(values: Plane) -> float:
    """The level that parts dark from bright best (Otsu 1979)."""
    counts, edges = np.histogram(values, 128)
    below = np.cumsum(counts)
    sums = np.cumsum(counts * (edges[:-1] + edges[1:]) / 2)
    share = below / below[-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        gain = (sums[-1] / below[-1] * share - sums / below[-1]) ** 2 / (share * (1 - share))
    return float(edges[1 + int(np.nan_to_num(gain, nan=-1.0, posinf=-1.0).argmax())])


def write(
    folder: Path,
    *,
    images: Count = 200,
    size: Annotated[int, Ge(64), Le(2048)] = 256,
    seed: Annotated[int, Ge(0)] = 0,
    drr: bool = True,
    most: Annotated[int, Ge(1), Le(20)] = 1,
    normal_share: Share = 0.38,
    contrast: NotNegative = 1.0,
    noise: NotNegative = 1.0,
    distractors: Share = 0.3,
) -> Dataset:
    """Write films as 8-bit PNG, masks (number of the nodule), DRRs and a manifest.

    The manifest has the further columns `subtlety` and `size_mm`, a value per nodule, joined by
    `|`. A film without a nodule has an empty mask.

    Args:
        folder: must not exist yet, or be empty.
        images: how many films; the first of them are the same for every number.
        size: side in pixels; a film shows 400 mm.
        seed: of everything.
        drr: also write what a CT would show of the chest without the nodule.
        most: nodules on a film that has any.
        normal_share: share of films without a nodule.
        contrast: factor of the attenuation of nodules.
        noise: factor of the quantum noise.
        distractors: share of films with electrodes and wires.

    Raises:
        InputError: there is something in the folder.
    """

    def make(building: Path) -> Iterator[Record]:
        for index, patient, split in itertools.islice(series.patients(seed), images):
            made = generate(
                seed, index, size=size, patient=patient, most=most, normal_share=normal_share,
                contrast=contrast, noise=noise, distractors=distractors, drr=drr,
            )  # fmt: skip
            yield _save(made, building, index, patient, split)

    return series.write(folder, _NAME, CLASSES, make)


def read(folder: Path) -> Dataset:
    """The films of a folder that `write` made."""
    return series.read(folder, _NAME, CLASSES)


def _save(made: Radiograph, folder: Path, index: int, patient: int, split: Split) -> Record:
    name = f"{index:06d}.png"
    path, mask = folder / "images" / name, folder / "masks" / name
    projected = None if made.drr is None else folder / "drrs" / name
    _png(path, made.image)
    if made.drr is not None:
        _png(folder / "drrs" / name, made.drr)
    mask.parent.mkdir(exist_ok=True)
    Image.fromarray(made.objects.astype(np.uint8)).save(mask)
    return Record(
        id=f"images/{name}", path=path, patient=f"p{patient:05d}",
        labels=(float(bool(made.nodules)),), split=split, boxes=made.boxes, mask=mask,
        drr=projected,
        extra={
            "subtlety": "|".join(str(nodule.subtlety) for nodule in made.nodules),
            "size_mm": "|".join(f"{nodule.diameter_mm:.1f}" for nodule in made.nodules),
        },
    )  # fmt: skip


def _png(path: Path, levels: Float[np.ndarray, "h w"]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.round(levels * 255).astype(np.uint8)).save(path)
