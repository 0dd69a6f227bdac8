"""Texts on their way to the model: attached to batches, in training, validation and prediction."""

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from tests import cli
from tests.flows import runs
from tests.text.worlds import Counting, bert, change
from wsrpn import config as configs
from wsrpn import predict, text
from wsrpn.config import TextConfig
from wsrpn.data import base
from wsrpn.errors import InputError
from wsrpn.text.encoders import encoders
from wsrpn.train import run as training
from wsrpn.types import Batch, Dataset, Record

CLASSES = ("Mass", "Edema")
UNKNOWN = (math.nan, math.nan)


@pytest.fixture
def counting(monkeypatch):
    """An encoder called `counting`, and what it was asked."""
    encoder = Counting()
    monkeypatch.setitem(encoders._parts, "counting", lambda *, config, device: encoder)
    return encoder


def dataset(*said):
    records = (
        Record(f"{i}.png", Path(f"{i}.png"), str(i), UNKNOWN, text=words)
        for i, words in enumerate(said)
    )
    return Dataset("made up", CLASSES, tuple(records))


def batch(*ids):
    n = len(ids)
    return Batch(
        ids, torch.zeros(n, 1, 8, 8), torch.zeros(n, 2), torch.ones(n, 2, dtype=torch.int64)
    )


def settings(tmp_path, **more):
    return TextConfig(**{"encoder": "counting", "cache": str(tmp_path), **more})


def test_a_batch_gets_the_vectors_of_its_records_and_equal_texts_have_one_number(
    tmp_path, counting
):
    table = text.table(dataset("a mass", "", "edema", "a mass"), settings(tmp_path))
    found = table.attach(batch("3.png", "1.png", "0.png", "2.png", "other.png")).texts
    assert found.ids.tolist() == [[0], [-1], [0], [1], [-1]]
    wanted = torch.from_numpy(counting.encode(["a mass", "edema"]).vectors)
    rows = torch.cat((wanted, torch.zeros(1, 3)))[[0, 2, 0, 1, 2]]
    assert_close(found.vectors[:, 0], rows)
    assert table.facts["distinct_texts"] == 2
    assert (table.facts["images_with_text"], table.facts["images_without_text"]) == (3, 1)


def test_the_encoder_sees_every_distinct_text_and_prompt_once(tmp_path, counting):
    said = ["a mass", "", "edema", "a mass"] * 10
    table = text.table(dataset(*said), settings(tmp_path))
    space = table.space(CLASSES)
    prompts = ["Mass is present.", "No mass.", "Edema is present.", "No edema."]
    assert sorted(counting.seen) == sorted(["a mass", "edema", *prompts])
    assert_close(space.prompts.reshape(4, 3), torch.from_numpy(counting.encode(prompts).vectors))
    assert space.width == 3
    counting.calls.clear()
    text.table(dataset(*said), settings(tmp_path)).space(CLASSES)
    assert counting.calls == []


def test_levels_are_attached_side_by_side(tmp_path, counting):
    found = text.table(
        dataset("FINDINGS: small mass. IMPRESSION: mass.", "", "words"),
        settings(tmp_path, levels="hierarchical"),
    )
    assert found.levels == 3
    texts = found.attach(batch("0.png", "1.png", "2.png")).texts
    assert texts.vectors.shape == (3, 3, 3)
    assert texts.ids.tolist() == [[-1, 0, 1], [-1, -1, -1], [-1, 2, 2]]
    assert not texts.vectors[texts.ids < 0].any()


def test_what_is_cut_is_counted_per_text_also_from_the_cache(tmp_path, counting):
    said = dataset("x" * 30, "short", "x" * 30)
    for _ in range(2):
        table = text.table(said, settings(tmp_path))
        assert table.facts["truncated"] == 1
        assert any("1 of 2 distinct texts are longer than" in note for note in table.notes)


def test_a_stand_in_says_so(tmp_path):
    table = text.table(dataset("a"), settings(tmp_path, encoder="hashing"))
    assert any("stand-in" in note for note in table.notes)
    assert table.facts["stand_in"]


