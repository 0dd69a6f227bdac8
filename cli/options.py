"""The options that commands share, each annotated once, and how a command speaks.

stdout is data (one JSON document with `--json`), stderr is for people.
"""

import functools
import json
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any, ParamSpec, TypeVar

import typer

P = ParamSpec("P")
R = TypeVar("R")

DATA_HELP = (
    "Data: a manifest (.csv), a folder, coco:FILE, phantom:cxr (or beads, nodules), or NAME:DIR "
    "for nih, chexpert, mimic, vindr, rsna … (`wsrpn doctor` lists them). For slides: slides.csv, "
    "tiles.csv, a folder with one of them, or phantom:slides."
)

Data = Annotated[str, typer.Option("--data", help=DATA_HELP, show_default=False)]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="a.b=VALUE", help="Change a key of the config; may be repeated."),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 …")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
SPLIT_HELP = "train, val, test or all."
Split = Annotated[str, typer.Option(help=SPLIT_HELP)]
Map = Annotated[
    list[str] | None,
    typer.Option(
        "--map",
        metavar="'MODEL CLASS=DATA CLASS'",
        help="What a class is called in DATA; join several with |. May be repeated.",
    ),
]
CalibrationFile = Annotated[
    Path | None,
    typer.Option(
        "--calibration",
        help="calibration.json; a run's own, or one beside the scores, is found by itself.",
    ),
]
OnError = Annotated[str, typer.Option(help="stop or skip at an image that cannot be read.")]
Source = Annotated[
    Path,
    typer.Argument(
        metavar="RUN|PREDICTIONS|SCORES",
        help="Run folder, predictions (.json, .csv, .csv.gz), a folder of maps or masks named like "
        "the images, or tile scores of slides (a table, a folder of them, a run with "
        "scores.parquet, phantom:slides).",
        show_default=False,
    ),
]
Run = Annotated[
    Path, typer.Argument(metavar="RUN", help="Run folder of `wsrpn train`.", show_default=False)
]
RunOrScores = Annotated[
    Path,
    typer.Argument(
        metavar="RUN|SCORES",
        help="Run folder of `wsrpn train`, a folder of maps or masks named like the images, or "
        "tile scores of slides (a table, a folder of them, a run with scores.parquet, "
        "phantom:slides).",
        show_default=False,
    ),
]
Files = Annotated[
    list[Path] | None,
    typer.Argument(metavar="FILE…", help="Images, or folders of images.", show_default=False),
]
Code = Annotated[
    list[Path] | None,
    typer.Option(help="A Python file that registers parts of your own; may be repeated."),
]


def failure(name: str, reason: str) -> str:
    """What failed and why; a name that the reason begins with is said once.

    Example:
        >>> failure("a.png", "a.png: not an image.")
        'a.png: not an image.'
    """
    return f"{name}: {reason.removeprefix(f'{name}: ')}"


def say(text: str) -> None:
    """A line for people."""
    typer.echo(text, err=True)


def emit(document: dict[str, Any]) -> None:
    """The one JSON document."""
    typer.echo(json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False))


def debug() -> bool:
    """Whether tracebacks are wanted (`wsrpn --debug …`, or WSRPN_DEBUG=1)."""
    return os.environ.get("WSRPN_DEBUG", "") not in {"", "0"}


def command(function: Callable[P, R]) -> Callable[P, R]:
    """Turn what can go wrong into one line on stderr and an exit code.

    2 wrong use or bad input; 3 a requirement not met; 128 + n a signal; 1 everything else.
    """

    @functools.wraps(function)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        import warnings

        warnings.showwarning = _show_warning
        try:
            return function(*args, **kwargs)
        except (typer.Exit, typer.Abort):
            raise
        except BrokenPipeError:
            # The reader went away (`| head`); Python would complain again while flushing.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(1) from None
        except Exception as error:
            if debug():
                raise
            code, text = _verdict(error)
            say(text)
            raise typer.Exit(code) from None

    return guarded


def _verdict(error: Exception) -> tuple[int, str]:
    from wsrpn.errors import InputError, RequirementError
    from wsrpn.train.signals import Interrupted

    text = " ".join(str(error).split())
    if isinstance(error, InputError):
        return 2, text
    if isinstance(error, RequirementError):
        return 3, text
    if isinstance(error, Interrupted):
        return error.code, text
    if isinstance(error, OSError):
        # A path that cannot be is the user's; a full disk is not.
        wrong = (FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError)
        code = 2 if isinstance(error, (*wrong, PermissionError)) else 1
        return code, f"{error.filename or 'a file'}: {error.strerror or error}."
    kind = type(error).__name__
    return 1, f"failed: {kind}: {text} (`wsrpn --debug …` shows where)"


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    say(f"warning: {message}")


def progress(description: str, total: int | None) -> Any:
    """A progress bar on a terminal; silent elsewhere. Use as a context; `advance(n, text)`."""
    from .progress import Bar

    return Bar(description, total)


def choice(option: str, value: str, known: Iterable[str]) -> Any:
    """The value, if it is one of the known ones.

    Raises:
        InputError: names the choices.
    """
    from wsrpn.errors import InputError, nearest

    if value not in known:
        raise InputError(f"{option} {value}: no such choice. {nearest(value, known)}")
    return value


def load_code(paths: list[Path] | None) -> None:
    """Import Python files that register parts of the user's own, each once per process.

    Raises:
        InputError: no such file, or it fails, with the line of it.
    """
    from wsrpn import registry

    registry.load_code(paths or [], raw=debug())


def document(
    name: str, *, files: dict[str, str], warnings: list[str], **metrics: float
) -> dict[str, Any]:
    """The one JSON document of a command that has no report."""
    from wsrpn import __version__
    from wsrpn.types import Figure, Report

    figures = {key: Figure.of(value) for key, value in metrics.items()}
    return Report(name, __version__, figures, files=files, warnings=tuple(warnings)).document()
