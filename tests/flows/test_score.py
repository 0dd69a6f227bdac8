"""`wsrpn score` through the command line, to calibration, figures and pictures, and bad input."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from tests import cli
from tests.scoring import tile_worlds
from wsrpn import checkpoint, files, models
from wsrpn import config as configs
from wsrpn.slides import table

ROOT = Path(__file__).parents[2]
SIZE = tile_worlds.SIZE


@pytest.fixture(autouse=True, scope="module")
def _forget():
    yield
    tile_worlds.forget()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return tile_worlds.run_folder(tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture
def run(tmp_path, trained):
    """A run folder to write into."""
    return shutil.copytree(trained, tmp_path / "run")


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Six slides with a dark half each; even ones are of val, odd ones of test; masks are truth."""
    folder = tmp_path_factory.mktemp("cohort")
    rows = []
    for number in range(6):
        noise = np.random.default_rng(number).integers(0, 40, (6 * SIZE, 8 * SIZE, 3))
        truth = np.zeros(noise.shape[:2], dtype=np.uint8)
        truth[SIZE : 4 * SIZE, SIZE * (1 + number % 3) : 5 * SIZE] = 255
        shade = 200 - 120 * (truth[..., None] > 0) + noise
        Image.fromarray(shade.astype(np.uint8)).save(folder / f"s{number}.png")
        Image.fromarray(truth).save(folder / f"s{number}_mask.png")
        split = ("val", "test")[number % 2]
        rows.append((f"s{number}", f"p{number}", split, f"s{number}.png", f"s{number}_mask.png", 1))
    with (folder / "slides.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("slide", "patient", "split", "file", "annotation", "mpp"))
        writer.writerows(rows)
    return folder


def done(*words, code=0):
    """What a command leaves that must end with `code`; it never shows a traceback."""
    result = cli.wsrpn(*words)
    assert result.exit_code == code, result.stderr + result.stdout
    assert "Traceback" not in result.stderr
    return result


def sentence(*words):
    """The one line of a command that refuses, with exit code 2."""
    result = done(*words, code=2)
    lines = [line for line in result.stderr.splitlines() if not line.startswith("note: ")]
    assert len(lines) == 1, result.stderr
    assert result.stdout == ""
    return lines[0]


def test_a_run_with_scores_is_calibrated_judged_and_drawn(run, cohort, tmp_path):
    told = done("score", run, cohort / "slides.csv")
    assert told.stderr.endswith(f"{run / 'scores.parquet'}\n")
    assert "6 slides, 288 tiles, " in told.stderr
    data = ("--data", cohort / "slides.csv")
    quick = ("--smooth", "0", "--min-area", "0", "--max-hole", "0", "--normalise", "none")
    done("calibrate", run, *data, *quick)
    assert (run / "calibration.json").is_file()
    report = json.loads(done("eval", run, *data, "--bootstrap", 20, "--json").stdout)
    assert report["metrics"]["tile_auroc"]["value"] == 1.0
    assert report["metrics"]["iou_macro"]["value"] == 1.0
    out = tmp_path / "maps"
    done("heatmap", run, *data, "--out", out, "--limit", 1)
    assert list(out.glob("*.png"))


@pytest.mark.parametrize("command", ["eval", "calibrate", "heatmap", "predict"])
def test_a_run_of_tiles_without_scores_says_how_to_get_them(run, cohort, command, tmp_path):
    words = ("--data", cohort) if command != "predict" else ("--data", tile_worlds.listed(tmp_path))
    assert f"`wsrpn score {run} SLIDE…`" in sentence(command, run, *words)


def test_the_document_tells_files_counts_and_what_failed(run, cohort, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes((cohort / "s0.png").read_bytes()[:900])
    slides = [cohort / "s0.png", broken]
    result = done("score", run, *slides, "--mpp", 1, "--json", code=1)
    assert result.stdout, result.stderr
    found = json.loads(result.stdout)
    assert found["command"] == "score"
    assert found["files"] == {"scores": str(run / "scores.parquet")}
    counts = {name: figure["value"] for name, figure in found["metrics"].items()}
    assert counts.pop("tiles_per_second") > 0
    assert counts == {
        "slides": 1, "slides_skipped": 0, "slides_failed": 1, "slides_missing": 0, "tiles": 48,
    }  # fmt: skip
    assert [line for line in found["warnings"] if line.startswith("failed broken: ")]
    assert "failed broken: " in result.stderr
    again = done("score", run, *slides, "--mpp", 1, code=1)
    assert "1 slide scored before and left as they are" in again.stderr


def test_folders_tables_and_files_name_the_same_slides(run, cohort, tmp_path):
    plain = tmp_path / "plain"
    plain.mkdir()
    for number in range(2):
        Image.open(cohort / f"s{number}.png").save(plain / f"s{number}.tif")
    one, two, three = (tmp_path / f"{name}.parquet" for name in "abc")
    done("score", run, plain, "--mpp", 1, "--out", one)
    done("score", run, plain / "s1.tif", plain / "s0.tif", "--mpp", 1, "--out", two)
    done("score", run, "--data", plain, "--mpp", 1, "--out", three)
    assert one.read_bytes() == two.read_bytes() == three.read_bytes()


def test_tiles_of_a_table_are_scored_as_they_are_and_by_split(run, tmp_path):
    tiles = tile_worlds.listed(tmp_path / "set", 4)
    done("score", run, "--data", tiles.parent)
    found = pq.read_table(run / "scores.parquet").to_pandas()
    assert found.slide.unique().tolist() == ["t0", "t1", "t2", "t3"]
    assert found.label.tolist() == [0, 1] * 12
    done("score", run, "--data", tiles, "--split", "test", "--out", tmp_path / "t.parquet")
    part = pq.read_table(tmp_path / "t.parquet").to_pandas()
    assert part.slide.unique().tolist() == ["t1", "t3"]
    assert part.score.tolist() == found.score[found.slide.isin(["t1", "t3"])].tolist()


def test_without_a_slide_the_data_of_the_training_are_scored_in_its_splits(tmp_path, cohort):
    run = tile_worlds.run_folder(tmp_path / "run", f"data.source={cohort / 'slides.csv'}")
    splits = [("slide", "patient", "split"), ("s0", "p0", "train"), ("s1", "p1", "val")]
    (run / "splits.csv").write_text("\n".join(",".join(row) for row in splits) + "\n")
    done("score", run, "--split", "train")
    assert set(pq.read_table(run / "scores.parquet")["slide"].to_pylist()) == {"s0"}
    other = tmp_path / "o.parquet"
    done("score", run, cohort, "--split", "val", "--out", other)  # the same, under another name
    assert set(pq.read_table(other)["slide"].to_pylist()) == {"s0", "s2", "s4"}


def test_shards_share_a_cohort_and_the_last_one_makes_the_table(run, cohort, tmp_path):
    whole, out = tmp_path / "whole.parquet", tmp_path / "out.parquet"
    done("score", run, cohort, "--out", whole)
    first = done("score", run, cohort, "--out", out, "--shard", "1/2")
    assert f"{out} waits for " in first.stderr
    assert "--shard 2/2" in first.stderr
    assert not out.exists()
    last = done("score", run, cohort, "--out", out, "--shard", "2/2")
    assert last.stderr.endswith(f"{out}\n")
    assert out.read_bytes() == whole.read_bytes()


def test_overlap_can_be_changed_and_training_cannot(run, cohort, tmp_path):
    out = tmp_path / "s.parquet"
    done("score", run, cohort / "s0.png", "--mpp", 1, "--set", "tiles.overlap=0.5", "--out", out)
    assert len(pq.read_table(out)) == (2 * 8 - 1) * (2 * 6 - 1)
    assert "only the section tiles" in sentence("score", run, cohort, "--set", "train.batch=4")
    assert "overlap" in sentence("score", run, cohort, "--set", "tiles.overlp=0.5")


def test_a_resolution_that_is_asked_for_takes_the_place_of_the_level_of_the_training(
    cohort, tmp_path
):
    run = tile_worlds.run_folder(tmp_path / "run", "tiles.level=0")
    out = tmp_path / "s.parquet"
    done("score", run, cohort, "--set", "tiles.mpp=2", "--out", out)
    assert set(pq.read_table(out)["width"].to_pylist()) == {2 * SIZE}


def test_a_named_slide_keeps_the_split_of_the_training(run, cohort, tmp_path):
    (run / "splits.csv").write_text("slide,split\ns0,train\ns1,test\n")
    out = tmp_path / "s.parquet"
    files_of = [cohort / f"s{number}.png" for number in range(3)]
    done("score", run, *files_of, "--mpp", 1, "--out", out)
    assert [one.split for one in table.read(out).slides] == ["train", "test", None]
    (run / "splits.csv").write_bytes(b"slide,split\n\xff\xfe")
    assert "splits.csv: not readable" in sentence("score", run, *files_of, "--out", out)


def test_scores_of_weights_that_a_run_has_no_longer_are_told(cohort, tmp_path):
    run = tile_worlds.run_folder(tmp_path / "run")
    done("score", run, cohort)
    words = ("eval", run, "--data", cohort / "slides.csv", "--out", tmp_path / "eval")
    done("calibrate", run, "--data", cohort / "slides.csv")
    assert "other weights" not in done(*words).stderr
    tile_worlds.run_folder(run, shade=0.25)
    assert f"scores.parquet was made with other weights than {run}" in done(*words).stderr
    done("score", run, cohort)
    done("calibrate", run, "--data", cohort / "slides.csv")
    assert "other weights" not in done(*words).stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--data", "COHORT", "COHORT"), "one of the two"),
        ((), "name slides, or pass --data"),
        (("nowhere.svs",), "nowhere.svs: no such file"),
        (("--data", "nowhere"), "nowhere"),
        (("COHORT", "--split", "train"), "there are: test, val"),
        (("COHORT/s0.png", "--split", "val"), "they have no splits"),
        (("COHORT", "--split", "half"), "--split half: no such choice"),
        (("COHORT", "--shard", "3/2"), "--shard 3/2"),
        (("COHORT", "--mpp", "0"), "--mpp 0"),
        (("COHORT", "--mpp", "200"), "--mpp 200: no resolution of a slide"),
        (("COHORT", "--precision", "fp8"), "--precision fp8"),
        (("COHORT", "--out", "scores.csv"), "written as .parquet"),
        (("COHORT/s0.png", "COHORT/slides.csv"), "two slides are called 's0'"),
    ],
)
def test_wrong_words_are_answered_in_one_sentence(run, cohort, words, said):
    words = [word.replace("COHORT", str(cohort)) for word in words]
    assert said in sentence("score", run, *words)


