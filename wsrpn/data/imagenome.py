"""Chest ImaGenome (Wu et al., 2021): what a report says of which region of its image.

    silver_dataset/scene_graph.zip or scene_graph/IMAGE_SceneGraph.json    made by rules
    silver_dataset/splits/{train,valid,test}.csv, images_to_avoid.csv      its own splits
    gold_dataset/gold_bbox_coordinate_annotations_1000images.csv           regions, by hand
    gold_dataset/gold_object_attribute_with_coordinates.txt                their attributes, by hand

The boxes are regions of the anatomy, such as the right lung. "The region of a finding" is therefore
only a stand-in for its place, called *region-proxy* wherever it is used.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from wsrpn.data import physionet, tables
from wsrpn.data.lookup import Corners
from wsrpn.data.manifest import number
from wsrpn.errors import InputError
from wsrpn.types import Split

PROXY_NOTE = (
    "Boxes are regions of Chest ImaGenome of which the report says the finding: a region-proxy, "
    "not the place of the finding. Call figures of them region-proxy AP."
)

# Ours: Chest ImaGenome has finer names than CheXpert. What is not here has no box.
FINDINGS = {
    "lung opacity": "Lung Opacity", "airspace opacity": "Lung Opacity",
    "atelectasis": "Atelectasis", "linear/patchy atelectasis": "Atelectasis",
    "lobar/segmental collapse": "Atelectasis", "pleural effusion": "Pleural Effusion",
    "enlarged cardiac silhouette": "Cardiomegaly",
    "mediastinal widening": "Enlarged Cardiomediastinum",
    "superior mediastinal mass/enlargement": "Enlarged Cardiomediastinum",
    "pulmonary edema/hazy opacity": "Edema", "pneumothorax": "Pneumothorax",
    "hydropneumothorax": "Pneumothorax", "consolidation": "Consolidation",
    "pneumonia": "Pneumonia", "lung lesion": "Lung Lesion",
    "mass/nodule (not otherwise specified)": "Lung Lesion",
    "multiple masses/nodules": "Lung Lesion", "calcified nodule": "Lung Lesion",
    "rib fracture": "Fracture", "clavicle fracture": "Fracture", "spinal fracture": "Fracture",
}  # fmt: skip
_SAID = ("anatomicalfinding", "disease", "tubesandlines", "device")
_CUES = ("severity_cues", "texture_cues")  # comparison and temporal cues are of other images

Found = dict[str, list[tuple[str, Corners]]]


def folder(root: Path) -> Path | None:
    """Chest ImaGenome in, or beside, a folder of MIMIC-CXR-JPG."""
    globs = ("chest-imagenome*", "chest-imagenome*/*")
    return physionet.beside(root, globs, lambda path: (path / "silver_dataset").is_dir())


def has_graphs(home: Path) -> bool:
    """Whether scene graphs lie in a folder of Chest ImaGenome, unpacked or not."""
    silver = home / "silver_dataset"
    return (silver / "scene_graph").is_dir() or (silver / "scene_graph.zip").is_file()


class Graphs:
    """Scene graphs by image.

    Args:
        home: of Chest ImaGenome; the unpacked folder goes before the zip.

    Raises:
        InputError: neither is there.
    """

    def __init__(self, home: Path) -> None:
        silver = home / "silver_dataset"
        unpacked, packed = silver / "scene_graph", silver / "scene_graph.zip"
        if not has_graphs(home):
            raise InputError(f"{silver}: neither scene_graph/ nor scene_graph.zip is there.")
        self._below = "" if unpacked.is_dir() else "scene_graph/"
        self.members = physionet.Members(unpacked if unpacked.is_dir() else packed)

    def __getitem__(self, image: str) -> Mapping[str, Any] | None:
        name = f"{self._below}{image}_SceneGraph.json"
        text = self.members.read(name)
        if text is None:
            return None
        where = f"{self.members.path}: {name}"
        try:
            graph = json.loads(text)
        except json.JSONDecodeError as error:
            raise InputError(f"{where}: not JSON ({error}).") from None
        if not isinstance(graph, dict) or not isinstance(graph.get("attributes"), list):
            raise InputError(f"{where}: no scene graph with a list 'attributes'.")
        return graph


def statements(graph: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What a scene graph says, each once, in its order.

    Returns:
        `{"finding", "location", "modifiers", "present"}`: a finding, disease, tube or device, the
        region, words of severity and texture from the same phrase, and whether it is there.
    """
    found: dict[str, dict[str, Any]] = {}
    for phrase, location, modifiers in _phrases(graph):
        for category, relation, name in _parsed(phrase):
            if category in _SAID:
                said = {
                    "finding": name, "location": location, "modifiers": modifiers,
                    "present": relation == "yes",
                }  # fmt: skip
                found.setdefault(json.dumps(said), said)
    return list(found.values())


