"""`wsrpn score`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import options

if TYPE_CHECKING:
    from wsrpn.config import TilesConfig
    from wsrpn.scoring import Scored

SOME = 5  # names of slides in one line


def score(
    run: options.Run,
    slides: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="SLIDE…",
            help="Slide files, folders of them, or slides.csv; else the data of the training.",
            show_default=False,
        ),
    ] = None,
    data: Annotated[
        str,
        typer.Option(
            help="slides.csv or tiles.csv, or a folder with one of them; tiles of a table are "
            "scored as they are.",
            show_default=False,
        ),
    ] = "",
    out: Annotated[
        Path | None,
        typer.Option(help="Score table (.parquet).", show_default="RUN/scores.parquet"),
    ] = None,
    split: options.Split = "all",
    mpp: Annotated[
        float | None,
        typer.Option(
            metavar="µm",
            help="Micrometres per full-size pixel, for slides of which nothing else says it.",
            show_default=False,
        ),
    ] = None,
    changes: options.Set = None,
    batch: Annotated[int, typer.Option(min=1, help="Tiles at a time.")] = 256,
    precision: Annotated[
        str, typer.Option(help="fp32, bf16, or auto: bf16 where the processor has it.")
    ] = "auto",
    device: options.Device = "auto",
    shard: Annotated[
        str,
        typer.Option(
            metavar="i/n",
            help="Only the i-th of n parts of the slides; whoever ends last makes the table.",
            show_default=False,
        ),
    ] = "",
    ray: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS",
            help="Share the slides by Ray: `auto` or host:port of a cluster, or `local`.",
            show_default=False,
        ),
    ] = "",
    workers: Annotated[
        int,
        typer.Option(
            min=0, help="Workers with --ray; 0 takes one for each GPU, or for each machine."
        ),
    ] = 0,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Replace whatever stands at OUT."),
    ] = False,
    code: options.Code = None,
    json: options.Json = False,
) -> None:
    """Score the tiles of slides with a trained model; calibrate, eval and heatmap take the table.

    What was scored before is not read again; a slide that fails is listed and left out.

    wsrpn score runs/vae slides.csv --out scores.parquet
    """
    from wsrpn import scoring
    from wsrpn.predict import open_run
    from wsrpn.scoring import earlier
    from wsrpn.train import signals
    from wsrpn.types import SPLITS

    from . import score_source

    options.load_code(code)
    options.choice("--split", split, (*SPLITS, "all"))
    options.choice("--precision", precision, ("auto", "fp32", "bf16"))
    own = scoring.Shard.parse(shard) if shard else scoring.Shard()
    path = out or run / "scores.parquet"
    tiles = _tiles(run, changes or [])
    opened = open_run(run, device=device)
    scoring.refuse_radiographs(opened)
    earlier.refuse_unwritable(path)
    replaced = () if overwrite else earlier.replacing(opened, path)
    found = score_source.find(opened, slides or [], data, split, mpp)
    notes = (*opened.notes, *replaced, *found.notes)
    for note in notes:
        options.say(f"note: {note}")
    pool = None
    if ray:
        from wsrpn.scoring import ray_pool

        pool = ray_pool.Pool(run, ray, workers=workers, device=device, code=tuple(code or ()))
    asked = scoring.Options(tiles, mpp, batch, precision, own)
    with signals.caught() as caught, options.progress("score", found.tiles) as bar:
        meter = Meter()

        def tell(slide: str, count: int) -> None:
            bar.advance(count, meter.note(slide, count))

        try:
            scored = scoring.score(
                opened, found.slides, path, options=asked, listen=tell, pool=pool,
                stop=lambda: caught.signal > 0,
            )  # fmt: skip
        except scoring.Stopped as stopped:
            raise _interrupted(caught.signal, str(stopped)) from None
    _say(scored, own, path)
    if json:
        warnings = [*notes, *scored.notes]
        warnings += [f"failed {name}: {why}" for name, why in scored.failed.items()]
        options.emit(
            options.document(
                "score",
                files={} if scored.path is None else {"scores": str(scored.path)},
                warnings=warnings,
                slides=float(len(scored.done) + len(scored.skipped)),
                slides_skipped=float(len(scored.skipped)),
                slides_failed=float(len(scored.failed)),
                slides_missing=float(len(scored.missing)),
                tiles=float(scored.tiles),
                tiles_per_second=scored.per_second,
            )
        )
    if scored.failed:
        raise typer.Exit(1)


def _interrupted(number: int, told: str) -> Exception:
    """What ends the command with 128 + signal, and says what is kept."""
    import signal

    from wsrpn.train.signals import Interrupted

    class Stopped(Interrupted):
        def __init__(self) -> None:
            RuntimeError.__init__(self, f"stopped by {signal.Signals(number).name}: {told}")
            self.code = 128 + number

    return Stopped()


class Meter:
    """How fast tiles are scored."""

    def __init__(self) -> None:
        import time

        self._now = time.monotonic
        self.begun, self.tiles = self._now(), 0

    def note(self, slide: str, count: int) -> str:
        """What is said beside the bar once some more tiles are done."""
        self.tiles += count
        return f"{self.tiles / max(self._now() - self.begun, 1e-9):.0f} tiles/s, {slide}"


def _tiles(run: Path, changes: list[str]) -> "TilesConfig | None":
    """How slides are cut, where `--set` changes it.

    Raises:
        InputError: a key of another section: the model was trained with these.
    """
    from wsrpn import config as configs
    from wsrpn.errors import InputError

    if not changes:
        return None
    asked = configs.changes(changes)
    for key in asked:
        if not key.startswith("tiles."):
            raise InputError(
                f"--set {key}: the model is trained; only the section tiles can be changed, for "
                "example --set tiles.overlap=0.5."
            )
    if not (run / "config.yaml").is_file():
        raise InputError(f"{run}: not a run folder (no config.yaml); `wsrpn train` makes one.")
    if "tiles.mpp" in asked and "tiles.level" not in asked:  # else a level would win unseen
        changes = [*changes, "tiles.level=null"]
    return configs.load(run / "config.yaml", changes).tiles


def _say(scored: "Scored", own: "object", path: Path) -> None:
    from wsrpn.errors import counted
    from wsrpn.scoring.shards import shards_of

    from . import slide_source

    for note in scored.notes:
        options.say(f"note: {note}")
    slide_source.list_failed(scored.failed)
    if scored.skipped:
        options.say(f"{counted(len(scored.skipped), 'slide')} scored before and left as they are")
    if scored.missing:
        count = getattr(own, "count", 1)
        others = ", ".join(f"{number}/{count}" for number in shards_of(scored.missing, count))
        some = ", ".join(scored.missing[:SOME]) + (", …" if len(scored.missing) > SOME else "")
        options.say(
            f"{path} waits for {counted(len(scored.missing), 'slide')} of --shard {others}: {some}"
            + ("; until then it is what it was" if path.is_file() else "")
        )
    done = f"{counted(len(scored.done), 'slide')}, {counted(scored.tiles, 'tile')}"
    speed = f", {scored.per_second:.0f} tiles/s" if scored.tiles else ""
    where = f": {scored.path}" if scored.path is not None else ""
    options.say(f"{done}{speed}{where}")
