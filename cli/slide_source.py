"""What SOURCE and DATA stand for where they are slides: the same answer for every command."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from . import options, slide_data

if TYPE_CHECKING:
    from wsrpn.slides.calibration import SlideCalibration
    from wsrpn.slides.outlines import Outlines
    from wsrpn.tiles import Cohort, Slide

PHANTOM, SHEET = slide_data.PHANTOM, slide_data.SHEET
TABLES = ("scores.parquet", "scores.csv", "scores.csv.gz")
ARRAYS = (".parquet", ".h5", ".hdf5", ".npz")
RUN_FILES = ("config.yaml", "run.json", "checkpoints")


@dataclass(frozen=True)
class Place:
    """Where things are.

    Attributes:
        table: score table, or folder of score files.
        sheet: slides.csv or what stands for it, or None.
        folder: where results go unless told otherwise, and where a calibration is looked for.
        run: run folder that the scores lie in, whose splits then count, or None.
        own: whether the sheet is what the run was trained on.
        found: DATA of the training, where the sheet was found there and not named.
    """

    table: Path
    sheet: Path | None
    folder: Path
    run: Path | None = None
    own: bool = False
    found: str = ""


@dataclass(frozen=True)
class Selection:
    """Which slides, scores and labels are asked for, in the words of the command line.

    Attributes:
        split: train, val, test, all; "" for what the command usually takes.
        names: only these slides; empty for all of the split.
        score: column; "" for `score`.
        rule: when a tile is tumour; "" for what the table says.
        mpp: micrometres per pixel of slides that do not say it; None leaves them without.
        exclude: leave out slides whose truth is known to be incomplete.
    """

    split: str = ""
    names: tuple[str, ...] = ()
    score: str = ""
    rule: str = ""
    mpp: float | None = None
    exclude: bool = False

    def check(self) -> None:
        """Refuse words that are no choices, before anything is read.

        Raises:
            InputError: names the choices.
        """
        from wsrpn.errors import InputError
        from wsrpn.slides import labels

        if self.mpp is not None and not 0 < self.mpp < math.inf:
            raise InputError(f"--mpp {self.mpp:g}: a number above 0 was expected.")
        if self.split:
            options.choice("--split", self.split, ("train", "val", "test", "all"))
        if self.rule:
            labels.parse(self.rule)

    def like(self, fitted: "SlideCalibration | None") -> "Selection":
        """The same, with the score and label rule of a calibration where none were given."""
        from wsrpn.tiles import AS_GIVEN

        if fitted is None:
            return self
        rule = "" if fitted.rule == AS_GIVEN else fitted.rule
        return dataclasses.replace(self, score=self.score or fitted.score, rule=self.rule or rule)


@dataclass(frozen=True)
class Scores:
    """Scored slides beside what is known of them.

    Attributes:
        cohort: the slides that were asked for, with their truth.
        sheet: name → what slides.csv says.
    """

    cohort: "Cohort"
    sheet: Mapping[str, "Slide"]


def takes(source: Path) -> bool:
    """Whether a source has tile scores of slides: a table, a folder or run with one, a phantom."""
    if str(source).startswith(PHANTOM):
        return True
    name = source.name.lower()
    if source.is_dir():
        if any((source / file).exists() for file in RUN_FILES):
            return any((source / file).is_file() for file in TABLES)
        if any((source / file).is_file() for file in TABLES):
            return True
    elif name.endswith(ARRAYS) or name in TABLES or not name.endswith((".csv", ".csv.gz")):
        return name.endswith(ARRAYS) or name in TABLES
    from wsrpn.slides import table

    return table.is_table(source)


def locate(source: Path, data: str) -> Place:
    """Find the scores, slides.csv, and the folder for results.

    A folder with a table and slides.csv brings both. Beside a table that is named itself,
    slides.csv waits for `--data`, as its truth would take the place of the table's. Scores in a run
    folder come with the slides that the run was trained on.

    Raises:
        InputError: a phantom that is none.
    """
    if str(source).startswith(PHANTOM):
        from wsrpn.slides import phantom

        made = phantom.folder_of(str(source).removeprefix(PHANTOM))
        other = data and data != str(source)
        about = slide_data.sheet_of(data) if other else made / phantom.SLIDES
        return Place(made / phantom.SCORES, about, Path("phantom-slides"))
    about = slide_data.sheet_of(data) if data else None
    if not source.is_dir():
        beside = source.parent / SHEET
        if not data and beside.is_file():
            options.say(f"note: {beside} is not used; --data {beside} takes its truth and splits")
        return Place(source, about, source.parent)
    table = table_in(source)
    if not data and (source / SHEET).is_file():
        return Place(table, source / SHEET, source)
    if not (source / "config.yaml").is_file():
        return Place(table, about, source)
    trained = slide_data.source_of(source)
    if data:
        return Place(table, about, source, run=source, own=data == trained)
    about = slide_data.sheet_of_training(source)
    return Place(table, about, source, run=source, own=True, found=trained if about else "")


def table_in(folder: Path) -> Path:
    """The score table of a folder, or the folder, whose files are scores then."""
    return next((folder / name for name in TABLES if (folder / name).is_file()), folder)


def calibration(place: Place, given: Path | None) -> "SlideCalibration | None":
    """The calibration given, or `calibration.json` beside the scores, or none; says which.

    Raises:
        InputError: the given one is not of slides.
    """
    from wsrpn.slides.calibration import SlideCalibration, kind_of

    if given is not None:
        return SlideCalibration.load(given)
    own = place.folder / "calibration.json"
    if not own.is_file() or kind_of(own) != "slides":
        return None
    options.say(f"calibration: {own}, which lies beside the scores")
    return SlideCalibration.load(own)


def scores(place: Place, asked: Selection, *, usual: str) -> Scores:
    """The slides that are asked for, with their truth; notes are said.

    Args:
        place: where they are.
        asked: which of them.
        usual: the split that the command takes where none was asked for.

    Raises:
        InputError: nothing there, or none of those asked for.
        typer.Exit: all of them failed.
    """
    from wsrpn.slides import labels, table

    known = _known(place)
    read = table.read(place.table, score=asked.score or "score", slides=known or None)
    if place.found and not known.keys() & {*read.failed, *(one.slide for one in read.slides)}:
        options.say(
            f"note: {place.found}, which the run was trained on, has none of the slides in "
            f"{place.table}, so it is not used; --data names theirs"
        )
        known = {}
    elif place.found:
        options.say(f"data: {place.found}, which the run was trained on")
    _tell_of_other_weights(place, read.provenance.get("weights_sha256"))
    chosen = _of_split(read, known, asked, usual)
    cohort = _measured(labels.attach(chosen, known, rule=asked.rule), asked.mpp)
    for note in cohort.notes:
        options.say(f"note: {note}")
    if asked.exclude:
        cohort = _exhaustive(cohort)
    if not cohort.slides:
        ended(cohort.failed)
    return Scores(cohort, known)


def _known(place: Place) -> "dict[str, Slide]":
    """What the table of slides says, in the splits of the run."""
    from wsrpn.slides import sheet

    if place.sheet is None:
        return {}
    slides = list(sheet.read(place.sheet).values())
    if place.run is not None:
        slides = slide_data.as_trained(place.run, slides, own=place.own)
    return {slide.id: slide for slide in slides}


def _tell_of_other_weights(place: Place, was: str | None) -> None:
    """Say so where the scores in a run folder are of weights that it has no longer."""
    from wsrpn import files
    from wsrpn.errors import InputError

    best = sorted((place.folder / "checkpoints").glob("best-*.json"))
    if not (best and was):
        return
    try:
        now = files.read_json(best[-1], what="the state of a checkpoint")["sha256"]
    except (InputError, KeyError, TypeError):
        return  # what is wrong with it is told where the weights are needed
    if was != now:
        options.say(
            f"note: {place.table} was made with other weights than {place.folder} has now; "
            f"`wsrpn score {place.folder}` scores again"
        )


def _of_split(
    cohort: "Cohort", known: Mapping[str, "Slide"], asked: Selection, usual: str
) -> "Cohort":
    """The slides that are asked for by name and split; those that failed are kept, too."""
    from wsrpn.errors import InputError, counted, nearest

    there: dict[str, str | None] = dict.fromkeys(cohort.failed)
    there |= {tiles.slide: tiles.split for tiles in cohort.slides}
    there |= {name: known[name].split or own for name, own in there.items() if name in known}
    every = set(there)
    for name in asked.names:
        if name not in there:
            raise InputError(f"--slide {name}: no such slide. {nearest(name, there)}")
    if asked.names:
        there = {name: there[name] for name in asked.names}
    split = asked.split or ("all" if asked.names else usual)
    if split != "all" and not any(there.values()):
        if asked.split:
            raise InputError(f"--split {split}: {cohort.name} has no splits; leave the option out.")
        options.say("note: no splits are known, so all slides are taken")
        split = "all"
    kept = {name for name, own in there.items() if split in ("all", own)}
    if not kept:
        has = ", ".join(sorted({own for own in there.values() if own}))
        raise InputError(f"{cohort.name}: no slide in split {split}; there are: {has}.")
    if split != "all":
        options.say(f"split {split}: {len(kept)} of {counted(len(there), 'slide')}")
    missing = [n for n, s in known.items() if n not in every and split in ("all", s.split)]
    if missing and not asked.names:
        options.say(f"note: of {counted(len(missing), 'listed slide')} there are no scores: "
                    f"{', '.join(missing[:10])}{', …' if len(missing) > 10 else ''}")  # fmt: skip
    failed = {name: reason for name, reason in cohort.failed.items() if name in kept}
    return dataclasses.replace(cohort.only(kept), failed=failed)


def _measured(cohort: "Cohort", mpp: float | None) -> "Cohort":
    """With `--mpp` for slides without one; who has one keeps it, which is said."""
    if mpp is None:
        return cohort
    own = [tiles.slide for tiles in cohort.slides if tiles.mpp not in (None, mpp)]
    if own:
        options.say(f"note: these slides keep an mpp of their own: {', '.join(own)}")
    slides = tuple(
        dataclasses.replace(tiles, mpp=mpp) if tiles.mpp is None else tiles
        for tiles in cohort.slides
    )
    return dataclasses.replace(cohort, slides=slides)


def _exhaustive(cohort: "Cohort") -> "Cohort":
    from wsrpn.errors import InputError

    left = [tiles.slide for tiles in cohort.slides if not tiles.exhaustive]
    if left:
        options.say(f"left out, as their truth is not exhaustive: {', '.join(left)}")
    kept = cohort.only({tiles.slide for tiles in cohort.slides} - set(left))
    if cohort.slides and not kept.slides:
        raise InputError(f"{cohort.name}: --exclude-non-exhaustive leaves no slide.")
    return kept


def outlines(found: Scores) -> "dict[str, Outlines]":
    """Outlines of the slides that have some; one whose cannot be read is named and left out."""
    from wsrpn.errors import InputError
    from wsrpn.slides import labels
    from wsrpn.slides import outlines as reading

    read: dict[str, Outlines] = {}
    for tiles in found.cohort.slides:
        row = found.sheet.get(tiles.slide)
        try:
            drawn = None if row is None else reading.read(labels.completed(row, tiles))
        except InputError as error:
            options.say(f"note: {tiles.slide} goes on without outlines: {error}")
            continue
        if drawn is not None:
            read[tiles.slide] = drawn
    return read


def telling(cohort: "Cohort", limit: int) -> list[str]:
    """Names of at most so many slides, those with tumour first; 0 for all."""
    slides = sorted(cohort.slides, key=lambda tiles: not tiles.burden > 0) if limit else ()
    return [tiles.slide for tiles in (slides[:limit] or cohort.slides)]


def ended(failed: Mapping[str, str]) -> None:
    """List slides that failed with their reasons, and end with 1 if there are any.

    Raises:
        typer.Exit: something failed.
    """
    list_failed(failed)
    if failed:
        raise typer.Exit(1)


def list_failed(failed: Mapping[str, str]) -> None:
    """A line for every slide that failed."""
    for name, reason in failed.items():
        options.say(f"failed {name}: {' '.join(reason.split())}")
