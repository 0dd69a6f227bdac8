"""Trains in forked children and kills them; prints what it found as JSON. Run by `test_kill`.

Everything is imported once, here, and nothing is computed here (torch's thread pool would not
survive a fork), so that a fork costs milliseconds and a killed training is a real one.
"""

import importlib
import json
import os
import random
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

import torch

from tests.flows import runs
from wsrpn import checkpoint, compat
from wsrpn.config import RunConfig
from wsrpn.train.run import train


def child(work: Callable[[], object]) -> int:
    """Fork; the child works and leaves."""
    process = os.fork()
    if process == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return process


def go_on(config: RunConfig, out: Path) -> None:
    """What a user would type: start, or resume what has been started."""
    train(config, out, resume=(out / "config.yaml").exists())


def look(out: Path, step: int) -> int:
    """The newest checkpoint's step; it must load without complaint and never grow older."""
    folder = out / "checkpoints"
    for kind in ("last", "best"):
        if checkpoint.candidates(folder, kind):
            found = checkpoint.load(folder, kind).step
            if kind == "last":
                if found < step:
                    raise RuntimeError(f"step {step} was there and {found} is left")
                step = found
        elif kind == "last" and step:
            raise RuntimeError(f"the checkpoint of step {step} is gone")
    return step


def ended(process: int) -> bool:
    """Wait for a child; whether it ended by itself, which must be without an error."""
    _, status = os.waitpid(process, 0)
    if not os.WIFSIGNALED(status) and os.waitstatus_to_exitcode(status):
        raise RuntimeError("a resumed training failed")
    return not os.WIFSIGNALED(status)


def at_random(config: RunConfig, out: Path, kills: int, chance: random.Random) -> dict[str, object]:
    """Trainings killed after random times, each resumed until it is done."""
    begun = time.monotonic()
    ended(child(lambda: go_on(config, out / "timed")))
    whole = time.monotonic() - begun
    done, steps, prints = 0, [], []
    while done < kills:
        run, step = out / f"random{len(prints)}", 0
        finished = False
        while not finished:
            process = child(lambda run=run: go_on(config, run))
            if done < kills:
                time.sleep(chance.uniform(0, whole))
                os.kill(process, signal.SIGKILL)
            finished = ended(process)
            done += not finished
            step = look(run, step)
            steps.append(step)
        prints.append(runs.fingerprint(run))
    return {"kills": done, "steps": steps, "fingerprints": prints}


def at_every_call(config: RunConfig, out: Path, every: int) -> dict[str, object]:
    """Trainings that die before or after a call that changes the disk, a later one each time."""
    run, step, count, finished = out / "calls", 0, 0, False
    while not finished:
        process = child(lambda n=count: dying(n * every, lambda: go_on(config, run)))
        finished = ended(process)
        step = look(run, step)
        count += 1
    return {"kills": count - 1, "fingerprints": [runs.fingerprint(run)]}


def dying(after: int, work: Callable[[], object]) -> None:
    """Work, and die at a number of calls of what changes the disk."""
    calls = iter(range(after + 1))

    def watched(call: Callable[..., object]) -> Callable[..., object]:
        def around(*args: object, **options: object) -> object:
            tick()
            result = call(*args, **options)
            tick()
            return result

        return around

    def tick() -> None:
        if next(calls, after) == after:
            os.kill(os.getpid(), signal.SIGKILL)

    for owner, name in ((os, "fsync"), (Path, "replace"), (Path, "unlink"), (Path, "mkdir")):
        setattr(owner, name, watched(getattr(owner, name)))
    work()


def learn_imports(config: RunConfig, folder: Path) -> None:
    """Write down what a training imports on the way."""
    before = set(sys.modules)
    go_on(config, folder / "imports")
    new = [name for name in sys.modules if name not in before and name.isascii()]
    (folder / "modules.json").write_text(json.dumps(new))


def main(folder: Path) -> dict[str, object]:
    """Everything that `test_kill` asserts."""
    torch.set_num_threads(1)
    compat.torchvision()
    warnings.simplefilter("error")
    source = runs.data(folder / "data")
    # One step per epoch: most of the time goes into saving, which is where a kill hurts.
    config = runs.wsrpn(source, "train.epochs=8", "train.batch=16", "train.monitor=loss")
    ended(child(lambda: learn_imports(runs.wsrpn(source, "train.epochs=1"), folder)))
    for name in json.loads((folder / "modules.json").read_text()):
        importlib.import_module(name)
    ended(child(lambda: go_on(config, folder / "unbroken")))
    return {
        "unbroken": runs.fingerprint(folder / "unbroken"),
        "random": at_random(config, folder, 20, random.Random(0)),
        "calls": at_every_call(config, folder, 9),
        "left over": [str(p) for p in folder.rglob("*.tmp.*")],
    }


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))))
