"""Detections on disk: our JSON (COCO's layout), COCO results lists, and CSV of anyone.

JSON keeps everything; category and image numbers start at 1, boxes are x, y, width, height in
pixels of the stored file, vectors of image and text are base64 of little-endian float32. CSV has
the columns `image,label,score,x,y,width,height`; an image where nothing was found has one row with
the other cells empty. CSV and results lists know no image-level answer, so logits are nan, no
vectors, and no image sizes, so sizes are 0 and boxes are not clipped.
"""

import base64
import dataclasses
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from wsrpn import boxes, files
from wsrpn.errors import InputError, nearest
from wsrpn.types import Dataset, Detections, Predictions, Record, RegionFigures

FORMAT = "wsrpn predictions 1"
COLUMNS = ("image", "label", "score", "x", "y", "width", "height")
NUMBERS = COLUMNS[2:]
LARGEST = 1e6  # JSON knows no infinity; the score of such a logit is 0 or 1 all the same


def write(predictions: Predictions, path: Path) -> str:
    """Write as JSON, or as CSV where the name ends in `.csv`; returns the sha256.

    Raises:
        InputError: another suffix.
    """
    check_suffix(path)
    if path.suffix == ".csv":
        return files.write(path, _csv(predictions).encode("utf-8"))
    return files.write_json(path, document(predictions))


def check_suffix(path: Path) -> None:
    """Refuse a name that `write` would refuse, for whoever wants to know before the work is done.

    Raises:
        InputError: neither `.json` nor `.csv`.
    """
    if path.suffix not in {".json", ".csv"}:
        raise InputError(f"{path}: predictions are written as .json or .csv.")


def read(path: Path, dataset: Dataset | None = None) -> Predictions:
    """Read what `write` wrote, a COCO results list, or a CSV (also `.csv.gz`) of anyone's boxes.

    Args:
        path: the file.
        dataset: gives the order of the classes, and in a COCO results list the meaning of numbers:
            those of its own COCO file; in other data category n is its n-th class, and image n the
            record with that number as file name.

    Raises:
        InputError: not such a file, with the row or entry that is wrong.
    """
    name = path.name.lower()
    if name.endswith((".csv", ".csv.gz")):
        return _from_csv(path, dataset)
    if not name.endswith(".json"):
        raise InputError(f"{path}: predictions are read from .json, .csv or .csv.gz.")
    found = files.read_json(path, what="predictions")
    if isinstance(found, list):
        return _from_results(found, path, dataset)
    if isinstance(found, dict) and {"images", "annotations", "categories"} <= set(found):
        return _from_document(found, path)
    raise InputError(
        f"{path}: neither predictions of `wsrpn predict` nor a COCO results list "
        "(images, annotations and categories are missing)."
    )


def document(predictions: Predictions) -> dict[str, Any]:
    """Predictions as plain values for JSON."""
    annotations: list[dict[str, Any]] = []
    for i, image in enumerate(predictions.images):
        rows = zip(
            _xywh(image).tolist(), image.scores.tolist(), image.classes.tolist(), strict=True
        )
        for box, score, label in rows:
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": i + 1,
                    "category_id": label + 1,
                    "bbox": box,
                    "score": score,
                }
            )
    return {
        "info": {"format": FORMAT, "provenance": dict(predictions.provenance)},
        "categories": [{"id": i + 1, "name": name} for i, name in enumerate(predictions.classes)],
        "images": [_image(i, image) for i, image in enumerate(predictions.images)],
        "annotations": annotations,
        "failed": dict(predictions.failed),
    }


def _image(index: int, image: Detections) -> dict[str, Any]:
    height, width = image.size_px
    entry: dict[str, Any] = {
        "id": index + 1,
        "file_name": image.id,
        "width": width,
        "height": height,
        "logits": _plain(image.image_logits),
    }
    if image.regions is not None:
        entry["regions"] = {
            f.name: _plain(getattr(image.regions, f.name))
            for f in dataclasses.fields(RegionFigures)
        }
    if image.embedding is not None:
        entry["embedding"] = _packed(image.embedding)
    if image.text_embedding is not None:
        entry |= {"text_embedding": _packed(image.text_embedding), "text_id": image.text_id}
    return entry


def _packed(vector: Float[np.ndarray, " e"]) -> str:
    """A vector as base64 of little-endian float32: a third of its digits, and the same bits."""
    return base64.b64encode(vector.astype("<f4").tobytes()).decode("ascii")


