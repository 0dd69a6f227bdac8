"""A contact sheet of a data set: images with boxes and masks, names of the classes, the split."""

import math
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path

import numpy as np
from jaxtyping import Int
from PIL import Image, ImageDraw, ImageFont

from wsrpn import files
from wsrpn.data import images
from wsrpn.data.images import ImageReadError
from wsrpn.errors import InputError
from wsrpn.types import Dataset, Record

# Told apart on grey and by colour-blind eyes (Okabe and Ito, 2008).
COLOURS = ("#F0E442", "#56B4E9", "#E69F00", "#CC79A7", "#009E73", "#D55E00", "#0072B2")
MASK = (0x56, 0xB4, 0xE9)  # rims of masks
_TINT = 0.3  # of what is inside, so that an inverted mask is seen
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
LINE, GAP = 13, 6  # pixels: of a line of text, between images
STRIP = 2 * LINE + 6  # below an image


def contact_sheet(
    dataset: Dataset, path: Path, *, count: int = 24, columns: int = 6, side: int = 192
) -> None:
    """Draw images of a data set with their boxes, masks and labels into one PNG.

    Every class has its turn, images with its boxes before others, then images without any finding;
    below an image stand its split and labels, a question mark behind an unknown one. A box has the
    colour of its class, and its name where it fits. Objects of a mask have a rim each and a tint,
    and the share that is inside stands below. Images that cannot be read are grey.

    Args:
        dataset: any.
        path: the PNG.
        count: most images.
        columns: images in a row.
        side: pixels of each.

    Raises:
        InputError: the name does not end in .png.
    """
    if path.suffix.lower() != ".png":
        raise InputError(f"{path}: a contact sheet is a .png.")
    chosen = spread(dataset, count)
    columns = max(1, min(columns, len(chosen)))
    rows = max(math.ceil(len(chosen) / columns), 1)
    font = ImageFont.load_default(11)
    width = columns * (side + GAP) - GAP
    names = _legend(dataset.classes, width, font)
    high = rows * (side + STRIP)
    sheet = Image.new("RGB", (width, high + LINE * len(names)), "black")
    draw = ImageDraw.Draw(sheet)
    for position, record in enumerate(chosen):
        x, y = position % columns * (side + GAP), position // columns * (side + STRIP)
        picture, said = _thumbnail(record, dataset.classes, side, font)
        sheet.paste(picture, (x, y))
        for line, text in enumerate(_caption(record, dataset.classes, said)):
            draw.text((x + 3, y + side + LINE * line), _cut(text, side - 6, font), "white", font)
    for line, parts in enumerate(names):
        for x, index in parts:
            draw.text((x, high + LINE * line), _name(dataset.classes[index]), colour(index), font)
    files.write_with(path, lambda temporary: sheet.save(temporary, format="PNG"))


def colour(index: int) -> str:
    """The colour of a class; with more than seven classes colours come again."""
    return COLOURS[index % len(COLOURS)]


def _legend(classes: Sequence[str], width: int, font: Font) -> list[list[tuple[int, int]]]:
    """Lines of (x, class) that hold all names."""
    lines: list[list[tuple[int, int]]] = []
    x = width
    for index, name in enumerate(classes):
        long = int(font.getlength(_name(name))) + 14
        if x + long > width:
            lines.append([])
            x = 3
        lines[-1].append((x, index))
        x += long
    return lines


def spread(dataset: Dataset, count: int) -> list[Record]:
    """Images to show: the classes take turns, and nobody comes twice.

    Args:
        dataset: any.
        count: most images.
    """
    groups: list[list[Record]] = []
    for index in range(len(dataset.classes)):
        boxed = [r for r in dataset.records if any(box.label == index for box in r.boxes)]
        drawn = {record.id for record in boxed}
        labelled = [r for r in dataset.records if r.labels[index] == 1 and r.id not in drawn]
        groups.append([*_evenly(boxed, count), *_evenly(labelled, count)])
    plain = [r for r in dataset.records if not r.boxes and 1 not in r.labels]
    groups.append(_evenly(plain, count))
    turns = (record for turn in zip_longest(*groups) for record in turn if record is not None)
    different = list({record.id: record for record in turns}.values())[:count]
    place = {record.id: index for index, record in enumerate(dataset.records)}
    return sorted(different, key=lambda record: place[record.id])


