"""`wsrpn heatmap` of runs that answer every pixel, and of folders of maps."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from tests import cli, make
from wsrpn import checkpoint, files, models
from wsrpn import config as configs
from wsrpn.data import base
from wsrpn.masks.calibration import MaskCalibration
from wsrpn.models.base import models as registry
from wsrpn.predict import open_run
from wsrpn.report import marks, mask_view
from wsrpn.segmentation import answers, maps, pictures
from wsrpn.segmentation.engine import Answering
from wsrpn.types import ModelOutput

SIZE = 64


class Bright(torch.nn.Module):
    """What is bright is inside; looks at what the DRR shows, or at the image without one."""

    def __init__(self, *, classes: int, attention: str = "drr") -> None:
        super().__init__()
        self.gain = torch.nn.Parameter(torch.tensor(20.0))

    def forward(self, batch):
        found = self.gain * (batch.images - 0.5)
        seen = batch.images if batch.drrs is None else batch.drrs
        grid = functional.adaptive_avg_pool2d(seen, 4) * 4
        return ModelOutput(found.amax((2, 3)), mask_logits=found, attention=grid)


@pytest.fixture(autouse=True, scope="module")
def _registered():
    facts = {"gives": ("mask_logits", "logits", "attention"), "input": "masks"}
    registry.register("test_bright", **facts)(Bright)
    yield
    registry._parts.pop("test_bright")
    registry._facts.pop("test_bright")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Four images with two squares each: the masks know both, one, none, and nothing at all."""
    folder = tmp_path_factory.mktemp("data")
    rows = []
    for number in range(4):
        image = np.full((SIZE, SIZE), 0.2)
        image[8:24, 8:24] = image[40:56, 30:46] = 0.9
        make.image(folder / f"i{number}.png", image)
        mask = np.zeros((SIZE, SIZE), dtype=np.uint16)
        mask[8:24, 8:24] = 1
        mask[40:56, 30:46] = (2, 0, 0, 0)[number]
        mask = mask * (number != 2)
        drr = np.full((SIZE, SIZE), 0.1)
        drr[:16, 48:] = 1.0
        make.image(folder / "drr.png", drr)
        row = {"image": f"i{number}.png", "patient": f"p{number}", "split": "test",
               "labels": "" if number == 2 else "Bead"}  # fmt: skip
        if number < 2:
            Image.fromarray(mask).save(folder / f"m{number}.png")
            row["mask"] = f"m{number}.png"
        rows.append({"mask": "", "drr": "drr.png" if number == 0 else "", **row})
    return make.manifest(folder, rows, pictures=False)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, data):
    """A run folder; not to be written into."""
    return run_folder(tmp_path_factory.mktemp("runs") / "run", data)


@pytest.fixture
def run(tmp_path, trained):
    return shutil.copytree(trained, tmp_path / "run")


def run_folder(out, data, *changes):
    tree = {
        "model": {"name": "test_bright"}, "data": {"source": str(data), "size": SIZE},
        "train": {"precision": "fp32"},
        "phases": [{"weights": {"dice": 1.0}}],
    }  # fmt: skip
    for change in changes:
        for key, value in configs.changes([change]).items():
            configs._put(tree, key, value, where=change)
    config = configs.parse(tree)
    model = models.build(config.model, classes=1)
    saved = checkpoint.Checkpoint(1, checkpoint.flatten("model", model.state_dict()), {})
    checkpoint.save(out / "checkpoints", "best", saved)
    files.write_json(out / "run.json", {"classes": ["Bead"], "text": None})
    files.write(out / "config.yaml", configs.dump(config).encode())
    table = "image,patient,split\n" + "".join(f"i{n}.png,p{n},test\n" for n in range(4))
    (out / "splits.csv").write_text(table)
    return out


def done(*words, code=0):
    result = cli.wsrpn("heatmap", *words)
    assert result.exit_code == code, result.stderr + result.stdout
    assert "Traceback" not in result.stderr
    return result


def sentence(*words):
    lines = done(*words, code=2).stderr.splitlines()
    assert len(lines) == 1, lines
    return lines[0]


