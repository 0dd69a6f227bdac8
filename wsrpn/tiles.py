"""The values of the slide half, in order of flow: Slide → Cut → TileSet → Tiles → Cohort.

Letters of shapes: `n` tiles, `gh gw` the lattice, `s` slides, `t` thresholds. Planes stand at the
end of a name: `_px0` full-size pixels of the slide file (origin top-left), `_cell` cells of the
lattice, `_um` and `_um2` micrometres. A *score* is higher where a tile is more abnormal; a *label*
is 1, 0 or nan (unknown); a *share* is between 0 and 1.
"""

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

AS_GIVEN = "as given"  # the label rule of a table that brings labels of its own


@dataclass(frozen=True)
class Slide:
    """What a table of slides says of one; nothing is opened to make it.

    Attributes:
        id: the name that score tables use.
        patient: whoever must not be on both sides of a fit; the id where nothing is known.
        split: train, val, test, or None.
        annotation: outlines (ASAP XML, GeoJSON, rings as JSON) or a mask (TIFF, PNG), or None.
        normal: known to have no tumour at all, so that no annotation means no tumour.
        exhaustive: False where tumour is known to be missing from the annotation.
        tissue: a mask of tissue, or None.
        thumbnail: a small picture of the whole slide, or None.
        file: the slide itself, or None.
        mpp: micrometres per full-size pixel, or None.
        extent_px0: width and height of the slide, or None.
        offset_px0: added to coordinates of the annotation to get those of the file (bounds).
        extra: further columns.
    """

    id: str
    patient: str
    split: str | None = None
    annotation: Path | None = None
    normal: bool = False
    exhaustive: bool = True
    tissue: Path | None = None
    thumbnail: Path | None = None
    file: Path | None = None
    mpp: float | None = None
    extent_px0: tuple[int, int] | None = None
    offset_px0: tuple[float, float] = (0.0, 0.0)
    extra: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Lattice:
    """Where tiles sit: column c and row r begin at `origin + (c, r) × pitch`, up to rounding.

    Attributes:
        origin_px0: x and y of the corner of column 0 and row 0.
        pitch_px0: steps in x and y; may be fractional.
        column: of every tile.
        row: of every tile.
        shape: rows and columns.
    """

    origin_px0: tuple[float, float]
    pitch_px0: tuple[float, float]
    column: Int[np.ndarray, " n"]
    row: Int[np.ndarray, " n"]
    shape: tuple[int, int]

    def corners_px0(self) -> Float[np.ndarray, "n 2"]:
        """Places (x, y) of the top-left corner of every tile."""
        cells = np.stack([self.column, self.row], axis=1).astype(np.float64)
        return cells * np.array(self.pitch_px0) + np.array(self.origin_px0)

    def spread(self, values: Float[np.ndarray, " n"]) -> Float[np.ndarray, "gh gw"]:
        """Values of tiles on the lattice; nan where there is no tile."""
        grid = np.full(self.shape, np.nan, dtype=values.dtype)
        grid[self.row, self.column] = values
        return grid

    def marked(self, chosen: Bool[np.ndarray, " n"]) -> Bool[np.ndarray, "gh gw"]:
        """The chosen tiles on the lattice; False where there is no tile."""
        grid = np.zeros(self.shape, dtype=bool)
        grid[self.row, self.column] = chosen
        return grid

    def gather(self, grid: np.ndarray) -> np.ndarray:
        """Of a grid the values of the tiles, in their order."""
        return grid[self.row, self.column]


