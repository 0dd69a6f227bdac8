"""Where a transformers checkpoint lies, which one it is, and whether it can be an encoder."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from wsrpn.config import TextConfig
from wsrpn.errors import InputError, nearest
from wsrpn.text.encoders import encoders

WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
TOKENIZER = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model")
SETTINGS = ("config.json", "tokenizer_config.json", "special_tokens_map.json", "merges.txt")


def digest(folder: Path) -> str:
    """sha256 over the weights, the vocabulary and the settings of a folder, whatever its path."""
    total = hashlib.sha256()
    for path in matching(folder, (*WEIGHTS, *TOKENIZER, *SETTINGS)):
        with path.open("rb") as file:
            total.update(
                f"{path.name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode()
            )
    return total.hexdigest()


def matching(folder: Path, patterns: Sequence[str]) -> list[Path]:
    """Files of a folder by pattern, sorted."""
    return sorted({path for pattern in patterns for path in folder.glob(pattern)})


def locate(config: TextConfig) -> tuple[Path, str]:
    """Folder, and name with revision for one that comes from the hub.

    Raises:
        InputError: neither a folder nor on this machine, or, where it may be fetched, not there.
    """
    name = config.encoder
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder, ""
    if name.count("/") > 1 or name.startswith((".", "/", "~")) or "\\" in name or folder.exists():
        raise InputError(f"text.encoder={name}: no such folder.")
    snapshot = _download(name) if config.online else _cached(name)
    if snapshot is None:
        raise InputError(
            f"text.encoder={name}: neither a folder nor in this machine's cache of the hub. "
            f"Download it beforehand (hf download {name}), or let it be fetched with "
            f"--set text.online=true. {nearest(name, ('none', *encoders))}"
        )
    return snapshot, f"{name}@{snapshot.name}"


def _cached(name: str) -> Path | None:
    """The snapshot of a hub model that lies on this machine."""
    import huggingface_hub
    from huggingface_hub.errors import HFValidationError

    try:
        found = huggingface_hub.try_to_load_from_cache(name, "config.json")
    except HFValidationError:
        return None
    return Path(found).parent if isinstance(found, str) else None


def _download(name: str) -> Path:
    """The snapshot of a hub model, fetched if it has to be.

    Raises:
        InputError: the hub has none of that name, or does not answer.
    """
    import huggingface_hub

    wanted = ["*.json", "*.txt", "*.model", "*.safetensors"]
    try:
        folder = Path(huggingface_hub.snapshot_download(name, allow_patterns=wanted))
        if not matching(folder, WEIGHTS):  # old models have no safetensors
            folder = Path(
                huggingface_hub.snapshot_download(name, allow_patterns=[*wanted, WEIGHTS[1]])
            )
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"text.encoder={name}: could not be fetched ({reason}); check the name and the network."
        ) from None
    return folder


def check(folder: Path) -> None:
    """Refuse what is no encoder before the library is loaded and says it in its own way.

    Raises:
        InputError: says what is missing, and the way out.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise InputError(
            f"{folder}: has no config.json, so it is no transformers checkpoint; save one there "
            "with model.save_pretrained and tokenizer.save_pretrained."
        )
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{path}: not readable as JSON ({error}).") from None
    if not isinstance(found, dict) or "model_type" not in found:
        raise InputError(f"{path}: has no 'model_type'; it is no config of transformers.")
    if found.get("is_encoder_decoder"):
        raise InputError(
            f"{folder}: is an encoder with a decoder ({found['model_type']}); a BERT-like encoder "
            "is needed."
        )
    if not matching(folder, TOKENIZER):
        raise InputError(
            f"{folder}: has no tokenizer ({', '.join(TOKENIZER)}); save it there with "
            "tokenizer.save_pretrained."
        )
    if not matching(folder, WEIGHTS):
        raise InputError(f"{folder}: has no weights ({', '.join(WEIGHTS)}).")
