"""What the arms of a study see on the same images: Gaussian maps beside each other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from wsrpn import boxes
from wsrpn.metrics.sizes import SIZES, size_of
from wsrpn.report import arms, labels, marks
from wsrpn.report.arms import EDGE, Page
from wsrpn.report.draw import Picture, upsample
from wsrpn.report.marks import TRUTH, Axes, Drawing

SHADES = ("#E69F00", "#009E73", "#CC79A7", "#F0E442", "#D55E00")  # of classes, on grey
MASS = (0.9, 0.5)  # shares of a map that its lines hold
ACROSS = 6  # columns of a block
_MARKS = ("best box of the class", "gold box", "hold 50 % and 90 % of the map")
_FULL = 0.4  # opacity of a map at its peak
_SIDE = 400  # pixels of a drawn image; more cannot be seen
_CELL, _GAP, _REST = 1.75, 0.08, 0.12  # inches: of a cell, between cells, below a block
_HEAD, _LINE = 0.22, 0.13  # inches: above a row, of a line of text
_SIZE = 7.0  # of letters
_STYLES = ("solid", "dashed", "dotted")  # of the lines of a first, second … class: all are seen


@dataclass(frozen=True)
class _Row:
    """One image: its present classes, height over width, and what is said above it."""

    classes: tuple[int, ...]
    ratio: float
    words: str

    @property
    def high(self) -> float:
        """Inches in all: words, cells, and a line per class."""
        return _HEAD + self.ratio * _CELL + _LINE * max(1, len(self.classes)) + 0.05


def maps(columns: Mapping[str, Sequence[Picture]], *, title: str = "") -> Drawing:
    """Images in rows, arms in columns: where the best region of each present class looks.

    On each radiograph lies, in the colour of a class, the Gaussian map of the region with the
    highest score of that class (the winning region of `entropy`), with lines that hold half and
    nine tenths of it. With it come the best box of the class and, dashed, the gold boxes. Below are
    the entropy of the map, and the overlap of the best box with the gold box that it meets best. A
    model without regions shows its patch map and has no entropy. More than `ACROSS` arms are
    broken into blocks, each of which begins with the first arm.

    Args:
        columns: arm → pictures of the same images in the same order. Classes with gold boxes are
            shown, or of an image without any those with boxes of the first arm.
        title: heading.

    Raises:
        ValueError: the arms have different numbers of pictures.
    """
    counts = sorted({len(pictures) for pictures in columns.values()})
    if len(counts) > 1:
        raise ValueError(f"Every arm needs a picture of every image, but they have {counts}.")
    small = {arm: [p.within(_SIDE) for p in pictures] for arm, pictures in columns.items()}
    firsts = next(iter(small.values()), [])
    rows = [_row(picture) for picture in firsts]
    shown = sorted({k for row in rows for k in row.classes})
    shades = {k: SHADES[i % len(SHADES)] for i, k in enumerate(shown)}
    blocks = _blocks(list(columns))
    wide = max(1, *map(len, blocks)) * (_CELL + _GAP) - _GAP
    key = _key({firsts[0].classes[k]: shades[k] for k in shown}, wide)
    body = sum(_high(block, rows) for block in blocks) + key.high
    page = arms.page(wide + 2 * EDGE, body, title, _note(rows))
    y = page.top
    for block in blocks:
        _draw_block(page, y, {arm: small[arm] for arm in block}, rows, shades)
        y += _high(block, rows)
    _draw_key(page, y, key)
    return page.figure


def _row(picture: Picture) -> _Row:
    """The row of an image, as its first picture tells it."""
    gold = tuple(sorted({box.label for box in picture.truth}))
    height, width = picture.image.shape
    said = []
    for k in gold:
        corners = np.array([b.xyxy_px for b in picture.truth if b.label == k])
        share = boxes.area(corners).max(keepdims=True) / (height * width)
        size = SIZES[size_of(share).item()]
        said.append(f"{picture.classes[k]}: {size}, {100 * share.item():.3g} % of the image")
    words = "; ".join(said) or "no gold box"
    ratio = float(np.clip(height / width, 0.4, 2.0))
    return _Row(
        gold or picture.shown(), ratio, f"{picture.name} · {words}" if picture.name else words
    )


def _blocks(names: list[str]) -> list[list[str]]:
    """Arms that fit beside each other, the first one in every block.

    Example:
        >>> _blocks(list("abcdefgh"))
        [['a', 'b', 'c', 'd', 'e', 'f'], ['a', 'g', 'h']]
    """
    first, rest, step = names[:1], names[1:], ACROSS - 1
    return [first + rest[i : i + step] for i in range(0, max(1, len(rest)), step)]


def _heads(block: Sequence[str]) -> list[str]:
    """Names of the arms, broken to the width of a cell."""
    return [
        labels.wrap(arm, 72 * _CELL, 7.5, lines=4, bold=place == 0)
        for place, arm in enumerate(block)
    ]


def _head_room(block: Sequence[str]) -> float:
    return max((labels.extent(head, 7.5)[1] for head in _heads(block)), default=0.0) / 72 + 0.03


def _high(block: Sequence[str], rows: Sequence[_Row]) -> float:
    return _head_room(block) + sum(row.high for row in rows) + _REST


def _draw_block(
    page: Page,
    y: float,
    columns: Mapping[str, Sequence[Picture]],
    rows: Sequence[_Row],
    shades: Mapping[int, str],
) -> None:
    """The names of some arms, and below them a row per image."""
    lefts = [EDGE + column * (_CELL + _GAP) for column in range(len(columns))]
    y += _head_room(list(columns))
    for x, head in zip(lefts, _heads(list(columns)), strict=True):
        bold = "bold" if x == EDGE else "normal"
        page.text(x, y - 0.02, head, fontsize=7.5, va="bottom", weight=bold, linespacing=1.1)
    for index, row in enumerate(rows):
        room = 72 * (lefts[-1] + _CELL - EDGE)
        page.text(EDGE, y + 0.12, labels.wrap(row.words, room, _SIZE, lines=1), fontsize=_SIZE,
                  color=arms.GREY)  # fmt: skip
        for x, pictures in zip(lefts, columns.values(), strict=True):
            axes = page.axes(x, y + _HEAD, _CELL, row.ratio * _CELL)
            below = y + _HEAD + row.ratio * _CELL + 0.03
            for line, k in enumerate(row.classes):
                said = _draw_class(axes, pictures[index], k, shades[k], _STYLES[min(line, 2)])
                page.text(x, below + (line + 0.5) * _LINE, "■", fontsize=_SIZE, color=shades[k])
                page.text(x + 0.11, below + (line + 0.5) * _LINE, said, fontsize=_SIZE)
            _finish(axes, pictures[index], row.classes, named=x == EDGE)
        y += row.high


def _draw_class(axes: Axes, picture: Picture, label: int, colour: str, style: str) -> str:
    """The map and the best box of a class. Returns what is said below the image."""
    cells, entropy = _map(picture, label)
    if cells is not None:
        _lay(axes, cells, picture.image.shape, colour, style)
    box = _best(picture, label)
    if box is not None:
        marks.boxes(axes, [box], colour, small=True)
    gold = np.array([b.xyxy_px for b in picture.truth if b.label == label]).reshape(-1, 4)
    overlap = "no box" if box is None else ""
    if box is not None and len(gold):
        overlap = f"IoU {boxes.iou(np.array([box]), gold).max():.2f}"
    return " · ".join(part for part in (entropy, overlap) if part)


def _map(picture: Picture, label: int) -> tuple[Float[np.ndarray, "gh gw"] | None, str]:
    """What the class is looked for with: the winning region's map, and its entropy in words."""
    if picture.region_maps is None or picture.region_scores is None:
        return picture.patch_map(label), "no Gaussian map"
    won = picture.region_maps[int(picture.region_scores[:, label].argmax())].astype(np.float64)
    inside = won[won > 0]
    return won, f"{-(inside * np.log(inside)).sum():.2f} nats"


