"""Options that commands have for tile scores of slides, in a help panel of their own."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from . import options

PANEL = "Slides"
CONNECTIVITY = {"4": 4, "8": 8}

Names = Annotated[
    list[str] | None,
    typer.Option(
        "--slide",
        metavar="NAME",
        help="Only this slide; may be repeated.",
        rich_help_panel=PANEL,
        show_default=False,
    ),
]
Score = Annotated[
    str,
    typer.Option(
        metavar="COLUMN",
        help="Column of the scores; `score`, or what the calibration was fitted on.",
        rich_help_panel=PANEL,
        show_default=False,
    ),
]
Rule = Annotated[
    str,
    typer.Option(
        metavar="any|centre|share@X",
        help="When a tile is tumour: any overlap, its centre, or a share of it; share@0.5 where "
        "outlines or shares are known.",
        rich_help_panel=PANEL,
        show_default=False,
    ),
]
Mpp = Annotated[
    float | None,
    typer.Option(
        metavar="µm",
        help="Micrometres per full-size pixel, for slides of which nothing else says it.",
        rich_help_panel=PANEL,
        show_default=False,
    ),
]
Exclude = Annotated[
    bool,
    typer.Option(
        "--exclude-non-exhaustive",
        help="Leave out slides whose outlines are known to be incomplete.",
        rich_help_panel=PANEL,
    ),
]


def option(name: str, metavar: str, text: str, *, least: float | None = None) -> Any:
    """One more option of the panel."""
    return typer.Option(
        name, metavar=metavar, help=text, min=least, rich_help_panel=PANEL, show_default=False
    )


def refuse(given: Mapping[str, Any], why: str) -> None:
    """Stop where an option was given that has no meaning here.

    Args:
        given: option → its value, false where it was not given.
        why: the end of the sentence.

    Raises:
        InputError: names the option.
    """
    from wsrpn.errors import InputError

    for name, value in given.items():
        if value:
            raise InputError(f"{name} {why}")


def of_images(given: Mapping[str, Any]) -> None:
    """Refuse options of the detector where SOURCE has tile scores."""
    refuse(given, "is for radiographs; this source has tile scores of slides.")


def of_slides(given: Mapping[str, Any]) -> None:
    """Refuse options of slides where SOURCE is a run or predictions."""
    refuse(given, "is for tile scores of slides; this source has none.")


def words(text: str) -> list[str]:
    """Words between commas.

    Example:
        >>> words("none, z")
        ['none', 'z']
    """
    return [word.strip() for word in text.split(",") if word.strip()]


def steps(
    *, normalise: str, smooth: str, min_area: str, max_hole: str, connectivity: str,
    file: Path | None,
) -> dict[str, Any]:  # fmt: skip
    """What `calibrate` may choose among, from the words of the command line.

    Args:
        normalise: names of normalisers between commas; "" for all.
        smooth: sizes between commas, in µm or as `2tiles`; "" lets calibration choose.
        min_area: the same in µm².
        max_hole: the same; `all` fills every hole.
        connectivity: 4 or 8; "" for 4.
        file: an earlier calibration, whose steps are then all there is.

    Raises:
        InputError: a size that is none, µm beside tiles, or steps given twice.
    """
    from wsrpn.errors import InputError

    told = {
        "--normalise": normalise, "--smooth": smooth, "--min-area": min_area,
        "--max-hole": max_hole, "--connectivity": connectivity,
    }  # fmt: skip
    if file is not None:
        from wsrpn.slides.calibration import SlideCalibration

        refuse(told, "is in --steps already; give one of the two.")
        return {"steps": SlideCalibration.load(file).chosen}
    found: dict[str, Any] = {}
    if normalise:
        found["normalise"] = _normalisers(words(normalise))
    units: dict[str, str] = {}
    for name in ("--smooth", "--min-area", "--max-hole"):
        if told[name]:
            sizes = [size(name, word) for word in words(told[name])]
            found[name[2:].replace("-", "_")] = [number for number, _ in sizes]
            units |= {unit: name for _, unit in sizes if unit}
    if len(units) > 1:
        raise InputError(
            f"{units['um']} is in micrometres and {units['tile']} in tiles; write all in one unit."
        )
    if units:
        found["unit"] = next(iter(units))
    if connectivity:
        found["connectivity"] = CONNECTIVITY[
            options.choice("--connectivity", connectivity, CONNECTIVITY)
        ]
    return found


def _normalisers(names: list[str]) -> list[str]:
    from wsrpn.slides.normalise import normalisers

    return [options.choice("--normalise", name, normalisers) for name in names]


def drawing(
    *, format: str, scale: str, clip: str, blur: float | None, downsample: int | None
) -> dict[str, Any]:
    """Options of `wsrpn.cohort.draw` from the words of the command line.

    Raises:
        InputError: a format or scale of another name, or percentiles that are none.
    """
    from wsrpn.cohort.draw import FORMATS
    from wsrpn.errors import InputError

    found: dict[str, Any] = {
        "formats": tuple(options.choice("--format", word, FORMATS) for word in words(format))
    }
    if not found["formats"]:
        raise InputError(f"--format: name at least one of {', '.join(FORMATS)}.")
    if scale:
        found["scale"] = options.choice("--scale", scale, ("cohort", "slide"))
    if clip:
        found["clip"] = _percentiles(clip)
    if blur is not None:
        found["blur_tiles"] = blur
    if downsample is not None:
        found["downsample"] = downsample
    return found


def _percentiles(text: str) -> tuple[float, float]:
    from wsrpn.errors import InputError

    try:
        low, high = (float(word) for word in words(text))
    except ValueError:
        low, high = 1.0, 0.0
    if not 0 <= low < high <= 100:
        raise InputError(f"--clip {text}: write two percentiles, the lower first, such as 5,95.")
    return low, high


def size(name: str, word: str) -> tuple[float, str]:
    """A size and its unit; the unit is "" where the size is the same in all.

    Raises:
        InputError: no size.

    Example:
        >>> size("--smooth", "120"), size("--smooth", "1.5tiles"), size("--max-hole", "all")
        ((120.0, 'um'), (1.5, 'tile'), (inf, ''))
    """
    from wsrpn.errors import InputError

    if word == "all" and name == "--max-hole":
        return math.inf, ""
    number, unit = word, "um"
    for ending in ("tiles", "tile"):
        if word.endswith(ending):
            number, unit = word.removesuffix(ending), "tile"
            break
    try:
        value = float(number)
    except ValueError:
        value = -1.0
    if not 0 <= value < math.inf:
        square = "µm" if name == "--smooth" else "µm²"
        most = ", or all" if name == "--max-hole" else ""
        raise InputError(
            f"{name} {word}: write sizes in {square} (500) or in tiles (2tiles){most}."
        )
    return value, unit if value else ""
