"""Every benchmark of this folder in one run; the table goes to docs/results/speed.md.

    python benchmarks/run.py

Ratios are measured side by side in one process or pair by pair; absolute times belong to the
machine.
"""

import datetime
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).parent.parent / "docs" / "results" / "speed.md"
THREADS = torch.get_num_threads()
EMPTY_APP = """
import typer
app = typer.Typer()
for name in {names!r}:
    app.command(name)(lambda: None)
app()
"""


def help_time(repeats: int = 9) -> dict[str, Any]:
    """`wsrpn --help` against the help of an empty Typer app with as many commands."""
    names = "train eval evaluate calibrate heatmap predict compare ablate tune data doctor demo"
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "empty.py"
        script.write_text(EMPTY_APP.format(names=names.split()))
        ours = [sys.executable, "-c", "from wsrpn_cli.app import main; main()", "--help"]
        theirs = [sys.executable, str(script), "--help"]
        pairs = [(seconds(ours), seconds(theirs)) for _ in range(repeats + 1)][1:]
    return {
        "what": "`wsrpn --help` ÷ empty Typer app",
        "ours": statistics.median(a for a, _ in pairs),
        "theirs": statistics.median(b for _, b in pairs),
        "ratio": statistics.median(a / b for a, b in pairs),
        "goal": "≤ 1.5",
    }


def seconds(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, capture_output=True, check=True)
    return time.perf_counter() - start


def main() -> None:
    import detection_metrics
    import gaussian_losses
    import slide_figures
    import slide_pictures
    import slide_threshold
    import text_step
    import training_step

    steps = [*training_step.measure(), *text_step.text_step()]
    rows = [help_time(), *steps, *gaussian_losses.measure(), *detection_metrics.measure()]
    rows += [*slide_threshold.measure(), *slide_figures.measure(), *slide_pictures.measure()]
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    lines = [
        "# Speed", "",
        f"`python benchmarks/run.py` at {commit} on {datetime.date.today().isoformat()}: "
        f"{THREADS} threads for steps, one for metrics and loops, {platform.machine()}, "
        f"{torch.backends.cpu.get_cpu_capability()}, torch {torch.__version__}. Medians; ratios "
        "are medians of paired runs. Of ours ÷ theirs small is good, unless the goal says ≥.", "",
        "| what | ours | theirs | ratio | goal |", "|-|-|-|-|-|",
    ]  # fmt: skip
    for row in rows:
        own, peer = (
            f"{row[key]:.4g} s" if row[key] is not None else "–" for key in ("ours", "theirs")
        )
        ratio = f"{row['ratio']:.3g}" if row["ratio"] is not None else "–"
        lines.append(f"| {row['what']} | {own} | {peer} | {ratio} | {row['goal']} |")
    RESULTS.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
