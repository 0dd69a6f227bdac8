"""A text encoder without weights: hashed words, for tests and for a demo without a model."""

import hashlib
import itertools
import re
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from wsrpn.config import TextConfig
from wsrpn.text.encoders import Embedded, encoders

WIDTH = 256
STAND_IN = (
    "Text vectors are hashed words (text.encoder=hashing), a stand-in that knows no language: "
    "figures that depend on text say nothing of a real text encoder."
)
_WORD = re.compile(r"\w+")


@encoders.register("hashing")
class HashingEncoder:
    """Signed hashing of words and pairs of neighbouring words into 256 features, L2-normalised.

    Args:
        config: `max_length` words of a text are read; pooling has no part in it.
        device: not used.

    Reference:
        Weinberger et al., Feature hashing for large scale multitask learning, ICML 2009.

    Example:
        >>> encoder = HashingEncoder(config=TextConfig(encoder="hashing"))
        >>> encoder.encode(["No effusion.", "no effusion"]).vectors @ np.ones(256) == [0, 0]
        array([False, False])
    """

    name = "hashing"
    fingerprint = f"hashing words and bigrams, {WIDTH}, 1"
    stand_in = STAND_IN
    width = WIDTH

    def __init__(self, *, config: TextConfig, device: str = "cpu") -> None:
        self.max_length = config.max_length

    def encode(self, texts: Sequence[str]) -> Embedded:
        """Embed texts."""
        words = [_WORD.findall(text.lower()) for text in texts]
        rows = [
            self._row(one[: self.max_length] or [text])
            for one, text in zip(words, texts, strict=True)
        ]
        vectors = np.stack(rows) if rows else np.zeros((0, WIDTH), dtype=np.float32)
        return Embedded(vectors, np.array([len(w) > self.max_length for w in words], dtype=bool))

    def _row(self, words: Sequence[str]) -> Float[np.ndarray, " d"]:
        row = np.zeros(WIDTH)
        for part in (*words, *(f"{a} {b}" for a, b in itertools.pairwise(words))):
            # Python's own hash differs from process to process.
            number = int.from_bytes(hashlib.sha256(part.encode()).digest()[:8], "little")
            row[number % WIDTH] += 1.0 if number >> 63 else -1.0
        return (row / max(float(np.linalg.norm(row)), 1e-12)).astype(np.float32)
