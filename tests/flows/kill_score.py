"""Scores slides in forked children and kills them; prints what it found as JSON."""

import hashlib
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from tests import cli
from tests.flows import kill
from tests.scoring import tile_worlds
from wsrpn.tiling import pixels

EVERY = 5  # calls that change the disk between one death and the next


def score(run: Path, table: Path, out: Path) -> None:
    """What a user would type."""
    result = cli.wsrpn("score", run, table, "--out", out, "--batch", 5)
    if result.exit_code:
        raise RuntimeError(result.stderr)


def log_reads(log: Path, plain: Callable[..., object] = pixels.read) -> None:
    """From now on every slide that is read is written down, whenever this process may die."""

    def read(reader: object, *given: object) -> object:
        with log.open("a") as file:
            file.write(f"{reader.path.stem}\n")
        return plain(reader, *given)

    pixels.read = read


def until_done(out: Path, log: Path, attempt: Callable[[int], int]) -> dict[str, object]:
    """Children, one after the other, until one ends by itself.

    Args:
        out: the table.
        log: of what they read.
        attempt: starts the n-th one.
    """
    kills, again = 0, []
    while True:
        finished = {path.stem for path in out.with_name(out.name + ".parts").glob("*.parquet")}
        log.write_text("")
        ended = kill.ended(attempt(kills))
        again += sorted(finished & set(log.read_text().split()))
        if ended:
            return {"kills": kills, "again": again, "table": digest(out)}
        kills += 1


def killed_soon(work: Callable[[], object], seconds: float) -> int:
    """A child that is killed after a time, if it lives so long."""
    process = kill.child(work)
    time.sleep(seconds)
    os.kill(process, signal.SIGKILL)
    return process


def digest(path: Path) -> str:
    """sha256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main(folder: Path) -> dict[str, object]:
    """Score without a break, with a kill at a later call each time, and at random times."""
    torch.set_num_threads(1)
    run = tile_worlds.run_folder(folder / "run", "model.slow=0.01")
    table = tile_worlds.slides_csv(folder, tile_worlds.slides(folder, 4))
    score(run, table, folder / "imports.parquet")  # so that children import nothing
    kill.ended(kill.child(lambda: score(run, table, folder / "unbroken.parquet")))
    log = folder / "reads.txt"
    log_reads(log)
    calls, times = folder / "calls.parquet", folder / "times.parquet"
    chance = random.Random(0)
    found = {
        "calls": until_done(calls, log, lambda n: kill.child(
            lambda: kill.dying(n * EVERY, lambda: score(run, table, calls)))),
        "times": until_done(times, log, lambda n: killed_soon(
            lambda: score(run, table, times), chance.uniform(0.03, 0.1 + 0.05 * n))),
    }  # fmt: skip
    left = [str(path) for path in folder.rglob("*.tmp.*")]
    return {**found, "unbroken": digest(folder / "unbroken.parquet"), "left over": left}


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))))