def test_the_digest_is_of_who_says_what(tmp_path, counting):
    def digest(*said):
        return text.table(dataset(*said), settings(tmp_path)).facts["digest"]

    assert digest("a", "b") == digest("a", "b") != digest("b", "a")


# Training


WEIGHTS = {"detection": 1.0, "contrastive": 0.5}


def with_text(folder, *, say=True):
    """`runs.data` with a report for three images of four."""
    runs.data(folder)
    path = folder / "images.csv"
    head, *rows = path.read_text().splitlines()
    said = {"left": "A spot on the left.", "right": "A spot on the right.", "": "Clear."}
    lines = [f"{head},text"]
    for row in rows:
        words = said.get(row.rsplit(",", 1)[1], "")
        lines.append(f"{row},{f'FINDINGS: {words}' if words and say else ''}")
    path.write_text("\n".join(lines) + "\n")
    return folder


def config(source, cache, *changes, **sections):
    sections = {
        "model": {"name": "wsrpn_vl", "width": 32, "heads": 4, "regions": 4, "embedding": 16},
        "phases": [{"weights": WEIGHTS}],
        "text": {"encoder": "hashing", "captions": "text", "cache": str(cache)},
        **sections,
    }
    tree = configs.document(runs.config(source))
    tree["model"] |= sections.pop("model")
    tree |= sections
    return configs.parse(runs.changed(tree, *changes))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A data set with reports, and a run that read them."""
    place = tmp_path_factory.mktemp("vl")
    source = with_text(place / "data")
    training.train(config(source, place / "cache"), place / "run")
    return place


def facts(place):
    return json.loads((place / "run" / "run.json").read_text())


def test_a_training_reads_texts_and_its_folder_says_which(trained):
    found = facts(trained)["text"]
    assert found["encoder"] == "hashing"
    assert found["width"] == 256
    assert found["distinct_texts"] == 3
    assert (found["images_with_text"], found["images_without_text"]) == (18, 6)
    notes = facts(trained)["data"]["notes"]
    assert "text: 18 of 24 images have a caption (18 from report)." in notes
    assert any("stand-in" in note for note in notes)
    rows = (trained / "run" / "metrics.csv").read_text().splitlines()
    assert "train/contrastive" in rows[0]
    assert "spot" not in (trained / "run" / "run.json").read_text()


def test_a_resumed_run_is_the_unbroken_one_and_other_texts_give_other_weights(trained, tmp_path):
    source, cache = trained / "data", trained / "cache"
    level = ("train.schedule=constant", "train.warmup=0")  # the schedule must not know the end
    training.train(config(source, cache, *level), tmp_path / "whole")
    training.train(config(source, cache, *level, "train.epochs=1"), tmp_path / "run")
    fresh = config(source, tmp_path / "new", *level)
    training.train(fresh, tmp_path / "run", resume=True)
    assert runs.fingerprint(tmp_path / "run") == runs.fingerprint(tmp_path / "whole")
    labels = config(source, cache, *level, "text.captions=labels")
    training.train(labels, tmp_path / "labels")
    assert runs.fingerprint(tmp_path / "labels") != runs.fingerprint(tmp_path / "whole")


def test_a_run_is_not_resumed_with_other_texts(trained, tmp_path):
    swapped = with_text(tmp_path / "swapped")
    path = swapped / "images.csv"
    path.write_text(path.read_text().replace("on the left", "somewhere"))
    with pytest.raises(InputError, match="the captions are not those this run began with"):
        training.train(config(swapped, trained / "cache"), trained / "run", resume=True)


def test_boxes_do_not_depend_on_the_texts_of_the_images(trained):
    run = predict.open_run(trained / "run")
    images = base.load(run.config.data)
    texts, notes = predict.captions(run, images)
    assert any(note.startswith("text: 18 of 24") for note in notes)
    plain, told = predict.predict(run, images), predict.predict(run, images, texts=texts)
    for a, b in zip(plain.images, told.images, strict=True):
        np.testing.assert_array_equal(a.xyxy_px, b.xyxy_px)
        np.testing.assert_array_equal(a.scores, b.scores)
        np.testing.assert_array_equal(a.embedding, b.embedding)
        assert a.text_embedding is None
        assert np.linalg.norm(b.embedding) == pytest.approx(1, abs=1e-4)
    assert sum(image.text_embedding is not None for image in told.images) == 18
    assert {image.text_id for image in told.images} == {-1, 0, 1, 2}
    assert any("stand-in" in note for note in told.provenance["notes"])


def test_eval_reports_retrieval_and_that_the_encoder_is_a_stand_in(trained):
    done = cli.wsrpn("eval", trained / "run", "--split", "all", "--bootstrap", 20, "--json")
    assert done.exit_code == 0, done.stderr
    report = json.loads(done.stdout)
    assert 0 <= report["metrics"]["retrieval@1"]["value"] <= 1
    assert report["metrics"]["retrieval_chance@1"]["value"] == pytest.approx((1 / 3 + 1 / 3) / 2)
    assert any("stand-in" in warning for warning in report["warnings"])
    assert "6 of 24 images have no text and are left out of retrieval." in report["warnings"]
    again = cli.wsrpn("eval", trained / "run", "--split", "all", "--bootstrap", 20, "--json")
    assert json.loads(again.stdout)["metrics"] == report["metrics"]


def test_a_run_without_its_encoder_still_predicts_and_says_what_is_missing(tmp_path):
    source, place = with_text(tmp_path / "data"), bert(tmp_path / "bert")
    changes = (f"text.encoder={place}", "text.max_length=32", "train.epochs=1")
    training.train(config(source, tmp_path / "cache", *changes), tmp_path / "run")
    assert facts(tmp_path)["text"]["width"] == 16
    whole = cli.wsrpn("eval", tmp_path / "run", "--split", "val", "--bootstrap", 0, "--json")
    change(place, hidden_dropout_prob=0.2)  # other settings, so another encoder
    other = cli.wsrpn("eval", tmp_path / "run", "--split", "val", "--bootstrap", 0, "--json")
    place.rename(tmp_path / "moved")
    gone = cli.wsrpn("eval", tmp_path / "run", "--split", "val", "--bootstrap", 0, "--json")
    told = [json.loads(done.stdout) for done in (whole, other, gone)]
    assert told[0]["metrics"]["retrieval@1"]["value"] is not None
    for report, words in zip(told[1:], ("has other weights", "no such folder"), strict=True):
        assert report["metrics"]["retrieval@1"]["value"] is None
        assert report["metrics"]["auroc"] == told[0]["metrics"]["auroc"]
        assert any(w.startswith("Retrieval is left out") and words in w for w in report["warnings"])
    done = cli.wsrpn("predict", tmp_path / "run", source / "00.png", "--out", tmp_path / "p.json")
    assert done.exit_code == 0, done.stderr


def test_the_encoder_may_lie_elsewhere_on_resume_but_must_be_the_same(tmp_path):
    source, place = with_text(tmp_path / "data"), bert(tmp_path / "bert")
    changes = ("text.max_length=32", "train.epochs=1")
    first = config(source, tmp_path / "cache", f"text.encoder={place}", *changes)
    training.train(first, tmp_path / "run")
    place.rename(tmp_path / "moved")
    moved = config(source, tmp_path / "cache2", f"text.encoder={tmp_path / 'moved'}", *changes)
    training.train(moved, tmp_path / "run", resume=True)
    other = bert(tmp_path / "other", seed=3)
    with pytest.raises(InputError, match="the text encoder or the captions are not those"):
        training.train(
            config(source, tmp_path / "cache", f"text.encoder={other}", *changes),
            tmp_path / "run",
            resume=True,
        )


def test_the_cache_and_the_loading_of_an_encoder_leave_the_random_numbers_alone(tmp_path):
    source, place = with_text(tmp_path / "data"), bert(tmp_path / "bert")
    changes = (f"text.encoder={place}", "text.max_length=32", "train.epochs=1")
    for name in ("cold", "warm"):
        training.train(config(source, tmp_path / "cache", *changes), tmp_path / name)
    assert runs.fingerprint(tmp_path / "cold") == runs.fingerprint(tmp_path / "warm")


# Refusals and notes


def test_a_training_that_reads_text_where_there_is_none_is_refused(tmp_path):
    source = with_text(tmp_path / "data", say=False)
    with pytest.raises(InputError) as caught:
        training.train(config(source, tmp_path / "cache"), tmp_path / "run")
    assert "losses contrastive read text, and no training image has any" in str(caught.value)
    assert "text.captions=labels" in str(caught.value)
    training.train(
        config(source, tmp_path / "cache", "text.captions=labels", "train.epochs=1"),
        tmp_path / "run",
    )
    assert facts(tmp_path)["text"]["sources"] == {"labels": 24}


def test_a_training_that_reads_text_without_an_encoder_is_refused(tmp_path):
    source = with_text(tmp_path / "data")
    with pytest.raises(InputError, match=r"losses contrastive read text, and text.encoder is none"):
        training.train(config(source, tmp_path, "text.encoder=none"), tmp_path / "run")
    plain = dataclasses.replace(
        config(source, tmp_path, "text.encoder=none"),
        phases=configs.parse({"phases": [{"weights": {"detection": 1}}]}).phases,
    )
    with pytest.raises(InputError, match="model wsrpn_vl reads text"):
        training.train(plain, tmp_path / "run")


def test_a_model_that_reads_prompts_only_embeds_no_report(tmp_path, counting):
    source = with_text(tmp_path / "data")
    sections = {
        "model": {"name": "fusion_mid", "width": 32, "heads": 4, "regions": 4},
        "phases": [{"weights": {"detection": 1.0}}],
    }
    chosen = config(
        source, tmp_path / "cache", "text.encoder=counting", "train.epochs=1", **sections
    )
    training.train(chosen, tmp_path / "run")
    assert len(counting.seen) == 4
    run = predict.open_run(tmp_path / "run")
    prompts = run.model.get_buffer("prompts")
    assert_close(prompts.reshape(4, 3), torch.from_numpy(counting.encode(counting.seen).vectors))
    assert predict.captions(run, base.load(run.config.data)) == (None, ())


def test_an_encoder_that_nothing_reads_is_said_to_have_no_effect(tmp_path):
    chosen = runs.config(runs.data(tmp_path / "data"), "text.encoder=hashing", "train.epochs=1")
    training.train(chosen, tmp_path / "run")
    assert facts(tmp_path)["text"] is None
    assert any("text.encoder=hashing has no effect" in n for n in facts(tmp_path)["data"]["notes"])


def test_the_config_knows_its_keys(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("text: {encodr: minilm}")
    with pytest.raises(InputError, match=r"unknown key 'text.encodr'. Did you mean 'encoder'\?"):
        configs.load(path)
    path.write_text("text: {sections: [finding]}")
    with pytest.raises(InputError, match=r"text\.sections"):
        configs.load(path)
    shown = cli.wsrpn("train", "wsrpn-demo", "--show-config")
    assert "text:\n  encoder: none\n" in shown.stdout


def test_the_command_line_says_what_a_training_read(tmp_path):
    source = with_text(tmp_path / "data")
    path = tmp_path / "c.yaml"
    path.write_text(configs.dump(config(source, tmp_path / "cache", "train.epochs=1")))
    done = cli.wsrpn("train", path, "--out", tmp_path / "run")
    assert done.exit_code == 0, done.stderr
    assert "note: text: 18 of 24 images have a caption" in done.stderr
    assert "stand-in" in done.stderr
    image = source / "00.png"
    for words in (("predict", tmp_path / "run", image, "--out", tmp_path / "p.json"),
                  ("heatmap", tmp_path / "run", image, "--out", tmp_path / "maps")):  # fmt: skip
        done = cli.wsrpn(*words, "--json")
        assert done.exit_code == 0, done.stderr
        assert "stand-in" in done.stderr
        assert any("stand-in" in warning for warning in json.loads(done.stdout)["warnings"])