def _unpacked(text: str | None) -> Float[np.ndarray, " e"] | None:
    if text is None:
        return None
    vector = np.frombuffer(base64.b64decode(text, validate=True), dtype="<f4")
    return vector.astype(np.float32)


def _plain(values: Float[np.ndarray, "*n"]) -> list[Any]:
    """Nested lists without what JSON does not know: nan is null, infinities are large numbers."""
    kept = np.clip(values.astype(np.float64), -LARGEST, LARGEST)
    return np.where(np.isnan(kept), None, kept.astype(object)).tolist()  # type: ignore[call-overload]


def _xywh(image: Detections) -> Float[np.ndarray, "n 4"]:
    low, high = image.xyxy_px[:, :2], image.xyxy_px[:, 2:]
    return np.concatenate((low, high - low), axis=1).astype(np.float64)


def _csv(predictions: Predictions) -> str:
    rows: list[list[Any]] = []
    for image in predictions.images:
        for box, score, label in zip(_xywh(image), image.scores, image.classes, strict=True):
            rows.append([image.id, predictions.classes[label], float(score), *box.tolist()])
        if not len(image.scores):
            rows.append([image.id, *[""] * 6])
    text = io.StringIO()
    pd.DataFrame(rows, columns=list(COLUMNS)).to_csv(text, index=False, lineterminator="\n")
    return text.getvalue()


def _from_document(found: Mapping[str, Any], path: Path) -> Predictions:
    try:
        categories = {entry["id"]: str(entry["name"]) for entry in found["categories"]}
        classes = tuple(categories.values())
        number = {key: i for i, key in enumerate(categories)}
        own: dict[Any, list[tuple[list[float], float, int]]] = {
            e["id"]: [] for e in found["images"]
        }
        for row, entry in enumerate(found["annotations"]):
            where = f"{path}: annotation {row + 1}"
            if "score" not in entry:
                raise InputError(f"{where} has no score; is this the truth?")
            if entry["image_id"] not in own:
                raise InputError(f"{where} is of no listed image.")
            box = [float(x) for x in entry["bbox"]]
            if len(box) != 4:
                raise InputError(
                    f"{where}: bbox has {len(box)} numbers; x, y, width, height expected."
                )
            own[entry["image_id"]].append(
                (box, float(entry["score"]), number[entry["category_id"]])
            )
        images = tuple(_read_image(e, own[e["id"]], len(classes), path) for e in found["images"])
    except InputError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path}: damaged predictions ({error!r}). Predict again.") from None
    provenance = (found.get("info") or {}).get("provenance", {})
    return Predictions(classes, images, provenance, found.get("failed", {}))


def _read_image(
    entry: Mapping[str, Any],
    rows: Sequence[tuple[list[float], float, int]],
    classes: int,
    path: Path,
) -> Detections:
    name = str(entry["file_name"])
    logits = _numbers(entry.get("logits") or [None] * classes)
    if logits.shape != (classes,):
        raise InputError(f"{path}: image '{name}' has {len(logits)} logits for {classes} classes.")
    size = (int(entry.get("height") or 0), int(entry.get("width") or 0))
    parts = entry.get("regions")
    regions = None
    if parts is not None:
        values = {f.name: _numbers(parts[f.name]) for f in dataclasses.fields(RegionFigures)}
        regions = RegionFigures(**{**values, "scores": values["scores"].reshape(-1, classes)})
    found = _detections(name, size, rows, logits, regions, where=f"{path}: image '{name}'")
    return dataclasses.replace(
        found,
        embedding=_unpacked(entry.get("embedding")),
        text_embedding=_unpacked(entry.get("text_embedding")),
        text_id=int(entry.get("text_id", -1)),
    )


def _numbers(values: Any) -> Float[np.ndarray, "*n"]:
    return np.array(values, dtype=np.float64)  # None becomes nan


