"""Radiology reports: their sections, and the sentences that compare with an earlier image.

A heading is a known name followed by a colon: in capitals anywhere in the text, in any case at the
start of a line. The names are those of MIMIC-CXR's reports and their misspellings; other words
before a colon, as in "LUNGS: Clear.", belong to the section that they stand in.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

How = Literal["sections", "whole", "last paragraph", "nothing"]

# Section → names of its headings; a heading may belong to two sections.
NAMES = {
    "findings": ("findings", "finding"),
    "impression": (
        "impression", "impressions", "impression(s)", "impresson", "conclusion", "conclusions",
        "conclusion(s)", "opinion", "summary",
    ),
    "findings impression": (
        "findings and impression", "findings/impression", "findings / impression",
        "impression and findings", "impression/findings", "findings & impression",
    ),
    "indication": (
        "indication", "indications", "history", "clinical history", "clinical information",
        "clinical indication", "reason for exam", "reason for examination", "reason for study",
    ),
    "technique": ("technique", "procedure", "views"),
    "comparison": ("comparison", "comparisons", "comparison study"),
    "examination": ("examination", "exam", "study", "type of examination"),
    "": ("recommendation", "recommendations", "recommendation(s)", "notification",
         "notifications", "addendum", "wet read", "final report", "attending", "dictated by",
         "end of impression"),
}  # fmt: skip
_SECTIONS = {name: set(key.split()) for key, names in NAMES.items() for name in names}
_KNOWN = "|".join(sorted((re.escape(name) for name in _SECTIONS), key=len, reverse=True))
_HEADING = re.compile(
    rf"(?:(?<![^\s.;])(?P<capitals>{_KNOWN.upper()})|^[ \t]*(?P<any>(?i:{_KNOWN})))[ \t]*:",
    re.MULTILINE,
)
# What a report says besides what is on the image.
_ASIDE = ("indication", "technique", "comparison", "examination")

_SENTENCE = re.compile(r"(?<=[.!?])(?<!\d\.)(?<!\bDr\.)(?<!\bMr\.)(?<!\bMs\.)(?<!\bvs\.)\s+")
_STUDY = (
    r"(?:stud(?:y|ies)|exam\w*|radiographs?|films?|images?|imaging|chest|x-?rays?|cts?|scans?|"
    r"portable|one|day)"
)
COMPARING = re.compile(
    r"\bcompar(?:ed|ison|ing|able|ative)\b|\bunchanged\b|\binterval(?:ly)?\b|\bagain\b"
    r"|\bstable\b|\bno (?:\w+ ){0,2}changes?\b|\bworsen(?:ed|ing)\b|\bimprov(?:ed|ing|ement)\b"
    r"|\b(?:has|have) (?:progressed|resolved|cleared|increased|decreased)\b|\bas before\b"
    rf"|\b(?:prior|previous|preceding|earlier|last) (?:\w+ )?{_STUDY}\b"
    r"|\b(?:since|from|than|to|on) (?:the |a )?(?:prior|previous|last)\b|\bpreviously\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Part:
    """What was taken of a report, and how it was found."""

    text: str
    how: How


def sections(report: str) -> dict[str, str]:
    """Section → text, for the known sections that a report has.

    Example:
        >>> sections("FINDINGS: Clear lungs. IMPRESSION: Normal.")
        {'findings': 'Clear lungs.', 'impression': 'Normal.'}
    """
    found: dict[str, list[str]] = {}
    marks = _headings(report)
    ends = [*(mark.start() for mark in marks[1:]), len(report)]
    for mark, end in zip(marks, ends, strict=False):
        body = tidy(report[mark.end() : end])
        for name in _of(mark):
            if body and body not in found.get(name, []):
                found.setdefault(name, []).append(body)
    return {name: " ".join(parts) for name, parts in found.items()}


def _headings(report: str) -> list[re.Match[str]]:
    """The headings; a summary after the end of the impression is a code, not a section."""
    found: list[re.Match[str]] = []
    for mark in _HEADING.finditer(report):
        if not (found and _name(found[-1]) == "end of impression" and _name(mark) == "summary"):
            found.append(mark)
    return found


def _name(mark: re.Match[str]) -> str:
    return (mark["capitals"] or mark["any"]).lower()


def _of(mark: re.Match[str]) -> list[str]:
    return sorted(_SECTIONS[_name(mark)])


def part(report: str, wanted: Sequence[str]) -> Part:
    """The wanted sections of a report, joined.

    A report without any heading is taken whole. One that has headings, but none of the wanted
    sections, gives its last paragraph that is about the image, as the code that comes with
    MIMIC-CXR does.

    Args:
        report: as the data set has it.
        wanted: names of sections, in this order; none takes the report whole.
    """
    marks = _headings(report)
    if not wanted or not marks:
        text = tidy(report)
        return Part(text, "whole" if text else "nothing")
    there = sections(report)
    # A section under a joint heading stands once.
    parts = list(dict.fromkeys(there[name] for name in wanted if name in there))
    if parts:
        return Part(" ".join(parts), "sections")
    last = _last_paragraph(report)
    return Part(last, "last paragraph" if last else "nothing")


def _last_paragraph(report: str) -> str:
    for paragraph in reversed(re.split(r"\n\s*\n", report)):
        mark = _HEADING.search(paragraph)
        aside = mark is not None and (not _of(mark) or set(_of(mark)) & set(_ASIDE))
        text = tidy(_HEADING.sub(" ", paragraph))
        if text and not aside:
            return text
    return ""


def tidy(text: str) -> str:
    """One line, single spaces, without the underscores that stand for names and dates.

    What has no letter or digit is nothing.
    """
    line = " ".join(re.sub(r"_{2,}", " ", text).split())
    return line if any(sign.isalnum() for sign in line) else ""


def without_comparisons(text: str) -> tuple[str, int]:
    """The sentences that do not speak of another image, and how many were dropped.

    Example:
        >>> without_comparisons("Clear lungs. Heart size is unchanged.")
        ('Clear lungs.', 1)
    """
    sentences = _SENTENCE.split(text)
    kept = [one for one in sentences if not COMPARING.search(one)]
    return " ".join(kept), len(sentences) - len(kept)
