"""From files to batches. Importing this package registers every reader."""

from wsrpn.data import coco, folder, manifest, nih, phantom
from wsrpn.data.base import datasets, files, load

__all__ = ["coco", "datasets", "files", "folder", "load", "manifest", "nih", "phantom"]
