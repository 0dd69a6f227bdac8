"""The Typer app: one line per command. User mistakes become one line on stderr."""

import functools
import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
import typer.core

from . import (
    ablate,
    calibrate,
    combine,
    compare,
    data,
    demo,
    doctor,
    eval,
    heatmap,
    options,
    predict,
    score,
    train,
    tune,
)
from .options import command


class OneSentence(typer.core.TyperGroup):
    """The program; an unknown option or a missing argument is told in one line, without a box."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run a command line, and end the process with its exit code."""
        run = functools.partial(
            super().main, args, prog_name, complete_var, False, windows_expand_args, **extra
        )
        if not standalone_mode:
            return run()
        try:
            code = run()
        except typer.Abort:
            options.say("aborted.")
            sys.exit(1)
        except Exception as error:
            # Typer brings a click of its own or takes the one that is installed, by version.
            if not hasattr(error, "format_message"):
                raise
            if type(error).__name__ != "NoArgsIsHelpError":  # the help is out already
                options.say(_usage(error))
            sys.exit(2)
        sys.exit(code if isinstance(code, int) else 0)


def _usage(error: Any) -> str:
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "wsrpn"
    text = " ".join(error.format_message().split()).removesuffix(".")
    return f"{path}: {text}; `{path} --help` lists what there is."


app = typer.Typer(
    cls=OneSentence,
    name="wsrpn",
    help="Localise findings in radiographs from image labels, and in slides from tile scores: "
    "train, score, calibrate, eval, heatmap.",
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
def before(
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
app.command("combine")(command(combine.combine))
app.command("heatmap")(command(heatmap.heatmap))
app.command("predict")(command(predict.predict))
app.command("score")(command(score.score))
app.command("compare")(command(compare.compare))
app.command("tune")(command(tune.tune))
app.command("ablate")(command(ablate.ablate))
app.add_typer(data.app, name="data")
app.command("doctor")(command(doctor.doctor))
app.command("demo")(command(demo.demo))


def main() -> None:
    """Entry point of the `wsrpn` script."""
    app()


if __name__ == "__main__":
    main()
