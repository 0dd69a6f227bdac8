"""Retrieval between images and texts, against its definition spelled out."""

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.metrics.worlds import CLASSES, boxes_of, detections, record, world
from wsrpn import predictions as files
from wsrpn.evaluate import compare, evaluate
from wsrpn.metrics import gather as gathering
from wsrpn.metrics import intervals, retrieval
from wsrpn.metrics.evidence import Evidence, Pairs
from wsrpn.metrics.gather import gather
from wsrpn.types import Dataset, Figure, Predictions


def seen_as(images, texts, ids):
    """Evidence of images whose vectors and texts are these."""
    empty = boxes_of([])
    count = len(ids)
    names = tuple(f"i{i}" for i in range(count))
    pairs = Pairs(
        np.arange(count), np.asarray(images, float), np.asarray(texts, float), np.array(ids)
    )
    return Evidence(
        ids=names, patients=names, classes=("Mass",), labels=np.zeros((count, 1)),
        logits=np.zeros((count, 1)), thresholds=np.full(1, 0.5), found=empty, chosen=empty,
        truth=empty, boxed=np.ones(count, dtype=bool), area_px=np.full(count, np.nan), pairs=pairs,
    )  # fmt: skip


def figures(seen, counts):
    found = retrieval.Retrieval(seen).figures(np.atleast_2d(np.asarray(counts, float)))
    return {name: values.total for name, values in found.items()}


def slow(scores, ids, counts, k):
    """Both directions by trying every order of the candidates that keeps better before worse."""
    drawn = [i for i in range(len(ids)) if counts[i] > 0]
    texts = sorted({ids[i] for i in drawn})
    if len(texts) < 2:
        return np.nan, np.nan

    def share(score, candidates, right):
        orders = [
            o for o in itertools.permutations(candidates)
            if all(score(a) >= score(b) for a, b in itertools.pairwise(o))
        ]  # fmt: skip
        return np.mean([any(right(c) for c in order[:k]) for order in orders])

    first = {text: list(ids).index(text) for text in texts}
    total = sum(counts[i] for i in drawn)
    to_text = sum(
        counts[i] * share(lambda t, i=i: scores[i, first[t]], texts, lambda t, i=i: t == ids[i])
        for i in drawn
    )
    to_image = sum(
        counts[i]
        * share(lambda j, i=i: scores[j, first[ids[i]]], drawn, lambda j, i=i: ids[j] == ids[i])
        for i in drawn
    )
    return to_text / total, to_image / total


@given(
    scores=st.lists(st.integers(0, 2), min_size=25, max_size=25),
    ids=st.lists(st.integers(0, 3), min_size=2, max_size=5),
    counts=st.lists(st.integers(0, 3), min_size=5, max_size=5),
)
def test_it_is_its_definition_with_ties_equal_texts_and_images_drawn_twice(scores, ids, counts):
    n = len(ids)
    counts = counts[:n]
    table = np.array(scores, float).reshape(5, 5)[:n, :n]
    # Text vectors are unit axes, so an image's vector is its row of scores.
    own = [list(ids).index(text) for text in ids]
    table = table[:, own]
    found = figures(seen_as(table, np.eye(n)[own], ids), counts)
    for k in retrieval.PLACES:
        wanted = slow(table, ids, counts, k)
        got = [found[f"retrieval@{k}_{name}"][0] for name in retrieval.DIRECTIONS]
        np.testing.assert_allclose(got, wanted, atol=1e-12)
        np.testing.assert_allclose(found[f"retrieval@{k}"][0], np.mean(wanted), atol=1e-12)


def test_many_candidates_are_answered_as_few_are(monkeypatch):
    rng = np.random.default_rng(0)
    n = 60
    seen = seen_as(rng.integers(0, 3, (n, 4)), rng.integers(0, 3, (n, 4)), rng.integers(0, 50, n))
    counts = np.concatenate((rng.multinomial(n, np.ones(n) / n, 20), rng.random((5, n)) < 0.05))
    whole = figures(seen, counts)
    for ahead in (1, 3, 1000):
        monkeypatch.setattr(retrieval, "AHEAD", ahead)
        for name, values in figures(seen, counts).items():
            np.testing.assert_array_equal(values, whole[name])


