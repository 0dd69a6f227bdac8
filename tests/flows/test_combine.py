"""`wsrpn combine`: one table of several, weights given, chosen and kept, and bad input."""

import csv
import dataclasses
import json
import shutil

import numpy as np
import pytest

from tests import cli
from wsrpn.slides import phantom, sheet, table
from wsrpn.slides.phantom import Plan


def done(*words, code=0):
    """What a command leaves that must end with `code`; it never shows a traceback."""
    result = cli.wsrpn(*words)
    assert result.exit_code == code, result.stderr + result.stdout
    assert "Traceback" not in result.stderr
    return result


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Scores of a model that knows the truth, and of one on larger tiles that knows nothing."""
    out = tmp_path_factory.mktemp("combine")
    phantom.write(out, Plan(slides=10, tiles=200, burden="0.1-0.3", normal=0.0, auc=0.95))
    random = np.random.default_rng(0)
    made = table.read(out / "scores.parquet")
    coarse = []
    for one in made.slides:
        grid = one.lattice
        first = np.unique(np.stack([grid.row // 2, grid.column // 2]), axis=1)
        lattice = dataclasses.replace(
            grid, row=first[0], column=first[1], pitch_px0=(512.0, 512.0),
            shape=(int(first[0].max()) + 1, int(first[1].max()) + 1),
        )  # fmt: skip
        many = first.shape[1]
        unknown = np.full(many, np.nan)
        coarse.append(
            dataclasses.replace(
                one,
                lattice=lattice,
                size_px0=(512.0, 512.0),
                label=unknown,
                truth=unknown,
                score=random.standard_normal(many),
                tissue=np.ones(many),
            )
        )
    blind = dataclasses.replace(made, slides=tuple(coarse))
    table.write(blind, out / "blind.parquet")
    table.write(made, out / "good.parquet")
    return out


def combine(folder, *more, code=0, tables=("good.parquet", "blind.parquet")):
    out = folder / "both.parquet"
    return done("combine", *(folder / one for one in tables), "--out", out, *more, code=code)


def test_weights_are_chosen_on_some_slides_kept_and_used_on_all(folder):
    said = combine(folder, "--fit", "--data", folder / "slides.csv", "--json")
    document = json.loads(said.stdout)
    assert document["metrics"]["weight_good"]["value"] >= 0.7
    assert document["failed"] == {}
    assert "iou_macro on patients held out in turn" in said.stderr
    assert "chosen without the patient" in said.stderr
    kept = json.loads((folder / "combine.json").read_text())
    slides = sheet.read(folder / "slides.csv")
    assert {slides[name].split for name in kept["slides"]} == {"val"}
    assert len(kept["tried"]) == 11
    first = (folder / "both.parquet").read_bytes()
    again = combine(folder, "--weights", folder / "combine.json", "--data", folder / "slides.csv")
    told = f"note: The weights were chosen on {len(kept['slides'])} slides"
    assert told in again.stderr
    assert (folder / "both.parquet").read_bytes() == first


def test_a_fit_on_one_patient_does_not_speak_of_others_held_out(folder, tmp_path):
    with (folder / "slides.csv").open() as text:
        rows = list(csv.DictReader(text))
    first = next(row for row in rows if row["split"] == "val")
    with (tmp_path / "slides.csv").open("w") as text:
        writer = csv.DictWriter(text, list(first))
        writer.writeheader()
        writer.writerows({**row, "split": "val" if row is first else "test"} for row in rows)
    for place in ("annotations", "thumbnails"):
        shutil.copytree(folder / place, tmp_path / place)
    said = combine(folder, "--fit", "--data", tmp_path / "slides.csv").stderr
    assert "on the slides of the fit" in said
    assert "on patients held out in turn" not in said
    assert "Too few patients to hold one out" in said
    assert "(1 good, 0 blind)" in said
    words = "blind adds nothing to good on these slides: the weight is 0."
    assert f"warning: {words}" in said
    assert words in json.loads((folder / "combine.json").read_text())["warnings"]


def test_the_table_goes_on_to_calibrate_and_eval(folder, tmp_path):
    combine(folder)
    both = table.read(folder / "both.parquet", slides=sheet.read(folder / "slides.csv"))
    assert len(both.slides) == 10
    steps = ("--normalise", "none", "--smooth", "0", "--min-area", "0", "--max-hole", "0")
    fitted = tmp_path / "calibration.json"
    data = ("--data", folder / "slides.csv")
    done("calibrate", folder / "both.parquet", *data, *steps, "--out", fitted)
    said = done(
        "eval", folder / "both.parquet", *data, "--calibration", fitted, "--out", tmp_path,
        "--bootstrap", 20, "--json", "--require", "tile_auroc>=0.75",
    )  # fmt: skip
    assert json.loads(said.stdout)["metrics"]["iou_macro"]["value"] > 0.1


def test_a_slide_of_one_table_alone_is_listed_and_the_others_go_on(folder, tmp_path):
    made = table.read(folder / "blind.parquet")
    table.write(dataclasses.replace(made, slides=made.slides[1:]), tmp_path / "less.parquet")
    said = done(
        "combine", folder / "good.parquet", tmp_path / "less.parquet", "--out",
        tmp_path / "both.csv", code=1,
    )  # fmt: skip
    assert f"failed {made.slides[0].slide}: no scores of it in less" in said.stderr
    assert len(table.read(tmp_path / "both.csv").slides) == 9


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--weights", "0.6"), "1 weight for 2 tables"),
        (("--weights", "a,b"), "write 0.6,0.4"),
        (("--weights", "gone.json"), "no such file"),
        (("--weights", "1,1", "--fit"), "given or chosen"),
        (("--split", "val"), "--split belongs to --fit"),
        (("--score", "scor"), "Did you mean 'score'"),
        (("--fit", "--objective", "iuo", "--data", "slides.csv"), "iuo"),
        (("--fit", "--over", "all"), "no such choice"),
    ],
)
def test_wrong_use_is_told_in_a_sentence(folder, more, words):
    assert words in combine(folder, *more, code=2).stderr


def test_one_table_or_a_file_of_no_known_kind_is_refused(folder):
    assert "two score tables" in combine(folder, tables=("good.parquet",), code=2).stderr
    tables = (folder / "good.parquet", folder / "blind.parquet")
    said = done("combine", *tables, "--out", folder / "both.xlsx", code=2)
    assert "is .parquet, .csv or .csv.gz" in said.stderr


def test_no_table_is_written_over_by_what_is_made_of_it(folder):
    before = (folder / "blind.parquet").read_bytes()
    tables = (folder / "good.parquet", folder / "blind.parquet")
    said = done("combine", *tables, "--out", folder / "." / "blind.parquet", code=2)
    assert "is one of the tables to combine" in said.stderr
    assert (folder / "blind.parquet").read_bytes() == before
