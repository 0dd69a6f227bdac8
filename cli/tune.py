"""`wsrpn tune`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import options
from .study import span

SAMPLERS = ("tpe", "random")

if TYPE_CHECKING:
    from wsrpn.report.trials import Found, Trial
    from wsrpn.study.plan import Search


def tune(
    study: Annotated[
        str,
        typer.Argument(
            metavar="STUDY",
            help="STUDY.yaml, or a search that the package brings: gaussian-search.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(help="Folder of the study.", show_default="studies/STUDY")
    ] = None,
    data: options.Data = "",
    change: options.Set = None,
    trials: Annotated[
        int | None, typer.Option(min=1, help="Trials in all, over all processes.")
    ] = None,
    sampler: Annotated[
        str | None, typer.Option(metavar="tpe|random", help="How values are drawn.")
    ] = None,
    storage: Annotated[
        str,
        typer.Option(
            metavar="URL",
            envvar="WSRPN_STORAGE",
            help="Database that several machines share; study.db in the folder by default.",
        ),
    ] = "",
    device: options.Device = "auto",
    code: options.Code = None,
    tables_only: Annotated[
        bool, typer.Option("--tables-only", help="Train nothing; tables of what is there.")
    ] = False,
    show_plan: Annotated[
        bool, typer.Option("--show-plan", help="Say what would be tried, and stop.")
    ] = False,
    json: options.Json = False,
) -> None:
    """Search for the values of some keys that make one validation figure best.

    Killed or stopped, the same command goes on. Started several times with the same --out it shares
    the work between processes; with the same --storage, between machines.

    wsrpn tune gaussian-search --data mimic:DIR --out runs/search

    wsrpn tune mine.yaml --out runs/mine --storage postgresql+psycopg2://USER:PASSWORD@HOST/NAME
    """
    from wsrpn.errors import InputError
    from wsrpn.report import trials as paper
    from wsrpn.study import plan
    from wsrpn.study import search as searching
    from wsrpn.study import tune as tuning

    options.load_code(code)
    name = Path(study).stem
    search = searching.revised(
        plan.load(study, plan.Search), where=Path(study).parent, data=data, changes=change or [],
        trials=trials,
        sampler=None if sampler is None else options.choice("--sampler", sampler, SAMPLERS),
    )  # fmt: skip
    try:
        searching.check(search)
    except InputError as error:
        raise InputError(f"{study}: {error}") from None
    if show_plan:
        _show_plan(search, json=json)
        return
    out = out or Path("studies") / name
    if tables_only:
        rows = tuning.trials(search, out, name=name, storage=storage)
    else:
        with options.progress("tune", search.trials) as bar:
            tell = _Teller(search, bar, out / "trials.csv")
            rows = tuning.tune(search, out, name=name, storage=storage, device=device, tell=tell)
    found = searching.found(search, rows, title=name)
    document = _write(found, searching.best_configs(search, found), out)
    for line in (*found.notes, *found.failures()):
        options.say(f"note: {line}")
    options.say(f"{paper.summary(found)}; best configs, tables and picture: {out}")
    for best in found.best()[:1]:
        options.say(f"best: {line_of(best, found.figure)}")
    if json:
        options.emit(document)
    if found.count("failed"):
        raise typer.Exit(1)


def _show_plan(search: "Search", *, json: bool) -> None:
    from wsrpn.study import search as searching

    if json:
        document = options.document("tune", files={}, warnings=[])
        options.emit({**document, "study": searching.document(search)})
        return
    for line in searching.lines(search):
        typer.echo(line)


def _write(found: "Found", configs: Sequence[str], out: Path) -> dict[str, Any]:
    """Write what was found. Returns the one JSON document."""
    from wsrpn import files
    from wsrpn.report import draw, search
    from wsrpn.report import trials as paper

    paths = {
        "trials": out / "trials.csv", "table": out / "tune.md", "figure": out / "tune.png",
        "report": out / "tune.json",
    }  # fmt: skip
    paths |= {f"best-{place}": out / f"best-{place}.yaml" for place in range(1, len(configs) + 1)}
    for old in set(out.glob("best-*.yaml")) - set(paths.values()):
        old.unlink()
    for place, text in enumerate(configs, start=1):
        files.write(paths[f"best-{place}"], text.encode())
    files.write(paths["trials"], paper.table(found).encode())
    files.write(paths["table"], paper.markdown(found).encode())
    draw.save(search.picture(found), paths["figure"])
    document = _document(found, {name: str(path) for name, path in paths.items()})
    files.write_json(paths["report"], document)
    return document


def _document(found: "Found", paths: dict[str, str]) -> dict[str, Any]:
    """The one JSON document: the best value, and how many trials there are of each kind."""
    from wsrpn.report.trials import STATES

    figures = {"trials": float(len(found.trials))}
    figures |= {f"trials_{state}": float(found.count(state)) for state in STATES}
    for best in found.best()[:1]:
        figures[found.figure] = best.value or 0.0
    warnings = [*found.notes, *found.failures()]
    return options.document("tune", files=paths, warnings=warnings, **figures)


def line_of(trial: "Trial", figure: str) -> str:
    """A trial in one line."""
    from wsrpn.report.trials import text

    chosen = ", ".join(f"{key} {text(value)}" for key, value in trial.chosen.items())
    value = "" if trial.value is None else f", {figure} {trial.value:.4g}"
    took = f", {span(trial.seconds)}" if trial.seconds else ""
    reason = f" ({trial.reason})" if trial.reason else ""
    return f"trial {trial.number} {trial.state}{value}{took}{reason}: {chosen}"


class _Teller:
    """Lines and a bar while a search runs; the table of trials is kept up to date."""

    def __init__(self, study: "Search", bar: Any, table: Path) -> None:
        self.study, self.bar, self.table = study, bar, table

    def __call__(self, event: str, facts: Mapping[str, Any]) -> None:
        from wsrpn.report.trials import text

        if event == "begin":
            chosen = ", ".join(f"{key} {text(value)}" for key, value in facts["chosen"].items())
            options.say(f"trial {facts['number']} begins: {chosen}")
        if event == "step":
            now = facts["now"]
            epochs = now.total // now.steps_per_epoch
            told = f"trial {facts['number']} epoch {now.epoch}/{epochs} loss {now.loss:.3f}"
            self.bar.advance(0, told)
        if event == "end":
            self._ended(facts["number"], facts["trials"])

    def _ended(self, number: int, trials: "tuple[Trial, ...]") -> None:
        from wsrpn import files
        from wsrpn.report import trials as paper
        from wsrpn.study import search as searching

        found = searching.found(self.study, trials)
        files.write(self.table, paper.table(found).encode())
        self.bar.advance(len(trials) - found.count("running") - self.bar.done)
        for trial in trials:
            if trial.number == number:
                options.say(line_of(trial, found.figure))
