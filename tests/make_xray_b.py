"""Miniatures of VinDr-CXR, RSNA, SIIM-ACR, PadChest, Open-I, JSRT and NODE21, quirk by quirk."""

import csv
import io
import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from tests import make

SIZE = (48, 48)


def table(
    path: Path, header: Sequence[str], rows: Sequence[Sequence[object]], *, end: str = "\n"
) -> Path:
    """A CSV, quoted only where it must be, with the line ends of its original."""
    text = io.StringIO()
    csv.writer(text, lineterminator=end).writerows([header, *rows])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.getvalue().encode())
    return path


def grey(number: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """A picture of its own for every number, 8 bits."""
    spot = make.blob(size, (0.3 + 0.04 * (number % 10), 0.4 + 0.02 * number))
    return (spot * 255).round().astype(np.uint8)


def picture(path: Path, number: int, size: tuple[int, int] = SIZE) -> Path:
    """That picture as a file: DICOM or what the suffix says."""
    if path.suffix in {".dcm", ".dicom"}:
        return make.dicom(path, grey(number, size))
    return make.image(path, grey(number, size))


# VinDr-CXR

VINDR_COLUMNS = (
    "Aortic enlargement", "Atelectasis", "Calcification", "Cardiomegaly", "Clavicle fracture",
    "Consolidation", "Edema", "Emphysema", "Enlarged PA", "ILD", "Infiltration", "Lung Opacity",
    "Lung cavity", "Lung cyst", "Mediastinal shift", "Nodule/Mass", "Pleural effusion",
    "Pleural thickening", "Pneumothorax", "Pulmonary fibrosis", "Rib fracture", "Other lesion",
    "COPD", "Lung tumor", "Pneumonia", "Tuberculosis", "Other diseases", "No finding",
)  # fmt: skip
# image → radiologist → boxes (finding, corners) and diagnoses without one.
VINDR_TRAIN: Mapping[str, Mapping[str, Sequence[tuple[str, tuple[float, ...]]]]] = {
    "50a418190bc3fb1ef1633bf9678929b3": {"R11": [], "R15": [], "R2": []},
    "9a5094b2563a1ef3ff50dc5c7ff71345": {  # three see the heart, one an effusion
        "R10": [("Cardiomegaly", (10.0, 20.0, 30.0, 40.0))],
        "R8": [("Cardiomegaly", (12.0, 20.0, 32.0, 40.0)), ("Pleural effusion", (1, 2, 9, 9))],
        "R9": [("Cardiomegaly", (8.0, 20.0, 28.0, 40.0))],
    },
    "051132a778e61a86eb147c7c6f564dfe": {  # two nodules of one reader, one of them seen by another
        "R10": [("Nodule/Mass", (5.0, 5.0, 15.0, 15.0)), ("Nodule/Mass", (30.0, 30.0, 40.0, 40.0))],
        "R8": [("Nodule/Mass", (5.0, 6.0, 15.0, 16.0)), ("Pneumonia", ())],
        "R9": [("Pneumonia", ())],
    },
}
VINDR_TEST: Mapping[str, Sequence[tuple[str, tuple[float, ...]]]] = {
    "002a34c58c5b758217ed1f584ccbcfe9": [],
    "004f33259ee4aef671c2b95d54e4be68": [
        ("Other lesion", (4.0, 4.0, 20.0, 22.0)), ("Other lesion", (5.0, 4.0, 20.0, 22.0)),
        ("Other diseases", ()),
    ],
}  # fmt: skip
_VINDR_BOX = ("x_min", "y_min", "x_max", "y_max")


def _flags(found: Sequence[tuple[str, tuple[float, ...]]]) -> list[int]:
    names = {name for name, _ in found} or {"No finding"}
    return [int(column in names) for column in VINDR_COLUMNS]


def _boxes(found: Sequence[tuple[str, tuple[float, ...]]]) -> list[tuple[object, ...]]:
    boxes = [(name, *corners) for name, corners in found if corners]
    return boxes if found else [("No finding", "", "", "", "")]


def vindr(folder: Path, *, suffix: str = ".dicom", without: Sequence[str] = ()) -> Path:
    """VinDr-CXR as on PhysioNet: annotations, and DICOM files of which some are MONOCHROME1."""
    notes = folder / "annotations"
    votes = [(i, r, f) for i, readers in VINDR_TRAIN.items() for r, f in readers.items()]
    columns = ("image_id", "rad_id", *VINDR_COLUMNS)
    table(notes / "image_labels_train.csv", columns, [(i, r, *_flags(f)) for i, r, f in votes])
    # The last label of the test table lacks its "s", and nobody is named there.
    last = [name.replace("Other diseases", "Other disease") for name in VINDR_COLUMNS]
    rows = [(i, *_flags(f)) for i, f in VINDR_TEST.items()]
    table(notes / "image_labels_test.csv", ("image_id", *last), rows)
    train = [(i, r, *box) for i, r, f in votes for box in _boxes(f)]
    columns = ("image_id", "rad_id", "class_name", *_VINDR_BOX)
    table(notes / "annotations_train.csv", columns, train)
    test = [(i, *box) for i, f in VINDR_TEST.items() for box in _boxes(f)]
    table(notes / "annotations_test.csv", ("image_id", "class_name", *_VINDR_BOX), test)
    for number, name in enumerate([*VINDR_TRAIN, *VINDR_TEST]):
        path = folder / ("train" if name in VINDR_TRAIN else "test") / f"{name}{suffix}"
        if name in without:
            continue
        if number == 1 and suffix == ".dicom":
            _monochrome1(path, number)
        else:
            picture(path, number)
    return folder


def _monochrome1(path: Path, number: int) -> None:
    """The same picture upside down in 12 of 16 bits, with a slope and a window."""
    dark = (255 - grey(number)).astype(np.uint16) * 8
    make.dicom(
        path, dark, BitsStored=12, HighBit=11, PhotometricInterpretation="MONOCHROME1",
        RescaleSlope="2", RescaleIntercept="-100", WindowCenter="1940.5", WindowWidth="4081",
    )  # fmt: skip


def vindr_kaggle(folder: Path, *, suffix: str = ".dicom", meta: bool = False) -> Path:
    """The VinBigData half: one table of boxes, all three readers named, 14 findings."""
    header = ("image_id", "class_name", "class_id", "rad_id", *_VINDR_BOX)
    numbers = {"Cardiomegaly": 3, "Nodule/Mass": 8, "Pleural effusion": 10, "No finding": 14}
    rows = []
    for name, readers in VINDR_TRAIN.items():
        for reader, found in readers.items():
            kept = [(n, c) for n, c in found if c]
            rows += [(name, b[0], numbers[str(b[0])], reader, *b[1:]) for b in _boxes(kept)]
    table(folder / "train.csv", header, rows)
    for number, name in enumerate(VINDR_TRAIN):
        picture(folder / "train" / f"{name}{suffix}", number)
    picture(folder / "test" / f"8dec5497ecc246766acfba5a4be4e619{suffix}", 9)  # nothing is known
    if meta:  # the copies are half as large as the originals
        sides = [(name, 2 * SIZE[0], 2 * SIZE[1]) for name in VINDR_TRAIN]
        table(folder / "train_meta.csv", ("image_id", "dim0", "dim1"), sides)
    return folder


# RSNA

RSNA_ROWS = (
    ("0004cfab-14fd-4e49-80ba-63a80b6bddd6", "", "", "", "", 0),
    ("00313ee0-9eaa-42f4-b0ab-c148ed3241cd", "", "", "", "", 0),
    ("00436515-870c-4b36-a041-de91049b9ab4", 264.0, 152.0, 213.0, 379.0, 1),
    ("00436515-870c-4b36-a041-de91049b9ab4", 562.0, 152.0, 256.0, 453.0, 1),
    ("00704310-78a8-4b38-8475-49f4573b2dbb", 323.0, 577.0, 160.0, 104.0, 1),
)
RSNA_CLASSES = ("No Lung Opacity / Not Normal", "Normal", "Lung Opacity")
RSNA_NIH = ("00000001_000.png", "00000001_001.png", "00000007_000.png", "00000009_002.png")


def rsna(folder: Path, *, suffix: str = ".dcm", mapping: bool = False, size: int = 1024) -> Path:
    """The challenge of stage 2; images are 1024 × 1024 unless told otherwise."""
    names = list(dict.fromkeys(row[0] for row in RSNA_ROWS))
    header = ("patientId", "x", "y", "width", "height", "Target")
    table(folder / "stage_2_train_labels.csv", header, RSNA_ROWS)
    details = [(row[0], RSNA_CLASSES[min(n, 2)]) for n, row in enumerate(RSNA_ROWS)]
    table(folder / "stage_2_detailed_class_info.csv", ("patientId", "class"), details)
    for number, name in enumerate(names):
        picture(folder / "stage_2_train_images" / f"{name}{suffix}", number, (size, size))
    if mapping:
        entries = [
            {"subset_img_id": name, "img_id": there, "orig_labels": ["No Finding"]}
            for name, there in zip(names, RSNA_NIH, strict=True)
        ]
        path = folder / "pneumonia-challenge-dataset-mappings_2018.json"
        path.write_text(json.dumps(entries))
    return folder


# SIIM-ACR

SIIM = (
    "1.2.276.0.7230010.3.1.4.8323329.6904.1517875201.850819",
    "1.2.276.0.7230010.3.1.4.8323329.13666.1517875247.117800",
    "1.2.276.0.7230010.3.1.4.8323329.11028.1517875229.983789",
)


def code(x: int, y: int, width: int, height: int, side: int = 1024) -> str:
    """A rectangle as SIIM writes masks: down the columns, each gap counted from the last run."""
    gaps = [x * side + y] + [side - height] * (width - 1)
    return " ".join(f"{gap} {height}" for gap in gaps)


SIIM_ROWS = (
    (SIIM[0], " -1"),
    (SIIM[1], code(100, 300, 60, 40)),  # two rows that meet, and a speck
    (SIIM[1], code(150, 330, 50, 30)),
    (SIIM[1], code(900, 900, 2, 1)),
    (SIIM[2], code(700, 20, 30, 200)),
)


def siim(folder: Path, *, name: str = "train-rle.csv", suffix: str = ".dcm") -> Path:
    """The pneumothorax masks: a blank in the header, -1, several rows of an image, nested files."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["ImageId, EncodedPixels", *(",".join(row) for row in SIIM_ROWS)]
    (folder / name).write_text("\n".join(lines) + "\n")
    for number, image in enumerate(SIIM):
        below = folder / "dicom-images-train" / f"1.2.{number}" / f"1.3.{number}"
        picture(
            below / f"{image}{suffix}", number, (1024, 1024) if suffix == ".dcm" else (512, 512)
        )
    return folder


# PadChest

PADCHEST_TABLE = "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv"
_PADCHEST = (
    ",ImageID,ImageDir,StudyDate_DICOM,StudyID,PatientID,PatientBirth,PatientSex_DICOM,"
    "ViewPosition_DICOM,Projection,MethodProjection,Pediatric,Modality_DICOM,Manufacturer_DICOM,"
    "PhotometricInterpretation_DICOM,PixelRepresentation_DICOM,PixelAspectRatio_DICOM,"
    "SpatialResolution_DICOM,BitsStored_DICOM,WindowCenter_DICOM,WindowWidth_DICOM,Rows_DICOM,"
    "Columns_DICOM,XRayTubeCurrent_DICOM,Exposure_DICOM,ExposureInuAs_DICOM,ExposureTime,"
    "RelativeXRayExposure_DICOM,ReportID,Report,MethodLabel,Labels,Localizations,"
    "LabelsLocalizationsBySentence,labelCUIS,LocalizationsCUIS"
)
PADCHEST_HEADER = _PADCHEST.split(",")
# image, folder, patient, projection, report, who labelled, labels
PADCHEST = (
    ("a1.png", 0, "p1", "PA", " sin hallazg patolog edad pacient .", "Physician", "['normal']"),
    ("a2.png", 0, "p1", "L", " sin hallazg patolog edad pacient .", "Physician", "['normal']"),
    ("a3.png", 0, "p2", "AP_horizontal", "cardiomegali , derram pleural .", "RNN_model",
     "['cardiomegaly', ' pleural effusion', '']"),
    ("a4.png", 1, "p3", "PA", "enfisem subcutane .", "RNN_model",
     "['subcutaneous emphysema', 'pseudonodule']"),
    ("a5.png", 1, "p4", "PA", "sin cambi .", "Physician", "['unchanged']"),
    ("a6.png", 1, "p5", "AP", "nan", "RNN_model", "nan"),
    ("a7.png", 54, "p6", "EXCLUDE", "exclu .", "Physician", "['exclude']"),
    ("a8.png", 54, "p7", "COSTAL", "fractur costal .", "Physician", "['rib fracture']"),
    ("a9.png", 54, "p3", "PA", "atelectasi laminar .", "Physician", "['laminar atelectasis']"),
)  # fmt: skip


def padchest(folder: Path, *, flat: bool = False, without: Sequence[str] = ()) -> Path:
    """All 36 columns, label lists of Python, CUIs of numpy without commas, 16-bit PNG."""
    rows = []
    for number, (image, place, patient, view, report, method, labels) in enumerate(PADCHEST):
        cells = dict.fromkeys(PADCHEST_HEADER, "None") | {
            "": str(number), "ImageID": image, "ImageDir": str(place), "StudyID": f"s{patient}",
            "StudyDate_DICOM": "20140915", "PatientID": patient, "PatientBirth": "1930.0",
            "PatientSex_DICOM": "F", "Projection": view, "Pediatric": "No", "Report": report,
            "MethodLabel": method, "Labels": labels, "labelCUIS": "['C0034069' 'C0742362']",
        }  # fmt: skip
        rows.append([cells[name] for name in PADCHEST_HEADER])
        if image not in without:
            below = folder if flat else folder / str(place)
            make.image(below / image, grey(number).astype(np.uint16) * 257)
    table(folder / PADCHEST_TABLE, PADCHEST_HEADER, rows)
    return folder


# Open-I

# uid, headings, sections, images with their view
OPENI = (
    ("CXR1", ("normal",), {"COMPARISON": "None.", "INDICATION": "Positive TB test",
     "FINDINGS": "The cardiac silhouette is normal.", "IMPRESSION": "Normal chest x-XXXX."},
     {"CXR1_1_IM-0001-3001": "Lateral", "CXR1_1_IM-0001-4001": "Frontal"}),
    ("CXR2", ("Cardiomegaly/mild", "Thickening/pleura/left", "Pleural Effusion/right/small"),
     {"COMPARISON": "", "INDICATION": "Chest pain", "FINDINGS": "", "IMPRESSION": "Big heart."},
     {"CXR2_IM-0652-1001": "Frontal", "CXR2_IM-0652-2001": "Lateral"}),
    ("CXR3", ("Subcutaneous  Emphysema", "Thickening/bronchovascular", "Hernia, Hiatal"),
     {"FINDINGS": "Air under the skin.", "IMPRESSION": "No lung emphysema."},
     {"CXR3_IM-1384-1001-0001": "Frontal"}),
    ("CXR4", ("No Indexing",), {"FINDINGS": "Clear."}, {"CXR4_IM-2050-1001": "Frontal"}),
    ("CXR5", ("Opacity/lung/base/left",), {"FINDINGS": "An opacity."}, {}),
)  # fmt: skip


def openi(folder: Path, *, projections: bool = False) -> Path:
    """XML reports with several images each, and one without; PNG files in a folder of their own."""
    for uid, headings, sections, images in OPENI:
        texts = "\n".join(
            f'<AbstractText Label="{label}">{text}</AbstractText>' if text else
            f'<AbstractText Label="{label}"/>' for label, text in sections.items()
        )  # fmt: skip
        mesh = "\n".join(f"<major>{heading}</major>" for heading in headings)
        shown = "\n".join(
            f'<parentImage id="{name}">\n<caption>Xray Chest PA and Lateral</caption>'
            "</parentImage>" for name in images
        )  # fmt: skip
        path = folder / "ecgen-radiology" / f"{uid[3:]}.xml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            f'<?xml version="1.0" encoding="utf-8"?>\n<eCitation>\n<uId id="{uid}"/>\n'
            f"<MedlineCitation><Article><Abstract>{texts}</Abstract></Article></MedlineCitation>\n"
            f"<MeSH>\n{mesh}\n<automatic>emphysema</automatic></MeSH>\n{shown}\n</eCitation>\n"
        )
    for number, name in enumerate(name for *_, images in OPENI for name in images):
        picture(folder / "NLMCXR_png" / f"{name}.png", number)
    if projections:
        _projections(folder)
    return folder


def _kaggle_name(uid: str, name: str) -> str:
    """`CXR1_1_IM-0001-4001` is `1_IM-0001-4001.dcm.png` there."""
    return f"{uid[3:]}_IM-{name.split('_IM-')[1]}.dcm.png"


def _projections(folder: Path) -> None:
    rows = [
        (uid[3:], _kaggle_name(uid, name), view)
        for uid, *_, images in OPENI
        for name, view in images.items()
    ]
    table(folder / "indiana_projections.csv", ("uid", "filename", "projection"), rows)


def openi_kaggle(folder: Path) -> Path:
    """The two tables of Kaggle, headings joined by semicolons."""
    header = ("uid", "MeSH", "Problems", "image", "indication", "comparison", "findings",
              "impression")  # fmt: skip
    rows = []
    for uid, headings, sections, _ in OPENI:
        problems = ";".join(heading.split("/")[0] for heading in headings)
        parts = [sections.get(name.upper(), "") for name in header[4:]]
        rows.append((uid[3:], ";".join(headings), problems, "Xray Chest PA and Lateral", *parts))
    table(folder / "indiana_reports.csv", header, rows)
    _projections(folder)
    for number, (uid, name) in enumerate((u, n) for u, *_, images in OPENI for n in images):
        picture(folder / "images" / "images_normalized" / _kaggle_name(uid, name), number)
    return folder


# JSRT

JSRT_NODULES = (
    ("JPCLN001.IMG", "5", "15", "53", "Male", "1634", "692", "malignant", "l.upper lobe",
     "lung cancer"),
    ("JPCLN002.IMG", "3", "35", "?", "Female", "1024", "1024", "benign", "r.upper lobe(S2)",
     "tuberculoma"),
)  # fmt: skip
JSRT_NORMALS = (("JPCNN001.IMG", "32", "Female"), ("JPCNN002.IMG", "?", "Male"))


def img(path: Path, number: int) -> Path:
    """A headerless .IMG: 2048 × 2048, 12 bits in big-endian words, dense is dark."""
    level = make.blob((2048, 2048), (0.4, 0.3 + 0.1 * number))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes((4095 - (level * 4095).round()).astype(">u2").tobytes())
    return path


def jsrt(folder: Path, *, suffix: str = ".png", size: int = 256) -> Path:
    """JSRT: clinical tables as they are; images as .IMG, or as small PNG of the same names."""
    clinical = folder / "Clinical_Information"
    clinical.mkdir(parents=True, exist_ok=True)
    # Lines end with a carriage return alone, and with two empty cells.
    lines = ["\t".join([*row, "", ""]) for row in JSRT_NODULES]
    (clinical / "CLNDAT_EN.txt").write_bytes("".join(f"{line}\r" for line in lines).encode())
    others = [f"{name}   {age}  {sex}  non-nodule" for name, age, sex in JSRT_NORMALS]
    (clinical / "CNNDAT_EN.TXT").write_bytes("\r".join(others).encode())
    names = [row[0] for row in (*JSRT_NODULES, *JSRT_NORMALS)]
    for number, name in enumerate(names):
        below = folder / ("Nodule154images" if "LN" in name else "NonNodule93images")
        path = (below / name).with_suffix(suffix)
        if suffix == ".IMG":
            img(path, number)
        else:
            make.image(path, grey(number, (size, size)))
    return folder


def jsrt_kaggle(folder: Path) -> Path:
    """The same on Kaggle: one table, PNG in a folder in a folder."""
    header = ("study_id", "gender", "age", "subtlety", "size", "x", "y", "state", "position",
              "diagnosis")  # fmt: skip
    rows = [
        (name.replace("IMG", "png"), sex, age.replace("?", ""), subtlety, size, x, y, state, place,
         diagnosis)
        for name, subtlety, size, age, sex, x, y, state, place, diagnosis in JSRT_NODULES
    ]  # fmt: skip
    rows += [
        (name.replace("IMG", "png"), sex, age, "", "", "", "", "non-nodule", "", "")
        for name, age, sex in JSRT_NORMALS
    ]
    table(folder / "jsrt_metadata.csv", header, rows)
    for number, row in enumerate(rows):
        make.image(folder / "images" / "images" / row[0], grey(number, (128, 128)))
    return folder


# NODE21

NODE21_ROWS = (  # index, height, img_name, label, width, x, y
    (0, 10, "n0001.mha", 1, 12, 20, 8),
    (1, 9, "n0001.mha", 1, 8, 4, 30),
    (2, 6, "n0002.mha", 1, 6, 30, 30),
    (3, 0, "c0001.mha", 0, 0, 0, 0),
    (4, 0, "c0002.mha", 0, 0, 0, 0),
)
NODE21_ORIGINS = (
    ("chestxray14", "n0001", "00000013_004.png"),
    ("jsrt", "n0002", "JPCLN001"),
    ("chestxray14", "c0001", "00000013_002.png"),
    ("openi", "c0002", "1_IM-0001-4001.dcm"),
)


def mha(
    path: Path, values: np.ndarray, *, packed: bool = False, msb: bool = False, **header: str
) -> Path:
    """A MetaImage file in one piece, with its header as ITK writes it; `header` changes lines."""
    kinds = {"u1": "UCHAR", "i2": "SHORT", "u2": "USHORT", "f4": "FLOAT", "f8": "DOUBLE"}
    data = values.astype(values.dtype.newbyteorder(">" if msb else "<")).tobytes()
    data = zlib.compress(data) if packed else data
    lines = {
        "ObjectType": "Image", "NDims": str(values.ndim), "BinaryData": "True",
        "BinaryDataByteOrderMSB": str(msb), "CompressedData": str(packed),
        **({"CompressedDataSize": str(len(data))} if packed else {}),
        "Offset": "0 0", "ElementSpacing": "1 1",
        "DimSize": " ".join(map(str, reversed(values.shape))),
        "ElementType": f"MET_{kinds[values.dtype.str[1:]]}",
        **header,
    }  # fmt: skip
    lines["ElementDataFile"] = lines.pop("ElementDataFile", "LOCAL")  # always the last line
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(f"{key} = {value}\n" for key, value in lines.items())
    path.write_bytes(text.encode() + data)
    return path


def node21(folder: Path, *, origins: bool = True, original: bool = False) -> Path:
    """`cxr_images/proccessed_data` (sic) with an index column and columns in an odd order."""
    header = ("", "height", "img_name", "label", "width", "x", "y")
    kinds = ["proccessed_data", *(["original_data"] if original else [])]
    for kind in kinds:
        home = folder / "cxr_images" / kind
        grown = 2 if kind == "original_data" else 1
        rows = [(i, h * grown, n, k, w * grown, x * grown, y * grown)
                for i, h, n, k, w, x, y in NODE21_ROWS]  # fmt: skip
        table(home / "metadata.csv", header, rows)
        for number, name in enumerate(dict.fromkeys(row[2] for row in NODE21_ROWS)):
            side = SIZE[0] * grown
            values = grey(number, (side, side)).astype(np.uint16) * 16
            mha(home / "images" / name, values, packed=number % 2 == 1)
    if origins:
        home = folder / "cxr_images" / "original_data"
        columns = ("orig_dataset", "node21_img_id", "orig_img_name")
        nodules = [row for row in NODE21_ORIGINS if row[1].startswith("n")]
        table(home / "filenames_orig_and_new.csv", columns, nodules)
        rest = [row for row in NODE21_ORIGINS if row not in nodules]
        table(home / "non_nodule_filenames_orig_and_new.csv", columns, rest)
    return folder
