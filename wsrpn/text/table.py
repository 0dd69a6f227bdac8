"""The embedded captions of a data set, looked up by record for every batch."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from wsrpn.config import TextConfig
from wsrpn.text.cache import Cache, open_cache
from wsrpn.text.captions import captions, prompts
from wsrpn.text.encoders import open_encoder
from wsrpn.types import Batch, Dataset, Texts, TextSpace


@dataclass(frozen=True)
class TextTable:
    """Captions of a data set as vectors.

    Attributes:
        vectors: of the distinct texts, and a last row of zeros for no text.
        rows: record id → number of its text per level, -1 for none.
        facts: encoder and counts, for `run.json`.
        notes: what the user should know.
        cache: embeds further texts of the same encoder.
    """

    vectors: Float[Tensor, "t d"]
    rows: Mapping[str, tuple[int, ...]]
    facts: Mapping[str, Any]
    notes: tuple[str, ...]
    cache: Cache

    @property
    def width(self) -> int:
        """Features of a vector, d."""
        return self.vectors.shape[1]

    @property
    def levels(self) -> int:
        """Captions per image, l."""
        return len(next(iter(self.rows.values()), (-1,)))

    def attach(self, batch: Batch) -> Batch:
        """The batch with the texts of its records; a record that is not known has none."""
        nothing = (-1,) * self.levels
        ids = torch.tensor([self.rows.get(name, nothing) for name in batch.ids], dtype=torch.int64)
        return dataclasses.replace(batch, texts=Texts(self.vectors[ids], ids))

    def space(self, classes: Sequence[str]) -> TextSpace:
        """What a model that reads text is built with."""
        vectors = self.cache.embed(prompts(classes)).vectors
        return TextSpace(self.width, torch.from_numpy(vectors).reshape(len(classes), 2, self.width))


def table(dataset: Dataset, config: TextConfig, *, device: str = "cpu") -> TextTable:
    """Embed the captions of a data set, each distinct text once.

    Args:
        dataset: texts, scene graphs and labels.
        config: the encoder and what to say.
        device: where the encoder computes if it has to.

    Raises:
        InputError: no encoder, one that cannot be used, or a scene graph that cannot be read.
    """
    encoder = open_encoder(config, device=device)
    cache = open_cache(encoder, config)
    said = captions(dataset, config)
    number: dict[str, int] = {"": -1}
    for text in (text for levels in said.levels.values() for text in levels if text):
        number.setdefault(text, len(number) - 1)
    texts = [text for text in number if text]
    # The prompts come along, so that a cache that is full once needs the encoder no more.
    embedded = cache.embed([*texts, *prompts(dataset.classes)])
    truncated = int(embedded.truncated[: len(texts)].sum())
    vectors = torch.from_numpy(embedded.vectors[: len(texts)])
    notes = list(said.notes)
    if truncated:
        notes.append(
            f"text: {truncated} of {len(texts)} distinct texts are longer than "
            f"text.max_length={config.max_length} and were cut."
        )
    if encoder.stand_in:
        notes.append(encoder.stand_in)
    return TextTable(
        vectors=torch.cat((vectors, torch.zeros(1, encoder.width))),
        rows={name: tuple(number[text] for text in levels) for name, levels in said.levels.items()},
        facts={
            "encoder": encoder.name,
            "fingerprint": encoder.fingerprint,
            "width": encoder.width,
            "stand_in": encoder.stand_in,
            "distinct_texts": len(texts),
            "images_with_text": said.with_text,
            "images_without_text": len(dataset) - said.with_text,
            "sources": dict(said.sources),
            "truncated": truncated,
            "digest": _digest(said.levels),
        },
        notes=tuple(notes),
        cache=cache,
    )


def _digest(levels: Mapping[str, tuple[str, ...]]) -> str:
    """sha256 of who says what."""
    total = hashlib.sha256()
    for name, texts in sorted(levels.items()):
        total.update(json.dumps([name, *texts]).encode())
    return total.hexdigest()
