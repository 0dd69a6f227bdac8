"""Miniatures of MIMIC-CXR-JPG, its reports, Chest ImaGenome and MS-CXR.

Headers, orders of columns, empty cells and packings are those of the downloads.
"""

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.make_chexpert import picture, write

METADATA_HEADER = (
    "dicom_id,subject_id,study_id,PerformedProcedureStepDescription,ViewPosition,Rows,Columns,"
    "StudyDate,StudyTime,ProcedureCodeSequence_CodeMeaning,ViewCodeSequence_CodeMeaning,"
    "PatientOrientationCodeSequence_CodeMeaning"
)
STUDY_MARKS = (
    "Atelectasis,Cardiomegaly,Consolidation,Edema,Enlarged Cardiomediastinum,Fracture,Lung Lesion,"
    "Lung Opacity,No Finding,Pleural Effusion,Pleural Other,Pneumonia,Pneumothorax,Support Devices"
)
# image, patient, study, view, split
_FRONTAL = [("PA", "train"), ("AP", "train")] * 6 + [("PA", "validate")] * 4 + [("AP", "test")] * 4
MIMIC = (
    *((f"{n:08x}-bde0afdd-112c0b34-7bc16630-4e384014", 10000032 + n // 2, 50414267 + n, *found)
      for n, found in enumerate(_FRONTAL)),
    ("174413ec-4ec4c1f7-34ea26b7-c5f994f8-79ef1962", 10000032, 50414267, "LATERAL", "train"),
    ("2a2277a9-b0ded155-c0de8eb9-c124d10e-82c5caab", 10000032, 50414267, "", "train"),
)  # fmt: skip
IMAGES = tuple(row[0] for row in MIMIC)


def study_marks(study: int) -> str:
    """Labels of a study: two findings by turns, an uncertain and many empty cells."""
    turn = (study - 50414267) % 4
    cells = dict.fromkeys(STUDY_MARKS.split(","), "")
    cells |= ({"No Finding": "1.0", "Support Devices": "1.0"}, {"Cardiomegaly": "1.0"},
              {"Edema": "1.0", "Pneumonia": "-1.0", "Cardiomegaly": "0.0"},
              {"Edema": "1.0", "Cardiomegaly": "1.0"})[turn]  # fmt: skip
    return ",".join(cells.values())


def report(study: int) -> str:
    """A report as MIMIC-CXR has it, in the words of the study's labels."""
    turn = (study - 50414267) % 4
    told = ("No acute process.", "The heart is enlarged.", "Pulmonary edema.",
            "The heart is enlarged. Pulmonary edema.")[turn]  # fmt: skip
    return (
        "                                 FINAL REPORT\n EXAMINATION:  CHEST (PA AND LAT)\n \n"
        f" INDICATION:  ___ year old man, study {study}\n \n FINDINGS: \n \n {told}\n \n"
        f" IMPRESSION: \n \n {told}\n"
    )


def mimic(
    folder: Path, *, version: str = "2.0.0", reports: str = "beside", without: Sequence[str] = (),
    packed: bool = True, size: tuple[int, int] = (16, 16),
) -> Path:  # fmt: skip
    """MIMIC-CXR-JPG in `folder/mimic-cxr-jpg/VERSION`; the path of that.

    Args:
        folder: made here; reports and others lie beside the images in it.
        version: 2.1.0 adds the radiologists' table.
        reports: `beside`, `inside`, `zip` or `none`; the third study has none.
        without: images whose file is left out.
        packed: tables end in .gz.
        size: of the images; the metadata says 40 × 60.
    """
    home, end = folder / "mimic-cxr-jpg" / version, ".csv.gz" if packed else ".csv"
    name = f"{home}/mimic-cxr-2.0.0-"
    rows = [f"{i},{p},{s},CHEST (PA AND LAT),{v},40,60,21800506,213014.531,,,Erect"
            for i, p, s, v, _ in MIMIC]  # fmt: skip
    write(Path(f"{name}metadata{end}"), [METADATA_HEADER, *rows])
    rows = [f"{i},{s},{p},{split}" for i, p, s, _, split in MIMIC]
    write(Path(f"{name}split{end}"), ["dicom_id,study_id,subject_id,split", *rows])
    studies = {s: p for _, p, s, _, _ in MIMIC}
    rows = [f"{p},{s},{study_marks(s)}" for s, p in studies.items()]
    write(Path(f"{name}chexpert{end}"), [f"subject_id,study_id,{STUDY_MARKS}", *rows])
    rows = [row.replace("-1.0", "") for row in rows]
    write(Path(f"{name}negbio{end}"), [f"subject_id,study_id,{STUDY_MARKS}", *rows])
    if version == "2.1.0":
        marks = STUDY_MARKS.replace("Lung Opacity", "Airspace Opacity")
        last = max(studies)
        cells = ",".join("1.0" if m == "Airspace Opacity" else "0.0" for m in marks.split(","))
        write(
            home / "mimic-cxr-2.1.0-test-set-labeled.csv", [f"study_id,{marks}", f"{last},{cells}"]
        )
    for position, (image, patient, study, *_) in enumerate(MIMIC):
        if image not in without:
            picture(home / image_path(image, patient, study), position, size)
    _reports(folder, home, studies, reports)
    return home


def image_path(image: str, patient: int, study: int) -> str:
    """Where MIMIC-CXR-JPG has an image."""
    return f"files/p{str(patient)[:2]}/p{patient}/s{study}/{image}.jpg"


def _reports(folder: Path, home: Path, studies: dict[int, int], where: str) -> None:
    texts = {f"files/p10/p{p}/s{s}.txt": report(s) for s, p in studies.items() if s != 50414269}
    if where == "zip":
        with zipfile.ZipFile(folder / "mimic-cxr-reports.zip", "w") as file:
            for name, text in texts.items():
                file.writestr(name, text)
    elif where != "none":
        below = home if where == "inside" else folder / "mimic-cxr-reports"
        for name, text in texts.items():
            write(below / name, text.split("\n")[:-1])


# --- Chest ImaGenome


def scene_graph(image: str, patient: int, study: int) -> dict[str, Any]:
    """A scene graph: two regions with attributes, one region without extent, x padded at 224."""

    def region(name: str, x1: int, y1: int, x2: int, y2: int) -> dict[str, Any]:
        return {
            "object_id": f"{image}_{name}", "x1": x1 + 30, "y1": y1, "x2": x2 + 30, "y2": y2,
            "width": x2 - x1, "height": y2 - y1, "bbox_name": name, "synsets": [],
            "name": name.capitalize(), "original_x1": x1, "original_y1": y1, "original_x2": x2,
            "original_y2": y2, "original_width": x2 - x1, "original_height": y2 - y1,
        }  # fmt: skip

    def said(name: str, *phrases: tuple[list[str], list[str]]) -> dict[str, Any]:
        return {
            name: True, "bbox_name": name, "synsets": [], "name": name.capitalize(),
            "attributes": [attributes for attributes, _ in phrases],
            "attributes_ids": [[] for _ in phrases], "phrases": ["…" for _ in phrases],
            "phrase_IDs": [f"{study}|{n}" for n, _ in enumerate(phrases)],
            "sections": ["finalreport" for _ in phrases],
            "comparison_cues": [["comparison|yes|worsened"] for _ in phrases],
            "temporal_cues": [[] for _ in phrases],
            "severity_cues": [cues for _, cues in phrases], "texture_cues": [[] for _ in phrases],
            "object_id": f"{image}_{name}",
        }  # fmt: skip

    return {
        "image_id": image, "viewpoint": "PA", "patient_id": patient, "study_id": study,
        "gender": "M", "age_decile": "50-60", "reason_for_exam": "___", "StudyOrder": 1,
        "StudyDateTime": "2180-05-06 21:30:14 UTC", "relationships": [],
        "objects": [region("right lung", 2, 4, 28, 36),
                    region("cardiac silhouette", 20, 18, 44, 34),
                    region("left hemidiaphragm", 40, 30, 40, 30)],
        "attributes": [
            said("cardiac silhouette", (
                ["anatomicalfinding|yes|enlarged cardiac silhouette", "nlp|yes|abnormal"],
                ["severity|yes|mild", "severity|no|severe"],
            )),
            said("right lung", (["anatomicalfinding|no|lung opacity", "disease|yes|pneumonia"], []),
                 (["anatomicalfinding|no|lung opacity", "technicalassessment|yes|rotated"], [])),
            said("left hemidiaphragm", (["anatomicalfinding|yes|pleural effusion"], [])),
        ],
    }  # fmt: skip


def imagenome(folder: Path, *, packed: bool = False) -> Path:
    """Chest ImaGenome beside MIMIC-CXR-JPG; the last frontal image has no scene graph."""
    home = folder / "chest-imagenome/chest-imagenome-dataset-1.0.0"
    silver, gold = home / "silver_dataset", home / "gold_dataset"
    silver.mkdir(parents=True)
    graphs = {f"{i}_SceneGraph.json": scene_graph(i, p, s) for i, p, s, *_ in MIMIC[:19]}
    if packed:
        with zipfile.ZipFile(silver / "scene_graph.zip", "w") as file:
            for name, graph in graphs.items():
                file.writestr(f"scene_graph/{name}", json.dumps(graph))
    else:
        for name, graph in graphs.items():
            write(silver / "scene_graph" / name, [json.dumps(graph)])
    for name, chosen in (("train", MIMIC[:8]), ("valid", MIMIC[8:10]), ("test", MIMIC[10:14])):
        rows = [f"{n},{p},{s},{i},files/x.dcm,{v}" for n, (i, p, s, v, _) in enumerate(chosen)]
        write(
            silver / f"splits/{name}.csv",
            [",subject_id,study_id,dicom_id,path,ViewPosition", *rows],
        )
    rows = [f"{p},{s},{i},files/x.dcm,{v}" for i, p, s, v, _ in MIMIC[4:6]]
    write(
        silver / "splits/images_to_avoid.csv",
        ["subject_id,study_id,dicom_id,path,ViewPosition", *rows],
    )
    write(gold / "gold_bbox_coordinate_annotations_1000images.csv", [
        "image_id,x1,y1,x2,y2,width,height,bbox_name,annot_id,original_x1,original_x2,original_y1,"
        "original_y2,original_width,original_height,annotator,coord224,coord_original",
        f'{IMAGES[4]}.dcm,40,8,60,30,20,22,left lung,a1,31,57,5,37,26,32,1,"[40, 8, 60, 30]",'
        '"[31, 5, 57, 37]"',
    ])  # fmt: skip
    head = (
        "patient_id study_id image_id row_id sentence bbox relation label_name categoryID context"
    )
    said = [
        ("1", "lung opacity", "yes"),
        ("1", "pneumothorax", "no"),
        ("0", "consolidation", "yes"),
    ]
    rows = ["\t".join(["10000034", "50414271", f"{IMAGES[4]}.dcm", "r", "…", "left lung", relation,
                       name, "anatomicalfinding", context, "[40, 8, 60, 30]", "[31, 5, 57, 37]"])
            for relation, name, context in said]  # fmt: skip
    columns = "\t".join([*head.split(), "coord224", "coord_original"])
    write(gold / "gold_object_attribute_with_coordinates.txt", [columns, *rows])
    return home


# --- MS-CXR


def ms_cxr(folder: Path, *, version: str = "1.1.0") -> Path:
    """MS-CXR beside MIMIC-CXR-JPG, boxes in pixels of the 40 × 60 originals; its folder."""

    def row(n: int, name: str, text: str, box: str, split: str) -> str:
        image, patient, study, *_ = MIMIC[n]
        path = image_path(image, patient, study)
        end = f",{split}" if version == "1.1.0" else ""
        return f"{image},{name},{text},{path},{box},60,40{end}"

    head = "dicom_id,category_name,label_text,path,x,y,w,h,image_width,image_height"
    rows = [
        row(1, "Pleural Effusion", '"small effusions, both sides"', "2,20,10,16", "train"),
        row(1, "Pleural Effusion", '"small effusions, both sides"', "45,22,12,14", "train"),
        row(1, "Cardiomegaly", "heart is enlarged", "20,18,24,16", "train"),
        row(12, "Pneumonia", "right basal pneumonia", "4,20,16,12", "val"),
        row(17, "Edema", "moderate edema", "5.5,6,50,30", "test"),
    ]
    below = folder / "ms-cxr" / version
    name = f"MS_CXR_Local_Alignment_v{'1.1.0' if version == '1.1.0' else '1.0.0'}.csv"
    write(below / name, [head + (",split" if version == "1.1.0" else ""), *rows])
    return below
