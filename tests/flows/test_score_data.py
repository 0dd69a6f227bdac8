"""What commands take for DATA after `wsrpn score`, and what `score` keeps and refuses."""

import json
import os
import shutil
import signal
import threading
import time

import pyarrow.parquet as pq
import pytest

from tests import cli
from tests.flows.test_score import _forget, cohort, done, run, sentence, trained  # noqa: F401
from tests.scoring import tile_worlds
from wsrpn.scoring import earlier, scored
from wsrpn.slides import phantom

QUICK = ("--smooth", "0", "--min-area", "0", "--max-hole", "0", "--normalise", "none")
PHANTOM = "phantom:slides?slides=3&tiles=16&tile=16&mpp=1&burden=0.3&normal=0&auc=0.9"


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    """A run over phantom slides, scored, and the sentence that its commands say of their data."""
    folder = tmp_path_factory.mktemp("phantoms")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WSRPN_CACHE", str(folder / "cache"))
        out = tile_worlds.run_folder(folder / "run", f"data.source={PHANTOM}")
        done("score", out)
        yield out


@pytest.fixture
def of_slides(tmp_path, cohort):  # noqa: F811
    """A scored run whose data are a table of slides of its own, which may go."""
    data = shutil.copytree(cohort, tmp_path / "data")
    out = tile_worlds.run_folder(tmp_path / "run", f"data.source={data / 'slides.csv'}")
    done("score", out)
    return out, data


# --- DATA


@pytest.mark.parametrize("more", ["", "&files=true"])
def test_the_phantom_of_the_training_is_data_for_every_command(phantoms, tmp_path, more):
    data = ("--data", f"{PHANTOM}{more}", "--split", "all")
    out = tmp_path / "c.json"
    done("calibrate", phantoms, *data, *QUICK, "--out", out)
    words = ("--calibration", out, "--out", tmp_path)
    report = json.loads(done("eval", phantoms, *data, *words, "--bootstrap", 0, "--json").stdout)
    assert len(report["per_slide"]) == 3
    done("heatmap", phantoms, *data, *words, "--limit", 1)


def test_a_phantom_named_twice_is_one(phantoms, tmp_path):
    plain = PHANTOM.replace("16&mpp", "64&mpp").replace("tiles=16", "tiles=80")
    done("eval", plain, "--data", plain, "--split", "all", "--bootstrap", 0, "--out", tmp_path)


def test_without_data_the_phantom_of_the_training_is_taken_and_named(phantoms, tmp_path):
    told = done("calibrate", phantoms, "--split", "all", *QUICK, "--out", tmp_path / "c.json")
    assert f"data: {PHANTOM}, which the run was trained on" in told.stderr


def test_without_data_the_table_of_the_training_is_taken_in_its_splits(of_slides, tmp_path):
    run, data = of_slides  # noqa: F811
    (run / "splits.csv").write_text("slide,split\ns0,val\ns1,val\ns2,test\ns3,train\n")
    words = ("--bootstrap", 0, "--out", tmp_path, "--json")
    told = done("eval", run, "--split", "val", *words)
    assert f"data: {data / 'slides.csv'}, which the run was trained on" in told.stderr
    assert set(json.loads(told.stdout)["per_slide"]) == {"s0", "s1", "s4"}
    named = done("eval", run, "--split", "val", "--data", data / "slides.csv", *words)
    assert json.loads(named.stdout)["per_slide"] == json.loads(told.stdout)["per_slide"]
    assert "which the run was trained on" not in named.stderr


def test_where_the_data_of_the_training_are_gone_the_table_alone_is_taken(of_slides, tmp_path):
    run, data = of_slides  # noqa: F811
    shutil.rmtree(data)
    told = done("heatmap", run, "--split", "all", "--limit", 1, "--out", tmp_path / "maps")
    assert f"note: {data / 'slides.csv'}, which the run was trained on, is gone" in told.stderr


