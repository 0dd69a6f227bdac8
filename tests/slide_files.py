"""Tiny slide files for tests: of phantoms, without a resolution, damaged, and whole cohorts."""

from pathlib import Path

from wsrpn.slides import phantom, phantom_file, phantom_slide
from wsrpn.slides.phantom import Plan
from wsrpn.slides.phantom_slide import PhantomSlide

TILE = 96.0


def made(*, tiles=30, mpp=1.0, burden=0.2, tile=TILE, index=0) -> PhantomSlide:
    """What is known about a tiny slide; its tiles sit on a lattice of `tile` pixels from (0, 0).

    30 tiles with tissue on 9 × 9 cells, 864 × 864 pixels, of which a fifth of the tissue is tumour.
    """
    return phantom_slide.generate(
        f"tiny_{index}",
        (0, index),
        tiles=tiles,
        burden=burden,
        mpp=float(mpp or 0),
        tile=float(tile),
    )


def slide(folder: Path, name: str = "tiny.tif", **options) -> Path:
    """A tiny pyramid that OpenSlide reads. `mpp=None` leaves out the resolution; else as `made`."""
    path = folder / name
    phantom_file.write(path, made(**options), (0, options.get("index", 0)))
    return path


def truncated(folder: Path, name: str = "cut_off.tif", *, keep: float = 0.5, **options) -> Path:
    """A slide whose file ends early: its directories, which stand behind the pixels, are gone."""
    path = slide(folder, name, **options)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    return path


def damaged(folder: Path, name: str = "damaged.tif", **options) -> Path:
    """A slide that opens, but whose largest level holds zeros in place of JPEG."""
    import tifffile

    path = slide(folder, name, **options)
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        spans = list(zip(page.dataoffsets, page.databytecounts, strict=True))
    with path.open("r+b") as file:
        for offset, count in spans:
            file.seek(offset)
            file.write(bytes(count))
    return path


def cohort(folder: Path, **options) -> Path:
    """`slides.csv` of a small cohort with slide files (thirds train, val, test) in a folder."""
    settings = {"slides": 6, "tiles": 60, "tile": TILE, "mpp": 1.0, "burden": "0.1-0.3"}
    phantom.write(folder, Plan(**{**settings, "files": True, **options}))
    return folder / phantom.SLIDES
