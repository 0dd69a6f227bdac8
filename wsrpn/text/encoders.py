"""Frozen text encoders by name: what one is, and which one a config asks for."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float

from wsrpn.config import TextConfig
from wsrpn.errors import InputError
from wsrpn.registry import Registry


@dataclass(frozen=True)
class Embedded:
    """What an encoder makes of texts.

    Attributes:
        vectors: one row per text.
        truncated: where a text was longer than the encoder reads.
    """

    vectors: Float[np.ndarray, "n d"]
    truncated: Bool[np.ndarray, " n"]

    def __len__(self) -> int:
        return len(self.truncated)


@runtime_checkable
class Encoder(Protocol):
    """A frozen text encoder; the vector of a text depends on that text alone.

    Attributes:
        name: what people call it.
    """

    name: str

    @property
    def stand_in(self) -> str:
        """What has to be said wherever its results are shown; "" for a real encoder."""
        ...

    @property
    def fingerprint(self) -> str:
        """Names the weights: equal only where the vectors are."""
        ...

    @property
    def width(self) -> int:
        """Features of a vector, d."""
        ...

    def encode(self, texts: Sequence[str]) -> Embedded:
        """Embed texts, none of them empty."""
        ...


# A maker looks whether the encoder is there; what is heavy it leaves for the first `encode`.
encoders: Registry[Callable[..., Encoder]] = Registry("text encoder")


def open_encoder(config: TextConfig, *, device: str = "cpu") -> Encoder:
    """The encoder that `config.encoder` names, its weights not yet loaded.

    Args:
        config: a registered name, a folder, or the name of a model on the hub.
        device: where it computes.

    Raises:
        InputError: none is chosen, or it is not there.
    """
    name = config.encoder
    if name == "none":
        raise InputError(
            "text.encoder is none; choose one, for example --set text.encoder=minilm, or a folder "
            "with a transformers checkpoint."
        )
    if name in encoders:
        return encoders[name](config=config, device=device)
    from wsrpn.text.transformer import TransformersEncoder  # which registers what stands on it

    return TransformersEncoder(config=config, device=device)