@pytest.fixture
def shown(monkeypatch):
    """What is handed to the drawing, by name."""
    seen = {}
    real = mask_view.panel

    def panel(picture):
        seen[picture.name] = picture
        return real(picture)

    monkeypatch.setattr(mask_view, "panel", panel)
    return seen


def test_a_run_is_drawn_with_truth_errors_and_where_it_looks(run, data, tmp_path, shown):
    out = tmp_path / "out"
    result = done(run, "--out", out, "--json")
    document = json.loads(result.stdout)
    assert set(document["files"]) == {"contact_sheet", *(f"i{n}.png" for n in range(4))}
    for path in document["files"].values():
        with Image.open(path) as drawn:
            assert min(drawn.size) > 200
    assert "4 pictures and a contact sheet" in result.stderr
    assert "not calibrated" in result.stderr
    assert (run / "eval-test" / "maps" / "maps.json").is_file()
    both, one, none, unknown = (shown[f"i{n}.png"] for n in range(4))
    assert both.said == "Jaccard 1.00 · Dice 1.00"
    assert one.said == "Jaccard 0.50 · Dice 0.67"
    assert none.said == "Jaccard 0.00 · Dice 0.00"
    assert not none.truth.any()
    assert unknown.truth is None
    assert unknown.said == ""
    assert [len(np.unique(p.found)) - 1 for p in (both, one)] == [2, 2]
    assert np.unravel_index(both.attention.argmax(), (4, 4)) == (0, 3), "where the DRR is bright"
    assert both.drr is not None
    assert one.drr is None
    assert one.attention[0, 0] > one.attention[0, 3], "without a DRR where the image is"


