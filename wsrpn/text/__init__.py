"""Words to vectors: captions of records, frozen encoders by name, a cache of what they said."""

from wsrpn.text import hashing, transformer
from wsrpn.text.encoders import Embedded, Encoder, encoders, open_encoder
from wsrpn.text.table import TextTable, table

__all__ = [
    "Embedded",
    "Encoder",
    "TextTable",
    "encoders",
    "hashing",
    "open_encoder",
    "table",
    "transformer",
]
