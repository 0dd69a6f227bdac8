"""Tiny inputs for tests: images, DICOM files, manifests, and a miniature of the NIH download."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

NIH_HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)
NIH_ROWS = (
    ("00000001_000.png", "Cardiomegaly", 0, 1, "058Y"),
    ("00000001_001.png", "Cardiomegaly|Effusion", 1, 1, "058Y"),
    ("00000002_000.png", "No Finding", 0, 2, "081Y"),
    ("00000003_000.png", "Infiltration", 0, 3, "075Y"),
    ("00000004_000.png", "Nodule|Mass", 0, 4, "082Y"),
    ("00000005_000.png", "No Finding", 0, 5, "069Y"),
    ("00000006_000.png", "Atelectasis", 0, 6, "070Y"),
    ("00000007_000.png", "Hernia", 0, 7, "082Y"),
    ("00000008_000.png", "No Finding", 0, 8, "081Y"),
    ("00000009_000.png", "Pneumothorax", 0, 9, "042Y"),
    ("00000010_000.png", "Pleural_Thickening", 0, 10, "033Y"),
    ("00000011_000.png", "No Finding", 0, 11, "024Y"),
)
NIH_BOXES = (
    ("00000001_000.png", "Cardiomegaly", 20.084745762712, 30.5, 40.25, 25.75),
    ("00000003_000.png", "Infiltrate", 5.5, 8.25, 20.5, 16.125),
    ("00000006_000.png", "Atelectasis", 30.0, 12.0, 10.0, 20.0),
)
NIH_TEST = ("00000006_000.png", "00000008_000.png", "00000009_000.png")


def blob(
    size: tuple[int, int] = (64, 64), centre: tuple[float, float] = (0.5, 0.5), sigma: float = 0.1
) -> np.ndarray:
    """A bright spot on a dark ramp, float in [0, 1]; `centre` is (x, y) as shares."""
    height, width = size
    y, x = np.mgrid[:height, :width]
    y, x = (y + 0.5) / height, (x + 0.5) / width
    spot = np.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / (2 * sigma**2))
    return 0.2 * x + 0.7 * spot


def image(path: Path, array: np.ndarray | None = None, **options: Any) -> Path:
    """An image file; a float array in [0, 1] is stored with 8 bits, others as they are."""
    array = blob() if array is None else array
    if np.issubdtype(array.dtype, np.floating):
        array = (array * 255).round().astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)
    return path


def dicom(path: Path, pixels: np.ndarray, *, frames: int | None = None, **tags: Any) -> Path:
    """A DICOM file of stored values (uint8, uint16 or int16), with any tags over the usual ones."""
    import pydicom
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    meta.MediaStorageSOPInstanceUID = generate_uid()
    header = pydicom.Dataset()
    header.file_meta = meta
    header.SOPClassUID, header.SOPInstanceUID = (
        meta.MediaStorageSOPClassUID,
        meta.MediaStorageSOPInstanceUID,
    )
    header.Rows, header.Columns = pixels.shape[-2:]
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
    bits = pixels.dtype.itemsize * 8
    header.BitsAllocated, header.BitsStored, header.HighBit = bits, bits, bits - 1
    header.PixelRepresentation = int(np.issubdtype(pixels.dtype, np.signedinteger))
    if frames is not None:
        header.NumberOfFrames = frames
    for name, value in tags.items():
        setattr(header, name, value)
    header.PixelData = pixels.tobytes()
    header["PixelData"].VR = "OB" if bits == 8 else "OW"
    path.parent.mkdir(parents=True, exist_ok=True)
    header.save_as(path, enforce_file_format=True)
    return path


def manifest(
    folder: Path,
    rows: Sequence[dict[str, str]] | int = 8,
    *,
    boxes: Sequence[tuple[str, str, float, float, float, float]] | None = None,
    size: tuple[int, int] = (64, 64),
    pictures: bool = True,
) -> Path:
    """A folder with `images.csv`, its images, and `boxes.csv` if boxes are given.

    A number of rows makes that many images of two classes, `left` and `right`, whose spot lies
    there, three per patient, each with its box.
    """
    if isinstance(rows, int):
        count = rows
        rows, boxes = [], []
        for n in range(count):
            side = ("left", "right", "")[n % 3]
            name = f"images/{n:03d}.png"
            rows.append({"image": name, "patient": f"p{n // 3}", "labels": side})
            if pictures:
                place = {"left": 0.25, "right": 0.75}.get(side)
                picture = blob(size, (place, 0.5)) if place else np.zeros(size)
                image(folder / name, picture * 0.9 + 0.1 * n / count)  # no two are the same
            if side:
                x = size[1] * (0.1 if side == "left" else 0.6)
                boxes.append((name, side, x, size[0] * 0.35, size[1] * 0.3, size[0] * 0.3))
    elif pictures:
        for n, row in enumerate(rows):
            image(folder / row["image"], blob(size) * 0.9 + 0.1 * n / len(rows))
    folder.mkdir(parents=True, exist_ok=True)
    _table(folder / "images.csv", list(rows[0]), [list(row.values()) for row in rows])
    if boxes is not None:
        _table(folder / "boxes.csv", ["image", "label", "x", "y", "width", "height"], boxes)
    return folder


def _table(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    lines = [",".join(header), *(",".join(map(str, row)) for row in rows)]
    path.write_text("\n".join(lines) + "\n", "utf-8")


def nih(
    folder: Path,
    *,
    version: str = "2017",
    flat: bool = False,
    lists: bool = True,
    size: tuple[int, int] = (64, 64),
    without: Sequence[str] = (),
) -> Path:
    """A miniature of the ChestX-ray14 download, with the bytes of its headers.

    Args:
        folder: made here.
        version: `2017` ends header and rows with a comma, `2020` (`_v2020`) does not, `sex` is the
            newest one, which says `Patient Sex`.
        flat: one folder `images/` in place of `images_001/images` …
        lists: write train_val_list.txt and test_list.txt.
        size: of the images; the real ones have 1024 × 1024.
        without: names whose file is left out.
    """
    folder.mkdir(parents=True, exist_ok=True)
    comma = "," if version == "2017" else ""
    header = NIH_HEADER.replace("Gender", "Sex") if version == "sex" else NIH_HEADER
    lines = [header + comma]
    for name, labels, follow_up, patient, age in NIH_ROWS:
        age = age if version == "2017" else str(int(age[:-1]))
        lines.append(
            f"{name},{labels},{follow_up},{patient},{age},M,PA,2682,2749,0.143,0.143{comma}"
        )
    table = "Data_Entry_2017.csv" if version == "2017" else "Data_Entry_2017_v2020.csv"
    (folder / table).write_text("\r\n".join(lines) + "\r\n", "utf-8")
    boxes = [",".join(map(str, box)) for box in NIH_BOXES]
    # The real header has nine fields; the rows have six.
    head = "Image Index,Finding Label,Bbox [x,y,w,h],,,"
    (folder / "BBox_List_2017.csv").write_text("\n".join([head, *boxes]) + "\n", "utf-8")
    for position, (name, *_) in enumerate(NIH_ROWS):
        if name not in without:
            below = "images" if flat else f"images_{position // 6 + 1:03d}/images"
            spot = blob(size, (0.3 + 0.03 * position, 0.5))
            grey = (spot * 255).round().astype(np.uint8)
            # A few hundred of the real files are RGBA.
            rgba = np.dstack([grey, grey, grey, np.full_like(grey, 255)])
            image(folder / below / name, rgba if position == 1 else grey)
    if lists:
        names = [name for name, *_ in NIH_ROWS]
        rest = [name for name in names if name not in NIH_TEST]
        (folder / "train_val_list.txt").write_text("\n".join(rest), "utf-8")
        (folder / "test_list.txt").write_text("\n".join(NIH_TEST), "utf-8")
    return folder
