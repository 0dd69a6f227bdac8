"""Tiles in h5 and npz files, as CLAM, TRIDENT and hs2p write them."""

import math
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from wsrpn import files
from wsrpn.errors import InputError, nearest
from wsrpn.slides.facts import MPP_UM, Facts

MOST_BYTES = 512_000_000  # of an array; 32 million tiles, a hundred times the largest slides
_FURTHEST_PX0 = 1e9  # a side that no slide has
H5, NPZ = (".h5", ".hdf5"), (".npz",)
SCORES = ("score", "scores", "attention_scores", "attention")
ANY = "score"  # the caller named no array
_DAMAGED = (  # what numpy and zipfile raise on a damaged npz
    OSError, ValueError, TypeError, EOFError, RuntimeError, MemoryError, zipfile.BadZipFile,
    zlib.error,
)  # fmt: skip


class NoScores(InputError):
    """A file of tiles that nobody scored: coordinates or features."""


@dataclass(frozen=True)
class Arrays:
    """What an h5 or npz file says.

    Attributes:
        x: left edges of the tiles.
        y: top edges.
        score: of every tile.
        name: of the array with the scores.
        size: of a tile in full-size pixels, or None where the file does not say.
        facts: of the slide.
        tissue: share, or None.
    """

    x: Float[np.ndarray, " n"]
    y: Float[np.ndarray, " n"]
    score: Float[np.ndarray, " n"]
    name: str
    size: float | None
    facts: Facts
    tissue: Float[np.ndarray, " n"] | None = None


def read(path: Path, score: str, coordinates: Sequence[Path] = ()) -> Arrays:
    """The tiles of a file.

    Args:
        path: h5 or npz.
        score: the array with the scores; `score` takes the one there is.
        coordinates: h5 files that may name the size of a patch where this one does not.

    Raises:
        NoScores: nobody scored the tiles, or there are none.
        InputError: damaged, or arrays that do not fit each other.
    """
    if path.suffix.lower() in NPZ:
        return _npz(path, score)
    found = _h5(path, score)
    sizes = (_size_in(other) for other in coordinates if other != path and other.is_file())
    if found.size is not None:
        return found
    return replace(found, size=next((size for size in sizes if size is not None), None))


def _h5(path: Path, score: str) -> Arrays:
    try:
        import h5py
    except ImportError:
        raise InputError(
            f"{path}: h5 needs h5py, which is not installed; pip install 'wsrpn[slides]'."
        ) from None
    try:
        with h5py.File(path, "r") as file:
            sets = {name: file[name] for name in file if isinstance(file[name], h5py.Dataset)}
            if "coords" not in sets:
                raise NoScores(f"{path}: no array 'coords'. {nearest('coords', sets)}")
            name = _scores_of(path, list(sets), score)
            attributes = {**dict(file.attrs), **dict(sets["coords"].attrs)}
            for one in ("coords", name):
                _refuse_large(path, one, sets[one].size * sets[one].dtype.itemsize)
            coords, values = sets["coords"][()], sets[name][()]
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; an h5 with tiles was expected.") from None
    except InputError:
        raise
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, MemoryError) as error:
        raise InputError(f"{path}: not readable as h5 ({' '.join(str(error).split())}).") from None
    x, y, values = _checked(path, coords, values, name)
    return Arrays(x, y, values, name, _size(path, attributes), _seen(path, attributes))


