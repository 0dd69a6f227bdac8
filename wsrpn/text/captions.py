"""What is said of each image: from its report, its scene graph or its labels."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from wsrpn.config import TextConfig
from wsrpn.text import graphs, reports
from wsrpn.types import Dataset, Record

SOURCES = ("report", "scene graph", "labels", "nothing")


@dataclass(frozen=True)
class Captions:
    """Captions of a data set.

    Attributes:
        levels: record id → its caption per level, "" where there is none; as many for every record.
        sources: how many images got theirs from what.
        notes: what the user should know.
    """

    levels: dict[str, tuple[str, ...]]
    sources: Counter[str]
    notes: tuple[str, ...]

    @property
    def with_text(self) -> int:
        """Images that have a caption at some level."""
        return sum(any(levels) for levels in self.levels.values())


def present(name: str) -> str:
    """The sentence for a class that is there.

    Example:
        >>> present("Pleural_Thickening"), absent("COPD")
        ('Pleural thickening is present.', 'No COPD.')
    """
    words = _words(name)
    return f"{words[0].upper()}{words[1:]} is present."


def absent(name: str) -> str:
    """The sentence for a class that is not."""
    return f"No {_words(name)}."


def _words(name: str) -> str:
    """A class name as it stands in a sentence; abbreviations keep their capitals."""
    words = name.replace("_", " ").split()
    return " ".join(w if w.isupper() and len(w) > 1 else w.lower() for w in words) or name


def from_labels(labels: Sequence[float], classes: Sequence[str]) -> str:
    """A sentence per known label, first what is there; unknown says nothing.

    Example:
        >>> from_labels([0.0, 1.0, float("nan")], ["Mass", "Effusion", "Hernia"])
        'Effusion is present. No mass.'
    """
    known = [(n, v) for n, v in zip(classes, labels, strict=True) if not math.isnan(v)]
    said = [present(name) for name, value in known if value == 1]
    return " ".join([*said, *(absent(name) for name, value in known if value != 1)])


def prompts(classes: Sequence[str]) -> list[str]:
    """For each class its sentence for present, then for absent."""
    return [say(name) for name in classes for say in (present, absent)]


def captions(dataset: Dataset, config: TextConfig) -> Captions:
    """The captions of a data set, one level or three.

    Three levels go from coarse to fine. Of a scene graph: finding; with location; with modifiers.
    Of a report: what its labels say; its impression; the sections that are asked for. Labels
    alone give the coarsest level only.

    Raises:
        InputError: a scene graph that is not what `graphs.parse` reads.
    """
    writer = _Writer(dataset.classes, config)
    levels = {record.id: writer.levels(record) for record in dataset.records}
    return Captions(levels, writer.sources, writer.notes(len(dataset)))


class _Writer:
    """Writes captions and counts how."""

    def __init__(self, classes: Sequence[str], config: TextConfig) -> None:
        self.classes, self.config = classes, config
        self.sources: Counter[str] = Counter()
        self.how: Counter[str] = Counter()
        self.dropped = self.emptied = 0
        self.deep = config.levels == "hierarchical"

    def levels(self, record: Record) -> tuple[str, ...]:
        """Caption per level of one record."""
        graph = record.extra.get(graphs.KEY, "")
        takes = self.config.captions
        found: tuple[str, ...] = ()
        source = "nothing"
        # A graph has levels of its own; flat, the report's own words say more.
        if graph and takes != "labels" and (takes == "scene_graph" or self.deep or not record.text):
            found, source = self._graph(graph, record.id), "scene graph"
        if not any(found) and record.text.strip() and takes in ("auto", "text"):
            found, source = self._report(record), "report"
        if not any(found) and takes in ("auto", "labels"):
            found, source = self._labels(record), "labels"
        self.sources[source if any(found) else "nothing"] += 1
        return found if any(found) else ("",) * (graphs.LEVELS if self.deep else 1)

    def _graph(self, graph: str, name: str) -> tuple[str, ...]:
        levels = graphs.captions(graphs.parse(graph, where=name))
        return levels if self.deep else levels[-1:]

    def _labels(self, record: Record) -> tuple[str, ...]:
        said = from_labels(record.labels, self.classes)
        return (said, *("",) * (graphs.LEVELS - 1)) if self.deep else (said,)

    def _report(self, record: Record) -> tuple[str, ...]:
        fine = self._part(record.text, self.config.sections)
        if not self.deep:
            return (fine,)
        short = reports.sections(record.text).get("impression", "")
        short = self._dropped(short) if short else fine
        return (from_labels(record.labels, self.classes), short, fine)

    def _part(self, report: str, wanted: Sequence[str]) -> str:
        part = reports.part(report, wanted)
        self.how[part.how] += 1
        text, before = part.text, self.dropped
        if self.config.comparisons == "drop":
            text, count = reports.without_comparisons(text)
            self.dropped += count
        self.emptied += bool(part.text and not text and self.dropped > before)
        return text

    def _dropped(self, text: str) -> str:
        drop = self.config.comparisons == "drop"
        return reports.without_comparisons(text)[0] if drop else text

    def notes(self, images: int) -> tuple[str, ...]:
        """Sentences with the counts that a user should know."""
        if not images:
            return ()
        texts = images - self.sources["nothing"]
        parts = (f"{self.sources[s]} from {s}" for s in SOURCES[:-1] if self.sources[s])
        told = [f"text: {texts} of {images} images have a caption ({', '.join(parts) or 'none'})."]
        told += [f"text: {words}: {count}." for count, words in self._counts() if count]
        return tuple(told)

    def _counts(self) -> list[tuple[int, str]]:
        wanted = " and ".join(self.config.sections)
        last = f"reports without {wanted}, whose last paragraph about the image is taken"
        return [
            (self.how["last paragraph"], last),
            (self.how["whole"] if wanted else 0, "texts without headings, taken whole"),
            (self.how["nothing"], "reports with nothing to take"),
            (self.dropped, "dropped sentences that compare with another image"),
            (self.emptied, "reports of such sentences only"),
        ]
