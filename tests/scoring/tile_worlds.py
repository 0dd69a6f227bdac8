"""A run with a model of tiles that everybody can compute, and sets of tiles for it."""

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from wsrpn import checkpoint, files, models, registry
from wsrpn import config as configs
from wsrpn.predict import TrainedRun, open_run
from wsrpn.tiles import Slide

SIZE = 16
SHADE = '''# how dark a tile is, plus one weight; loaded by --code
import os
import signal
import time
from pathlib import Path

import torch
from torch import nn

from wsrpn.models.base import models
from wsrpn.models.tile import TileModel
from wsrpn.types import ModelOutput

# A second import, by path and as a module, would register it twice.
if "test_shade" not in models:

    @models.register("test_shade", gives=("logits",), input="tiles")
    class Shade(TileModel):
        """Darkness of a tile; nan where the first pixel is (1, 2, 3).

        Args:
            classes: 1.
            slow: seconds that a batch takes besides.
            dies: a file; where it is not there yet, it is made and the process ends at slide s1.
        """

        def __init__(self, *, classes: int, slow: float = 0.0, dies: str = "") -> None:
            super().__init__(classes=classes)
            self.shade = nn.Parameter(torch.zeros(()))
            self.slow, self.dies = slow, dies

        def forward(self, batch):
            time.sleep(self.slow)
            if self.dies and batch.ids[0].startswith("s1@") and not Path(self.dies).exists():
                Path(self.dies).touch()
                os.kill(os.getpid(), signal.SIGKILL)
            dark = 1 - batch.images.float().mean(dim=(1, 2, 3)) + self.shade
            first = (batch.images[:, :, 0, 0] * 255).round()
            odd = (first == torch.tensor([1.0, 2.0, 3.0])).all(dim=1)
            return ModelOutput(logits=torch.where(odd, torch.nan, dark)[:, None])

        def scores(self, batch):
            dark = self(batch).logits[:, 0]
            return {"score": dark, "score_red": batch.images[:, 0].float().mean(dim=(1, 2))}
'''


def code(out: Path) -> Path:
    """The file with the model, beside a run."""
    path = out.with_name("shade.py")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(SHADE)
    return path


def forget() -> None:
    """Take the model out of the registry again."""
    models.models._parts.pop("test_shade", None)
    models.models._facts.pop("test_shade", None)
    for name in [name for name in sys.modules if name.startswith("wsrpn_code_")]:
        del sys.modules[name]


def run_folder(out: Path, *changes: str, shade: float = 0.0) -> Path:
    """A run whose model says how dark a tile is; `shade` is its one weight."""
    registry.load_code([code(out)])
    tree = {
        "model": {"name": "test_shade"},
        "data": {"size": SIZE},
        "tiles": {"mpp": 1.0, "tissue": "none", "min_tissue": 0.0},
    }
    for change in changes:
        for key, value in configs.changes([change]).items():
            configs._put(tree, key, value, where=change)
    config = configs.parse(tree)
    model = models.build(config.model, classes=1)
    with torch.no_grad():
        model.shade.fill_(shade)
    out.mkdir(parents=True, exist_ok=True)
    tensors = checkpoint.flatten("model", model.state_dict())
    checkpoint.save(out / "checkpoints", "best", checkpoint.Checkpoint(1, tensors, {}))
    files.write_json(out / "run.json", {"classes": ["tumour"], "text": None})
    files.write(out / "config.yaml", configs.dump(config).encode())
    return out


def opened(out: Path, *changes: str, shade: float = 0.0) -> TrainedRun:
    """The same, ready."""
    return open_run(run_folder(out, *changes, shade=shade), device="cpu")


def picture(path: Path, size: tuple[int, int], seed: int) -> np.ndarray:
    """An RGB picture of noise as a file; width and height in pixels."""
    wide, high = size
    pixels = np.random.default_rng(seed).integers(0, 256, (high, wide, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return pixels


def slides(folder: Path, count: int = 3, *, cells: tuple[int, int] = (5, 4)) -> list[Slide]:
    """Slides as plain pictures with an mpp, so many columns and rows of tiles each."""
    found = []
    for number in range(count):
        path = folder / f"s{number}.png"
        picture(path, (cells[0] * SIZE, cells[1] * SIZE), number)
        patient = f"p{number}"
        found.append(Slide(f"s{number}", patient, split="test", file=path, mpp=1.0))
    return found


def listed(folder: Path, count: int = 3, *, tiles: int = 6) -> Path:
    """tiles.csv with a contact sheet for each of some slides."""
    lines = ["slide,split,patient,sheet,sheet_x,sheet_y,size,x,y,label"]
    for number in range(count):
        picture(folder / "sheets" / f"{number}.png", (tiles * SIZE, SIZE), 10 + number)
        split = ("val", "test")[number % 2]
        lines += [
            f"t{number},{split},q{number},sheets/{number}.png,{n * SIZE},0,{SIZE},"
            f"{(n % 3) * SIZE},{(n // 3) * SIZE},{n % 2}"
            for n in range(tiles)
        ]
    (folder / "tiles.csv").write_text("\n".join(lines) + "\n")
    return folder / "tiles.csv"


def slides_csv(folder: Path, slides: list[Slide]) -> Path:
    """The table of such slides."""
    lines = ["slide,patient,split,file,mpp,label"]
    lines += [f"{s.id},{s.patient},{s.split},{s.file.name},{s.mpp},normal" for s in slides]
    (folder / "slides.csv").write_text("\n".join(lines) + "\n")
    return folder / "slides.csv"


def darkness(pixels: np.ndarray) -> float:
    """What the model says of a tile with `shade` 0, by the definition."""
    return float(1 - pixels.astype(np.float64).mean() / 255)