def _size_in(path: Path) -> float | None:
    """The size of a patch from a file of coordinates."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            return _size(path, dict(file["coords"].attrs)) if "coords" in file else None
    except OSError:
        return None


def _size(path: Path, attributes: Mapping[str, Any]) -> float | None:
    """The side of a patch in full-size pixels."""
    found = attributes.get("patch_size_level0")
    if found is None:
        level = _number(attributes.get("patch_level", 0))
        shrunk = _number(attributes.get("downsample", 1 if level == 0 else None))
        side = _number(attributes.get("patch_size"))
        found = None if side is None or shrunk is None else side * shrunk
    return _sound(path, _number(found))


def _number(value: Any) -> float | None:
    """An attribute: a number, or the first of several."""
    if value is None:
        return None
    try:
        number = float(np.ravel(value)[0])
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    return None if math.isnan(number) else number


def _seen(path: Path, attributes: Mapping[str, Any]) -> Facts:
    wide, high = (_number(attributes.get(f"level0_{side}")) for side in ("width", "height"))
    return Facts(extent_px0=_extent(path, wide, high))


def _scores_of(path: Path, names: Sequence[str], score: str) -> str:
    """The array with the scores."""
    if score in names:
        return score
    known = [name for name in names if name in SCORES or name.startswith("prob_")]
    if score == ANY and len(known) == 1:
        return known[0]
    if score == ANY and known:
        raise InputError(f"{path}: scores in {', '.join(known)}; name the array to take.")
    raise NoScores(
        f"{path}: no scores, only {', '.join(names) or 'nothing'}; add an array 'scores' with one "
        f"number a tile."
    )


def _npz(path: Path, score: str) -> Arrays:
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            name = _scores_of(path, file.files, score)
            for one in {name, "x", "y", "coords", "tissue_fractions"} & set(file.files):
                _refuse_large(path, one, _unpacked(file, one))
            coords, values = _coords(path, file), file[name]
            tissue = file["tissue_fractions"] if "tissue_fractions" in file.files else None
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; an npz with tiles was expected.") from None
    except InputError:
        raise
    except _DAMAGED as error:
        raise InputError(f"{path}: not readable as npz ({' '.join(str(error).split())}).") from None
    x, y, values = _checked(path, coords, values, name)
    size, facts = _meta(path)
    share = None if tissue is None else _shares(path, tissue, len(values))
    return Arrays(x, y, values, name, size, facts, share)


def _unpacked(file: np.lib.npyio.NpzFile, name: str) -> int:
    """Bytes that an array of an npz has when it is read."""
    inside = {one.filename: one.file_size for one in (file.zip.infolist() if file.zip else ())}
    return inside.get(f"{name}.npy", inside.get(name, 0))


def _refuse_large(path: Path, name: str, size: int) -> None:
    """Stop before a few packed bytes become all memory."""
    if size > MOST_BYTES:
        raise InputError(
            f"{path}: '{name}' says it has {size / 1e6:,.0f} MB; one number a tile, at most "
            f"{MOST_BYTES / 1e6:,.0f} MB, is expected, so write the file anew."
        )


def _coords(path: Path, file: Mapping[str, np.ndarray]) -> np.ndarray:
    if "x" in file and "y" in file and file["x"].shape == file["y"].shape:
        return np.stack([file["x"], file["y"]], axis=-1)
    if "coords" not in file:
        raise NoScores(f"{path}: no arrays 'x' and 'y' of one length. {nearest('x', file)}")
    return file["coords"]


def _shares(path: Path, tissue: np.ndarray, count: int) -> Float[np.ndarray, " n"]:
    if tissue.shape != (count,) or not np.all((tissue >= 0) & (tissue <= 1)):
        raise InputError(f"{path}: 'tissue_fractions' is not one share between 0 and 1 a tile.")
    return tissue.astype(np.float64)


def _meta(path: Path) -> tuple[float | None, Facts]:
    """Patch size, slide size and mpp of hs2p's `NAME.coordinates.meta.json`."""
    beside = path.with_suffix(".meta.json")
    if not beside.is_file():
        return None, Facts()
    found = files.read_json(beside, what="metadata of tiles")
    parts = [found.get(part) if isinstance(found, dict) else None for part in ("tiling", "slide")]
    tiling, slide = (part if isinstance(part, dict) else {} for part in parts)
    listed = slide.get("dimensions")
    sides = [_number(side) for side in (listed if isinstance(listed, list) else [])]
    wide, high = sides if len(sides) == 2 else (None, None)
    size, mpp = _number(tiling.get("tile_size_lv0")), _number(slide.get("base_spacing_um"))
    facts = Facts(mpp=_possible(beside, mpp), extent_px0=_extent(beside, wide, high))
    return _sound(beside, size), facts


def _possible(path: Path, mpp: float | None) -> float | None:
    if mpp and not MPP_UM[0] <= mpp <= MPP_UM[1]:
        raise InputError(
            f"{path}: {mpp:g} µm a pixel is no resolution of a slide; give {MPP_UM[0]:g} to "
            f"{MPP_UM[1]:g}, or leave it out."
        )
    return mpp or None


def _extent(path: Path, wide: float | None, high: float | None) -> tuple[int, int] | None:
    if wide is None or high is None:
        return None
    if not all(0 < side < _FURTHEST_PX0 for side in (wide, high)):
        raise InputError(f"{path}: a slide of {wide:g} × {high:g} px is none; leave its size out.")
    return round(wide), round(high)


def _sound(path: Path, size: float | None) -> float | None:
    if size is not None and not 0 < size < math.inf:
        raise InputError(f"{path}: a patch of {size:g} px is none.")
    return size


def _checked(
    path: Path, coords: np.ndarray, values: np.ndarray, name: str
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Left and top edges and scores as finite numbers, one of each a tile."""
    if coords.ndim != 2 or coords.shape[1] != 2 or coords.dtype.kind not in "iuf":
        raise InputError(
            f"{path}: 'coords' has shape {coords.shape}; x and y of every tile are expected."
        )
    values = values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values
    if values.shape != coords.shape[:1] or values.dtype.kind not in "iufb":
        raise InputError(
            f"{path}: '{name}' has shape {values.shape} for {len(coords)} tiles; one number a "
            f"tile is expected."
        )
    places, scores = coords.astype(np.float64), values.astype(np.float64)
    for what, bad in (("place", ~np.isfinite(places).all(axis=1)), (name, ~np.isfinite(scores))):
        if bad.any():
            raise InputError(f"{path}: tile {int(np.argmax(bad)) + 1}: its {what} is not finite.")
    return places[:, 0], places[:, 1], scores
