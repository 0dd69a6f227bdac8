"""A contact sheet of phantom chest X-rays: `python examples/phantom_gallery.py gallery.png`.

One row per kind of finding and one of normal films, with the true boxes; the last line of output is
the report of the last film.
"""

import sys
from pathlib import Path

from wsrpn.data.phantom.cxr import CLASSES, generate
from wsrpn.report import draw


def main(out: Path, *, columns: int = 5, size: int = 192) -> None:
    pictures, captions = [], []
    for row, findings in enumerate([(), *((name,) for name in CLASSES)]):
        for column in range(columns):
            film = generate(0, row * columns + column, size=size, findings=findings)
            pictures.append(draw.Picture(film.image, CLASSES, truth=film.boxes))
            captions.append(" ".join((*findings, *(f.size for f in film.findings))) or "normal")
    draw.save(draw.contact_sheet(pictures, captions, columns=columns), out)
    print(f"{out}\n{film.text}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "gallery.png"))
