"""`phantom:beads`: electron micrographs of dense micro-beads, every bead known by its pixels.

Each image depends on (seed, index) alone: any image can be made again by itself and in any order.
Two ways of looking, as in the field: secondary electrons (bright balls with rims that charge, lit
from the side of the detector, on a dark support), or transmission (dark discs with a thin bright
fringe on a bright film). The numbers were set by eye to look like published micrographs; none of
them is a measurement.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from annotated_types import Ge, Le
from jaxtyping import Float, Int
from PIL import Image
from scipy import ndimage

from wsrpn.config import Count, NotNegative, Share
from wsrpn.data.phantom import series
from wsrpn.data.phantom.planes import Plane, cloud
from wsrpn.data.phantom.series import stream
from wsrpn.types import Box, Dataset, Record, Split

CLASSES = ("bead",)
REFERENCE = 512  # side that diameters in pixels are meant for; they scale with the image
_NAME = "phantom:beads"
_LAYOUT, _LOOK, _NOISE, _DIRT, _CHOICE = range(5)
_TRIES = 30  # places that are tried for a bead
_VISIBLE = 0.5  # share of a bead that others may not cover


@dataclass(frozen=True)
class Micrograph:
    """One image with its truth.

    Attributes:
        image: grey levels in [0, 1].
        objects: 0 outside, the number of the bead that is seen there inside; numbers have no gaps.
    """

    image: Float[np.ndarray, "h w"]
    objects: Int[np.ndarray, "h w"]

    @property
    def boxes(self) -> tuple[Box, ...]:
        """The tight bound of each bead's visible pixels, in the order of their numbers."""
        return boxes_of(self.objects)


@dataclass(frozen=True)
class Layout:
    """Where beads lie, in pixels; later ones lie above earlier ones.

    Attributes:
        centres: x and y.
        radii: of each.
        dents: relative depth and direction of a bead's deviation from a circle.
    """

    centres: Float[np.ndarray, "n 2"]
    radii: Float[np.ndarray, " n"]
    dents: Float[np.ndarray, "n 2"]


def boxes_of(objects: Int[np.ndarray, "h w"]) -> tuple[Box, ...]:
    """Tight bounds of numbered objects: the outer edges of their outermost pixels, class 0."""
    found = [(part[1], part[0]) for part in ndimage.find_objects(objects) if part is not None]
    return tuple(
        Box(0, (float(x.start), float(y.start), float(x.stop), float(y.stop))) for x, y in found
    )


def generate(
    seed: int,
    index: int,
    *,
    size: int = 512,
    beads: tuple[int, int] = (20, 120),
    diameters_px: tuple[float, float] = (16.0, 56.0),
    touching: float = 0.6,
    stacked: float = 0.1,
    empty_share: float = 0.0,
    dark_share: float = 0.25,
    noise: float = 1.0,
    dirt: float = 0.5,
) -> Micrograph:
    """Make one image.

    Args:
        seed: of the data set.
        index: of the image in it.
        size: side in pixels.
        beads: fewest and most beads; fewer where there is no room.
        diameters_px: smallest and largest diameter on an image of 512; they scale with `size`.
        touching: chance of a bead to lie against another one.
        stacked: chance of a bead to lie on top of others.
        empty_share: share of images without any bead.
        dark_share: share of images seen in transmission, beads dark.
        noise: factor of the noise.
        dirt: share of images with small specks that are no beads.
    """
    key = (seed, index)
    empty, dark, dirty = stream(key, _CHOICE).random(3) < (empty_share, dark_share, dirt)
    count = (0, 0) if empty else beads
    scaled = (diameters_px[0] * size / REFERENCE, diameters_px[1] * size / REFERENCE)
    layout = arrange(stream(key, _LAYOUT), size, count, scaled, touching, stacked)
    look = stream(key, _LOOK)
    image, objects = _drawn(layout, size, look, dark=bool(dark))
    if dirty:
        _soil(image, objects, stream(key, _DIRT), dark=bool(dark))
    return Micrograph(_detected(image, look, stream(key, _NOISE), noise), objects)


def arrange(
    rng: np.random.Generator, size: int, beads: tuple[int, int],
    diameters_px: tuple[float, float], touching: float, stacked: float,
) -> Layout:  # fmt: skip
    """Place beads one by one: side by side in one layer, some of them against another, some on top.

    Every image has a median size of its own, and a spread from nearly equal to very mixed.
    """
    wanted = int(rng.integers(beads[0], beads[1] + 1))
    low, high = (math.log(d) for d in diameters_px)
    median, spread = rng.uniform(low, high), rng.uniform(0.03, 0.35)
    drawn = np.exp(np.clip(rng.normal(median, spread, wanted), low, high)) / 2
    centres, radii, layers = np.empty((0, 2)), np.empty(0), np.empty(0, dtype=int)
    for radius in drawn:
        on_top = bool(len(radii)) and rng.random() < stacked
        for _ in range(_TRIES):
            at = _place(rng, size, radius, centres[layers == 0], radii[layers == 0], touching)
            if _fits(at, radius, on_top, centres, radii, layers):
                centres, radii = np.vstack((centres, at)), np.append(radii, radius)
                layers = np.append(layers, int(on_top))
                break
    order = np.argsort(layers, kind="stable")
    dents = np.stack(
        (rng.uniform(0, 0.05, len(radii)), rng.uniform(0, math.tau, len(radii))), axis=1
    )
    return Layout(centres[order], radii[order], dents)


