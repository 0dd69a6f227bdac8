"""From files to batches. Importing this package registers every reader."""

from wsrpn.data import (
    chexlocalize,
    chexpert,
    coco,
    folder,
    jsrt,
    manifest,
    mimic,
    ms_cxr,
    nih,
    node21,
    openi,
    padchest,
    phantom,
    rsna,
    siim,
    vindr,
)
from wsrpn.data.base import datasets, files, load

__all__ = [
    "chexlocalize", "chexpert", "coco", "datasets", "files", "folder", "jsrt", "load", "manifest",
    "mimic", "ms_cxr", "nih", "node21", "openi", "padchest", "phantom", "rsna", "siim", "vindr",
]  # fmt: skip
