"""`wsrpn combine`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import options, slide_data, slide_options, slide_source

if TYPE_CHECKING:
    from wsrpn.cohort.ensemble import Ensemble
    from wsrpn.tiles import Cohort

SHOWN = 11  # candidates that are printed


def combine(
    tables: Annotated[
        list[Path],
        typer.Argument(
            metavar="SCORES…",
            help="Score tables of the same slides, or folders with one; the tiles of the first "
            "stay.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(help="Score table to write (.parquet, .csv, .csv.gz).")],
    weights: Annotated[
        str,
        typer.Option(
            metavar="W,W,…|FILE",
            help="Of the tables, or combine.json of an earlier --fit.",
            show_default="0.6,0.4 for two, else equal",
        ),
    ] = "",
    fit: Annotated[
        bool,
        typer.Option(
            "--fit",
            help="Choose the weights on slides with truth, each patient held out in turn; they "
            "are kept in combine.json beside the table.",
        ),
    ] = False,
    data: options.Data = "",
    split: Annotated[
        str, typer.Option(help=f"Slides of the fit: {options.SPLIT_HELP}", show_default="val")
    ] = "",
    objective: Annotated[
        str, typer.Option(help="Of the fit: iou, f1, youden, or a limit as `calibrate` has it.")
    ] = "iou",
    over: Annotated[
        str, typer.Option(metavar="macro|pooled", help="Mean over slides, or all tiles together.")
    ] = "macro",
    score: slide_options.Score = "",
    rule: slide_options.Rule = "",
    json: options.Json = False,
) -> None:
    """Make one score table of several: of other models, or of tiles of other levels.

    Scores become z-scores within their slide; those of other levels are brought onto the tiles of
    the first table by position.

    wsrpn combine vae/scores.parquet head/scores.parquet --fit --data slides.csv --out both.parquet
    """
    from wsrpn.cohort import combine as combining
    from wsrpn.cohort import ensemble as weighing
    from wsrpn.cohort import objective as objectives
    from wsrpn.errors import InputError
    from wsrpn.slides import cells, table

    if len(tables) < 2:
        raise InputError("combine: two score tables or more are needed.")
    if fit and weights:
        raise InputError("--weights and --fit: weights are given or chosen, not both.")
    if not fit:
        _refuse_without_fit(split, rule, objective, over)
    if not (cells.is_parquet(out) or cells.is_csv(out)):
        raise InputError(f"{out}: a score table is .parquet, .csv or .csv.gz.")
    places = [slide_source.table_in(one) if one.is_dir() else one for one in tables]
    if out.resolve() in [place.resolve() for place in places]:
        raise InputError(f"--out {out}: is one of the tables to combine; choose another name.")
    names = weighing.names_of(places)
    asked = slide_source.Selection(split, score=score, rule=rule)
    if fit:  # what is asked for is looked at before anything is read
        asked.check()
        objectives.parse(objective)
        options.choice("--over", over, ("macro", "pooled"))
    else:
        chosen = _given(weights, names, score or "score")
    cohorts = _read(places, data, score)
    files = {"scores": str(out)}
    if fit:
        chosen = _fitted(cohorts, names, places[0], data, asked, objective, over)
        kept = out.with_name("combine.json")
        chosen.save(kept)
        files["weights"] = str(kept)
        _show(chosen)
    made = combining.combine(cohorts, chosen)
    notes = [*made.notes, *([] if fit else weighing.seen(made, chosen))]
    for note in notes:
        options.say(f"note: {note}")
    table.write(made, out)
    told = ", ".join(f"{w:g} {n}" for w, n in zip(chosen.weights, chosen.names, strict=True))
    options.say(f"scores: {out} ({told})")
    if json:
        found = {f"weight_{n}": w for n, w in zip(chosen.names, chosen.weights, strict=True)}
        document = options.document(
            "combine", files=files, warnings=[*chosen.warnings, *notes], **found
        )
        options.emit({**document, "failed": dict(made.failed)})
    slide_source.ended(made.failed)


def _refuse_without_fit(split: str, rule: str, objective: str, over: str) -> None:
    asked = {
        "--split": split, "--rule": rule, "--objective": objective != "iou",
        "--over": over != "macro",
    }  # fmt: skip
    slide_options.refuse(asked, "belongs to --fit.")


def _read(places: Sequence[Path], data: str, score: str) -> "list[Cohort]":
    from wsrpn.slides import sheet, table

    about = slide_data.sheet_of(data) if data else None
    known = None if about is None else sheet.read(about)
    return [table.read(place, score=score or "score", slides=known) for place in places]


def _given(weights: str, names: Sequence[str], score: str) -> "Ensemble":
    """Weights as numbers, of a file, or the usual ones.

    Raises:
        InputError: neither numbers nor a file of weights, or another number of them than tables.
    """
    import dataclasses

    from wsrpn.cohort import ensemble as weighing
    from wsrpn.errors import InputError

    if Path(weights).suffix == ".json":
        found = weighing.Ensemble.load(Path(weights))
        if len(found.weights) != len(names):
            raise InputError(
                f"{weights}: weights of {len(found.weights)} tables ({', '.join(found.names)}), "
                f"and {len(names)} are given."
            )
        if found.names != tuple(names):
            options.say(
                f"note: {weights} was fitted on tables named {', '.join(found.names)}; their "
                f"weights go to {', '.join(names)}, in this order"
            )
        if found.score != score:
            options.say(f"note: {weights} was fitted on column '{found.score}', not '{score}'")
        return dataclasses.replace(found, names=tuple(names))
    try:
        numbers = [float(one) for one in weights.split(",")] if weights else []
    except ValueError:
        raise InputError(f"--weights {weights}: write 0.6,0.4, or combine.json.") from None
    return weighing.given(numbers, names, score)


def _fitted(
    cohorts: "Sequence[Cohort]",
    names: Sequence[str],
    first: Path,
    data: str,
    asked: slide_source.Selection,
    objective: str,
    over: str,
) -> "Ensemble":
    from typing import cast

    from wsrpn.cohort import weigh
    from wsrpn.slides.calibration import Over

    place = slide_source.Place(first, slide_data.sheet_of(data) if data else None, first.parent)
    truth = slide_source.scores(place, asked, usual="val").cohort
    with options.progress("combine", None) as bar:

        def tell(done: int, total: int) -> None:
            bar.set_total(total)
            bar.advance(done - bar.done)

        return weigh.fit(
            [truth, *cohorts[1:]], names, objective=objective, over=cast(Over, over), listen=tell
        )


def _show(chosen: "Ensemble") -> None:
    """The candidates with what they reach, on patients held out where there are enough."""
    where = "on patients held out in turn" if chosen.held_out else "on the slides of the fit"
    options.say(f"weights {', '.join(chosen.names)}: {chosen.figure} {where}")
    for one in chosen.tried[:SHOWN]:
        shares = " ".join(f"{weight:.1f}" for weight in one.weights)
        options.say(f"  {shares}  {_told(one.figure.value)}")
    if len(chosen.tried) > SHOWN:
        options.say(f"  … {len(chosen.tried)} in all, in combine.json")
    apart = chosen.held_out.get(chosen.figure)
    if apart is not None:
        interval = f"{_told(apart.low)}–{_told(apart.high)}"
        options.say(
            f"with the weights, too, chosen without the patient: {_told(apart.value)} ({interval})"
        )
    for warning in chosen.warnings:
        options.say(f"warning: {warning}")


def _told(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