def test_a_perfect_model_finds_all_and_one_that_gives_all_the_same_is_at_chance():
    n = 12
    perfect = figures(seen_as(np.eye(n), np.eye(n), range(n)), np.ones(n))
    assert perfect["retrieval@1"] == perfect["retrieval@5"] == 1
    assert perfect["retrieval_chance@1"] == pytest.approx(1 / n)
    assert perfect["retrieval_chance@5"] == pytest.approx(5 / n)
    blind = figures(seen_as(np.ones((n, 2)), np.ones((n, 2)), range(n)), np.ones(n))
    for k in (1, 5):
        assert blind[f"retrieval@{k}"] == pytest.approx(blind[f"retrieval_chance@{k}"])


def test_chance_is_what_random_vectors_reach_also_with_equal_texts():
    rng = np.random.default_rng(1)
    ids = np.repeat(np.arange(15), 2)
    rows = []
    for _ in range(200):
        texts = rng.normal(size=(15, 8))[ids]
        rows.append(figures(seen_as(rng.normal(size=(30, 8)), texts, ids), np.ones(30)))
    for k in (1, 5):
        mean = np.mean([row[f"retrieval@{k}"] for row in rows])
        assert mean == pytest.approx(rows[0][f"retrieval_chance@{k}"][0], abs=0.01)


def test_all_images_with_the_text_are_right_answers():
    images = [[1, 0], [0.9, 0.1], [0, 1]]
    texts = [[0.9, 0.1], [0.9, 0.1], [0, 1]]
    found = figures(seen_as(images, texts, [7, 7, 8]), [1, 1, 1])
    assert found["retrieval@1_text_to_image"] == 1
    apart = figures(seen_as(images, texts, [7, 9, 8]), [1, 1, 1])
    assert apart["retrieval@1_text_to_image"] < 1, "different texts with one vector stay different"


def test_a_second_draw_of_an_image_is_no_rival_of_the_first():
    seen = seen_as(np.eye(3), np.eye(3), range(3))
    assert figures(seen, [2, 1, 0])["retrieval@1"] == 1
    assert figures(seen, [2, 1, 0])["retrieval_chance@1"] == pytest.approx(1 / 2)


def test_what_cannot_be_asked_is_undefined():
    one_text = figures(seen_as(np.eye(3), np.eye(3)[[0, 0, 0]], [4, 4, 4]), [1, 1, 1])
    nobody = figures(seen_as(np.eye(3), np.eye(3), range(3)), [0, 0, 0])
    assert all(np.isnan(values).all() for values in (*one_text.values(), *nobody.values()))
    report = evaluate(*world(), bootstrap=5)
    assert report.metrics["retrieval@1"] == Figure(None)


def with_text(predictions, *, skill=1.0, seed=0):
    """The same predictions with vectors; every third image has no text, two share one."""
    rng = np.random.default_rng(seed)
    images = []
    for i, one in enumerate(predictions.images):
        text = rng.normal(size=8)
        image = skill * text + rng.normal(size=8)
        given = {"text_embedding": (text / np.linalg.norm(text)).astype(np.float32), "text_id": i}
        images.append(
            dataclasses.replace(
                one,
                embedding=(image / np.linalg.norm(image)).astype(np.float32),
                **(given if i % 3 else {}),
            )
        )
    twin = {"text_id": images[1].text_id, "text_embedding": images[1].text_embedding}
    images[2] = dataclasses.replace(images[2], **twin)
    return dataclasses.replace(predictions, images=tuple(images))


