"""`phantom:slides`: a cohort of phantom slides, in memory or as the files that a user would bring.

The files are `scores.parquet`, `slides.csv` with patients and splits, outlines (ASAP XML and
GeoJSON in turn), and thumbnails; with the option `files` the slides themselves, too.
"""

import csv
import hashlib
import io
import json
import os
import shutil
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import parse_qsl

import shapely
from annotated_types import Ge, Gt, Lt
from filelock import FileLock
from PIL import Image

from wsrpn import files
from wsrpn.errors import InputError, nearest
from wsrpn.registry import checked, signature_schema
from wsrpn.slides import asap, geojson, outlines, phantom_file, phantom_slide, table
from wsrpn.slides.phantom_slide import PhantomSlide
from wsrpn.slides.shapes import Outlines
from wsrpn.tiles import Cohort, Slide

KINDS = ("slides",)
SCORES, SLIDES = "scores.parquet", "slides.csv"
SUMS = "sha256.json"  # of every file, in a folder of the cache
RULE = "share@0.5"
OUTLINE_MPP = 0.243  # of the outlines that `Plan.outlines` names: CAMELYON16's evaluator has it
_DRAWING = ("file", "pixels", "textures")  # modules that make slide files
_BURDEN = "0.0003-0.3"
_GOLDEN = (5**0.5 - 1) / 2
_COLUMNS = (
    "slide", "patient", "split", "annotation", "label", "thumbnail", "mpp", "width", "height",
)  # fmt: skip