def _phrases(graph: Mapping[str, Any]) -> Iterator[tuple[list[str], str, list[str]]]:
    """Attributes, region and modifiers of every phrase of every region."""
    for region in graph["attributes"]:
        location = str(region.get("bbox_name") or region.get("name") or "").lower()
        for position, phrase in enumerate(region.get("attributes", ())):
            cues = [cue for kind in _CUES for cue in _at(region.get(kind), position)]
            names = [name for _, relation, name in _parsed(cues) if relation == "yes"]
            yield phrase, location, list(dict.fromkeys(names))


def _at(lists: Any, position: int) -> list[str]:
    found = lists[position] if isinstance(lists, list) and position < len(lists) else []
    return found if isinstance(found, list) else []


def _parsed(attributes: Sequence[str]) -> list[tuple[str, str, str]]:
    """`category|yes|name` into its parts; what is not of that form says nothing."""
    parts = (str(one).split("|", 2) for one in attributes)
    return [(part[0], part[1], part[2]) for part in parts if len(part) == 3]


def proxies(graph: Mapping[str, Any]) -> list[tuple[str, Corners]]:
    """Class and region of each finding of `FINDINGS` that a scene graph says is there.

    Regions are in pixels of the original image: those of the 224-pixel frame include its padding.
    Regions without extent, or that the image lacks, give nothing.
    """
    places: dict[str, Corners] = {}
    for one in graph.get("objects", ()):
        x1, y1, x2, y2 = (float(one.get(f"original_{k}") or 0) for k in ("x1", "y1", "x2", "y2"))
        if x2 > x1 and y2 > y1:
            name = str(one.get("bbox_name")).lower()
            a = places.get(name, (x1, y1, x2, y2))  # a region that stands twice is their union
            places[name] = (min(a[0], x1), min(a[1], y1), max(a[2], x2), max(a[3], y2))
    said = statements(graph)
    pairs = [(FINDINGS.get(one["finding"]), one["location"]) for one in said if one["present"]]
    found = [(name, places[at]) for name, at in pairs if name and at in places]
    return list(dict.fromkeys(found))


def gold(home: Path) -> Found:
    """The same by image, from the regions and attributes that people checked.

    Raises:
        InputError: a missing or faulty table, with file and line.
    """
    places = _gold_regions(home / "gold_dataset/gold_bbox_coordinate_annotations_1000images.csv")
    table = home / "gold_dataset/gold_object_attribute_with_coordinates.txt"
    found: Found = defaultdict(list)
    needed = ("image_id", "bbox", "relation", "label_name", "context")
    for row in tables.each(table, required=needed, delimiter="\t"):
        image = row["image_id"].removesuffix(".dcm")
        found[image] += []
        name = FINDINGS.get(row["label_name"].lower())
        region = places.get((image, row["bbox"].lower()))
        said = row["relation"] in {"1", "1.0"} and row["context"] == "yes"
        if name and said and region and (name, region) not in found[image]:
            found[image].append((name, region))
    return found


def _gold_regions(table: Path) -> dict[tuple[str, str], Corners]:
    # The corners stand in the order x1, x2, y1, y2, and images end in .dcm.
    sides = ("original_x1", "original_y1", "original_x2", "original_y2")
    found: dict[tuple[str, str], Corners] = {}
    for row in tables.each(table, required=("image_id", "bbox_name", *sides)):
        where = f"{table}:{row.line}"
        x1, y1, x2, y2 = (number(row[side], f"{where}: {side}") for side in sides)
        if x2 > x1 and y2 > y1:
            image = row["image_id"].removesuffix(".dcm")
            found[image, row["bbox_name"].lower()] = (x1, y1, x2, y2)
    return found


def splits(home: Path) -> dict[str, Split | None]:
    """Split of each image as Chest ImaGenome has it; None for images of patients of its gold set.

    Raises:
        InputError: a missing or faulty table.
    """
    names: dict[str, Split] = {"train.csv": "train", "valid.csv": "val", "test.csv": "test"}
    below = home / "silver_dataset/splits"
    found: dict[str, Split | None] = {}
    for name, split in names.items():
        # These tables begin with a column of row numbers that has no name.
        found |= {r["dicom_id"]: split for r in tables.each(below / name, required=("dicom_id",))}
    avoided = below / "images_to_avoid.csv"
    found |= {row["dicom_id"]: None for row in tables.each(avoided, required=("dicom_id",))}
    return found
