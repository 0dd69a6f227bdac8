"""`wsrpn train`."""

from pathlib import Path
from typing import Annotated

import typer

from wsrpn_cli import options


def train(
    config: Annotated[str, typer.Argument(help="Preset, or a config of your own (.yaml).")],
    data: options.Data = "",
    out: Annotated[Path, typer.Option(help="Run folder.")] = Path("runs/last"),
    change: options.Set = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the newest checkpoint in the run folder.")
    ] = False,
    epochs: Annotated[int | None, typer.Option(help="Same as --set train.epochs=N.")] = None,
    seed: Annotated[int | None, typer.Option(help="Same as --set train.seed=N.")] = None,
    device: options.Device = "auto",
    code: Annotated[
        list[Path] | None,
        typer.Option(help="A Python file that registers parts of your own; may be repeated."),
    ] = None,
    show_config: Annotated[
        bool,
        typer.Option("--show-config", help="Print the config, all defaults filled in, and stop."),
    ] = False,
    json: options.Json = False,
) -> None:
    """Train a model from image-level labels (and whatever else the data offers)."""
    from wsrpn import config as configs
    from wsrpn.train import run

    changes = list(change or [])
    changes += [f"data.source={data}"] if data else []
    changes += [f"train.epochs={epochs}"] if epochs is not None else []
    changes += [f"train.seed={seed}"] if seed is not None else []
    options.load_code(code or [])
    chosen = run.complete(configs.load(config, changes))
    if show_config:
        typer.echo(configs.dump(chosen), nl=False)
        return
    with options.progress("train", None) as bar:

        def listen(now: run.Progress, row: "run.Row | None") -> None:
            bar.set_total(now.total)
            bar.advance(now.step - bar.done, f"epoch {now.epoch} loss {now.loss:.3f}")
            if row is not None:
                options.say(run.summary(row))

        report = run.train(chosen, out, resume=resume, device=device, listen=listen)
    options.say(f"run folder: {out}")
    if json:
        options.emit(report.document())