def _place(
    rng: np.random.Generator, size: int, radius: float, centres: Float[np.ndarray, "n 2"],
    radii: Float[np.ndarray, " n"], touching: float,
) -> Float[np.ndarray, " 2"]:  # fmt: skip
    """A place anywhere (a bead may reach out of the image), or against one that lies there."""
    if len(radii) and rng.random() < touching:
        other, angle = int(rng.integers(len(radii))), rng.uniform(0, math.tau)
        away = radii[other] + radius + rng.uniform(-0.3, 0.4)
        return np.clip(
            centres[other] + away * np.array([math.cos(angle), math.sin(angle)]), 0, size
        )
    return rng.uniform(0, size, 2)


def _fits(
    at: Float[np.ndarray, " 2"], radius: float, on_top: bool, centres: Float[np.ndarray, "n 2"],
    radii: Float[np.ndarray, " n"], layers: Int[np.ndarray, " n"],
) -> bool:  # fmt: skip
    """Whether there is room: in a layer none overlaps, and nothing is covered by more than half."""
    away = np.hypot(*(centres - at).T) if len(radii) else np.empty(0)
    beside = away >= radii + radius - 0.5
    if not beside[layers == int(on_top)].all():
        return False
    lower = (layers != int(on_top)) & ~beside
    if not lower.any():
        return True
    if not on_top:  # nothing is pushed below what lies there
        return False
    covered = [_overlap(d, r, radius) for d, r in zip(away[lower], radii[lower], strict=True)]
    return bool(max(covered) <= 1 - _VISIBLE)


def _overlap(away: float, radius: float, other: float) -> float:
    """Share of a disc of `radius` that another one covers whose centre is `away`."""
    if away <= abs(radius - other):
        return min(1.0, (other / radius) ** 2)
    a = (away**2 + radius**2 - other**2) / (2 * away * radius)
    b = (away**2 + other**2 - radius**2) / (2 * away * other)
    lens = radius**2 * (math.acos(a) - a * math.sqrt(1 - a * a))
    lens += other**2 * (math.acos(b) - b * math.sqrt(1 - b * b))
    return lens / (math.pi * radius**2)


