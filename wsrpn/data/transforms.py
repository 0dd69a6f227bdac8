"""Geometry and grey levels of a sample: image, boxes, mask and DRR always move together.

Boxes are xyxy as shares of the image, so `resize` leaves them alone. All randomness comes from the
generator that is passed, with the same number of draws whatever is switched on: turning on noise
does not move the rotations.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from wsrpn.config import AugmentConfig
from wsrpn.types import Sample

Edge = Literal["black", "mirror"]


def resize(sample: Sample, size: int) -> Sample:
    """The sample at `size` × `size` pixels, each axis on its own, antialiased."""
    mask = None if sample.mask is None else resized(sample.mask, size)
    drr = None if sample.drr is None else resized(sample.drr, size)
    return dataclasses.replace(sample, image=resized(sample.image, size), mask=mask, drr=drr)


def resized(image: Float[Tensor, "c h w"], size: int | tuple[int, int]) -> Float[Tensor, "c a b"]:
    """An image at another size, bilinear with antialiasing; itself where it has that size.

    Args:
        image: in [0, 1].
        size: height and width, or the one number that both are.
    """
    shape = (size, size) if isinstance(size, int) else size
    if image.shape[-2:] == shape:
        return image
    scaled = functional.interpolate(
        image[None], size=shape, mode="bilinear", antialias=True, align_corners=False
    )
    return scaled[0].clamp(0, 1)


def augment(
    sample: Sample,
    config: AugmentConfig,
    generator: torch.Generator,
    *,
    swaps: Sequence[tuple[int, int]] = (),
    edge: Edge = "black",
) -> Sample:
    """A random variant of a sample; exactly the sample itself where all of `config` is zero.

    Args:
        sample: any size.
        config: largest changes.
        generator: source of all randomness.
        swaps: pairs of classes that a flip turns into each other.
        edge: what moves in from outside, see `move`.

    Returns:
        Boxes are the bounding boxes of the moved corners, clipped to the image; what lies outside
        altogether is dropped. Grey levels change in the image alone, not in mask and DRR.
    """
    draws = torch.rand(10, generator=generator, dtype=torch.float64).tolist()
    rotate, shift_x, shift_y, scale, flip, bright, contrast, gamma, blur, sigma = draws
    height, width = sample.image.shape[-2:]
    forward = affine(
        (height, width),
        degrees=(2 * rotate - 1) * config.rotate,
        shift=((2 * shift_x - 1) * config.translate, (2 * shift_y - 1) * config.translate),
        # Growing by s and shrinking by 1 / (1 + s) are equally likely; never turned inside out.
        scale=math.exp((2 * scale - 1) * math.log1p(config.scale)),
        flip=flip < config.flip,
    )
    moved = move(sample, forward, edge=edge)
    if flip < config.flip:
        moved = swapped(moved, swaps)
    image = tone(
        moved.image,
        brightness=1 + (2 * bright - 1) * config.brightness,
        contrast=1 + (2 * contrast - 1) * config.contrast,
        gamma=math.exp((2 * gamma - 1) * config.gamma),
    )
    if blur < config.blur:
        image = blurred(image, 0.1 + 1.4 * sigma)
    if config.noise > 0:
        image = (image + torch.randn(image.shape, generator=generator) * config.noise).clamp(0, 1)
    return dataclasses.replace(moved, image=image)


def swapped(sample: Sample, swaps: Sequence[tuple[int, int]]) -> Sample:
    """The sample with the two classes of each pair exchanged, in labels and boxes."""
    order = torch.arange(len(sample.labels))
    for a, b in swaps:
        order[[a, b]] = order[[b, a]]
    return dataclasses.replace(
        sample, labels=sample.labels[order], box_labels=order[sample.box_labels]
    )


def affine(
    size: tuple[int, int],
    *,
    degrees: float,
    shift: tuple[float, float],
    scale: float,
    flip: bool = False,
) -> Float[np.ndarray, "3 3"]:
    """A similarity of the image plane, in shares of the image.

    Args:
        size: height and width; rotation keeps right angles in *pixels*.
        degrees: counter-clockwise on the screen (y runs down).
        shift: along x and y, as shares of the sides.
        scale: about the centre.
        flip: mirror left and right first.

    Returns:
        Matrix that takes (x, y, 1) of a point before to the point after.
    """
    height, width = size
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    pixels = np.diag([float(width), float(height), 1.0])
    to_centre, back = np.eye(3), np.eye(3)
    to_centre[:2, 2], back[:2, 2] = -0.5, (0.5 + shift[0], 0.5 + shift[1])
    turn = np.array([[cos * scale, sin * scale, 0], [-sin * scale, cos * scale, 0], [0, 0, 1]])
    mirror = np.diag([-1.0 if flip else 1.0, 1.0, 1.0])
    return back @ np.linalg.inv(pixels) @ turn @ pixels @ mirror @ to_centre


def move(sample: Sample, forward: Float[np.ndarray, "3 3"], *, edge: Edge = "black") -> Sample:
    """Apply one affine map (in shares of the image) to image, mask, DRR and boxes.

    Args:
        sample: any size.
        forward: see `affine`.
        edge: what moves in from outside, `black` or the `mirror` of the sample; the mask alike.
    """
    if np.array_equal(forward, np.eye(3)):
        return sample
    given = {"image": sample.image, "mask": sample.mask, "drr": sample.drr}
    there = {name: plane for name, plane in given.items() if plane is not None}
    moved = _sampled(torch.cat(list(there.values())), forward, edge)
    parts = dict(zip(there, moved.split([len(p) for p in there.values()]), strict=True))
    boxes, kept = _moved_boxes(sample.boxes, forward)
    return dataclasses.replace(
        sample,
        image=parts["image"],
        mask=parts.get("mask"),
        drr=parts.get("drr"),
        boxes=boxes[kept],
        box_labels=sample.box_labels[kept],
    )


def _sampled(
    planes: Float[Tensor, "c h w"], forward: Float[np.ndarray, "3 3"], edge: Edge
) -> Float[Tensor, "c h w"]:
    # grid_sample asks where each pixel comes from, in coordinates from -1 to 1.
    shares = np.array([[0.5, 0, 0.5], [0, 0.5, 0.5], [0, 0, 1]])
    theta = np.linalg.inv(shares) @ np.linalg.inv(forward) @ shares
    rows = torch.from_numpy(theta[None, :2].astype(np.float32))
    grid = functional.affine_grid(rows, [1, 1, *planes.shape[-2:]], align_corners=False)
    outside = "zeros" if edge == "black" else "reflection"
    moved = functional.grid_sample(planes[None], grid, padding_mode=outside, align_corners=False)
    return moved[0]


def _moved_boxes(
    boxes: Float[Tensor, "n 4"], forward: Float[np.ndarray, "3 3"]
) -> tuple[Float[Tensor, "n 4"], Tensor]:
    corners = boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2)
    matrix = torch.from_numpy(forward).to(boxes.dtype)
    moved = corners @ matrix[:2, :2].T + matrix[:2, 2]
    clipped = torch.cat((moved.amin(1), moved.amax(1)), dim=1).clamp(0, 1)
    kept = (clipped[:, 2] > clipped[:, 0]) & (clipped[:, 3] > clipped[:, 1])
    return clipped, kept


def tone(
    image: Float[Tensor, "c h w"], *, brightness: float, contrast: float, gamma: float
) -> Float[Tensor, "c h w"]:
    """Grey levels changed: gamma, then contrast about the image's mean, then brightness; in [0, 1].

    Args:
        image: in [0, 1].
        brightness: factor.
        contrast: factor of the distance from the mean.
        gamma: exponent.
    """
    if brightness == contrast == gamma == 1:
        return image
    if gamma != 1:
        image = image.pow(gamma)
    # numpy's mean does not depend on the number of threads; torch's does, in the last bit.
    mean = float(image.numpy().mean(dtype=np.float64)) if contrast != 1 else 0.0
    return (image * (contrast * brightness) + mean * (1 - contrast) * brightness).clamp(0, 1)


def blurred(image: Float[Tensor, "c h w"], sigma: float) -> Float[Tensor, "c h w"]:
    """Gaussian blur of `sigma` pixels, edges repeated."""
    radius = max(1, math.ceil(3 * sigma))
    steps = torch.arange(-radius, radius + 1, dtype=torch.float32)
    kernel = torch.softmax(-0.5 * (steps / sigma).square(), dim=0)
    padded = functional.pad(image[:, None], (radius,) * 4, mode="replicate")
    rows = functional.conv2d(padded, kernel.view(1, 1, -1, 1))
    return functional.conv2d(rows, kernel.view(1, 1, 1, -1))[:, 0]