def test_what_is_no_run_of_tiles_is_refused(trained, tmp_path, cohort):
    assert "not a run folder" in sentence("score", cohort, cohort)
    assert "not a run folder" in sentence("score", tmp_path, cohort, "--set", "tiles.overlap=0")


def test_a_vae_gives_a_column_for_each_of_its_scores(tmp_path, cohort):
    changes = ("model.width=8", "model.latent=4", "data.size=32", "tiles.mpp=1",
               "tiles.min_tissue=0", "tiles.tissue=none")  # fmt: skip
    config = configs.load("vae-b1", changes)
    model = models.build(config.model, classes=1)
    run = tmp_path / "run"
    saved = checkpoint.Checkpoint(1, checkpoint.flatten("model", model.state_dict()), {})
    checkpoint.save(run / "checkpoints", "best", saved)
    files.write_json(run / "run.json", {"classes": ["tumour"], "text": None})
    files.write(run / "config.yaml", configs.dump(config).encode())
    done("score", run, cohort / "slides.csv", "--precision", "fp32")
    found = pq.read_table(run / "scores.parquet").to_pandas()
    assert {"score", "score_recon", "score_kl", "score_both"} <= set(found)
    np.testing.assert_allclose(found.score, found.score_recon)
    from wsrpn.types import Batch

    tile = found[found.slide == "s1"].iloc[3]
    whole = np.asarray(Image.open(cohort / "s1.png"))[tile.y : tile.y + 32, tile.x : tile.x + 32]
    images = torch.from_numpy(whole.copy()).permute(2, 0, 1)[None] / 255
    batch = Batch(("x",), images, torch.full((1, 1), torch.nan), torch.tensor([[32, 32]]))
    with torch.no_grad():
        want = model.eval().scores(batch)
    for name, value in want.items():
        assert tile[name] == pytest.approx(float(value), rel=2e-3, abs=1e-5)


