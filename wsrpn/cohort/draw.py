"""`heatmap` for slides: truth, heatmap and overlay of every slide, and layers for viewers.

Scores of all slides are in memory, and slides are drawn one after the other: of pictures and
outlines only those of one slide are, until the contact sheet and the page put the small parts of
all together. A slide that fails is listed and the others go on; one that is finished is left as it
is.
"""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from wsrpn import files
from wsrpn.cohort import finished, fits, pictures
from wsrpn.cohort.finished import FOLDER, Record
from wsrpn.cohort.pictures import Look
from wsrpn.errors import InputError, counted, nearest
from wsrpn.report import draw as saving
from wsrpn.report import pyramid, qupath, slide_flat, slide_page, slide_panel, slide_sheet
from wsrpn.report.slide_sheet import Cell
from wsrpn.report.slide_view import SlideView
from wsrpn.slides.calibration import SlideCalibration
from wsrpn.tiles import Cohort, Slide, Tiles

SUFFIXES = {
    "png": ".png", "pdf": ".pdf", "svg": ".svg", "jpg": ".jpg", "geojson": ".geojson",
    "geojson-tiles": ".tiles.geojson", "tiff": ".tiff", "ome-tiff": ".ome.tiff", "html": ".json",
}  # fmt: skip
FORMATS = tuple(SUFFIXES)
SHEET = 240  # slides on the contact sheet
_PANELS = ("png", "pdf", "svg")
_DPI, _CELL_DPI = 200, 190


@dataclass(frozen=True)
class Drawn:
    """What was drawn.

    Attributes:
        files: name → path of everything there is of these slides, the sheet and the page left out.
        failed: slide → reason.
        skipped: slides that were finished before.
        sheet: the contact sheet, if panels were asked for.
        page: the page for a browser, if it was.
        notes: what the user should know.
    """

    files: Mapping[str, Path]
    failed: Mapping[str, str]
    skipped: tuple[str, ...] = ()
    sheet: Path | None = None
    page: Path | None = None
    notes: tuple[str, ...] = ()


def draw(
    cohort: Cohort,
    slides: Mapping[str, Slide],
    out: Path,
    *,
    calibration: SlideCalibration | None = None,
    formats: Sequence[str] = ("png",),
    scale: str = "cohort",
    clip: tuple[float, float] = (5.0, 95.0),
    blur_tiles: float | None = None,
    downsample: int = 32,
    names: Sequence[str] | None = None,
    listen: Callable[[int], None] | None = None,
) -> Drawn:
    """Draw slides.

    Args:
        cohort: scores with their truth.
        slides: name → what slides.csv says: outlines, thumbnails, slide files.
        out: folder; a file is named after its slide.
        calibration: steps, threshold and colours. Without one scores are shown as they are and
            nothing is called tumour.
        formats: of `FORMATS`: panels (`png`, `pdf`, `svg`) with a contact sheet; `jpg`, the overlay
            of the whole slide, flat and without words; `geojson`, regions called tumour for QuPath;
            `geojson-tiles`, all tiles for it; `tiff` and `ome-tiff`, pyramids of the heatmap;
            `html`, one page with a zoomable view of every slide.
        scale: `cohort`, the same colours for all slides (those of the calibration where there is
            one), or `slide`.
        clip: percentiles of the values over tissue at the ends of the colours.
        blur_tiles: σ of a smoothing for display alone, in tiles; None takes 1 where the calibration
            does not smooth, else 0. No figure depends on it.
        downsample: full-size pixels to a pixel of `jpg`, `tiff` and `ome-tiff`.
        names: draw only these; colours are still those of the whole cohort.
        listen: called with the number of slides done since the last call.

    Raises:
        InputError: an unknown format, scale or slide, percentiles that are none, regions asked for
            without a calibration, or a calibration of other scores, tiles or labels.
    """
    _check(formats, scale, clip, calibration)
    wanted = pictures.chosen(cohort, names)
    if calibration is not None:
        fits.check(cohort, calibration)
    failed = fits.misfits(cohort, calibration) if calibration else {}
    look = Look(calibration, cohort.score, scale, clip, _blur(blur_tiles, calibration))
    look = dataclasses.replace(look, colour=pictures.shared(cohort, look, failed))
    failed = {name: why for name, why in failed.items() if name in _names(wanted)}
    job = _Job(slides, out, look, tuple(dict.fromkeys(formats)), downsample)
    stems = finished.stems([tiles.slide for tiles in cohort.slides])
    records: dict[str, Record] = {}
    skipped: list[str] = []
    for tiles in wanted.slides:
        if tiles.slide not in failed:
            try:
                records[tiles.slide], fresh = job.slide(tiles, stems[tiles.slide])
                skipped += [] if fresh else [tiles.slide]
            except Exception as error:  # one slide never stops the others
                failed[tiles.slide] = _reason(error)
        if listen:
            listen(1)
    notes = [note for note in (pictures.told(slides, wanted),) if note]
    if calibration is not None:
        notes += fits.doubts(wanted, calibration)
    if job.stale:
        notes.append(
            f"{counted(len(job.stale), 'file')} of an earlier run with other scores, truth or "
            f"options left as they are: {fits.some(job.stale)}."
        )
    sheet = _sheet(job, records, cohort.name, notes)
    page = _page(job, records, cohort, failed, notes)
    every = {
        name: out / name
        for record in records.values()
        for kind, (name, _) in record.files.items()
        if kind in job.formats and kind != "html"
    }
    return Drawn(every, failed, tuple(skipped), sheet, page, tuple(notes))