def _best(picture: Picture, label: int) -> tuple[float, ...] | None:
    """The box with the highest score of a class."""
    found = picture.detections
    mine = np.flatnonzero(found.classes == label) if found is not None else np.zeros(0, dtype=int)
    if found is None or not len(mine):
        return None
    return tuple(map(float, found.xyxy_px[mine[found.scores[mine].argmax()]]))


def _lay(
    axes: Axes, cells: Float[np.ndarray, "gh gw"], size_px: tuple[int, ...], colour: str, style: str
) -> None:
    """A map over a radiograph, full at its peak, and the lines that hold parts of it."""
    from matplotlib.colors import to_rgb
    from matplotlib.patheffects import withStroke

    height, width = size_px
    field = upsample(cells, (height, width))
    paint = np.empty((height, width, 4))
    paint[..., :3] = to_rgb(colour)
    paint[..., 3] = _FULL * field / max(float(field.max()), float(np.finfo(np.float32).tiny))
    axes.imshow(paint, extent=(0, width, height, 0), zorder=1)
    levels = holding(field, MASS)
    if levels:
        x, y = np.arange(width) + 0.5, np.arange(height) + 0.5
        lines = axes.contour(
            x, y, field, levels=levels, colors=[colour], linewidths=0.9, linestyles=style, zorder=2
        )
        lines.set_path_effects([withStroke(linewidth=1.5, foreground="black", alpha=0.5)])


