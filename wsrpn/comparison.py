"""What a comparison of runs found: figures of each method, differences to one of them.

A *method* is what was trained, one run or several that differ in the seed. Made by `wsrpn.compare`.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import wsrpn
from wsrpn.types import Figure, Report

PATIENTS, BOTH = "patients", "patients and seeds"
PerClass = Mapping[str, Mapping[str, Figure]]


@dataclass(frozen=True)
class Method:
    """Figures of a method: the mean over its runs.

    Attributes:
        name: how it is called in the comparison.
        runs: names of its runs.
        seeds: of the trainings, None where nobody knows.
        figures: mean over the runs, with an interval over patients.
        per_class: the same of each class.
        per_run: the value of each run.
    """

    name: str
    runs: tuple[str, ...]
    seeds: tuple[int | None, ...]
    figures: Mapping[str, Figure]
    per_class: PerClass
    per_run: Mapping[str, tuple[float | None, ...]]

    def spread(self, figure: str) -> tuple[float, float] | None:
        """Lowest and highest value of the runs; None for one run or an undefined figure."""
        known = [value for value in self.per_run[figure] if value is not None]
        return (min(known), max(known)) if len(known) > 1 else None


@dataclass(frozen=True)
class Difference:
    """Figures of one method minus those of another.

    Attributes:
        of: the one.
        minus: the other, the baseline.
        figures: differences of the means, with paired intervals.
        per_class: the same of each class.
        covers: what the intervals are over, `patients` or `patients and seeds`.
    """

    of: str
    minus: str
    figures: Mapping[str, Figure]
    per_class: PerClass
    covers: str

    @property
    def name(self) -> str:
        """`A - B`."""
        return f"{self.of} - {self.minus}"

    def clear(self, figure: str) -> bool:
        """Whether the interval leaves out 0."""
        found = self.figures[figure]
        return found.low is not None and found.high is not None and found.low * found.high > 0


@dataclass(frozen=True)
class Comparison:
    """Methods side by side.

    Attributes:
        figures: names, in the order of tables.
        classes: that all methods know.
        methods: in the order given.
        differences: of every other method to the baseline.
        warnings: what the reader must know.
        provenance: data, images, patients, replicates.
    """

    figures: tuple[str, ...]
    classes: tuple[str, ...]
    methods: tuple[Method, ...]
    differences: tuple[Difference, ...]
    warnings: tuple[str, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def difference(self, method: str) -> Difference | None:
        """That of a method to the baseline; None of the baseline itself."""
        return next((d for d in self.differences if d.of == method), None)

    def report(self, files: Mapping[str, str] | None = None) -> Report:
        """All figures by name: `METHOD/FIGURE`, and `METHOD - BASELINE/FIGURE`."""
        parts: tuple[Method | Difference, ...] = (*self.methods, *self.differences)
        return Report(
            command="compare",
            version=wsrpn.__version__,
            metrics={f"{p.name}/{name}": f for p in parts for name, f in p.figures.items()},
            per_class={
                label: {f"{p.name}/{n}": f for p in parts for n, f in p.per_class[label].items()}
                for label in self.classes
            },
            files=files or {},
            warnings=self.warnings,
            provenance=self.provenance,
        )

    def document(self, files: Mapping[str, str] | None = None) -> dict[str, Any]:
        """The report as plain values for JSON, with `methods` and `differences` one by one."""
        return {
            **self.report(files).document(),
            "methods": [dataclasses.asdict(method) for method in self.methods],
            "differences": [{"name": d.name, **dataclasses.asdict(d)} for d in self.differences],
        }