@dataclass(frozen=True)
class _Job:
    """What is to be drawn of every slide."""

    slides: Mapping[str, Slide]
    out: Path
    look: Look
    formats: tuple[str, ...]
    downsample: int
    stale: list[str] = field(default_factory=list)  # files that an earlier run made otherwise

    def slide(self, tiles: Tiles, stem: str) -> tuple[Record, bool]:
        """Draw what is missing of a slide. Returns its record, and whether anything was drawn.

        Another run on the same folder waits until this one is done with the slide.
        """
        with finished.lock(self.out, stem):
            return self._locked(tiles, stem)

    def _locked(self, tiles: Tiles, stem: str) -> tuple[Record, bool]:
        slide = self.slides.get(tiles.slide)
        key = finished.key_of(tiles, slide, self.look, self.downsample)
        old = finished.read(self.out, stem)
        other = old.key != key
        if other:
            others = [kind for kind in old.files if kind not in self.kinds]
            self.stale.extend(old.files[kind][0] for kind in others if old.holds(self.out, kind))
            old = Record(key)
        missing = [kind for kind in self.kinds if not old.holds(self.out, kind)]
        if not missing:
            return old, False
        view = pictures.view_of(tiles, slide, self.look)
        finished.clear(self.out, stem, (self.name(stem, kind) for kind in (*FORMATS, "cell")))
        if other:  # before the first write, or a killed run leaves a record of other pictures
            finished.forget(self.out, stem)
        done = {kind: one for kind, one in old.files.items() if old.holds(self.out, kind)}
        for kind in missing:
            name = self.name(stem, kind)
            self.write(kind, view, slide, self.out / name)
            done[kind] = (name, finished.content(self.out / name))
        record = Record(key, done, slide_sheet.lines(view))
        finished.write(self.out, stem, record)
        return record, True

    @property
    def kinds(self) -> tuple[str, ...]:
        """The formats, and the cell of the contact sheet."""
        return (*self.formats, "cell") if self.panel else self.formats

    @property
    def panel(self) -> str:
        """The first format of panels that was asked for, or ""."""
        return next((kind for kind in self.formats if kind in _PANELS), "")

    @staticmethod
    def name(stem: str, kind: str) -> str:
        """Of the file of a kind, in the folder of pictures; parts are kept out of sight."""
        if kind == "cell":
            return f"{FOLDER}/{stem}.cell.png"
        return f"{FOLDER}/{stem}.page.json" if kind == "html" else f"{stem}{SUFFIXES[kind]}"

    def write(self, kind: str, view: SlideView, slide: Slide | None, path: Path) -> None:
        """Write one file of a slide."""
        if kind in _PANELS:
            saving.save(slide_panel.panel(view), path, dpi=_DPI)
        elif kind == "cell":
            saving.save(slide_sheet.cell(view), path, dpi=_CELL_DPI)
        elif kind == "jpg":
            slide_flat.write(view, path, downsample=self.downsample)
        elif kind == "html":
            text = json.dumps(slide_page.entry(view), ensure_ascii=False, allow_nan=False)
            files.write(path, text.encode("utf-8"))
        elif kind == "geojson":
            qupath.write_regions(view, path, offset_px0=pictures.origin_px0(slide))
        elif kind == "geojson-tiles":
            qupath.write_tiles(view, path, offset_px0=pictures.origin_px0(slide))
        else:
            pyramid.write(view, path, downsample=self.downsample, ome=kind == "ome-tiff")