NotNegative = Annotated[float, Ge(0)]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a cohort of phantom slides is like.

    Half of the patients are in `val`, half in `test`, with `files` a third each in `train`, `val`
    and `test`; one in five has two slides.

    Attributes:
        slides: how many.
        tiles: about so many tiles with tissue each.
        seed: of everything random.
        auc: of tiles full of tumour against tiles without, within a slide.
        jitter: relative spread of the slides' means and spreads of scores, as of scanners.
        burden: share of the tissue that is tumour, one number or LOW-HIGH for a geometric range;
            0.0003-0.3 where empty.
        correlation: length of the noise in tiles.
        mpp: micrometres per pixel; 0 for slides of which nobody knows.
        outlines: a folder of outlines as JSON (rings in pixels of 0.243 µm). They keep their sizes,
            which are drawn evenly, and take the place of random smooth pieces.
        normal: share of slides without tumour.
        tile: side of a tile in pixels; may be fractional.
        files: whether slide files with pixels are written as well. Then `jitter` is that of the
            strength of stains, too. The scores are drawn, not made from the pixels.
    """

    slides: Annotated[int, Ge(1)] = 12
    tiles: Annotated[int, Ge(4)] = 4000
    seed: Annotated[int, Ge(0)] = 0
    auc: Annotated[float, Ge(0.5), Lt(1)] = 0.9
    jitter: NotNegative = 0.13
    burden: str = ""
    correlation: NotNegative = 1.0
    mpp: NotNegative = 0.5
    outlines: str = ""
    normal: Annotated[float, Ge(0), Lt(1)] = 0.25
    tile: Annotated[float, Gt(1)] = 256.0
    files: bool = False

    def normals(self) -> list[bool]:
        """Of every slide whether it is without tumour: evenly spread, the first one is not."""
        return [int((i + 1) * self.normal) > int(i * self.normal) for i in range(self.slides)]


def generate(plan: Plan) -> Iterator[PhantomSlide]:
    """Make the slides of a cohort, one after the other.

    Raises:
        InputError: a burden that is none, or no outlines where they should be.
    """
    normals = plan.normals()
    splits = ("train", "val", "test") if plan.files else ("val", "test")
    many = normals.count(False)
    burdens = iter(_burdens(plan, many))
    shapes = iter(_shapes(plan, many) if plan.outlines else [None] * many)
    for index, normal in enumerate(normals):
        person = _patient(index)
        yield phantom_slide.generate(
            f"phantom_{plan.seed}_{index:03d}",
            (plan.seed, index),
            tiles=plan.tiles,
            burden=0.0 if normal else next(burdens),
            outline=None if normal else next(shapes),
            auc=plan.auc,
            jitter=plan.jitter,
            correlation=plan.correlation,
            mpp=plan.mpp,
            tile=plan.tile,
            patient=f"patient_{plan.seed}_{person:03d}",
            split=splits[person % len(splits)],
        )


def cohort(**options: Any) -> Cohort:
    """The slides of a plan with these options as one cohort, without any file."""
    made = tuple(one.tiles for one in generate(Plan(**options)))
    return Cohort("phantom:slides", made, rule=RULE)


def write(folder: Path, plan: Plan) -> None:
    """Make a cohort and write its files, the table of scores last.

    Raises:
        InputError: see `generate`.
    """
    rows, tiles = [], []
    for index, made in enumerate(generate(plan)):
        rows.append(_row(made, _annotation(folder, made, xml=index % 2 == 0)))
        tiles.append(made.tiles)
        if plan.files:
            rows[-1]["file"] = f"slides/{made.tiles.slide}.tif"
            to = folder / rows[-1]["file"]
            picture = phantom_file.write(to, made, (plan.seed, index), jitter=plan.jitter)
        else:
            picture = Image.fromarray(phantom_slide.paint(made, (plan.seed, index)))
        thumbnail = folder / rows[-1]["thumbnail"]
        thumbnail.parent.mkdir(parents=True, exist_ok=True)
        picture.save(thumbnail)
    text = io.StringIO()
    columns = (*_COLUMNS, "file") if plan.files else _COLUMNS
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    files.write(folder / SLIDES, text.getvalue().encode())
    table.write(Cohort("phantom:slides", tuple(tiles), rule=RULE), folder / SCORES)


def folder_of(argument: str) -> Path:
    """Where the files of `slides?slides=12&tiles=4000` are; made once per set of options.

    They are kept in the user's cache folder; damaged ones cost a warning and are made again.

    Args:
        argument: what stands after `phantom:`.

    Raises:
        InputError: an unknown kind, or an option that is unknown or out of range.
    """
    plan = parse(argument)
    folder = files.user_cache() / f"slides-{_fingerprint(plan)}"
    with FileLock(folder.with_name(f".{folder.name}.lock")):
        if _whole(folder):
            return folder
        for left in folder.parent.glob(f".{folder.name}.tmp.*"):
            shutil.rmtree(left)  # under the lock: whoever wrote it is gone
        if folder.exists():
            warnings.warn(f"{folder}: these slides are damaged; they are made again", stacklevel=2)
        building = folder.with_name(f".{folder.name}.tmp.{os.getpid()}")
        write(building, plan)
        files.write_json(building / SUMS, _sums(building))
        shutil.rmtree(folder, ignore_errors=True)
        building.replace(folder)
    return folder


def with_files(argument: str) -> Path:
    """The same with slide files, whether or not `files=true` is among the options."""
    if "files=" not in argument:
        argument += f"{'&' if '?' in argument else '?'}files=true"
    return folder_of(argument)


def parse(argument: str) -> Plan:
    """All options of `slides?slides=12&tiles=4000`, checked and converted.

    Raises:
        InputError: an unknown kind, or an option that is unknown, twice or out of range.

    Example:
        >>> parse("slides?tiles=900").tiles
        900
    """
    kind, _, query = argument.partition("?")
    if kind not in KINDS:
        raise InputError(f"phantom:{kind}: no such phantom of slides. {nearest(kind, KINDS)}")
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError:
        raise InputError(
            f"phantom:{argument}: write options as phantom:{kind}?slides=12&tiles=4000."
        ) from None
    given = dict(pairs)
    if len(given) < len(pairs):
        raise InputError(f"phantom:{argument}: an option stands twice.")
    return Plan(**checked(signature_schema(Plan), given, where=f"phantom:{kind}"))


def _burdens(plan: Plan, many: int) -> list[float]:
    """Shares of tumour, evenly over the logarithm of the range in any run of slides."""
    if plan.outlines and plan.burden:
        raise InputError("phantom:slides: outlines keep their own sizes; leave burden out.")
    low, _, high = (plan.burden or _BURDEN).partition("-")
    try:
        ends = float(low), float(high or low)
    except ValueError:
        ends = 1.0, 0.0
    if not 0 < ends[0] <= ends[1] <= 0.9:
        raise InputError(
            f"phantom:slides: burden={plan.burden}: write a share up to 0.9, or LOW-HIGH such as "
            f"{_BURDEN}."
        )
    ratio = ends[1] / ends[0]
    return [ends[0] * ratio ** ((0.5 + place * _GOLDEN) % 1.0) for place in range(many)]


def _shapes(plan: Plan, many: int) -> list[shapely.Geometry]:
    """Real outlines, evenly over their order by size in any run of slides, in pixels of `mpp`."""
    found = []
    for path in sorted(Path(plan.outlines).glob("*.json")):
        shape = outlines.read(Slide(path.stem, path.stem, annotation=path))
        if shape is not None and not shape.tumour.is_empty:
            found.append(shape.tumour)
    if not found:
        raise InputError(f"phantom:slides: outlines={plan.outlines}: no outlines (*.json) there.")
    found.sort(key=shapely.area)
    scale = OUTLINE_MPP / plan.mpp if plan.mpp else 1.0
    begin = 0.5 + plan.seed * _GOLDEN
    chosen = [found[int((begin + k * _GOLDEN) % 1.0 * len(found))] for k in range(many)]
    return [shapely.transform(one, lambda points: points * scale) for one in chosen]


def _patient(index: int) -> int:
    """Number of the patient of a slide: of six slides the last two are of one."""
    return index - index // 6 - (index % 6 == 5)


def _annotation(folder: Path, made: PhantomSlide, *, xml: bool) -> str:
    """Write the outlines of a slide. Returns the path in the folder, "" for no tumour."""
    if made.tumour.is_empty:
        return ""
    name = f"annotations/{made.tiles.slide}.{'xml' if xml else 'geojson'}"
    drawn = Outlines(tumour=made.tumour, excluded=shapely.Polygon())
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    if xml:
        asap.write(folder / name, drawn)
    else:
        geojson.write_outlines(folder / name, drawn)
    return name


def _row(made: PhantomSlide, annotation: str) -> dict[str, Any]:
    tiles = made.tiles
    wide, high = tiles.extent_px0 or (0, 0)
    values = (
        tiles.slide, tiles.patient, tiles.split, annotation,
        "tumor" if annotation else "normal", f"thumbnails/{tiles.slide}.png",
        "" if tiles.mpp is None else f"{tiles.mpp:g}", wide, high,
    )  # fmt: skip
    return dict(zip(_COLUMNS, values, strict=True))


def _fingerprint(plan: Plan) -> str:
    """Of the options, the outlines and the code, so that no old slide is used again."""
    digest = hashlib.sha256(json.dumps(asdict(plan), sort_keys=True).encode())
    sources = [Path(__file__), Path(phantom_slide.__file__)]
    if plan.files:
        sources += [Path(__file__).with_name(f"phantom_{name}.py") for name in _DRAWING]
    for path in sources + sorted(Path(plan.outlines).glob("*.json") if plan.outlines else []):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _whole(folder: Path) -> bool:
    try:
        return bool(json.loads((folder / SUMS).read_text()) == _sums(folder))
    except (OSError, ValueError):
        return False


def _sums(folder: Path) -> dict[str, str]:
    paths = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != SUMS)
    return {
        p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in paths
    }
