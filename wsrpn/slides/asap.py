"""Outlines in ASAP's XML, the format of CAMELYON16 and 17.

Polygons are stored open, their corners ordered by `Order`; some files have decimal commas and some
lack the root element. What an area is, its group says (`shapes.role_of`); a group that means
nothing by itself counts as the one it is part of. Areas of the group `None` are left out, and
counted.

Reference:
    ASAP, annotation/XmlRepository.cpp and AnnotationToMask.cpp.
"""

import re
import xml.etree.ElementTree as ET  # builds what is written; defusedxml reads
from collections.abc import Mapping
from pathlib import Path
from xml.etree.ElementTree import Element

import defusedxml
import defusedxml.ElementTree
import shapely

from wsrpn import files
from wsrpn.errors import InputError
from wsrpn.slides import shapes
from wsrpn.slides.shapes import Drawing, Outlines

_AREAS = {"polygon", "spline", "rectangle"}
_COLOURS = {"Tumor": "#c80000", "Exclusion": "#646464"}


def read(path: Path) -> Drawing:
    """The areas of a file, sorted by their groups.

    Raises:
        InputError: the file cannot be read, is other XML, or has a coordinate that is no number.
    """
    root = _parsed(path)
    parents = {
        group.get("Name", "").strip().lower(): group.get("PartOfGroup", "")
        for group in root.iter("Group")
    }
    drawing = Drawing()
    for number, annotation in enumerate(root.iter("Annotation")):
        name = annotation.get("Name") or str(number)
        kind = annotation.get("Type", "Polygon").strip().lower()
        if kind not in _AREAS:
            drawing.skip(f"of type {annotation.get('Type')}, which has no area")
            continue
        corners = _corners(annotation, f"{path}: annotation '{name}'")
        area = _area(kind, corners, f"{path}: annotation '{name}'")
        if area is None:
            drawing.skip("fewer than three corners")
        else:
            drawing.add(_group(annotation.get("PartOfGroup", ""), parents), area)
    return drawing


def _parsed(path: Path) -> Element:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; an annotation was expected.") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}).") from None
    try:
        root = _tree(data)
    except defusedxml.DefusedXmlException:
        raise InputError(f"{path}: declares XML entities, which no annotation needs.") from None
    except (ET.ParseError, ValueError, LookupError) as error:
        raise InputError(f"{path}: not readable as ASAP's XML ({error}).") from None
    if next(root.iter("Region"), None) is not None:
        raise InputError(
            f"{path}: this is Aperio ImageScope's XML; open it in QuPath and export GeoJSON."
        )
    if root.tag not in {"ASAP_Annotations", "Annotations", "Annotation", "rootless"}:
        raise InputError(f"{path}: the XML begins with <{root.tag}>, not <ASAP_Annotations>.")
    return root


def _tree(data: bytes) -> Element:
    try:
        return defusedxml.ElementTree.fromstring(data)
    except ET.ParseError as error:
        if "junk after document element" not in str(error):
            raise
    # ASAP reads files without a root; XML does not.
    body = re.sub(rb"^\xef\xbb\xbf|^\s*<\?xml[^>]*\?>", b"", data)
    return defusedxml.ElementTree.fromstring(b"<rootless>" + body + b"</rootless>")


def _corners(annotation: Element, where: str) -> list[tuple[float, float]]:
    found = []
    for place, corner in enumerate(annotation.iter("Coordinate")):
        values = [corner.get(name, "").replace(",", ".") for name in ("X", "Y")]
        order = corner.get("Order", str(place)).replace(",", ".")
        try:
            found.append((float(order), float(values[0]), float(values[1])))
        except ValueError:
            raise InputError(
                f"{where}: corner {place} has X='{corner.get('X')}', Y='{corner.get('Y')}', "
                f"Order='{corner.get('Order')}'; numbers were expected."
            ) from None
    found.sort(key=lambda one: one[0])  # stable: equal numbers stay in the order of the file
    return [(x, y) for _, x, y in found]


def _area(kind: str, corners: list[tuple[float, float]], where: str) -> shapely.Polygon | None:
    if kind == "rectangle" and len(corners) == 2:  # opposite corners
        (x1, y1), (x2, y2) = corners
        corners = [(x1, y1), (x2, y1), (x2, y2), (x1, y2)]
    return shapes.ring(corners, where)


def _group(name: str, parents: Mapping[str, str]) -> str:
    """The group, or the first of those around it whose name means something."""
    seen, now = set(), name
    while shapes.role_of(now) == "other" and now.strip().lower() not in seen:
        seen.add(now.strip().lower())
        now = parents.get(now.strip().lower(), name)
    return now if shapes.role_of(now) not in ("other", "unnamed") else name


def write(path: Path, outlines: Outlines) -> str:
    """Write outlines so that ASAP opens them and `read` gives the same areas, atomically.

    Areas are cut where they have holes, as a hole of the group `_2` would take islands with it.

    Returns:
        sha256 of the file.
    """
    root = ET.Element("ASAP_Annotations")
    drawn = ET.SubElement(root, "Annotations")
    groups = ET.SubElement(root, "AnnotationGroups")
    for name, area in (("Tumor", outlines.tumour), ("Exclusion", outlines.excluded)):
        facts = {"Name": name, "PartOfGroup": "None", "Color": _COLOURS[name]}
        ET.SubElement(ET.SubElement(groups, "Group", facts), "Attributes")
        for part in shapes.without_holes(area):
            facts = {"Name": f"Annotation {len(drawn)}", "Type": "Polygon"}
            facts |= {"PartOfGroup": name, "Color": _COLOURS[name]}
            corners = ET.SubElement(ET.SubElement(drawn, "Annotation", facts), "Coordinates")
            for place, (x, y) in enumerate(part.exterior.coords[:-1]):
                facts = {"Order": str(place), "X": repr(float(x)), "Y": repr(float(y))}
                ET.SubElement(corners, "Coordinate", facts)
    ET.indent(root)
    return files.write(path, ET.tostring(root, encoding="utf-8", xml_declaration=True))