def _drawn(
    layout: Layout, size: int, rng: np.random.Generator, *, dark: bool
) -> tuple[Plane, Int[np.ndarray, "h w"]]:
    """The image before the detector, and whose bead is seen in each pixel."""
    image = _support(size, rng, dark=dark)
    objects = np.zeros((size, size), dtype=np.int32)
    light = rng.uniform(0, math.tau)
    lit, charge = rng.uniform(0.05, 0.22), rng.uniform(0.05, 0.3)
    base = rng.uniform(0.08, 0.25) if dark else rng.uniform(0.34, 0.55)
    shades = rng.normal(0, 0.04, len(layout.radii))
    rough = cloud(rng, max(4, size // 6), size) * np.float32(rng.uniform(0.0, 0.03))
    for number, (at, radius, dent, shade) in enumerate(
        zip(layout.centres, layout.radii, layout.dents, shades, strict=True), start=1
    ):
        window = _window(at, 1.35 * radius + 3, size)
        x = np.arange(window[1].start, window[1].stop) + 0.5 - at[0]
        y = (np.arange(window[0].start, window[0].stop) + 0.5 - at[1])[:, None]
        away, angle = np.hypot(x, y), np.arctan2(y, x)
        rim = radius * (1 - dent[0] * (0.5 + 0.5 * np.cos(2 * (angle - dent[1]))))
        share = np.clip(away / rim, 0, 1)
        height = np.sqrt(1 - share**2)
        part = image[window]
        if dark:
            grey = base + shade + 0.25 * (1 - height) ** 2
            fringe = np.exp(-(((away - rim - 1.2) / 0.9) ** 2))
            part += np.float32(0.18) * fringe.astype(np.float32)
        else:
            side = share * np.cos(angle - light)
            grey = base + shade + lit * side + charge * np.clip(1 / (height + 0.35) - 0.74, 0, 1.2)
            # The support, and what lies below, sees less of the detector close to a ball.
            part *= (1 - 0.35 * np.exp(-np.clip(away - rim, 0, None) / (0.2 * radius + 1))).astype(
                np.float32
            )
        cover = np.clip(rim - away + 0.5, 0, 1)
        image[window] = part * (1 - cover) + cover * (grey + rough[window])
        objects[window][away <= rim] = number
    return image, _numbered(objects)


def _window(at: Float[np.ndarray, " 2"], reach: float, size: int) -> tuple[slice, slice]:
    low = np.clip(np.floor(at - reach), 0, size).astype(int)
    high = np.clip(np.ceil(at + reach), 0, size).astype(int)
    return slice(int(low[1]), int(high[1])), slice(int(low[0]), int(high[0]))


def _numbered(objects: Int[np.ndarray, "h w"]) -> Int[np.ndarray, "h w"]:
    """Numbers without gaps: a bead beyond the edge of the image is not there."""
    _, dense = np.unique(np.append(objects.ravel(), 0), return_inverse=True)
    return dense[:-1].reshape(objects.shape).astype(np.int32)


def _support(size: int, rng: np.random.Generator, *, dark: bool) -> Plane:
    """What beads lie on: a film or a stub with clouds, grains and an uneven light."""
    level = rng.uniform(0.62, 0.8) if dark else rng.uniform(0.1, 0.3)
    line = np.linspace(-1, 1, size, dtype=np.float32)
    slope = rng.normal(0, 0.03, 2)
    out = level + slope[0] * line[None] + slope[1] * line[:, None]
    out = out + rng.uniform(0.01, 0.04) * cloud(rng, 5, size)
    grains = np.clip(cloud(rng, max(4, size // 5), size) - 1.2, 0, None)
    return (out + rng.uniform(0.0, 0.08) * grains).astype(np.float32)


def _soil(
    image: Plane, objects: Int[np.ndarray, "h w"], rng: np.random.Generator, *, dark: bool
) -> None:
    """Specks beside the beads, smaller than those and of no round shape."""
    size = image.shape[0]
    field = cloud(rng, max(4, size // 7), size) + 0.5 * cloud(rng, max(4, size // 18), size)
    specks = (field > rng.uniform(3.2, 4.0)) & (objects == 0)
    soft = ndimage.gaussian_filter(specks.astype(np.float32), 0.7)
    image += (-0.3 if dark else 0.3) * soft * (objects == 0)


def _detected(
    image: Plane, rng: np.random.Generator, noise_rng: np.random.Generator, noise: float
) -> Float[np.ndarray, "h w"]:
    """The beam's width, the noise of few electrons, and lines that are not scanned alike."""
    seen = ndimage.gaussian_filter(image, rng.uniform(0.4, 1.1), truncate=3)
    grain = rng.uniform(0.02, 0.08) * noise
    seen = seen + grain * np.sqrt(np.clip(seen, 0.05, 1)) * noise_rng.standard_normal(
        image.shape, dtype=np.float32
    )
    lines = noise_rng.standard_normal((len(image), 1), dtype=np.float32)
    return np.clip(seen + 0.006 * noise * lines, 0, 1).astype(np.float32)


def write(
    folder: Path,
    *,
    images: Count = 60,
    size: Annotated[int, Ge(64), Le(4096)] = 512,
    seed: Annotated[int, Ge(0)] = 0,
    beads: str = "20-120",
    diameter: str = "16-56",
    touching: Share = 0.6,
    stacked: Share = 0.1,
    empty_share: Share = 0.0,
    dark_share: Share = 0.25,
    noise: NotNegative = 1.0,
    dirt: Share = 0.5,
) -> Dataset:
    """Write micrographs as 8-bit PNG, their beads as 16-bit PNG (number of the bead), a manifest.

    The manifest has the further column `objects`: how many beads are seen.

    Args:
        folder: must not exist yet, or be empty.
        images: how many; the first of them are the same for every number.
        size: side in pixels.
        seed: of everything.
        beads: fewest and most on an image, as `20-120`.
        diameter: smallest and largest in pixels of an image of 512, as `16-56`.
        touching: chance of a bead to lie against another one.
        stacked: chance of a bead to lie on top of others.
        empty_share: share of images without any bead.
        dark_share: share of images seen in transmission, beads dark.
        noise: factor of the noise.
        dirt: share of images with specks that are no beads.

    Raises:
        InputError: there is something in the folder, or a range that is none.
    """
    low, high = series.numbers(beads, option="phantom:beads: beads", least=0.0, whole=True)
    diameters = series.numbers(diameter, option="phantom:beads: diameter", least=4.0)

    def make(building: Path) -> Iterator[Record]:
        for index in range(images):
            made = generate(
                seed, index, size=size, beads=(int(low), int(high)), diameters_px=diameters,
                touching=touching, stacked=stacked, empty_share=empty_share,
                dark_share=dark_share, noise=noise, dirt=dirt,
            )  # fmt: skip
            yield _save(made, building, index, series.split(seed, index))

    return series.write(folder, _NAME, CLASSES, make)


def read(folder: Path) -> Dataset:
    """The micrographs of a folder that `write` made."""
    return series.read(folder, _NAME, CLASSES)


def _save(made: Micrograph, folder: Path, index: int, split: Split) -> Record:
    path = folder / "images" / f"{index:06d}.png"
    mask = folder / "masks" / path.name
    for file in (path, mask):
        file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.round(made.image * 255).astype(np.uint8)).save(path)
    Image.fromarray(made.objects.astype(np.uint16)).save(mask)
    count = int(made.objects.max())
    return Record(
        id=f"images/{path.name}", path=path, patient=f"m{index:05d}",
        labels=(float(count > 0),), split=split, boxes=made.boxes, mask=mask,
        extra={"objects": str(count)},
    )  # fmt: skip
