"""Draws heatmaps in forked children and kills them; prints what it found as JSON."""

import json
import sys
from pathlib import Path

import torch

from tests import cli
from tests.flows import kill

EVERY = 7  # calls that change the disk between one death and the next


def draw(words: list[str], out: Path) -> None:
    """What a user would type."""
    result = cli.wsrpn(*words, "--out", out)
    if result.exit_code:
        raise RuntimeError(result.stderr)


def main(folder: Path, words: list[str]) -> dict[str, int]:
    """Draw without a break, and again with a kill at a later call each time."""
    torch.set_num_threads(1)
    draw(words, folder / "imports")  # so that children import nothing
    kill.ended(kill.child(lambda: draw(words, folder / "unbroken")))
    kills = 0
    while not kill.ended(
        kill.child(lambda n=kills: kill.dying(n * EVERY, lambda: draw(words, folder / "killed")))
    ):
        kills += 1
    return {"kills": kills}


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), sys.argv[2:])))
