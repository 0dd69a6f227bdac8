"""Every file in examples/ runs as it is, with small settings."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import served

EXAMPLES = Path(__file__).parent.parent / "examples"
SMALL = {
    "pipeline.sh": {
        "DATA": "phantom:cxr?images=24&size=48&seed=1", "EPOCHS": "1", "REQUIRE": "auroc>=0",
    },
    "anomaly.sh": {
        "PHANTOM": "slides?files=true&slides=6&tiles=40&tile=48&mpp=2&burden=0.1-0.3&seed=1",
        "EPOCHS": "1",
        "REQUIRE": "tile_auroc>=0",
        "OMP_NUM_THREADS": "1",
    },
    "segmentation.sh": {
        "DATA": "phantom:beads?images=20&size=64&beads=2-4&seed=1",
        "EPOCHS": "2",
        "REQUIRE": "jaccard>=0",
        "OMP_NUM_THREADS": "1",
    },
    "slides.sh": {"SCORES": "phantom:slides?slides=8&tiles=250&seed=3&burden=0.02-0.2&auc=0.97"},
}  # fmt: skip


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """The environment of a user who has activated ours, where `wsrpn` need not import torch."""
    folder = tmp_path_factory.mktemp("bin")
    found = {**os.environ, "XDG_CACHE_HOME": str(tmp_path_factory.mktemp("cache"))}
    address = folder / "socket"
    server = subprocess.Popen(
        [sys.executable, served.__file__, str(address)],
        env={**found, "OMP_NUM_THREADS": "1"}, cwd=EXAMPLES.parent, stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert server.stdout.readline() == b"ready\n"
        served.client(folder, address)
        found["PATH"] = os.pathsep.join(
            (str(folder), str(Path(sys.executable).parent), found["PATH"])
        )
        yield found
    finally:
        server.kill()
        server.communicate()


def run(name, out, environment, *, code=0):
    """Standard output of an example that must end with `code`, on small data."""
    interpreter = "bash" if name.endswith(".sh") else sys.executable
    done = subprocess.run(
        [interpreter, str(EXAMPLES / name), str(out)],
        cwd=out.parent,
        env={**SMALL.get(name, {}), **environment},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return done.stdout


def test_the_pipeline_hands_figures_on_and_leaves_pictures(tmp_path, environment):
    said = run("pipeline.sh", tmp_path / "out", environment)
    figures = dict(line.split("\t") for line in said.splitlines())
    assert 0 <= float(figures["auroc"]) <= 1
    assert Path(figures["report"]).is_file()
    assert (tmp_path / "out" / "heatmaps" / "contact_sheet.png").stat().st_size > 1000


@pytest.fixture(scope="module")
def slides(tmp_path_factory, environment):
    """What `slides.sh` leaves, and its standard output; not to be changed."""
    out = tmp_path_factory.mktemp("slides") / "out"
    return out, run("slides.sh", out, environment)


def test_slides_are_calibrated_on_some_and_judged_on_others(slides):
    out, said = slides
    figures = dict(line.split("\t", 1) for line in said.splitlines())
    value, low, high = map(float, figures["iou_macro"].split("\t"))
    assert 0 < low <= value <= high < 1
    report = json.loads(Path(out.parent / figures["report"]).read_text())
    assert report["metrics"]["iou_macro"]["value"] == pytest.approx(value)
    fitted = json.loads((out / "calibration.json").read_text())
    assert not set(fitted["slides"]) & set(report["per_slide"])
    assert len(list((out / "heatmaps").glob("*.geojson"))) == 3


def test_a_model_of_normal_tissue_scores_slides_that_are_judged_and_drawn(tmp_path, environment):
    config = tmp_path / "tiny.yaml"
    config.write_text(
        "base: vae-b1\nmodel: {width: 8, depth: 3}\ndata: {size: 24}\ntiles: {mpp: 4}\n"
        "train: {batch: 16}\n"
    )
    said = run("anomaly.sh", tmp_path / "out", {**environment, "CONFIG": str(config)})
    figures = dict(line.split("\t", 1) for line in said.splitlines())
    assert 0 <= float(figures["tile_auroc"].split("\t")[0]) <= 1
    assert Path(figures["report"]).is_file()
    place = tmp_path / "out" / "run"
    splits = {row["slide"]: row["split"] for row in rows(tmp_path / "out" / "slides/slides.csv")}
    fitted = json.loads((place / "calibration.json").read_text())
    assert {splits[name] for name in fitted["slides"]} == {"val"}
    report = json.loads((place / "report.json").read_text())
    assert {splits[name] for name in report["per_slide"]} == {"test"}
    assert (place / "reconstructions.png").stat().st_size > 1000
    assert list((tmp_path / "out" / "heatmaps").glob("*.geojson"))


def test_outlines_are_learned_from_masks_judged_drawn_and_measured(tmp_path, environment):
    config = tmp_path / "tiny.yaml"
    config.write_text(
        "base: beads\nmodel: {width: 4, depth: 2}\ndata: {size: 64}\n"
        "masks: {tile: 64, margin: 26}\ntrain: {lr: 0.01}\n"
    )
    out = tmp_path / "out"
    said = run("segmentation.sh", out, {**environment, "CONFIG": str(config)})
    figures = dict(line.split("\t", 1) for line in said.splitlines())
    value, low, high = map(float, figures["jaccard"].split("\t"))
    assert 0 <= low <= value <= high <= 1
    report = json.loads(Path(tmp_path / figures["report"]).read_text())
    assert report["metrics"]["jaccard"]["value"] == pytest.approx(value)
    fitted = json.loads((out / "run" / "calibration.json").read_text())
    assert fitted["kind"] == "masks"
    assert (out / "heatmaps" / "contact_sheet.png").stat().st_size > 1000
    assert len(list((out / "masks").rglob("*.png"))) >= 20
    assert rows(out / "masks" / "objects.csv")


def rows(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_slides_that_are_not_good_enough_end_the_pipeline_and_are_told_without_jq_too(
    slides, tmp_path, environment
):
    shutil.copytree(slides[0], tmp_path / "out")  # calibrated and drawn already
    path = without_jq(tmp_path / "bin", environment["PATH"])
    strict = {**environment, "REQUIRE": "iou_macro>=0.999", "PATH": path}
    said = run("slides.sh", tmp_path / "out", strict, code=3)
    assert "iou_macro\t0." in said
    assert "report\t" in said


def without_jq(folder, path):
    """A PATH with the programs of the pipeline alone; of the commands only `eval` is run."""
    folder.mkdir()
    for name in ("bash", "python3"):
        (folder / name).symlink_to(shutil.which(name, path=path))
    last = folder / "wsrpn"
    bash, ours = shutil.which("bash", path=path), shutil.which("wsrpn", path=path)
    last.write_text(f'#!{bash}\n[[ $1 != eval ]] || exec "{ours}" "$@"\n')
    last.chmod(0o755)
    return str(folder)


@pytest.mark.parametrize("name", sorted(p.name for p in EXAMPLES.glob("*.py")))
def test_a_program_draws_the_picture_that_it_is_asked_for(name, tmp_path, environment):
    out = tmp_path / "out.png"
    assert str(out) in run(name, out, environment)
    assert out.stat().st_size > 1000


def test_every_example_is_run_by_a_test():
    assert {p.name for p in EXAMPLES.iterdir() if p.suffix not in {".py", ".pyc"}} <= {
        "anomaly.sh",
        "pipeline.sh",
        "segmentation.sh",
        "slides.sh",
        "__pycache__",
    }
