"""Every benchmark of this folder in one run; the table goes to docs/results/speed.md.

    python benchmarks/run.py [PART…]

Parts that are not measured keep their rows. Ratios are measured side by side in one process or pair
by pair; absolute times belong to the machine.
"""

import argparse
import datetime
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).parent.parent / "docs" / "results" / "speed.md"
THREADS = torch.get_num_threads()
HEAD = (
    "`python benchmarks/run.py [PART…]`. Medians; ratios are medians of paired runs. Of ours ÷ "
    "theirs small is good, unless the goal says ≥."
)
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


def parts() -> dict[str, Callable[[], list[dict[str, Any]]]]:
    """Name of a section of the table → what measures it."""
    import detection_metrics
    import gaussian_losses
    import slide_figures
    import slide_pictures
    import slide_scoring
    import slide_threshold
    import text_step
    import training_step
    import whole_image

    return {
        "Command line": lambda: [help_time()],
        "Steps": lambda: [*training_step.measure(), *text_step.text_step()],
        "Gaussian losses": gaussian_losses.measure,
        "Detection figures": detection_metrics.measure,
        "Slides": lambda: [
            *slide_threshold.measure(), *slide_figures.measure(), *slide_pictures.measure()
        ],
        "Scoring": slide_scoring.measure,
        "Segmentation": whole_image.measure,
    }  # fmt: skip


def section(rows: Sequence[dict[str, Any]]) -> list[str]:
    """When and where something was measured, and the table of it."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    lines = [
        f"At {commit} on {datetime.date.today().isoformat()}: {THREADS} threads for steps, one for "
        f"metrics and loops, {platform.machine()}, {torch.backends.cpu.get_cpu_capability()}, "
        f"torch {torch.__version__}.", "",
        "| what | ours | theirs | ratio | goal |", "|-|-|-|-|-|",
    ]  # fmt: skip
    for row in rows:
        own, peer = (
            f"{row[key]:.4g} s" if row[key] is not None else "–" for key in ("ours", "theirs")
        )
        ratio = f"{row['ratio']:.3g}" if row["ratio"] is not None else "–"
        lines.append(f"| {row['what']} | {own} | {peer} | {ratio} | {row['goal']} |")
    return lines


def kept() -> dict[str, list[str]]:
    """The sections that the table has already."""
    text = RESULTS.read_text("utf-8") if RESULTS.is_file() else ""
    found = (part.strip().split("\n") for part in text.split("\n## ")[1:])
    return {lines[0]: lines[2:] for lines in found}


def main() -> None:
    known = parts()
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("part", nargs="*", help=f"Of {', '.join(known)}; all by default.")
    names = asked.parse_args().part or list(known)
    for name in set(names) - known.keys():
        asked.error(f"no part '{name}'; known: {', '.join(known)}")
    sections = kept() | {name: section(known[name]()) for name in names}
    lines = ["# Speed", "", HEAD, ""]
    for name in known:
        if name in sections:
            lines += [f"## {name}", "", *sections[name], ""]
    RESULTS.write_text("\n".join(lines).rstrip() + "\n", "utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
