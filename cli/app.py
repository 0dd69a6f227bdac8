"""The Typer app: one line per command. User mistakes become one line on stderr."""

import os
from typing import Annotated

import typer

from . import calibrate, data, demo, doctor, eval, heatmap, predict, train
from .options import command

app = typer.Typer(
    name="wsrpn",
    help="Localise findings in radiographs from image-level labels: train, calibrate, eval, heatmap.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from wsrpn import __version__

        typer.echo(__version__)
        raise typer.Exit()


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options before the command."""
    if debug:
        os.environ["WSRPN_DEBUG"] = "1"


app.command("train")(command(train.train))
app.command("eval")(command(eval.evaluate))
app.command("evaluate", hidden=True)(command(eval.evaluate))
app.command("calibrate")(command(calibrate.calibrate))
app.command("heatmap")(command(heatmap.heatmap))
app.command("predict")(command(predict.predict))
app.add_typer(data.app, name="data")
app.command("doctor")(command(doctor.doctor))
app.command("demo")(command(demo.demo))


def main() -> None:
    """Entry point of the `wsrpn` script."""
    app()


if __name__ == "__main__":
    main()