@dataclass(frozen=True)
class Cut:
    """Which tiles of a slide are read; no pixels of them.

    Attributes:
        slide: with its file, `mpp` and size filled in.
        lattice: where the tiles sit.
        size_px0: width and height of a tile.
        tissue: share of every tile that is tissue.
    """

    slide: Slide
    lattice: Lattice
    size_px0: tuple[float, float]
    tissue: Float[np.ndarray, " n"]

    def __len__(self) -> int:
        return len(self.tissue)

    @property
    def boxes_px0(self) -> Float[np.ndarray, "n 4"]:
        """x1, y1, x2, y2 of every tile."""
        corner = self.lattice.corners_px0()
        return np.concatenate([corner, corner + np.array(self.size_px0)], axis=1)

    def unscored(self) -> "Tiles":
        """The tiles with scores of 0 and unknown labels, to be given both."""
        unknown = np.full(len(self), np.nan)
        return Tiles(
            slide=self.slide.id,
            patient=self.slide.patient,
            lattice=self.lattice,
            size_px0=self.size_px0,
            score=np.zeros(len(self)),
            label=unknown,
            truth=unknown,
            tissue=self.tissue,
            mpp=self.slide.mpp,
            extent_px0=self.slide.extent_px0,
            split=self.slide.split,
            exhaustive=self.slide.exhaustive,
        )


@dataclass(frozen=True)
class TileSet:
    """Tiles to learn from or to score, as columns: where their pixels are and what is known.

    Attributes:
        name: how the user asked for it.
        slides: whose tiles they are; patient and split are of the slide.
        slide: index in `slides` of every tile.
        files: pictures, contact sheets or slide files.
        file: index in `files` of every tile.
        box_px: x1, y1, x2, y2 of the pixels in that file (full-size pixels of a slide file); nan
            where it is the whole picture.
        corner_px0: x and y of the top-left corner on the slide; nan where nobody knows.
        size_px0: width and height on the slide.
        label: 1 tumour, 0 normal, nan unknown.
        truth: share of the tile that is tumour; nan where nobody knows.
        tissue: share of the tile that is tissue; 1 where nobody says.
        notes: what the reader wants the user to know, counted.
        training_notes: further notes, for whoever trains on it.
        failed: slide → reason, of slides that are left out.
    """

    name: str
    slides: tuple[Slide, ...]
    slide: Int[np.ndarray, " n"]
    files: tuple[Path, ...]
    file: Int[np.ndarray, " n"]
    box_px: Float[np.ndarray, "n 4"]
    corner_px0: Float[np.ndarray, "n 2"]
    size_px0: Float[np.ndarray, "n 2"]
    label: Float[np.ndarray, " n"]
    truth: Float[np.ndarray, " n"]
    tissue: Float[np.ndarray, " n"]
    notes: tuple[str, ...] = ()
    training_notes: tuple[str, ...] = ()
    failed: Mapping[str, str] = field(default_factory=dict)

    classes = ("tumour",)  # one question is asked of every tile

    def __len__(self) -> int:
        return len(self.slide)

    def id(self, index: int) -> str:
        """Name of a tile: slide and place, or the number of a tile whose place is unknown."""
        x, y = self.corner_px0[index]
        place = f"{x:.12g},{y:.12g}" if np.isfinite(x) else f"#{index}"
        return f"{self.slides[self.slide[index]].id}@{place}"

    def where(self, keep: Bool[np.ndarray, " n"]) -> "TileSet":
        """The tiles for which `keep` is true; slides and files stay as they are."""
        columns = (
            "slide", "file", "box_px", "corner_px0", "size_px0", "label", "truth", "tissue",
        )  # fmt: skip
        return dataclasses.replace(self, **{name: getattr(self, name)[keep] for name in columns})

    def split(self, name: str) -> "TileSet":
        """The tiles of one split."""
        inside = np.array([slide.split == name for slide in self.slides], dtype=bool)
        return self.where(inside[self.slide])

    def labels(self) -> Float[np.ndarray, "n 1"]:
        """All labels as one array, a class a column."""
        return self.label[:, None]

    def digest(self) -> str:
        """A fingerprint of which tiles these are, whatever their order."""
        return self._digest(self.box_px, self.corner_px0, self.size_px0)

    def label_digest(self) -> str:
        """A fingerprint of which tile has which label."""
        return self._digest(self.box_px, self.corner_px0, self.label[:, None])

    def _digest(self, *columns: Float[np.ndarray, "n _"]) -> str:
        rows = np.ascontiguousarray(np.concatenate(columns, axis=1), dtype="<f8")
        rows = np.where(np.isnan(rows), np.nan, rows) + 0.0  # one nan and one zero
        names = [
            f"{self.slides[s].id}\0{self.files[f].name}\0".encode()
            for s, f in zip(self.slide, self.file, strict=True)
        ]
        lines = sorted(name + row.tobytes() for name, row in zip(names, rows, strict=True))
        return hashlib.sha256(b"\n".join(lines)).hexdigest()


