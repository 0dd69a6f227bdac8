"""The captions of a training: whether it needs any, and whether there are some."""

from collections.abc import Mapping
from dataclasses import replace

from wsrpn.config import RunConfig
from wsrpn.errors import InputError
from wsrpn.losses import losses
from wsrpn.models.base import models, reads_text
from wsrpn.text import TextTable, table
from wsrpn.text.captions import captions
from wsrpn.types import Dataset

SOURCE = "batch.texts"


def prepare(
    config: RunConfig, train: Dataset, val: Dataset, *, device: str = "cpu"
) -> TextTable | None:
    """Embed what the images of a training say, where model or losses read it.

    Args:
        config: of the run, complete.
        train: its training images.
        val: its validation images.
        device: where the encoder computes.

    Raises:
        InputError: text is needed and no encoder is chosen, or no training image has any.
    """
    readers = _readers(config)
    if not readers and not reads_text(config.model):
        return None
    if config.text.encoder == "none":
        model = f"model {config.model['name']} reads"
        who = f"losses {', '.join(readers)} read" if readers else model
        raise InputError(
            f"{who} text, and text.encoder is none; choose one, for example --set "
            "text.encoder=minilm, or a folder with a transformers checkpoint."
        )
    # A model without alignment reads the prompts of the classes only.
    captioned = readers or "alignment" in models.facts(config.model["name"])["gives"]
    both = replace(train, records=(*train.records, *val.records) if captioned else ())
    found = table(both, config.text, device=device)
    if readers and not any(max(found.rows[record.id]) >= 0 for record in train.records):
        raise InputError(
            f"{train.name}: losses {', '.join(readers)} read text, and no training image has any "
            f"(text.captions={config.text.captions}); give the data a column text, or set "
            "text.captions=labels."
        )
    return found


def captioned(config: RunConfig, dataset: Dataset) -> set[str]:
    """Ids of the images whose caption a loss reads, whatever is known of their labels."""
    if not _readers(config):
        return set()
    return {name for name, said in captions(dataset, config.text).levels.items() if any(said)}


def _readers(config: RunConfig) -> list[str]:
    return [name for name in config.losses if SOURCE in losses.facts(name)["reads"]]


def notes(config: RunConfig, found: TextTable | None) -> list[str]:
    """What the user should know of the text of a training."""
    if found is not None:
        return list(found.notes)
    if config.text.encoder != "none":
        return [
            f"text.encoder={config.text.encoder} has no effect: model {config.model['name']} and "
            "its losses read no text."
        ]
    return []


def same(old: Mapping[str, object] | None, now: Mapping[str, object] | None) -> bool:
    """Whether two trainings see the same vectors of the same texts."""
    keys = ("fingerprint", "digest")
    return [(old or {}).get(key) for key in keys] == [(now or {}).get(key) for key in keys]