def _detections(
    name: str,
    size_px: tuple[int, int],
    rows: Iterable[tuple[list[float], float, int]],
    logits: Float[np.ndarray, " k"],
    regions: RegionFigures | None = None,
    *,
    where: str,
) -> Detections:
    listed = list(rows)
    xywh = np.array([box for box, _, _ in listed], dtype=np.float64).reshape(-1, 4)
    scores = np.array([score for _, score, _ in listed], dtype=np.float64)
    if not (np.isfinite(xywh).all() and np.isfinite(scores).all() and (xywh[:, 2:] >= 0).all()):
        raise InputError(f"{where}: a box or score is not finite, or a side is below 0.")
    xyxy = np.concatenate((xywh[:, :2], xywh[:, :2] + xywh[:, 2:]), axis=1)
    return Detections(
        id=name,
        size_px=size_px,
        xyxy_px=boxes.clip(xyxy, size_px) if min(size_px) > 0 else xyxy,
        scores=scores,
        classes=np.array([label for _, _, label in listed], dtype=np.int64),
        image_logits=logits,
        regions=regions,
    )


def _from_csv(path: Path, dataset: Dataset | None) -> Predictions:
    table = _table(path)
    boxed = table[table["label"] != ""]
    values = boxed[list(NUMBERS)].apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float64)
    wrong = ~np.isfinite(values) | (np.arange(len(NUMBERS)) >= 3) & (values < 0)
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        text = boxed[NUMBERS[column]].iloc[row]
        raise InputError(
            f"{path}: row {boxed.index[row] + 2}: {NUMBERS[column]} is '{text}'; "
            "a finite number was expected, and no side below 0."
        )
    classes = _class_names(boxed["label"].tolist(), dataset)
    places = {name: i for i, name in enumerate(classes)}
    labels = [places[name] for name in boxed["label"]]
    rows: dict[str, list[tuple[list[float], float, int]]] = {n: [] for n in table["image"]}
    for name, (score, *box), label in zip(boxed["image"], values.tolist(), labels, strict=True):
        rows[name].append((box, score, label))
    return _foreign(rows, classes, path)


def _table(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; predictions were expected.") from None
    except (OSError, EOFError, UnicodeDecodeError, pd.errors.ParserError, ValueError) as error:
        raise InputError(f"{path}: not readable as CSV ({error}).") from None
    missing = [name for name in COLUMNS if name not in table.columns]
    if missing:
        raise InputError(
            f"{path}: column '{missing[0]}' is missing. {nearest(missing[0], table.columns)} "
            f"Detections have the columns {','.join(COLUMNS)}."
        )
    return table


def _class_names(labels: Sequence[str], dataset: Dataset | None) -> tuple[str, ...]:
    """Classes of the data set first; names that it lacks come after (evaluation reports them)."""
    known = dataset.classes if dataset else ()
    return (*known, *sorted(set(labels) - set(known)))


def _from_results(found: list[Any], path: Path, dataset: Dataset | None) -> Predictions:
    classes = dataset.classes if dataset else ()
    if not dataset:
        raise InputError(f"{path}: a COCO results list needs the data set that its numbers are of.")
    names = _coco_names(dataset.records)
    rows: dict[str, list[tuple[list[float], float, int]]] = {}
    for i, entry in enumerate(found):
        where = f"{path}: entry {i + 1}"
        try:
            image, category = str(entry["image_id"]), entry["category_id"]
            box, score = [float(x) for x in entry["bbox"]], float(entry["score"])
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{where}: needs image_id, category_id, bbox and score ({error!r})."
            ) from None
        label = _category(category, dataset)
        if label is None or len(box) != 4:
            raise InputError(f"{where}: category {category} of {len(classes)}, bbox {box}.")
        rows.setdefault(names.get(image, image), []).append((box, score, label))
    return _foreign(rows, classes, path)


def _category(category: Any, dataset: Dataset) -> int | None:
    names = (dataset.classes, dataset.numbers or range(1, len(dataset.classes) + 1))
    return next((known.index(category) for known in names if category in known), None)


def _coco_names(records: Sequence[Record]) -> dict[str, str]:
    by_file = {str(int(r.path.stem)): r.id for r in records if r.path.stem.isdecimal()}
    by_number = {r.extra["coco_id"]: r.id for r in records if "coco_id" in r.extra}
    return {**(by_number or by_file), **{r.id: r.id for r in records}}


def _foreign(
    rows: Mapping[str, list[tuple[list[float], float, int]]], classes: tuple[str, ...], path: Path
) -> Predictions:
    nothing = np.full(len(classes), np.nan)
    images = tuple(
        _detections(name, (0, 0), listed, nothing, where=f"{path}: image '{name}'")
        for name, listed in rows.items()
    )
    return Predictions(classes, images, {"file": path.name})
