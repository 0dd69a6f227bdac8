"""A training step and a prediction: ours beside the bare DenseNet-121 that they stand on.

    python benchmarks/training_step.py

Everything is timed interleaved in one process, A B A B …, on all cores; a ratio is the median of
the ratios of neighbouring runs: the machine's speed drifts, the ratio does not.

- step: WSRPN with both branches, cell consistency and gradient clipping, forward, backward and
  AdamW, over a DenseNet-121 with mean pooling, one linear layer and cross-entropy; same batch, size
  and precision.
- precision: the WSRPN step in float32 and the default memory format over bf16 and channels last.
- Grad-CAM, Grad-CAM++: maps of 9 classes over one forward pass of the same network.
- files: the bare backbone on tensors that lie ready over `wsrpn.predict.predict`, which decodes the
  files and selects boxes: a share of the throughput.
"""

import dataclasses
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from wsrpn import config, models
from wsrpn.compute import autocast
from wsrpn.data.phantom import cxr
from wsrpn.losses import Objective
from wsrpn.models import backbones
from wsrpn.predict import TrainedRun, predict
from wsrpn.train.optimiser import clip
from wsrpn.types import Batch

BATCH, SIZE, CLASSES = 8, 224, 9
CPU = torch.device("cpu")


class Bare(nn.Module):
    """DenseNet-121, mean pooling, one linear layer."""

    def __init__(self, grid: backbones.Grid) -> None:
        super().__init__()
        self.backbone = backbones.make("densenet121", grid=grid, weights="none")
        self.head = nn.Linear(self.backbone.channels, CLASSES)

    def forward(self, batch: Batch) -> torch.Tensor:
        """Image logits."""
        return self.head(self.backbone(batch.images).mean((2, 3)))


def batch_of(*, channels_last: bool, count: int = BATCH) -> Batch:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(count, 1, SIZE, SIZE, generator=generator)
    labels = (torch.rand(count, CLASSES, generator=generator) < 0.2).float()
    ids = tuple(map(str, range(count)))
    sizes = torch.full((count, 2), 1024)
    return Batch(ids, images, labels, sizes).to("cpu", channels_last=channels_last)


def stepper(
    model: nn.Module, dtype: torch.dtype, *, channels_last: bool, full: bool, count: int = BATCH
) -> Callable[[], None]:
    """One optimiser step as a function."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    model = model.to(memory_format=layout).train()  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    objective = Objective({"detection": {}, "cell_consistency": {}})
    batch = batch_of(channels_last=channels_last, count=count)

    def step() -> None:
        with autocast(dtype, CPU):
            output = model(batch)
        if full:
            loss, _ = objective(output, batch, {"detection": 1.0, "cell_consistency": 0.5})
        else:
            loss = nn.functional.binary_cross_entropy_with_logits(output.float(), batch.labels)
        optimizer.zero_grad()
        loss.backward()
        if full:
            clip(model, 1.0)
        optimizer.step()

    return step


def paired(first: Callable[[], Any], second: Callable[[], Any], repeats: int) -> dict[str, float]:
    """Median seconds of both, and the median of first ÷ second pair by pair."""
    first(), second()
    times: list[tuple[float, float]] = []
    for _ in range(repeats):
        pair = []
        for work in (first, second):
            start = time.perf_counter()
            work()
            pair.append(time.perf_counter() - start)
        times.append((pair[0], pair[1]))
    return {
        "first": statistics.median(a for a, _ in times),
        "second": statistics.median(b for _, b in times),
        "ratio": statistics.median(a / b for a, b in times),
    }


def row(what: str, timed: dict[str, float], goal: str) -> dict[str, Any]:
    return {
        "what": what, "ours": timed["first"], "theirs": timed["second"], "ratio": timed["ratio"],
        "goal": goal,
    }  # fmt: skip


def wsrpn(grid: int) -> nn.Module:
    """The preset as it is shipped."""
    return models.build({**config.load("wsrpn").model, "grid": grid}, classes=CLASSES)


def measure(*, repeats: int = 9) -> list[dict[str, Any]]:
    """Rows of the table."""
    bf16, rows = torch.bfloat16, []
    for grid in (7, 14):
        full = stepper(wsrpn(grid), bf16, channels_last=True, full=True)
        bare = stepper(Bare(grid), bf16, channels_last=True, full=False)  # type: ignore[arg-type]
        what = f"training step, all losses, grid {grid} ÷ bare DenseNet-121, batch 8, bf16"
        rows.append(row(what, paired(full, bare, repeats), "≤ 1.05"))
    for count in (BATCH, 2 * BATCH):  # the presets train with 16 images
        slow = stepper(wsrpn(14), torch.float32, channels_last=False, full=True, count=count)
        fast = stepper(wsrpn(14), bf16, channels_last=True, full=True, count=count)
        what = f"step in float32 ÷ bf16 with channels last, grid 14, batch {count}"
        rows.append(row(what, paired(slow, fast, repeats), "≥ 2.3"))
    coarse = stepper(wsrpn(7), bf16, channels_last=True, full=True, count=2 * BATCH)
    rows.append(row("grid 14 ÷ grid 7, batch 16, bf16", paired(fast, coarse, repeats), "–"))
    rows += [grad_cam(name, repeats) for name in ("grad_cam", "grad_cam_pp")]
    rows.append(files(repeats=3))
    return rows


def grad_cam(name: str, repeats: int) -> dict[str, Any]:
    options = {"name": name, "backbone": "densenet121", "grid": 7}
    model = models.build(options, classes=CLASSES).eval()
    batch = batch_of(channels_last=False)

    @torch.no_grad()
    def plain() -> None:
        model.classify(model.backbone(batch.images)).mean((2, 3))

    @torch.no_grad()
    def maps() -> None:
        model(batch)

    what = f"{name} of 9 classes ÷ one forward pass"
    return row(what, paired(maps, plain, repeats), "≤ 1.1")


def files(repeats: int, images: int = 64) -> dict[str, Any]:
    """Throughput from files, over the bare backbone on ready tensors."""
    run_config = config.parse({"model": {"name": "wsrpn"}, "data": {"size": SIZE}})
    model = wsrpn(14).eval()
    bare = Bare(14).eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    names = tuple(f"class {k}" for k in range(CLASSES))
    run = TrainedRun(Path(), run_config, names, model, "")
    with tempfile.TemporaryDirectory() as folder:
        dataset = cxr.write(Path(folder) / "x", images=images, size=512)
        dataset = dataclasses.replace(dataset, classes=names)
        records = tuple(
            dataclasses.replace(r, labels=(0.0,) * CLASSES, boxes=()) for r in dataset.records
        )
        dataset = dataclasses.replace(dataset, records=records)
        ready = batch_of(channels_last=True)
        ready = dataclasses.replace(ready, images=torch.cat([ready.images] * 2))

        @torch.no_grad()
        def tensors() -> None:
            for _ in range(images // 16):
                with autocast(torch.bfloat16, CPU):
                    bare(ready)

        timed = paired(tensors, lambda: predict(run, dataset), repeats)
    return row("bare model on ready tensors ÷ predict from 512-px files (seconds)", timed, "≥ 0.9")


def main() -> None:
    for line in measure():
        times = f"{line['ours']:.3f} s, {line['theirs']:.3f} s"
        print(f"{line['what']}: {times}, ratio {line['ratio']:.3f} ({line['goal']})")


if __name__ == "__main__":
    main()