def test_a_killed_cohort_goes_on_where_it_was_and_ends_the_same(tmp_path):
    found = in_python("-m", "tests.flows.kill_score", tmp_path)
    told = json.loads(found.stdout)
    assert told["calls"]["kills"] > 5
    assert told["times"]["kills"] > 2
    assert told["calls"]["again"] == told["times"]["again"] == []
    assert told["calls"]["table"] == told["times"]["table"] == told["unbroken"]
    assert told["left over"] == []


def test_two_workers_of_ray_give_the_same_bytes_though_one_is_killed(tmp_path):
    """Ray warns of its own future; so it has a process of its own."""
    run = tile_worlds.run_folder(tmp_path / "run", f"model.dies={tmp_path / 'died'}")
    slides = tile_worlds.slides(tmp_path, 4)
    slides[2].file.write_bytes(slides[2].file.read_bytes()[:1500])
    table = tile_worlds.slides_csv(tmp_path, slides)
    words = ("score", run, table, "--code", tile_worlds.code(run))
    shared = ("--out", tmp_path / "ray.parquet", "--ray", "local", "--workers", 2)
    result = in_python("-m", "wsrpn_cli.app", *words, *shared, code=1)
    assert (tmp_path / "died").exists()
    assert "s1: its worker died, and another one takes it." in result.stderr
    assert "failed s2: " in result.stderr
    assert "3 slides, 60 tiles" in result.stderr
    done(*words, "--out", tmp_path / "one.parquet", code=1)
    assert (tmp_path / "ray.parquet").read_bytes() == (tmp_path / "one.parquet").read_bytes()


def in_python(*words, code=0):
    """What a Python process of its own leaves."""
    there = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    found = subprocess.run(
        [sys.executable, *map(str, words)], capture_output=True, text=True, check=False,
        cwd=ROOT, env=there,
    )  # fmt: skip
    assert found.returncode == code, found.stdout + found.stderr
    return found