def test_scores_that_are_there_are_drawn_and_not_made_again(run, tmp_path, monkeypatch, shown):
    done(run, "--out", tmp_path / "a", "--limit", 1)
    first = shown["i0.png"].score
    monkeypatch.setattr(maps, "write", None)
    done(run, "--out", tmp_path / "b", "--limit", 1)
    np.testing.assert_array_equal(shown["i0.png"].score, first)
    for name in ("i0.png", "contact_sheet.png"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_the_calibration_of_the_run_decides_what_is_found(run, tmp_path, shown):
    MaskCalibration(threshold=0.5, min_size_px=300).save(run / "calibration.json")
    assert "not calibrated" not in done(run, "--out", tmp_path / "out", "--limit", 2).stderr
    assert set(shown) == {"i0.png", "i1.png"}, "those with masks first"
    assert not shown["i0.png"].found.any(), "both squares have 256 pixels"
    high = tmp_path / "high.json"
    MaskCalibration(threshold=1.05).save(high)
    done(run, "--out", tmp_path / "other", "--limit", 1, "--calibration", high)
    assert shown["i0.png"].threshold == 1.05
    other = MaskCalibration(provenance={"maps": {"weights_sha256": "another"}})
    other.save(high)
    assert "other weights" in sentence(run, "--out", tmp_path / "x", "--calibration", high)


def test_files_are_drawn_without_truth_and_leave_no_maps(run, data, tmp_path, shown):
    done(run, data / "i0.png", "--out", tmp_path / "out", "--format", "svg")
    (only,) = shown.values()
    assert only.truth is None
    assert not list(run.glob("eval-*"))
    assert {path.suffix for path in (tmp_path / "out").iterdir()} == {".svg"}


def test_anybodys_maps_are_drawn_beside_their_images(data, tmp_path, shown):
    mine = tmp_path / "mine"
    mine.mkdir()
    for number in range(4):
        score = np.zeros((SIZE, SIZE), dtype=np.uint8)
        score[8:24, 8:24] = 200
        Image.fromarray(score).save(mine / f"i{number}.png")
    done(mine, "--data", data, "--out", tmp_path / "out")
    assert shown["i1.png"].said == "Jaccard 1.00 · Dice 1.00"
    assert shown["i1.png"].score.max() == pytest.approx(200 / 255)
    assert shown["i1.png"].attention is None
    assert "pass --data" in sentence(mine, "--out", tmp_path / "x")
    words = sentence(mine, data / "i0.png", "--out", tmp_path / "x")
    assert "maps belong to images of data" in words
    Image.fromarray(score[:9]).save(mine / "i2.png")
    assert "i2.png: 64 × 9 pixels" in sentence(mine, "--data", data, "--out", tmp_path / "x")
    skipped = done(mine, "--data", data, "--out", tmp_path / "y", "--on-error", "skip", code=1)
    assert "skipped i2.png: " in skipped.stderr
    assert len(list((tmp_path / "y").iterdir())) == 4


def test_a_damaged_image_stops_or_is_listed(data, tmp_path):
    folder = shutil.copytree(data, tmp_path / "copy")
    run = run_folder(tmp_path / "run", folder / "images.csv")
    (folder / "i1.png").write_bytes((folder / "i1.png").read_bytes()[:60])
    few = (run, "--limit", 2, "--out", tmp_path / "out")
    assert "i1.png" in sentence(*few)
    assert "skipped i1.png: " in done(*few, "--on-error", "skip", code=1).stderr
    assert (tmp_path / "out" / "i0.png").is_file()


def test_a_file_that_failed_is_named_once(run, data, tmp_path):
    broken = make.image(tmp_path / "broken.png")
    broken.write_bytes(b"no image")
    for command in ("predict", "heatmap"):
        result = cli.wsrpn(
            command, run, data / "i0.png", broken, "--out", tmp_path / command,
            "--on-error", "skip", "--json",
        )  # fmt: skip
        assert result.exit_code == 1, result.stderr
        assert f"skipped {broken}: not an image" in result.stderr
        assert f'"{broken}: not an image' in result.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--class", "Bead"), "--class is not for masks"),
        (("--clip", "5,95"), "is for tile scores of slides"),
        (("--format", "tiff"), "--format tiff: no such choice"),
        (("--split", "half"), "--split half"),
        (("--split", "train"), "no image in split train"),
    ],
)
def test_wrong_words_are_answered_in_one_sentence(run, words, said, tmp_path):
    assert said in sentence(run, *words, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_attention_of_tiles_is_no_picture(tmp_path, data):
    changes = ("masks.scale=native", "masks.tile=64", "masks.margin=8")
    opened = open_run(run_folder(tmp_path / "run", data, *changes), device="cpu")
    engine = Answering(opened)
    assert pictures.attention(engine, np.full((64, 40), 0.3, dtype=np.float32), None).shape == (
        4,
        4,
    )
    assert pictures.attention(engine, np.full((65, 40), 0.3, dtype=np.float32), None) is None


def test_a_large_image_is_drawn_reduced_and_judged_whole(tmp_path, shown):
    side = 2048
    image = np.zeros((side, side), dtype=np.uint8)
    image[:, : side // 2] = 255
    Image.fromarray(image).save(tmp_path / "large.png")
    Image.fromarray(image).save(tmp_path / "mask.png")
    row = {"image": "large.png", "split": "test", "labels": "Bead", "mask": "mask.png"}
    source = make.manifest(tmp_path, [row], pictures=False)
    maps_of = tmp_path / "maps"
    maps_of.mkdir()
    image[: side // 2] = 0
    Image.fromarray(image).save(maps_of / "large.png")
    result = done(maps_of, "--data", source, "--out", tmp_path / "out", "--format", "svg", "--json")
    assert shown["large.png"].said == "Jaccard 0.50 · Dice 0.67"
    with Image.open(tmp_path / "out" / "large.overlay.png") as drawn:
        assert drawn.size == (side, side)
        found, truth = drawn.getpixel((5, side - 1)), drawn.getpixel((side // 2 - 1, 5))
    assert [found, truth] == [tuple(bytes.fromhex(c[1:])) for c in (marks.FOUND, marks.TRUTH)]
    assert "1 large image also in full resolution" in result.stderr
    assert "large.overlay.png" in json.loads(result.stdout)["files"]["large.png overlay"]


def test_of_a_data_set_those_with_masks_come_first(data):
    found = base.load(configs.DataConfig(source=str(data)))
    backwards = found.records[::-1]
    few = pictures.telling(type(found)("d", found.classes, backwards), 3)
    assert [record.id for record in few.records] == ["i1.png", "i0.png", "i3.png"]


def test_a_run_of_masks_is_told_from_others(run, tmp_path):
    assert answers.segments(open_run(run, device="cpu"))
    assert "not a run folder" in sentence(tmp_path, "--out", tmp_path / "out")
