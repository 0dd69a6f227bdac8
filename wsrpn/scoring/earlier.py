"""The table that stands where scores shall go: what is replaced, and what is not unasked."""

import json
import tempfile
from pathlib import Path
from typing import Any

from wsrpn.errors import InputError
from wsrpn.predict import TrainedRun
from wsrpn.slides import cells

NAME = "scores.parquet"  # of a run's own scores
_OUT = "write to another --out"


def refuse_unwritable(out: Path) -> None:
    """Stop where no table can be written, before any slide is read; leaves nothing behind.

    Args:
        out: the table.

    Raises:
        InputError: says why, and the way out.
    """
    folder = out.parent
    try:
        while not folder.exists() and folder.parent != folder:
            folder = folder.parent
        _try(folder)
    except OSError as error:
        why = error.strerror or error
        raise InputError(
            f"{out}: scores cannot be written to {folder} ({why}); name another place with --out."
        ) from None


def _try(folder: Path) -> None:
    with tempfile.TemporaryFile(dir=folder):
        pass


def replacing(run: TrainedRun, out: Path) -> tuple[str, ...]:
    """What to say of a table that is going to be replaced.

    Args:
        run: whose scores come in its place.
        out: the table; it need not be there.

    Raises:
        InputError: it has scores of another model, or is no table of `wsrpn score`. Scores that an
            earlier state of the same run left in its folder may go.
    """
    if not out.is_file():
        return ()
    about = scored(out)
    if about is None:
        raise InputError(f"{out}: is not a table of `wsrpn score`; {_OUT}, or add --overwrite.")
    if about.get("weights_sha256") == run.digest:
        return ()
    if out.resolve() == (run.folder / NAME).resolve() and _same_model(run, about):
        return (f"the scores of earlier weights in {out} are replaced.",)
    raise InputError(
        f"{out}: has scores of other weights than {run.folder}; {_OUT}, or add --overwrite."
    )


def scored(table: Path) -> dict[str, Any] | None:
    """What a table says of how it was scored; None where `wsrpn score` did not make it."""
    try:
        found = json.loads(cells.metadata(table)["wsrpn"])["scored"]
    except (InputError, KeyError, TypeError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def slides(table: Path) -> set[str]:
    """The slides of a table; none where it cannot be read."""
    try:
        found = cells.read(table, ("slide",), ("slide",)) if table.is_file() else None
    except InputError:
        return set()
    return set() if found is None else set(found.column("slide").unique().to_pylist())


def _same_model(run: TrainedRun, about: dict[str, Any]) -> bool:
    now = {"model": run.config.model["name"], "model_options": options_of(run)}
    now["size"] = run.config.data.size
    told = json.loads(json.dumps(now))
    return all(about.get(name) == value for name, value in told.items())


def options_of(run: TrainedRun) -> dict[str, Any]:
    """Options of the model; what training began with is not in the scores."""
    return {key: value for key, value in run.config.model.items() if key not in ("name", "weights")}
