"""The report of a phantom, in the English of radiologists.

Every finding is said with side, place and size in FINDINGS and again in IMPRESSION. What is absent
is said only in sentences that begin with "No" or state the normal organ, as reports do.
"""

from collections.abc import Sequence

import numpy as np

from wsrpn.data.phantom.findings import Finding

_HEART = {"small": "mildly", "medium": "moderately", "large": "markedly"}
_AMOUNT = {"small": "small", "medium": "moderate", "large": "large"}
_ABSENT = (
    (("Effusion",), "pleural effusion"),
    (("Pneumothorax",), "pneumothorax"),
    (("Consolidation",), "focal consolidation"),
    (("Atelectasis",), "atelectasis"),
    (("Nodule", "Mass"), "suspicious nodule or mass"),
)


def _article(words: str) -> str:
    return (
        f"{'an' if words[0] in 'aeiou' or words.startswith(('8', '11 ', '18 ')) else 'a'} {words}"
    )


def _long(finding: Finding) -> tuple[str, ...]:
    """Ways to describe a finding; the first words are its name where nothing else is needed."""
    side, size = finding.side, finding.size
    zone = {"middle": "mid"}.get(finding.zone, finding.zone)
    place = f"{side} {zone} lung zone" if finding.zone else f"{side} hemithorax"
    if finding.name == "Cardiomegaly":
        return (
            f"the heart is {_HEART[size]} enlarged",
            f"there is {_HEART[size][:-2]} cardiomegaly",
        )
    if finding.name in ("Nodule", "Mass"):
        what = (
            f"{finding.diameter_mm:.0f} mm {'round' if finding.name == 'Nodule' else 'irregular'}"
        )
        said = f"{_article(what)} {finding.name.lower()}"
        return (f"{said} projects over the {place}", f"there is {said} in the {place}")
    amount = _AMOUNT[size]
    if finding.name == "Effusion":
        return (
            f"{_article(amount)} {side} pleural effusion blunts the costophrenic angle",
            f"there is {_article(amount)} pleural effusion on the {side}",
        )
    if finding.name == "Pneumothorax":
        return (
            f"{_article(amount)} {side} apical pneumothorax with a visible pleural line",
            f"there is {_article(amount)} pneumothorax on the {side}",
        )
    if finding.name == "Consolidation":
        return (
            f"{_article(amount)} patchy consolidation with air bronchograms in the {place}",
            f"there is {_article(amount)} area of airspace consolidation in the {place}",
        )
    return (
        f"{_article(amount)} band of linear atelectasis in the {place}",
        f"there is {amount} plate-like atelectasis in the {place}",
    )


def _short(finding: Finding) -> str:
    """The line of the impression."""
    if finding.name == "Cardiomegaly":
        return f"{_HEART[finding.size][:-2]} cardiomegaly"
    name = "pleural effusion" if finding.name == "Effusion" else finding.name.lower()
    lung = f" {finding.zone} lung" if finding.zone else ""
    if finding.diameter_mm is not None:
        return f"{finding.diameter_mm:.0f} mm {finding.side}{lung} {name}"
    return f"{_AMOUNT[finding.size]} {finding.side}{lung} {name}"


def _sentence(words: str) -> str:
    return f"{words[0].upper()}{words[1:]}."


def _list(words: Sequence[str]) -> str:
    return " or ".join((", ".join(words[:-1]), words[-1])) if len(words) > 1 else words[0]


def report(findings: Sequence[Finding], rng: np.random.Generator) -> str:
    """FINDINGS and IMPRESSION of a film.

    Args:
        findings: all that are on it.
        rng: chooses among the ways to say it.
    """
    names = {finding.name for finding in findings}
    said = [_sentence(_long(f)[rng.integers(2)]) for f in findings]
    absent = [words for classes, words in _ABSENT if not names & set(classes)]
    if absent:
        said.append(f"No {_list(absent)}.")
    if "Cardiomegaly" not in names:
        said.append(
            ("Heart size is normal.", "The cardiac silhouette is normal in size.")[rng.integers(2)]
        )
    if not findings:
        said.insert(0, ("The lungs are clear.", "Both lungs are well expanded.")[rng.integers(2)])
    said.append(("The bony thorax is intact.", "No acute osseous abnormality.")[rng.integers(2)])
    if findings:
        end = " ".join(f"{i}. {_sentence(_short(f))}" for i, f in enumerate(findings, 1))
    else:
        end = ("No acute cardiopulmonary abnormality.", "Normal chest radiograph.")[rng.integers(2)]
    return f"FINDINGS: {' '.join(said)} IMPRESSION: {end}"
