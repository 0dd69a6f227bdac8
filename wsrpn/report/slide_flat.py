"""The overlay of a whole slide as one flat picture without words, for talks and quick looks."""

import math
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw

from wsrpn import files
from wsrpn.errors import InputError
from wsrpn.report.slide_view import CALLED, TISSUE, TUMOUR, Shape, SlideView, fade, lattice_frame

MOST = 200_000_000  # pixels; 800 MB while they are drawn
_LONGEST = 65_500  # pixels of a side of a JPEG
_STRIP = 256  # rows that are coloured at a time
_LINES = 1500  # lines of an outline side by side across a picture


def write(view: SlideView, path: Path, *, downsample: int = 32, quality: int = 90) -> None:
    """Write heatmap and outlines over the slide as a JPEG, whole or not at all.

    Args:
        view: the slide.
        path: file to write.
        downsample: full-size pixels to a pixel.
        quality: of the JPEG.

    Raises:
        InputError: more pixels than one picture can have; the sentence says what would do.
    """
    image = overlay(view, downsample)
    dpi = None if view.tiles.mpp is None else (25_400 / (view.tiles.mpp * downsample),) * 2
    more = {} if dpi is None or max(dpi) > _LONGEST else {"dpi": dpi}
    files.write_with(path, lambda to: image.save(to, "JPEG", quality=quality, **more))


def overlay(view: SlideView, downsample: int) -> Image.Image:
    """The picture; a tile has the colour of the heatmap, the clearer the lower its value.

    Raises:
        InputError: see `write`.
    """
    size = _size(view, downsample)
    if view.picture is None:
        image = Image.new("RGB", size, "white")
    else:
        image = Image.fromarray(view.picture).resize(size, Image.Resampling.BILINEAR)
    left, top, right, bottom = lattice_frame(view.tiles)
    rows, columns = view.heat.shape
    cells = Image.fromarray(_colours(view))
    step = (downsample * columns / (right - left), downsample * rows / (bottom - top))
    start = (-left / downsample * step[0], -top / downsample * step[1])
    for above in range(0, size[1], _STRIP):
        high = min(_STRIP, size[1] - above)
        place = (step[0], 0, start[0], 0, step[1], start[1] + above * step[1])
        strip = cells.transform((size[0], high), Image.Transform.AFFINE, place,
                                Image.Resampling.NEAREST, fillcolor=(255, 255, 255, 0))  # fmt: skip
        image.paste(strip, (0, above), strip)
    for shape, colour in ((view.called, CALLED), (view.tumour, TUMOUR)):
        if shape is not None:
            _outline(image, shape, colour, downsample)
    return image


def _colours(view: SlideView) -> UInt8[np.ndarray, "gh gw 4"]:
    """Of every cell; on a ground of grey where there is no picture of the tissue."""
    over = fade(view.heat, view.colour)
    if view.picture is not None:
        return over
    share = over[..., 3:] / 255.0
    grey = np.array(TISSUE) * (1 - share) + over[..., :3] * share
    solid = np.where(np.isfinite(view.heat), 255, 0)[..., None]
    return np.concatenate([grey, solid], axis=2).round().astype(np.uint8)


def _size(view: SlideView, downsample: int) -> tuple[int, int]:
    if downsample < 1:
        raise InputError(f"--downsample {downsample}: 1 or more full-size pixels to a pixel.")
    width, height = view.extent_px0
    enough = max(math.sqrt(width * height / MOST), max(width, height) / _LONGEST)
    if downsample < enough:
        raise InputError(
            f"slide {view.name}: {width / downsample:.0f} × {height / downsample:.0f} pixels at "
            f"--downsample {downsample} are too many for one picture; --downsample "
            f"{math.ceil(enough)} would do."
        )
    return (math.ceil(width / downsample), math.ceil(height / downsample))


def _outline(image: Image.Image, shape: Shape, colour: str, downsample: int) -> None:
    """Edges of a geometry as lines of a width that shows when the whole picture is seen."""
    import shapely

    pen = ImageDraw.Draw(image)
    width = max(1, round(max(image.size) / _LINES))
    parts = shapely.simplify(shapely.get_parts(shape), downsample / 2)
    for part in parts:
        for ring in (part.exterior, *part.interiors):
            at = (shapely.get_coordinates(ring) / downsample).astype(np.float64)
            pen.line([tuple(point) for point in at.tolist()], fill=colour, width=width)