def test_data_of_other_slides_than_those_scored_are_not_taken_by_themselves(of_slides, tmp_path):
    run, _ = of_slides  # noqa: F811
    tiles = tile_worlds.listed(tmp_path / "set", 4)
    done("score", run, "--data", tiles)
    told = done("eval", run, "--bootstrap", 0, "--out", tmp_path)
    assert "has none of the slides in" in told.stderr


@pytest.mark.parametrize("folder", [False, True])
def test_a_table_of_tiles_adds_nothing_to_scores_that_have_its_labels(run, tmp_path, folder):  # noqa: F811
    tiles = tile_worlds.listed(tmp_path / "set", 4)
    done("score", run, "--data", tiles)
    data = tiles.parent if folder else tiles
    words = ("--bootstrap", 0, "--out", tmp_path, "--json")
    told = done("eval", run, "--data", data, *words)
    assert f"note: {data} lists tiles; what it says of them is in the scores" in told.stderr
    plain = done("eval", run, *words)
    assert json.loads(told.stdout)["metrics"] == json.loads(plain.stdout)["metrics"]
    assert set(json.loads(told.stdout)["per_slide"]) == {"t1", "t3"}
    done("calibrate", run, "--data", data, *QUICK)
    done("heatmap", run, "--data", data, "--limit", 1, "--out", tmp_path / "maps")


def test_a_table_of_slides_without_files_is_refused_in_one_sentence(run, cohort, tmp_path):  # noqa: F811
    text = (cohort / "slides.csv").read_text().replace(",file,", ",path,")
    table = tmp_path / "slides.csv"
    table.write_text(text.replace(",annotation", ",note"))
    said = sentence("score", run, table)
    assert "no slide has a file; name it in column 'file'" in said
    assert "column 'path' looks like it" in said


# --- what is there already


def test_scores_of_another_run_are_not_replaced_unasked(run, cohort, tmp_path):  # noqa: F811
    other = tile_worlds.run_folder(tmp_path / "other" / "run", shade=0.5)
    out = tmp_path / "s.parquet"
    done("score", run, cohort, "--out", out)
    before = out.read_bytes()
    said = sentence("score", other, cohort, "--out", out)
    assert "scores of other weights" in said
    assert "--out" in said
    assert "--overwrite" in said
    assert out.read_bytes() == before
    done("score", run, cohort, "--out", out)  # the same weights, as ever
    done("score", other, cohort, "--out", out, "--overwrite")
    assert out.read_bytes() != before


def test_a_table_of_something_else_is_not_replaced_unasked(run, cohort, tmp_path):  # noqa: F811
    made = phantom.cohort(slides=1, tiles=30)
    from wsrpn.slides import table

    out = tmp_path / "s.parquet"
    table.write(made, out)
    said = sentence("score", run, cohort, "--out", out)
    assert "not a table of `wsrpn score`" in said
    assert "--overwrite" in said
    out.write_bytes(b"nothing")
    assert "not a table of `wsrpn score`" in sentence("score", run, cohort, "--out", out)
    done("score", run, cohort, "--out", out, "--overwrite")


def test_after_more_training_a_run_replaces_its_own_scores_and_says_so(cohort, tmp_path):  # noqa: F811
    run = tile_worlds.run_folder(tmp_path / "run")  # noqa: F811
    done("score", run, cohort)
    tile_worlds.run_folder(run, shade=0.25)
    assert "note: the scores of earlier weights in" in done("score", run, cohort).stderr
    tile_worlds.run_folder(run, "model.slow=0.0001")
    assert "--overwrite" in sentence("score", run, cohort)


def test_a_calibration_of_other_weights_is_refused(cohort, tmp_path):  # noqa: F811
    run = tile_worlds.run_folder(tmp_path / "run")  # noqa: F811
    data = ("--data", cohort / "slides.csv")
    done("score", run, cohort)
    done("calibrate", run, *data, *QUICK)
    done("eval", run, *data, "--bootstrap", 0)
    tile_worlds.run_folder(run, shade=0.25)
    done("score", run, cohort)
    told = done("eval", run, *data, "--bootstrap", 0, code=2).stderr
    assert "was fitted on scores of other weights; calibrate again" in told
    told = done("heatmap", run, *data, "--out", tmp_path / "maps", code=2).stderr
    assert "was fitted on scores of other weights; calibrate again" in told
    done("calibrate", run, *data, *QUICK)
    done("eval", run, *data, "--bootstrap", 0)


