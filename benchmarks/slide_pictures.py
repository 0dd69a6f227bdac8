"""Pictures of a slide of 100,000 × 100,000 pixels: time and memory beside what the field does.

    python benchmarks/slide_pictures.py

The other side of the picture is the loop of CLAM and TRIDENT (a canvas and a counter at 1/32, patch
by patch, a colour map of matplotlib, a blend over the slide, a PNG); ours is the same picture as
`jpg`. The other side of GeoJSON is the row loop of WSInfer (`DataFrame.apply` makes a dictionary of
every row, then `json.dump`). Both are written down here from their rules. Times are medians of
pairs in one process; memory is the peak of a process of its own, less what it held after a first
small picture.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from wsrpn.report import pyramid, qupath, slide_flat
from wsrpn.report.slide_view import SlideView, union
from wsrpn.tiles import Lattice, Tiles

SIDE_PX0, DOWN = 100_000, 32


def slide(tiles: int, seed: int = 0) -> SlideView:
    """A slide full of tiles on a lattice of fractional pitch, with smooth scores, 3 % called."""
    from scipy import ndimage

    side = round(tiles**0.5)
    pitch = SIDE_PX0 / side
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.normal(size=(side, side)), 2.0)
    row, column = (part.ravel() for part in np.indices((side, side)))
    score = field.ravel() / field.std()
    lattice = Lattice((0.0, 0.0), (pitch, pitch), column, row, (side, side))
    found = score > np.quantile(score, 0.97)
    label = (score + rng.normal(size=len(score)) > 2.5).astype(np.float64)
    whole = Tiles("slide", "slide", lattice, (pitch, pitch), score, label, label,
                  np.ones(len(score)), mpp=0.25, extent_px0=(SIDE_PX0, SIDE_PX0))  # fmt: skip
    heat = lattice.spread(score)
    ends = (float(np.percentile(score, 5)), float(np.percentile(score, 95)))
    picture = ndimage.gaussian_filter(rng.integers(0, 256, (1800, 1800, 3)), (1, 1, 0))
    return SlideView(whole, heat, ends, "score", found, 1.9, tumour=union(whole, label == 1),
                     picture=picture.astype(np.uint8))  # fmt: skip


def picture_by_loop(view: SlideView, path: Path) -> None:
    """CLAM's way: add every patch to a canvas and a counter, divide, colour, blend, save."""
    from matplotlib import colormaps
    from PIL import Image

    canvas = np.zeros((SIDE_PX0 // DOWN + 1,) * 2)
    count = np.zeros(canvas.shape, dtype=np.uint16)
    size = int(np.ceil(view.tiles.size_px0[0] / DOWN))
    low, high = view.colour
    for (x, y), score in zip(view.tiles.corner_px0 / DOWN, view.tiles.score, strict=True):
        there = (slice(int(y), int(y) + size), slice(int(x), int(x) + size))
        canvas[there] += score
        count[there] += 1
    known = count > 0
    canvas[known] /= count[known]
    image = np.asarray(Image.fromarray(view.picture).resize(canvas.shape[::-1])).copy()
    share = np.clip((canvas - low) / (high - low), 0, 1)
    colours = (colormaps["jet"](share)[..., :3] * 255).astype(np.uint8)
    image[known] = (0.6 * image[known] + 0.4 * colours[known]).astype(np.uint8)
    Image.fromarray(image).save(path)


def geojson_by_rows(view: SlideView, path: Path) -> None:
    """WSInfer's way: a dictionary for every row of a table."""
    import pandas as pd

    x, y = view.tiles.corner_px0.T
    table = pd.DataFrame({
        "minx": x, "miny": y, "width": view.tiles.size_px0[0], "height": view.tiles.size_px0[1],
        "prob_score": view.tiles.score,
    })  # fmt: skip
    scores = [name for name in table if name.startswith("prob_")]

    def feature(row: Any) -> dict[str, Any]:
        left, top = row["minx"], row["miny"]
        right, bottom = left + row["width"], top + row["height"]
        ring = [(right, top), (right, bottom), (left, bottom), (left, top), (right, top)]
        measured = dict(row[scores].to_dict().items())
        return {
            "type": "Feature", "id": str(uuid.uuid4()),
            "geometry": {"type": "Polygon", "coordinates": [ring]},
            "properties": {"isLocked": True, "measurements": measured, "objectType": "tile"},
        }  # fmt: skip

    features = table.apply(feature, axis=1).tolist()
    with path.open("w") as file:
        json.dump({"type": "FeatureCollection", "features": features}, file)


def paired(
    ours: Callable[[], object], theirs: Callable[[], object], repeats: int
) -> tuple[float, float, float]:
    """Medians of seconds, and of theirs ÷ ours, over pairs; one pair to warm up."""
    pairs = [(timed(ours), timed(theirs)) for _ in range(repeats + 1)][1:]
    ratio = statistics.median(b / a for a, b in pairs)
    return *(statistics.median(side) for side in zip(*pairs, strict=True)), ratio  # type: ignore[return-value]


def timed(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def everything(view: SlideView, folder: Path) -> None:
    """All that `wsrpn heatmap` writes of a slide."""
    from wsrpn.report import draw, slide_page, slide_panel, slide_sheet

    draw.save(slide_panel.panel(view), folder / "panel.png", dpi=200)
    draw.save(slide_sheet.cell(view), folder / "cell.png")
    slide_flat.write(view, folder / "a.jpg", downsample=DOWN)
    pyramid.write(view, folder / "a.tiff", downsample=DOWN)
    pyramid.write(view, folder / "a.ome.tiff", downsample=DOWN, ome=True)
    qupath.write_regions(view, folder / "a.geojson")
    qupath.write_tiles(view, folder / "a.tiles.geojson")
    page = slide_page.page([slide_page.entry(view)], title="slide")
    (folder / "page.html").write_text(page, encoding="utf-8")


WAYS: dict[str, Callable[[SlideView, Path], None]] = {
    "loop": lambda view, folder: picture_by_loop(view, folder / "a.png"),
    "jpg": lambda view, folder: slide_flat.write(view, folder / "a.jpg", downsample=DOWN),
    "tiff": lambda view, folder: pyramid.write(view, folder / "a.tiff", downsample=DOWN),
    "everything": everything,
}


def grown(way: str, tiles: int) -> tuple[float, float, float]:
    """MiB by which a process of its own grows, its peak in all, and seconds."""
    command = [sys.executable, __file__, "--one", way, str(tiles)]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found: dict[str, float] = json.loads(out)
    return found["grown"], found["peak"], found["seconds"]


def one(way: str, tiles: int) -> None:
    """What `grown` runs."""
    # What a first small picture loads (fonts, codecs) is no matter of the slide.
    with tempfile.TemporaryDirectory() as folder:
        WAYS[way](slide(400), Path(folder))
        view = slide(tiles)
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        before = peak()
        took = timed(lambda: WAYS[way](view, Path(folder)))
    print(json.dumps({"grown": peak() - before, "peak": peak(), "seconds": took}))


def peak() -> float:
    """MiB that this program held at most; of Linux's own count, which a parent does not raise."""
    line = next(s for s in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in s)
    return int(line.split()[1]) / 1024


def measure() -> list[dict[str, Any]]:
    """Rows for the table of all benchmarks; ratios are theirs ÷ ours, memory is in its words."""
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        view = slide(40_000)
        memory = {way: grown(way, 40_000)[0] for way in ("loop", "jpg", "tiff")}
        for way, what in (("jpg", "the same as JPEG"), ("tiff", "heatmap as pyramidal TIFF")):
            ours, theirs, ratio = paired(
                lambda way=way: WAYS[way](view, folder), lambda: WAYS["loop"](view, folder), 5
            )
            rows.append(_row(
                "slide picture at 1/32 of 100k × 100k, 40,000 tiles: patch loop, blend, PNG ÷ "
                f"{what} (+{memory['loop']:.0f} MiB against +{memory[way]:.0f})",
                ours, theirs, ratio, "≥ 8, ≤ 100 MiB",
            ))  # fmt: skip
        view = slide(54_000)
        ours, theirs, ratio = paired(
            lambda: qupath.write_tiles(view, folder / "o.geojson"),
            lambda: geojson_by_rows(view, folder / "t.geojson"), repeats=3,
        )  # fmt: skip
        rows.append(_row("GeoJSON of 54,000 tiles: row loop ÷ ours", ours, theirs, ratio, "≥ 25"))
    for tiles in (40_000, 1_000_000):
        _, most, took = grown("everything", tiles)
        rows.append(_row(
            f"all files of a slide of 100k × 100k, {tiles:,} tiles: peak {most:.0f} MiB of the "
            "whole process", took, None, None, "< 1 GB",
        ))  # fmt: skip
    return rows


def _row(
    what: str, ours: float, theirs: float | None, ratio: float | None, goal: str
) -> dict[str, Any]:
    return {"what": what, "ours": ours, "theirs": theirs, "ratio": ratio, "goal": goal}


def main() -> None:
    if sys.argv[1:2] == ["--one"]:
        one(sys.argv[2], int(sys.argv[3]))
        return
    for row in measure():
        print(row)


if __name__ == "__main__":
    main()
