"""`wsrpn data check` over the miniatures of seven public sets, in every layout."""

import json

import pytest

from tests import cli
from tests import make_xray_b as make

# layout → how it is made, the reader, images, patients, boxes, images with text
LAYOUTS = {
    "vindr": (make.vindr, "vindr", 5, 5, 5, 0),
    "vindr-kaggle": (make.vindr_kaggle, "vindr", 3, 3, 3, 0),
    "rsna": (make.rsna, "rsna", 4, 4, 3, 0),
    "siim": (make.siim, "siim", 3, 3, 2, 0),
    "padchest": (make.padchest, "padchest", 6, 5, 0, 5),
    "openi": (make.openi, "openi", 6, 4, 0, 6),
    "openi-kaggle": (make.openi_kaggle, "openi", 4, 4, 0, 4),
    "jsrt": (make.jsrt, "jsrt", 4, 4, 2, 0),
    "jsrt-kaggle": (make.jsrt_kaggle, "jsrt", 4, 4, 2, 0),
    "node21": (make.node21, "node21", 4, 3, 3, 0),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_data_check_reads_every_image_of_every_layout(tmp_path, layout):
    build, name, count, patients, boxes, texts = LAYOUTS[layout]
    done = cli.wsrpn("data", "check", f"{name}:{build(tmp_path)}", "--json")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)["check"]
    assert found["images"] == count
    assert found["patients"] == patients
    assert found["boxes"]["count"] == boxes
    assert found["text"]["images"] == texts
    assert found["unreadable"] == {}
    assert found["problems"] == []
    assert found["boxes"]["box_without_label"] == found["boxes"]["partly_outside"] == 0


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_empty_folder_is_refused_in_one_sentence(tmp_path, layout):
    name = LAYOUTS[layout][1]
    done = cli.wsrpn("data", "check", f"{name}:{tmp_path / 'none'}", "--json")
    assert done.exit_code == 2
    assert str(tmp_path / "none") in done.stderr
    assert "Traceback" not in done.stderr
