"""Embedded texts on disk: each distinct text is given to an encoder once.

A store belongs to one encoder with one way to pool, one length and one number format. It holds
files of many rows: the sha256 of a text, its vector, and whether it was cut. Texts themselves are
not written: they are patient data. The name of a file is the sha256 of its bytes, so a file that is
half written, or in which a bit has flipped, is known by its name and made again.
"""

import hashlib
import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import safetensors.numpy
from filelock import FileLock
from safetensors import SafetensorError

from wsrpn import files
from wsrpn.config import TextConfig
from wsrpn.text.encoders import Embedded, Encoder

FORMAT = 1
CHUNK = 2048  # texts per file; what a kill can cost
Rows = dict[bytes, tuple[np.ndarray, bool]]


@dataclass(frozen=True)
class Cache:
    """Vectors of texts by one encoder, from disk where they are there.

    Attributes:
        encoder: asked for texts that are new.
        folder: the store; made by the first text.
        about: what the vectors depend on besides the text.
    """

    encoder: Encoder
    folder: Path
    about: Mapping[str, str | int] = field(default_factory=dict)

    def embed(self, texts: Sequence[str]) -> Embedded:
        """Vectors of texts in their order; equal texts are embedded once.

        A folder that cannot be written costs a warning and the time of embedding again.
        """
        keys = {text: hashlib.sha256(text.encode("utf-8", "replace")).digest() for text in texts}
        wanted = set(keys.values())
        rows = self._read(wanted)
        if wanted - rows.keys():
            rows |= self._fill({key: text for text, key in keys.items() if key not in rows})
        if not wanted:
            return Embedded(np.zeros((0, self.encoder.width), np.float32), np.zeros(0, bool))
        found = [rows[keys[text]] for text in texts]
        vectors = np.stack([row for row, _ in found]).astype(np.float32)
        return Embedded(vectors, np.array([cut for _, cut in found], dtype=bool))

    def _fill(self, missing: Mapping[bytes, str]) -> Rows:
        """Embed texts and write them; of several processes one does, the others wait and read."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with FileLock(self.folder / ".lock"):
                return self._locked(missing)
        except OSError as error:
            warnings.warn(
                f"{self.folder}: embedded texts cannot be kept there ({error.strerror or error}); "
                "set text.cache to a folder that can be written",
                stacklevel=2,
            )
        return dict(self._encoded(missing, lambda rows: None))

    def _locked(self, missing: Mapping[bytes, str]) -> Rows:
        for left in self.folder.glob("*.tmp.*"):
            left.unlink(missing_ok=True)  # under the lock: whoever wrote it is gone
        rows = self._read(set(missing), tidy=True)
        left_over = {key: text for key, text in missing.items() if key not in rows}
        if left_over:
            files.write_json(self.folder / "about.json", dict(self.about))
            rows |= self._encoded(left_over, self._write)
        return rows

    def _encoded(self, texts: Mapping[bytes, str], keep: Callable[[Rows], None]) -> Rows:
        """Embed part after part, and keep each as soon as it is there."""
        rows: Rows = {}
        listed = list(texts.items())
        for low in range(0, len(listed), CHUNK):
            part = listed[low : low + CHUNK]
            made = self.encoder.encode([text for _, text in part])
            vectors = made.vectors.astype(str(self.about["dtype"]))
            new = {
                key: (row, bool(cut))
                for (key, _), row, cut in zip(part, vectors, made.truncated, strict=True)
            }
            keep(new)
            rows |= new
        return rows

    def _write(self, rows: Rows) -> None:
        data = safetensors.numpy.save(
            {
                "keys": np.frombuffer(b"".join(rows), dtype=np.uint8).reshape(-1, 32),
                "vectors": np.stack([row for row, _ in rows.values()]),
                "truncated": np.array([cut for _, cut in rows.values()], dtype=np.uint8),
            },
            metadata={"store": self.folder.name},
        )
        files.write(self.folder / f"{hashlib.sha256(data).hexdigest()}.safetensors", data)

    def _read(self, wanted: set[bytes], *, tidy: bool = False) -> Rows:
        """Rows of texts that are in undamaged files; with `tidy` the others are taken away."""
        rows: Rows = {}
        for path in sorted(self.folder.glob("*.safetensors")):
            if wanted <= rows.keys():
                break
            found = self._open(path)
            if found is not None:
                rows |= {key: row for key, row in found if key in wanted}
            elif tidy:
                path.unlink(missing_ok=True)
                warnings.warn(
                    f"{path}: this file of embedded texts is damaged; it is made again",
                    stacklevel=2,
                )
        return rows

    def _open(self, path: Path) -> Iterator[tuple[bytes, tuple[np.ndarray, bool]]] | None:
        """Rows of one file, or None if it is not whole or not of this store."""
        try:
            data = path.read_bytes()
            if hashlib.sha256(data).hexdigest() != path.stem:
                return None
            header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
            if header["__metadata__"]["store"] != self.folder.name:
                return None
            found = safetensors.numpy.load(data)
        except (OSError, KeyError, ValueError, SafetensorError):
            return None
        keys = (bytes(key) for key in found["keys"])
        cut = (bool(one) for one in found["truncated"])
        return zip(keys, zip(found["vectors"], cut, strict=True), strict=True)


def open_cache(encoder: Encoder, config: TextConfig) -> Cache:
    """The cache of an encoder under the settings that change its vectors."""
    about: dict[str, str | int] = {
        "format": FORMAT,
        "encoder": encoder.fingerprint,
        "pooling": config.pooling,
        "max_length": config.max_length,
        "dtype": config.dtype,
    }
    root = Path(config.cache).expanduser() if config.cache else files.user_cache() / "text"
    key = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
    return Cache(encoder, root / key[:32], about)
