"""What text costs a training step, with the cache of embedded texts and without it.

    python benchmarks/text_step.py

Both steps are WSRPN's as the preset ships it, batch 8, bf16, channels last, timed in turns as in
training_step.py: one with the losses of preset `wsrpn-vl` on reports that come from the cache, one
without the contrastive loss and without texts. The second row runs the frozen MiniLM on the reports
of the batch in every step instead, which is what the cache saves.
"""

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from training_step import BATCH, CLASSES, CPU, batch_of, paired, row

from wsrpn import config, models, text
from wsrpn.compute import autocast
from wsrpn.config import RunConfig, TextConfig
from wsrpn.data.phantom import reports
from wsrpn.losses import Objective
from wsrpn.text.transformer import TransformersEncoder
from wsrpn.train.optimiser import clip
from wsrpn.train.run import complete
from wsrpn.types import Batch, Dataset, Record, Texts

TEXTS = 256  # distinct reports that the table holds


def table(folder: Path) -> text.TextTable:
    """Reports of as many normal phantoms, all different, embedded by MiniLM."""
    rng = np.random.default_rng(0)
    said = [f"{reports.report((), rng)} Film {i}." for i in range(TEXTS)]
    records = tuple(
        Record(str(i), Path(str(i)), str(i), (0.0,) * CLASSES, text=words)
        for i, words in enumerate(said)
    )
    names = tuple(f"class {k}" for k in range(CLASSES))
    settings = TextConfig(encoder="minilm", captions="text", cache=str(folder))
    return text.table(Dataset("reports", names, records), settings)


def stepper(
    run: RunConfig,
    weights: dict[str, float],
    found: text.TextTable,
    attach: Callable[[Batch], Batch],
) -> Callable[[], None]:
    """One optimiser step as a function; `attach` brings the text."""
    names = [f"class {k}" for k in range(CLASSES)]
    space = found.space(names) if models.models.facts(run.model["name"]).get("reads_text") else None
    model = models.build(run.model, classes=CLASSES, text=space)
    model = model.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    objective = Objective({name: run.losses.get(name, {}) for name in weights})
    batch = batch_of(channels_last=True)

    def step() -> None:
        seen = attach(batch)
        with autocast(torch.bfloat16, CPU):
            output = model(seen)
        loss, _ = objective(output, seen, weights)
        optimizer.zero_grad()
        loss.backward()
        clip(model, 1.0)
        optimizer.step()

    return step


def every_step(found: text.TextTable, said: dict[str, str]) -> Callable[[Batch], Batch]:
    """Texts of a batch from the encoder itself, as without a cache."""
    encoder = found.cache.encoder
    if not isinstance(encoder, TransformersEncoder):
        raise TypeError("the benchmark is about a transformers encoder")

    def attach(batch: Batch) -> Batch:
        vectors = torch.from_numpy(encoder.encode([said[name] for name in batch.ids]).vectors)
        return replace(batch, texts=Texts(vectors[:, None], torch.arange(BATCH)[:, None]))

    return attach


def text_step(*, repeats: int = 15) -> list[dict[str, Any]]:
    """Rows of the table."""
    with_text, without = complete(config.load("wsrpn-vl")), complete(config.load("wsrpn"))
    weights = dict(with_text.phases[-1].weights)
    plain = {name: weight for name, weight in weights.items() if name != "contrastive"}
    options = {name: with_text.losses[name] for name in plain}
    without = replace(without, losses=options)
    with tempfile.TemporaryDirectory() as folder:
        found = table(Path(folder))
        rng = np.random.default_rng(0)
        said = {str(i): f"{reports.report((), rng)} Film {i}." for i in range(BATCH)}
        steps = [
            stepper(with_text, weights, found, found.attach),
            stepper(with_text, weights, found, every_step(found, said)),
            stepper(without, plain, found, lambda batch: batch),
        ]
        cached = paired(steps[0], steps[2], repeats)
        anew = paired(steps[1], steps[2], max(3, repeats // 3))
    what = "training step with text ÷ without"
    return [
        row(f"{what}, from the cache", cached, "≤ 1.02"),
        row(f"{what}, MiniLM run on every batch", anew, "–"),
    ]


def main() -> None:
    for line in text_step():
        times = f"{line['ours']:.3f} s, {line['theirs']:.3f} s"
        print(f"{line['what']}: {times}, ratio {line['ratio']:.3f} ({line['goal']})")


if __name__ == "__main__":
    main()