def holding(field: Float[np.ndarray, "h w"], shares: Sequence[float]) -> list[float]:
    """Levels whose areas hold shares of a map; of equal levels one, of an even map none.

    Example:
        >>> holding(np.array([[0.1, 0.2, 0.7]]), (0.9, 0.5))
        [0.2, 0.7]
    """
    falling = np.sort(field, axis=None)[::-1].astype(np.float64)
    held = np.cumsum(falling) / max(float(falling.sum()), float(np.finfo(np.float64).tiny))
    found = {float(falling[min(int((held < share).sum()), len(falling) - 1)]) for share in shares}
    return sorted(level for level in found if level > falling[-1])


def _finish(axes: Axes, picture: Picture, classes: Sequence[int], *, named: bool) -> None:
    """The radiograph under all, and the gold boxes over all; named where there are several."""
    marks.radiograph(axes, picture.image)
    named = named and len(classes) > 1
    for box in picture.truth:
        said = [picture.classes[box.label]] if named else []
        marks.boxes(axes, [box.xyxy_px], TRUTH, said, dashed=True, small=True)


@dataclass(frozen=True)
class _Key:
    """What the marks mean: words, the colour of a class or "", and places in lines of a strip."""

    entries: tuple[tuple[str, str], ...]
    places: tuple[tuple[float, int], ...]
    high: float


def _key(classes: Mapping[str, str], wide: float) -> _Key:
    """The key of some classes with their colours, laid out to a width in inches."""
    entries = [(labels.wrap(name, 150.0, _SIZE, lines=1), shade) for name, shade in classes.items()]
    entries += [(words, "") for words in _MARKS]
    places, x, line = [], 0.1, 0
    for words, _ in entries:
        room = 0.36 + labels.width(words, _SIZE) / 72 + 0.2
        if x > 0.1 and x + room - 0.2 > wide:
            x, line = 0.1, line + 1
        places.append((x, line))
        x += room
    return _Key(tuple(entries), tuple(places), 0.18 * (line + 1) + 0.1)


def _draw_key(page: Page, y: float, key: _Key) -> None:
    """A grey strip, as dark as a radiograph, with a sample of every mark."""
    axes = page.axes(EDGE, y, page.width - 2 * EDGE, key.high)
    axes.set(xlim=(0, page.width - 2 * EDGE), ylim=(key.high, 0), xticks=[], yticks=[])
    axes.set_facecolor("#4A4A4A")
    axes.spines[:].set_visible(False)
    for (words, shade), (x, line) in zip(key.entries, key.places, strict=True):
        middle = 0.05 + 0.18 * (line + 0.5)
        ends, level = [x, x + 0.28], [middle, middle]
        if shade:
            axes.plot(ends, level, color=shade, lw=6, alpha=0.8, solid_capstyle="butt")
        elif words == _MARKS[1]:
            marks.boxes(
                axes, [(x, middle - 0.04, x + 0.28, middle + 0.04)], TRUTH, dashed=True, small=True
            )
        elif words == _MARKS[0]:
            marks.boxes(axes, [(x, middle - 0.04, x + 0.28, middle + 0.04)], "white", small=True)
        else:
            for lift in (-0.025, 0.025):
                axes.plot(ends, [middle + lift] * 2, color="white", lw=0.8)
        page.text(EDGE + x + 0.34, y + middle, words, fontsize=_SIZE, color="white", zorder=5)


def _note(rows: Sequence[_Row]) -> str:
    """How to read what lies on the images and stands below them."""
    if not rows:
        return "No images."
    return (
        "In the colour of a class: the Gaussian map of the region with its highest score, full at "
        "its own peak. Below: entropy of the map; IoU of the best box with gold, or that the model "
        "shows no box of the class."
    )
