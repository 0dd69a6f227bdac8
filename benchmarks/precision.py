"""The same detector trained in bf16 with channels last and in float32: is it as good?

    python benchmarks/precision.py WORK_FOLDER [--jobs 2]

Phantoms, preset `wsrpn-demo`, ten seeds each; finished runs are skipped. The table goes to
`docs/results/precision.md`. Speed is in `docs/results/speed.md`.
"""

import argparse
from dataclasses import replace
from pathlib import Path

from study import Arm, Study, compared, run_all, table, write

RESULTS = Path(__file__).parent.parent / "docs" / "results" / "precision.md"
STUDY = Study(
    "Phantoms, tiny backbone from nothing, 160 pixels",
    "phantom:cxr?images=800&size=160&seed=1",
    (
        Arm("fp32", "wsrpn-demo", ("train.precision=fp32", "train.channels_last=false")),
        Arm("bf16", "wsrpn-demo", ("train.precision=bf16", "train.channels_last=true")),
    ),
    (),
    ("ap@0.1", "ap@0.3", "ap@0.5", "rodeo", "pointing_game", "auroc"),
    seeds=10,
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=STUDY.seeds)
    parser.add_argument("--only-tables", action="store_true")
    parser.add_argument("--results", type=Path, default=RESULTS)
    asked = parser.parse_args()
    study = replace(STUDY, seeds=asked.seeds)
    if not asked.only_tables:
        run_all(study, Path(), asked.work, jobs=asked.jobs, seeds=study.seeds)
    found, test = compared(study, Path(), asked.work)
    head = [f"### {study.title}", "", f"{len(test)} test images, {study.seeds} seeds."]
    lines = table(found, head=head) if found else []
    write(asked.results, "precision.py", "bf16 beside float32", lines)


if __name__ == "__main__":
    main()