def test_an_out_that_cannot_be_written_is_told_before_a_slide_is_read(
    run, cohort, tmp_path, monkeypatch  # noqa: F811
):  # fmt: skip
    def denied(*_, **__):
        raise PermissionError(13, "Permission denied", str(tmp_path / "x"))

    monkeypatch.setattr(earlier, "_try", denied)
    monkeypatch.setattr(scored, "work", denied)
    out = tmp_path / "ro" / "s.parquet"
    said = sentence("score", run, cohort, "--out", out)
    assert said.startswith(f"{out}: ")
    assert "Permission denied" in said
    assert "--out" in said
    monkeypatch.undo()
    (tmp_path / "file").write_text("")
    out = tmp_path / "file" / "s.parquet"
    said = sentence("score", run, cohort, "--out", out)
    assert said.startswith(f"{out}: ")
    assert "--out" in said


# --- words


def test_predict_with_a_run_of_tiles_names_score_whatever_lies_in_it(run, cohort, tmp_path):  # noqa: F811
    done("score", run, cohort)
    done("calibrate", run, "--data", cohort / "slides.csv", *QUICK)
    said = sentence("predict", run, cohort / "s0.png")
    assert "is for tiles of slides" in said
    assert f"`wsrpn score {run} SLIDE…`" in said


def test_of_a_run_folder_the_file_that_is_missing_is_named(run, cohort):  # noqa: F811
    (run / "run.json").unlink()
    assert "(no run.json)" in sentence("score", run, cohort)
    (run / "config.yaml").unlink()
    assert "(no config.yaml)" in sentence("score", run, cohort)


def test_another_column_of_scores_is_named_by_calibrate_and_eval(run, cohort, tmp_path):  # noqa: F811
    done("score", run, cohort)
    data = ("--data", cohort / "slides.csv")
    told = done("calibrate", run, *data, *QUICK, "--score", "score_red").stderr
    assert told.endswith(f"calibration: {run / 'calibration.json'}, for column score_red\n")
    assert "figure of score_red" in done("eval", run, *data, "--bootstrap", 0).stderr
    told = done("calibrate", run, *data, *QUICK).stderr
    assert told.endswith(f"calibration: {run / 'calibration.json'}\n")
    assert "figure of" not in done("eval", run, *data, "--bootstrap", 0).stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_after_whole_slides_and_the_same_command_goes_on(tmp_path, number, code):
    slow = tile_worlds.run_folder(tmp_path / "run", "model.slow=0.03")
    table = tile_worlds.slides_csv(tmp_path, tile_worlds.slides(tmp_path, 4))
    out = tmp_path / "s.parquet"
    parts = tmp_path / "s.parquet.parts"

    def stop():
        for _ in range(2000):
            if list(parts.glob("*.parquet")):
                break
            time.sleep(0.005)
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=stop)
    before = signal.getsignal(number)
    thread.start()
    words = ("score", slow, table, "--out", out, "--batch", 2)
    told = cli.wsrpn(*words)
    thread.join()
    assert signal.getsignal(number) == before
    assert told.exit_code == code, told.stderr
    kept = sorted(path.stem for path in parts.glob("*.parquet"))
    assert 1 <= len(kept) < 4
    name = signal.Signals(number).name
    has = "is" if len(kept) == 1 else "are"
    assert told.stderr.endswith(
        f"stopped by {name}: {len(kept)} of 4 slides {has} kept, the same command goes on with the "
        "others\n"
    )
    assert not out.exists()
    assert not list(tmp_path.rglob("*.tmp.*"))
    again = done(*words).stderr
    assert f"{len(kept)} slide{'s' * (len(kept) > 1)} scored before" in again
    assert len(pq.read_table(out)) == 4 * 20
