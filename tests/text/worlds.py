"""Tiny text encoders: one that counts what it is asked, and a BERT of two layers in a folder."""

import json
from pathlib import Path

import numpy as np
import torch

from wsrpn import compat
from wsrpn.text.encoders import Embedded

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "no", "effusion", "mass", "small", "left",
         "right", "lung", "clear", "heart", "is", "present", "the", "##s", ".")  # fmt: skip


class Counting:
    """An encoder whose vectors say which text it was given; remembers its calls."""

    name, stand_in, width = "counting", "", 3

    def __init__(self, fingerprint="counting 1", *, longest=20):
        self.fingerprint, self.longest, self.calls = fingerprint, longest, []

    @property
    def seen(self):
        """Every text that was ever asked for."""
        return [text for call in self.calls for text in call]

    def encode(self, texts):
        self.calls.append(list(texts))
        rows = [[len(text), sum(text.encode()), text.encode()[0]] for text in texts]
        cut = np.array([len(text) > self.longest for text in texts], dtype=bool)
        return Embedded(np.array(rows, np.float32).reshape(-1, 3), cut)


def bert(folder: Path, *, safe: bool = True, seed: int = 0, **config: object) -> Path:
    """A checkpoint as `save_pretrained` writes it: 16 features, 2 layers, 32 positions."""
    compat.torchvision()
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.manual_seed(seed)
    settings = transformers.BertConfig(
        vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=32,
    )  # fmt: skip
    model = transformers.BertModel(settings)
    model.save_pretrained(folder)
    if not safe:
        state = {k: v.contiguous() for k, v in model.state_dict().items()}
        # Checkpoints of before transformers 4.31 carry this.
        state["embeddings.position_ids"] = torch.arange(32)[None]
        torch.save(state, folder / "pytorch_model.bin")
        (folder / "model.safetensors").unlink()
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    tokens = {"tokenizer_class": "BertTokenizer", "model_max_length": 32, "do_lower_case": True}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokens))
    if config:
        change(folder, **config)
    return folder


def change(folder: Path, **values: object) -> None:
    """Set keys of `config.json`; None removes one."""
    path = folder / "config.json"
    found = {**json.loads(path.read_text()), **values}
    path.write_text(json.dumps({k: v for k, v in found.items() if v is not None}))