@dataclass(frozen=True)
class Tiles:
    """The scored tiles of one slide.

    Attributes:
        slide: its name.
        patient: of the slide; the name where nothing is known.
        lattice: where the tiles sit.
        size_px0: width and height of a tile; above the pitch where tiles overlap.
        score: of every tile, finite.
        label: truth by tile under the cohort's label rule.
        truth: share of the tile that is tumour; nan where nobody knows.
        tissue: share of the tile that is tissue; 1 where nobody says.
        reference: tiles of reference tissue, or None where nobody says.
        mpp: micrometres per full-size pixel, or None.
        extent_px0: width and height of the slide, or None.
        split: train, val, test, or None.
        exhaustive: False where tumour is known to be missing from the truth.
        others: further scores of every tile by the name of their column, `score_…`.
    """

    slide: str
    patient: str
    lattice: Lattice
    size_px0: tuple[float, float]
    score: Float[np.ndarray, " n"]
    label: Float[np.ndarray, " n"]
    truth: Float[np.ndarray, " n"]
    tissue: Float[np.ndarray, " n"]
    reference: Bool[np.ndarray, " n"] | None = None
    mpp: float | None = None
    extent_px0: tuple[int, int] | None = None
    split: str | None = None
    exhaustive: bool = True
    others: Mapping[str, Float[np.ndarray, " n"]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.score)

    @property
    def corner_px0(self) -> Float[np.ndarray, "n 2"]:
        """Places (x, y) of the top-left corner of every tile, as the lattice has them."""
        return self.lattice.corners_px0()

    @property
    def cell_um2(self) -> float | None:
        """Area of a cell of the lattice, or None without `mpp`."""
        if self.mpp is None:
            return None
        return self.lattice.pitch_px0[0] * self.lattice.pitch_px0[1] * self.mpp**2

    @property
    def inside(self) -> Bool[np.ndarray, " n"]:
        """The tiles with tissue; the others have no part in any step, and are never called."""
        return self.tissue > 0

    @property
    def normal(self) -> bool:
        """Known to have no tumour: all of its tissue is labelled, and nothing is missing."""
        known = not np.isnan(self.label[self.inside]).any()
        return known and self.exhaustive and self.burden == 0 and not (self.label == 1).any()

    @property
    def burden(self) -> float:
        """Share of the tissue that is tumour, from shares or else labels; nan if nobody knows."""
        share = np.where(np.isnan(self.truth), self.label, self.truth)
        known = ~np.isnan(share)
        whole = float(self.tissue[known].sum())
        return float(share[known].sum()) / whole if whole > 0 else float("nan")


@dataclass(frozen=True)
class Cohort:
    """Tiles of several slides, scored by one model.

    Attributes:
        name: where they come from.
        slides: with different names.
        score: the column that `Tiles.score` holds.
        rule: how tiles got their labels: `any`, `centre`, `share@X`, or `AS_GIVEN`.
        notes: what the user should know, counted.
        failed: slide → reason, of slides that are left out.
        provenance: file, digest, size of the table.
    """

    name: str
    slides: tuple[Tiles, ...]
    score: str = "score"
    rule: str = AS_GIVEN
    notes: tuple[str, ...] = ()
    failed: Mapping[str, str] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.slides)

    def only(self, names: "set[str]") -> "Cohort":
        """The slides with these names."""
        kept = tuple(tiles for tiles in self.slides if tiles.slide in names)
        return dataclasses.replace(self, slides=kept)
