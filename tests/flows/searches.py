"""Searches in forked children that die, or that share a study; prints what it found as JSON.

Run by `test_tune`. Everything is imported once, here, and nothing is computed here, so that a fork
costs milliseconds and a killed search is a real one.
"""

import gc
import importlib
import json
import os
import signal
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import optuna
import torch
import yaml

from tests.flows import runs
from tests.flows.kill import child, ended
from wsrpn import compat
from wsrpn.report import trials as paper
from wsrpn.study import database, plan, tune
from wsrpn.study import trials as trials_module

BASE = {
    "base": "cam",
    "set": {
        "model": {"backbone": "tiny", "dropout": 0.2},
        "data.size": 48,
        "train": {"epochs": 3, "batch": 4, "precision": "fp32", "ema": 0.9, "monitor": "image_ap"},
        "phases": [{"weights": {"image_bce": 1.0}}],
    },
    "figure": "loss",
    "warmup": 1,
}
RANGES = {
    "train.lr": {"low": 1e-9, "high": 1e-2, "log": True},
    "model.dropout": {"choices": [0.0, 0.3]},
}


def study(folder: Path, source: Path, **keys: object) -> Path:
    """A file with a search over small trainings."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "mine.yaml"
    tree = {**BASE, "ranges": RANGES, "trials": 4, "data": str(source), **keys}
    path.write_text(yaml.safe_dump(tree), "utf-8")
    return path


def search(file: Path, out: Path, tell: tune.Tell = lambda event, facts: None, **how: str) -> None:
    """What a user would type, before and after a kill."""
    found = tune.tune(plan.load(file, plan.Search), out, tell=tell, **how)
    (out / "found.json").write_text(json.dumps(list(map(told, found))))


def told(trial: paper.Trial) -> list[object]:
    """What must not depend on kills: everything but the time."""
    values = [trial.chosen[key] for key in RANGES]
    return [trial.number, trial.state, trial.value, trial.epochs, *values, trial.reason]


def found(out: Path) -> object:
    """What a search ended with."""
    return json.loads((out / "found.json").read_text())


def dying(event: str, number: int, epoch: int = 0) -> tune.Tell:
    """A listener that ends the process at once."""

    def tell(what: str, facts: dict[str, object]) -> None:
        now = facts.get("now")
        if (what, facts["number"]) == (event, number) and (now is None or now.epoch == epoch):
            os.kill(os.getpid(), signal.SIGKILL)

    return tell


def at_every_write(file: Path, out: Path, every: int) -> int:
    """Searches that die before or after a write to database or disk, a later one each time."""
    count = 0
    while True:
        process = child(lambda n=count: mortal(n * every, lambda: search(file, out)))
        if ended(process):
            return count
        count += 1


def mortal(after: int, work: Callable[[], object]) -> None:
    """Work, and die at a number of writes."""
    calls = iter(range(after))

    def watched(call: Callable[..., object]) -> Callable[..., object]:
        def around(*args: object, **options: object) -> object:
            tick()
            result = call(*args, **options)
            tick()
            return result

        return around

    def tick() -> None:
        if next(calls, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)

    trials_module.ATTEMPTS = 10**6
    writes = [
        name for name in dir(optuna.storages.RDBStorage) if name.startswith(("set_trial", "create"))
    ]
    for owner, names in ((optuna.storages.RDBStorage, writes), (Path, ["replace", "mkdir"])):
        for name in names:
            setattr(owner, name, watched(getattr(owner, name)))
    work()


def learn_imports(file: Path, folder: Path) -> None:
    """Write down what a search imports on the way."""
    before = set(sys.modules)
    search(file, folder / "imports")
    new = [name for name in sys.modules if name not in before and name.isascii()]
    (folder / "modules.json").write_text(json.dumps(new))


def together(*work: Callable[[], object]) -> None:
    """Several processes at a time."""
    for process in [child(one) for one in work]:
        ended(process)


def main(folder: Path) -> dict[str, object]:
    """Everything that `test_tune` asserts."""
    torch.set_num_threads(1)
    compat.torchvision()
    warnings.simplefilter("error")
    source = runs.data(folder / "data")
    file = study(folder, source)
    ended(child(lambda: learn_imports(study(folder / "one", source, trials=1), folder)))
    for name in json.loads((folder / "modules.json").read_text()):
        importlib.import_module(name)
    gc.freeze()  # collecting what has been imported would be most of the time
    result: dict[str, object] = {}

    ended(child(lambda: search(file, folder / "unbroken")))
    result["unbroken"] = found(folder / "unbroken")

    out = folder / "killed"
    deaths = (("begin", 0), ("step", 1, 2), ("end", 2), ("step", 3, 2))
    result["kills"] = [
        not ended(child(lambda at=at: search(file, out, dying(*at)))) for at in deaths
    ]
    ended(child(lambda: search(file, out)))
    result["killed"] = found(out)

    result["write kills"] = at_every_write(file, folder / "writes", 31)
    result["writes"] = found(folder / "writes")

    random = study(folder / "random", source, sampler="random", pruner="none", trials=4)
    ended(child(lambda: search(random, folder / "alone")))
    together(*[lambda: search(random, folder / "shared")] * 2)
    url = database.sqlite(str(folder / "both.db"))
    outs = [folder / "left", folder / "right"]
    together(*[lambda out=out: search(random, out, storage=url, name="both") for out in outs])
    ended(child(lambda: search(random, outs[0], storage=url, name="both")))  # nothing is left
    result["alone"], result["shared"] = found(folder / "alone"), found(folder / "shared")
    result["both"] = found(outs[0])
    result["folders"] = [sorted(p.name for p in out.glob("trial-*")) for out in outs]
    result["left over"] = [str(p) for p in folder.rglob("*.tmp.*")]
    return result


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))))
