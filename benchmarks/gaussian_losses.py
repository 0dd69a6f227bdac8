"""The Gaussian losses: the source's loops beside ours, and what ours are of a training step.

    python benchmarks/gaussian_losses.py

The source takes one region at a time: concentration, sparsity and negative suppression of 32 images
with 10 regions on 7 × 7 cells are 770 maps of 49 cells. Its code is here as the definition, with
what was wrong put right: the cells are at (i + ½) / 7, not spread from edge to edge, and x runs
along columns. Its three epsilons stay. Values and gradients of the two are compared before anything
is timed; for that ours get the widths that the source's first epsilon makes of the given ones. Both
sides are forward and backward from centres, widths and logits, in turns, on one thread, in seconds
of the processor: on a busy machine waiting would be most of what a clock sees.

The share of a step is measured on all cores against forward, backward and AdamW of a DenseNet-121
with one linear layer, in bf16; maps that the model makes anyway are counted as cost of the losses.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from wsrpn import gaussian
from wsrpn.losses.base import losses, read
from wsrpn.types import Batch, ModelOutput, Regions

IMAGES, REGIONS, CELLS, NEGATIVES = 32, 10, 7, 13
SOURCE = ("concentration", "sparsity", "negative_suppression")
ALL = (*SOURCE, "box_alignment", "hinge_concentration", "hoyer_sparsity", "attention_alignment",
       "class_suppression")  # fmt: skip
Leaves = dict[str, Tensor]


# The source


def source_map(xx: Tensor, yy: Tensor, centre: Tensor, scale: Tensor) -> Tensor:
    mu_x, mu_y = centre
    sigma_x, sigma_y = scale
    kernel = torch.exp(
        -0.5
        * (
            (xx - mu_x) ** 2 / (sigma_x**2 + 1e-6)
            + (yy - mu_y) ** 2 / (sigma_y**2 + 1e-6)
        )
    )  # fmt: skip
    return kernel / (kernel.sum() + 1e-10)


def source_concentration(centres: Tensor, scales: Tensor, nodes: Tensor) -> Tensor:
    images, regions = centres.shape[:2]
    xx, yy = torch.meshgrid(nodes, nodes, indexing="xy")
    total: Any = 0
    for b in range(images):
        for k in range(regions):
            alpha = source_map(xx, yy, centres[b, k], scales[b, k])
            total = total - (alpha * torch.log(alpha + 1e-10)).sum()
    return total / (images * regions)


def source_sparsity(centres: Tensor, scales: Tensor, nodes: Tensor) -> Tensor:
    images, regions = centres.shape[:2]
    xx, yy = nodes.view(1, -1), nodes.view(-1, 1)
    total: Any = 0
    for b in range(images):
        for k in range(regions):
            alpha = source_map(xx, yy, centres[b, k], scales[b, k])
            total = total + (alpha.mean() - alpha.max())
    return total / (images * regions)


def source_suppression(
    centres: Tensor, scales: Tensor, confidences: Tensor, negative: Tensor, nodes: Tensor
) -> Tensor:
    images, regions = centres.shape[:2]
    xx, yy = nodes.view(1, -1), nodes.view(-1, 1)
    total: Any = 0
    count = 0
    for b in range(images):
        if not negative[b]:
            continue
        for k in range(regions):
            alpha = source_map(xx, yy, centres[b, k], scales[b, k])
            peak = (alpha.max() - 1 / len(nodes) ** 2) ** 2
            total = total + (peak + confidences[b, k] ** 2)
            count += 1
    return total / max(count, 1)


def cell_centres() -> Tensor:
    """Where the cells of a 7 × 7 grid are."""
    return (torch.arange(CELLS) + 0.5) / CELLS


def source_losses(at: Leaves, labels: Tensor) -> Tensor:
    """The three map losses of the source, added."""
    given, nodes = (at["means"], at["sigmas"]), cell_centres()
    negative, confidences = (labels == 0).all(-1), at["logits"].sigmoid()[..., 0]
    return (
        source_concentration(*given, nodes)
        + source_sparsity(*given, nodes)
        + source_suppression(*given, confidences, negative, nodes)
    )


# Ours


def leaves(images: int = IMAGES, *, classes: int = 1) -> Leaves:
    """Regions at random; widths at which the source does not collapse yet."""
    random = torch.Generator().manual_seed(0)
    shape = (images, REGIONS)
    given = {
        "boxes": torch.rand(*shape, 4, generator=random),
        "means": torch.rand(*shape, 2, generator=random),
        "sigmas": 0.1 + 0.3 * torch.rand(*shape, 2, generator=random),
        "logits": torch.randn(*shape, classes, generator=random),
        "attended": 0.1 + torch.rand(*shape, 4, generator=random),
    }
    return {name: value.requires_grad_() for name, value in given.items()}


def labels_of(images: int = IMAGES, *, classes: int = 1) -> Tensor:
    """Every image has all classes, but for the negative ones."""
    return (
        (torch.arange(images) >= images * NEGATIVES // IMAGES).float()[:, None].repeat(1, classes)
    )


def ours_of(names: tuple[str, ...], labels: Tensor) -> Callable[[Leaves], dict[str, Tensor]]:
    """From leaves to the means of our losses."""
    count, logits = len(labels), torch.zeros_like(labels)
    batch = Batch(("",) * count, torch.zeros(count, 1, 1, 1), labels, torch.ones(count, 2).long())

    def work(at: Leaves) -> dict[str, Tensor]:
        log_x, log_y = gaussian.log_maps(at["means"], at["sigmas"], (CELLS, CELLS))
        output = ModelOutput(logits, regions=Regions(**at, log_x=log_x, log_y=log_y))
        return {name: losses[name](*read(name, output, batch)).mean() for name in names}

    return work


def added(found: dict[str, Tensor]) -> Tensor:
    """Our three; the source averages suppression over the negative images alone."""
    scale = IMAGES / NEGATIVES
    return found["concentration"] + found["sparsity"] + scale * found["negative_suppression"]


def check() -> dict[str, float]:
    """Largest differences of values and gradients, which must be rounding errors.

    Raises:
        RuntimeError: the two sides do not compute the same.
    """
    at, labels = leaves(), labels_of()
    widened = {**at, "sigmas": (at["sigmas"].square() + 1e-6).sqrt()}
    ours, theirs = added(ours_of(SOURCE, labels)(widened)), source_losses(at, labels)
    moved = [at[name] for name in ("means", "sigmas", "logits")]
    pairs = zip(*(torch.autograd.grad(v, moved) for v in (ours, theirs)), strict=True)
    gaps = {
        "value": abs(ours.item() - theirs.item()),
        "gradient": max(float((a - b).abs().max()) for a, b in pairs),
    }
    if gaps["value"] > 1e-5 or gaps["gradient"] > 1e-6:
        raise RuntimeError(f"ours and the source's loops differ: {gaps}")
    return gaps


# Time


def backwards(loss: Callable[[], Tensor], at: Leaves) -> Callable[[], None]:
    def work() -> None:
        loss().backward()
        for value in at.values():
            value.grad = None

    return work


def in_turns(
    first: Callable[[], None],
    second: Callable[[], None],
    *,
    repeats: int,
    times: int,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[float, float, float]:
    """Median seconds of both and median of second ÷ first.

    In every turn the second runs once and the first, which is short, `times` times; of these the
    median counts.
    """

    def seconds(work: Callable[[], None]) -> float:
        start = clock()
        work()
        return clock() - start

    seconds(first), seconds(second)
    pairs = [
        (statistics.median(seconds(first) for _ in range(times)), seconds(second))
        for _ in range(repeats)
    ]
    return (
        statistics.median(a for a, _ in pairs),
        statistics.median(b for _, b in pairs),
        statistics.median(b / a for a, b in pairs),
    )


def against_loops(repeats: int) -> dict[str, Any]:
    """Both sides on one thread; `ratio` is theirs ÷ ours."""
    at, labels = leaves(), labels_of()
    work = ours_of(SOURCE, labels)
    ours = backwards(lambda: added(work(at)), at)
    theirs = backwards(lambda: source_losses(at, labels), at)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    own, peer, ratio = in_turns(ours, theirs, repeats=repeats, times=100, clock=time.process_time)
    torch.set_num_threads(threads)
    what = f"three Gaussian losses, {IMAGES} images × {REGIONS} regions: the source's loops"
    return {"what": what, "ours": own, "theirs": peer, "ratio": ratio, "goal": "≥ 400"}


def of_a_step(names: tuple[str, ...], what: str, images: int, repeats: int) -> dict[str, Any]:
    """Losses ÷ training step of a bare DenseNet-121."""
    import training_step  # beside this file; the tests import this module without it

    classes = training_step.CLASSES
    at, labels = leaves(images, classes=classes), labels_of(images, classes=classes)
    work = ours_of(names, labels)
    ours = backwards(lambda: torch.stack([*work(at).values()]).sum(), at)
    bare = training_step.Bare(CELLS)  # type: ignore[arg-type]
    step = training_step.stepper(bare, torch.bfloat16, channels_last=True, full=False, count=images)
    own, peer, ratio = in_turns(ours, step, repeats=repeats, times=50)
    what = f"{what} Gaussian losses ÷ step of a bare DenseNet-121, batch {images}, bf16"
    return {"what": what, "ours": own, "theirs": peer, "ratio": 1 / ratio, "goal": "≤ 0.01"}


def measure(*, repeats: int = 15, batches: tuple[int, ...] = (8, 32)) -> list[dict[str, Any]]:
    """Rows of the table."""
    check()
    rows = [against_loops(repeats)]
    for images in batches:
        for what, names in (("three", SOURCE), ("all eight", ALL)):
            rows.append(of_a_step(names, what, images, max(3, repeats // 3)))
    return rows


def main() -> None:
    gaps = check()
    print(f"differences from the loops: value {gaps['value']:.1e}, gradient {gaps['gradient']:.1e}")
    for line in measure():
        times = f"{line['ours']:.3g} s, {line['theirs']:.3g} s"
        print(f"{line['what']}: {times}, ratio {line['ratio']:.3g} ({line['goal']})")


if __name__ == "__main__":
    main()
