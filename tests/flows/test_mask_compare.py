"""`wsrpn compare` of runs that segment and of folders of maps."""

import json
import shutil

import pytest

from tests.cli import wsrpn
from tests.segmentation import worlds

FEW = ("--bootstrap", 20)


@pytest.fixture(autouse=True)
def _model():
    with worlds.bright():
        yield


@pytest.fixture
def place(tmp_path):
    """Two seeds whose logits are too low, one of which is calibrated, and a run that is right."""
    data = worlds.data(tmp_path / "data", images=12)
    for seed in (0, 1):
        worlds.run(tmp_path / f"low-{seed}", data, f"train.seed={seed}", offset=-1.0)
    worlds.run(tmp_path / "right", data, "masks.margin=16", offset=2.0)
    return tmp_path


def compare(place, *words, code=0):
    result = wsrpn("compare", *words, *FEW, "--out", place / "out", "--json")
    assert result.exit_code == code, result.stderr
    return result


def document(result):
    return json.loads(result.stdout)


def test_seeds_of_one_config_are_one_method_and_every_run_keeps_its_calibration(place):
    assert wsrpn("calibrate", place / "low-1").exit_code == 0
    runs = [place / name for name in ("low-0", "low-1", "right")]
    result = compare(place, *runs)
    found = document(result)
    alone = {}
    for run in runs:
        report = document(wsrpn("eval", run, "--json", *FEW))
        alone[run.name] = report["metrics"]["jaccard"]["value"]
    assert alone["low-0"] == 0
    assert alone["low-1"] == 1
    low, right = found["methods"]
    assert low["name"] == "low"
    assert low["seeds"] == [0, 1]
    assert low["per_run"]["jaccard"] == [0, 1]
    assert right["figures"]["jaccard"]["value"] == alone["right"]
    gap = found["metrics"]["right - low/jaccard"]["value"]
    assert gap == pytest.approx(alone["right"] - 0.5)
    said = " ".join(found["warnings"])
    assert "low-0, right: not calibrated" in said
    assert "classes" not in (place / "out" / "compare.md").read_text()
    assert (place / "out" / "compare.csv").read_text().startswith("figure,")
    assert (place / "out" / "compare.png").stat().st_size > 1000
    assert "4 images of 4 patients, 8 objects" in result.stderr


def test_requirements_and_metrics_are_those_of_masks(place):
    pair = (place / "low-0", place / "right", "--metric", "jaccard,object_f1")
    met = compare(place, *pair, "--require", "right - low-0/jaccard>=0.5")
    assert set(document(met)["methods"][0]["figures"]) == {"jaccard", "object_f1"}
    compare(place, *pair, "--require", "low-0/jaccard>=0.5", code=3)
    wrong = compare(place, *pair[:2], "--metric", "auroc", code=2)
    assert "no figure is called 'auroc'" in wrong.stderr


def test_folders_of_maps_and_masks_stand_beside_runs(place):
    data = place / "data"
    assert wsrpn("eval", place / "right", "--split", "all", *FEW).exit_code == 0
    maps = shutil.copytree(place / "right" / "eval-all" / "maps", place / "maps")
    (maps / "maps.json").unlink()
    runs = (f"ours={place / 'right'}", f"maps={maps}", f"truth={data / 'masks'}")
    found = document(compare(place, *runs, "--data", data))
    ours, theirs, truth = found["methods"]
    assert theirs["figures"] == ours["figures"]
    assert truth["figures"]["jaccard"]["value"] == 1


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("RUN", "BOXES"), "figures of masks and of boxes are not compared"),
        (("RUN", "OTHER", "--map", "a=b"), "--map is not for masks"),
        (("RUN", "RUN"), "stands twice among the runs"),
        (("RUN", "MASKS"), "maps need their truth: pass --data"),
        (("RUN", "low-2"), "no such run folder"),
        (("RUN", "EMPTY"), "neither a run folder nor a folder of maps or masks"),
        (("RUN", "OTHER", "--metric", "jacard"), "no figure is called 'jacard'"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_a_sentence(place, words, sentence):
    (place / "empty").mkdir()
    (place / "boxes.csv").write_text("image,label,score,x,y,width,height\n")
    named = {
        "RUN": place / "low-0", "OTHER": place / "right", "BOXES": place / "boxes.csv",
        "MASKS": place / "data" / "masks", "EMPTY": place / "empty",
    }  # fmt: skip
    result = compare(place, *(named.get(word, word) for word in words), code=2)
    assert sentence in result.stderr
    assert not (place / "out").exists()


def test_an_image_that_cannot_be_read_is_skipped_in_all_runs_and_told(place):
    (place / "data" / "02.png").write_bytes(b"no image")
    runs = (place / "low-0", place / "right")
    assert "02" in compare(place, *runs, code=2).stderr
    result = compare(place, *runs, "--on-error", "skip", code=1)
    found = document(result)
    assert found["provenance"]["images"] == 3
    assert "1 image could not be read and are left out: 02.png." in found["warnings"]


def test_runs_that_were_split_in_other_ways_meet_on_images_both_were_tested_on(place):
    table = place / "right" / "splits.csv"
    lines = table.read_text().splitlines()
    moved = [line.replace(",test", ",train") if "02" in line else line for line in lines]
    table.write_text("\n".join(moved) + "\n")
    runs = (place / "low-0", place / "right")
    told = compare(place, *runs, code=2)
    assert "do not answer for the same images (4 and 3, 3 in common)" in told.stderr
    assert not (place / "right" / "eval-test" / "report.json").exists()
    found = document(compare(place, *runs, "--images", "listed"))
    assert found["provenance"]["images"] == 3
    assert "1 image left out that not all runs answer for: 02.png." in found["warnings"]


def test_runs_of_other_data_are_said_to_be_judged_on_their_own(place):
    shutil.copytree(place / "data", place / "copy")
    worlds.run(place / "far", place / "copy", offset=1.0)
    said = document(compare(place, place / "low-0", place / "far"))["warnings"]
    assert any(
        note.startswith("far was trained on") and "is judged on its pictures and masks" in note
        for note in said
    )
    both = document(
        compare(place, place / "low-0", place / "data" / "masks", "--data", place / "data")
    )
    assert not any("was trained on" in note for note in both["warnings"])