def _check(
    formats: Sequence[str], scale: str, clip: tuple[float, float],
    calibration: SlideCalibration | None,
) -> None:  # fmt: skip
    for name in formats:
        if name not in FORMATS:
            raise InputError(f"--format {name}: no such choice. {nearest(name, FORMATS)}")
    if scale not in ("cohort", "slide"):
        raise InputError(f"--scale {scale}: no such choice. Known: cohort, slide.")
    if not 0 <= clip[0] < clip[1] <= 100:
        raise InputError(f"--clip {clip[0]:g},{clip[1]:g}: two percentiles, the lower one first.")
    if "geojson" in formats and calibration is None:
        raise InputError(
            "--format geojson: regions need a threshold; give --calibration (`wsrpn calibrate` "
            "makes one), or ask for geojson-tiles."
        )


def _blur(asked: float | None, calibration: SlideCalibration | None) -> float:
    if asked is None:
        return 0.0 if calibration is not None and calibration.steps.smooth else 1.0
    if not 0 <= asked < np.inf:
        raise InputError(f"blur {asked}: 0 or more tiles.")
    return asked


def _names(cohort: Cohort) -> set[str]:
    return {tiles.slide for tiles in cohort.slides}


def _reason(error: Exception) -> str:
    """A sentence; a fault of the program is named by its kind."""
    plain = isinstance(error, InputError | OSError)
    return str(error) if plain else f"{type(error).__name__}: {error}"


def _sheet(job: _Job, records: Mapping[str, Record], title: str, notes: list[str]) -> Path | None:
    """The contact sheet, from cells that were drawn now or before."""
    from PIL import Image

    if not job.panel or not records:
        return None
    path = job.out / f"contact_sheet.{job.panel}"
    shown = list(records.values())[:SHEET]
    if len(records) > SHEET:
        notes.append(f"contact sheet: the first {SHEET} of {counted(len(records), 'slide')}.")
    cells = []
    for record in shown:
        with Image.open(job.out / record.files["cell"][0]) as image:
            cells.append(Cell(record.lines, np.asarray(image.convert("RGB"))))
    fitted = job.look.calibration
    figure = slide_sheet.sheet(
        cells, title=f"{Path(title).name} · {job.look.meaning}", colour=job.look.colour,
        threshold=None if fitted is None else fitted.threshold,
    )  # fmt: skip
    saving.save(figure, path)
    return path


def _page(
    job: _Job, records: Mapping[str, Record], cohort: Cohort, failed: Mapping[str, str],
    notes: Sequence[str],
) -> Path | None:  # fmt: skip
    """The page for a browser, from entries that were made now or before."""
    if "html" not in job.formats:
        return None
    entries = [
        files.read_json(job.out / record.files["html"][0], what="an entry of the page")
        for record in records.values()
    ]
    text = slide_page.page(
        entries, title=Path(cohort.name).name, failed={**cohort.failed, **failed},
        notes=[*cohort.notes, *notes],
    )  # fmt: skip
    path = job.out / "slides.html"
    files.write(path, text.encode("utf-8"))
    return path