def test_a_report_has_it_with_intervals_around_it_and_a_note_on_what_has_no_text():
    predictions, dataset = world()
    predictions = with_text(predictions)
    report = evaluate(predictions, dataset, bootstrap=200)
    for name in ("retrieval@1", "retrieval@5", "retrieval@1_image_to_text"):
        figure = report.metrics[name]
        assert figure.low < figure.value < figure.high
    assert 0 < report.metrics["retrieval_chance@1"].value < report.metrics["retrieval@1"].value
    assert "14 of 40 images have no text and are left out of retrieval." in report.warnings
    assert report.per_class["Mass"].keys() == report.per_class["Nodule"].keys()


def test_fewer_candidates_in_a_replicate_do_not_lift_the_interval():
    """Drawing with replacement leaves 63 % of the candidates, which alone makes it easier."""
    predictions, dataset = world(images=60)
    evidence = gather(with_text(predictions), dataset)
    metric = retrieval.Retrieval(evidence)
    (counts,) = intervals.draws(evidence.patients, replicates=500, seed=0)
    drawn = metric.figures(counts)["retrieval@1"]
    value = metric.figures(np.ones((1, 60)))["retrieval@1"].total[0]
    assert drawn.total.mean() > value + 0.02
    found = intervals.figure(value, drawn.total, recentred_above=drawn.recentred_above)
    assert (found.low + found.high) / 2 == pytest.approx(value, abs=0.02)


def test_two_models_are_compared_pair_by_pair():
    predictions, dataset = world()
    good, bad = with_text(predictions, skill=3.0), with_text(predictions, skill=0.0)
    found = compare(good, bad, dataset, bootstrap=100).metrics["retrieval@5"]
    assert found.low > 0
    same = compare(good, good, dataset, bootstrap=20).metrics["retrieval@5"]
    assert same == Figure(0.0, 0.0, 0.0)


def test_vectors_survive_the_file_to_the_bit_and_csv_does_without(tmp_path):
    predictions, dataset = world()
    predictions = with_text(predictions)
    files.write(predictions, tmp_path / "p.json")
    again = files.read(tmp_path / "p.json")
    for before, after in zip(predictions.images, again.images, strict=True):
        np.testing.assert_array_equal(before.embedding, after.embedding)
        assert before.text_id == after.text_id
        assert (before.text_embedding is None) == (after.text_embedding is None)
        if before.text_embedding is not None:
            np.testing.assert_array_equal(before.text_embedding, after.text_embedding)
    a, b = (evaluate(p, dataset, bootstrap=5).metrics["retrieval@1"] for p in (predictions, again))
    assert a == b
    files.write(predictions, tmp_path / "p.csv")
    assert all(image.embedding is None for image in files.read(tmp_path / "p.csv").images)


def test_a_vector_that_is_damaged_is_a_sentence(tmp_path):
    predictions, _ = world()
    path = tmp_path / "p.json"
    files.write(with_text(predictions), path)
    text = path.read_text()
    start = text.index('"embedding": "') + 14
    path.write_text(text[:start] + "?" + text[start + 1 :])
    with pytest.raises(files.InputError, match="damaged predictions"):
        files.read(path)


def test_notes_of_the_predictions_stand_in_the_report():
    predictions, dataset = world()
    told = dataclasses.replace(predictions, provenance={"notes": ["Hashed words, a stand-in."]})
    assert "Hashed words, a stand-in." in evaluate(told, dataset, bootstrap=5).warnings


def test_retrieval_on_many_images_takes_the_same_sample_of_them_for_every_model(monkeypatch):
    monkeypatch.setattr(gathering, "POOL", 4)
    rng = np.random.default_rng(0)
    records = tuple(record(f"image {i}") for i in range(9))

    def model(order):
        vectors = {r.id: rng.normal(size=3) for r in records}
        answers = tuple(
            dataclasses.replace(
                detections(records[i].id),
                embedding=vectors[records[i].id],
                text_embedding=vectors[records[i].id],
                text_id=i,
            )
            for i in order
        )
        return gather(Predictions(CLASSES, answers), Dataset("x", CLASSES, records))

    one, other = model(range(9)), model(reversed(range(9)))
    assert len(one.pairs.at) == 4
    assert np.array_equal(one.pairs.at, other.pairs.at)
    assert any("among 4 of 9 images" in note for note in one.notes)
