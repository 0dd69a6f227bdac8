"""`wsrpn train`."""

import itertools
import os
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import options

if TYPE_CHECKING:
    from wsrpn.train.loop import Progress


def train(
    config: Annotated[
        str,
        typer.Argument(
            metavar="PRESET|CONFIG.yaml",
            help="A preset (`wsrpn doctor` lists them), or a config of your own.",
            show_default=False,
        ),
    ],
    data: options.Data = "",
    out: Annotated[Path, typer.Option(help="Run folder.")] = Path("runs/last"),
    change: options.Set = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the newest checkpoint in the run folder.")
    ] = False,
    epochs: Annotated[int | None, typer.Option(help="Same as --set train.epochs=N.")] = None,
    seed: Annotated[int | None, typer.Option(help="Same as --set train.seed=N.")] = None,
    device: options.Device = "auto",
    code: options.Code = None,
    show_config: Annotated[
        bool,
        typer.Option("--show-config", help="Print the config, all defaults filled in, and stop."),
    ] = False,
    json: options.Json = False,
) -> None:
    """Train a model from labels of images, of tiles of slides, or from masks.

    Models of tiles (presets vae-b1, vae-b2, vae-head, tile-classifier) take tiles of slides as
    DATA: tiles.csv or its folder, a folder of tile pictures, slides.csv with slide files, or
    phantom:slides. The vae learns from normal tiles and leaves reconstructions.png.

    Models of masks (presets beads, nodule) take images with masks as DATA: images.csv with a
    column mask, phantom:beads or phantom:nodules. They leave segmentation.png.
    """
    from wsrpn import config as configs

    changes = list(change or [])
    changes += [f"data.source={data}"] if data else []
    changes += [f"train.epochs={epochs}"] if epochs is not None else []
    changes += [f"train.seed={seed}"] if seed is not None else []
    options.load_code(code)
    loaded = configs.load(config, changes)
    # What is heavy comes after what may be wrong.
    from wsrpn import checkpoint, files
    from wsrpn.errors import InputError
    from wsrpn.train import run

    try:
        chosen = run.complete(loaded)
    except InputError as error:
        raise InputError(f"{config}: {error}") from None
    if show_config:
        typer.echo(configs.dump(chosen), nl=False)
        return
    ticks: list[float] = []
    with options.progress("train", None) as bar:

        def listen(now: "Progress", row: "Mapping[str, float] | None") -> None:
            ticks.append(time.perf_counter())
            bar.set_total(now.total)
            bar.advance(now.step - bar.done, f"epoch {now.epoch} loss {now.loss:.3f}")
            if row is not None:
                options.say(summary(row))

        run.train(chosen, out, resume=resume, device=device, listen=listen)
    if os.environ.get("RANK", "0") != "0":
        return  # under torchrun the first process speaks for all
    built = files.read_json(out / "run.json", what="the facts of a run")
    if isinstance(built["parameters"], dict):  # a run of an older version told their number only
        options.say(cost(built["parameters"], ticks))
    facts = built["data"]
    for note in facts["notes"]:
        options.say(f"note: {note}")
    unreadable = facts["unreadable"].items()
    skipped = [f"skipped {options.failure(*each)}" for each in unreadable]
    for line in skipped:
        options.say(line)
    best = checkpoint.load(out / "checkpoints", "best").state
    figures = {} if best["value"] is None else {best["monitor"]: best["value"]}
    told = "".join(f", {name} {value:.3f}" for name, value in figures.items())
    options.say(f"kept epoch {best['epoch']}{told}; run folder: {out}")
    drawn = {name: out / f"{name}.png" for name in ("reconstructions", "segmentation")}
    pictures = {name: str(picture) for name, picture in drawn.items() if picture.is_file()}
    if json:
        options.emit(
            options.document(
                "train",
                files={"run": str(out), "metrics": str(out / "metrics.csv")} | pictures,
                warnings=[*facts["notes"], *skipped],
                **figures,
            )
        )
    if skipped:
        raise typer.Exit(1)


def cost(parameters: "Mapping[str, Mapping[str, int]]", ticks: "Sequence[float]") -> str:
    """What was built and how long its steps took, in one line."""
    parts = ", ".join(f"{k} {v['parameters']:,}" for k, v in parameters.items() if k != "all")
    whole = parameters["all"]
    told = f"{whole['parameters']:,} parameters, {whole['trainable']:,} of them trained ({parts})"
    steps = [b - a for a, b in itertools.pairwise(ticks)]
    return f"{told}; {statistics.median(steps):.3g} s a step" if steps else told


def summary(row: "Mapping[str, float]") -> str:
    """An epoch in one line."""
    names = {
        "train/loss": "loss",
        "val/loss": "val loss",
        "val/auroc": "auroc",
        "val/image_ap": "AP",
        "val/entropy": "entropy",
        "val/ap@0.3": "ap@0.3",
        "val/dice": "dice",
        "val/jaccard": "jaccard",
        "val/foreground": "foreground",
        "val/kl": "KL",
        "train/capacity": "capacity",
        "val/latent_use": "latent use",
    }
    told = [f"{word} {row[key]:.3f}" for key, word in names.items() if key in row]
    if "val/active_units" in row:
        told.append(f"active units {row['val/active_units']:.0f}")
    return f"epoch {row['epoch']:.0f}: {', '.join(told)}"
