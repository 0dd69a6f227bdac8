"""`wsrpn demo`."""

from pathlib import Path
from typing import Annotated

import typer

from . import options

DATA = "phantom:cxr?images=800&size=160&seed=1"


def demo(
    out: Annotated[Path, typer.Option(help="Folder for everything.")] = Path("demo"),
    epochs: Annotated[int | None, typer.Option(help="Shorten or lengthen the training.")] = None,
    device: options.Device = "auto",
    json: options.Json = False,
) -> None:
    """Run the four commands on phantom radiographs: train, calibrate, eval, heatmap."""
    import shutil
    import time

    from wsrpn.errors import InputError

    from . import calibrate, eval, heatmap, train

    run = out / "run"
    if run.exists():
        if not (run / "config.yaml").is_file():
            raise InputError(f"{run}: exists and is not a run folder; choose another --out.")
        shutil.rmtree(run)
    begun = time.monotonic()
    options.say(f"$ wsrpn train wsrpn-demo --data '{DATA}' --out {run}")
    train.train("wsrpn-demo", data=DATA, out=run, epochs=epochs, device=device)
    options.say(f"\n$ wsrpn calibrate {run}")
    calibrate.calibrate(run, device=device)
    options.say(f"\n$ wsrpn eval {run}")
    eval.evaluate(run, device=device, json=json)
    options.say(f"\n$ wsrpn heatmap {run} --out {out / 'heatmaps'} --limit 12")
    heatmap.heatmap(run, out=out / "heatmaps", limit=12, device=device)
    options.say(
        f"\ndone in {time.monotonic() - begun:.0f} s. Look at\n"
        f"  {out / 'heatmaps' / 'contact_sheet.png'}\n  {run / 'reliability.png'}\n"
        f"  {run / 'eval-test' / 'report.json'}"
    )