def _evenly(records: Sequence[Record], count: int) -> list[Record]:
    """So many of them, from the whole length of the list."""
    places = np.linspace(0, len(records) - 1, min(count, len(records))).round().astype(int)
    return [records[place] for place in places]


def _caption(record: Record, classes: Sequence[str], mask: str) -> tuple[str, str]:
    pairs = list(zip(classes, record.labels, strict=True))
    named = [n for n, v in pairs if v == 1] + [f"{n}?" for n, v in pairs if math.isnan(v)]
    said = ", ".join(named) or ("no finding" if classes else "")
    words = "  ".join(word for word in (mask, said) if word)
    return f"{record.split or '-'}  {Path(record.id).name}", words


def _thumbnail(
    record: Record, classes: Sequence[str], side: int, font: Font
) -> tuple[Image.Image, str]:
    """The image with what is drawn on it, and what is said of its mask."""
    try:
        grey = images.read(record.path)
    except ImageReadError:
        return Image.new("RGB", (side, side), "grey"), ""
    scale = side / max(grey.shape)
    size = (max(round(grey.shape[1] * scale), 1), max(round(grey.shape[0] * scale), 1))
    small = Image.fromarray((grey * 255).round().astype(np.uint8)).resize(size)
    picture = Image.new("RGB", (side, side), "black")
    objects, said = _mask(record, (grey.shape[0], grey.shape[1]))
    small = small.convert("RGB")
    picture.paste(small if objects is None else _masked(small, objects), (0, 0))
    draw = ImageDraw.Draw(picture)
    thick = 2 if objects is None else 1  # rims are not to be hidden
    for box in record.boxes:
        x1, y1, x2, y2 = (value * scale for value in box.xyxy_px)
        draw.rectangle((x1, y1, x2, y2), outline=colour(box.label), width=thick)
        name = _name(classes[box.label])
        if font.getlength(name) + 4 <= min(x2, side) - max(x1, 0):  # else its colour says it
            at = (max(x1, 0) + 3, max(y1, 0) + 1)
            draw.text(at, name, colour(box.label), font, stroke_width=1, stroke_fill="black")
    return picture, said


def _mask(record: Record, size_px: tuple[int, int]) -> tuple[Int[np.ndarray, "h w"] | None, str]:
    """The numbers of a mask, if they can be used, and what is said of it."""
    if record.mask is None:
        return None, ""
    try:
        found = images.numbers(record.mask)
    except ImageReadError:
        return None, "mask unreadable"
    if found.shape != size_px:
        return None, "mask of another size"
    share = float((found > 0).mean())
    return found, f"mask {share:.0%}" if share >= 0.095 or not share else f"mask {share:.1%}"


def _masked(picture: Image.Image, objects: Int[np.ndarray, "h w"]) -> Image.Image:
    """The small picture with a tint inside the mask, and a rim around each of its objects."""
    (wide, high), (h, w) = picture.size, objects.shape
    rows = ((np.arange(high) + 0.5) * h / high).astype(np.intp)
    columns = ((np.arange(wide) + 0.5) * w / wide).astype(np.intp)
    seen = objects[np.ix_(rows, columns)]
    beside = np.pad(seen, 1)  # the edge of the image is a rim, too
    ends = np.zeros(seen.shape, dtype=bool)
    for other in (beside[:-2, 1:-1], beside[2:, 1:-1], beside[1:-1, :-2], beside[1:-1, 2:]):
        ends |= seen > other  # of two that touch the greater number: one line between them
    painted = np.asarray(picture, dtype=np.float32)
    opaque = np.where(ends & (seen > 0), 1.0, _TINT * (seen > 0))[..., None]
    mixed = (1 - opaque) * painted + opaque * np.array(MASK, dtype=np.float32)
    return Image.fromarray(mixed.round().astype(np.uint8))


def _cut(text: str, width: int, font: Font) -> str:
    """As much of a line as fits."""
    text = _name(text)
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"{text}...") > width:
        text = text[:-1]
    return f"{text}..."


def _name(text: str) -> str:
    """A text without the letters that the font lacks."""
    return text.encode("latin-1", "replace").decode("latin-1")
