"""From a run folder to detections in pixels of the stored file."""

import dataclasses

import numpy as np
import pytest
import torch

from tests import make
from tests.flows import runs
from wsrpn import gaussian, predict
from wsrpn.config import InferenceConfig
from wsrpn.data import base
from wsrpn.detections import detections
from wsrpn.errors import InputError
from wsrpn.train.run import train
from wsrpn.types import Batch, ModelOutput, Regions

LOOSE = InferenceConfig(nms_iou=1.0, min_score=0.0, max_per_class=100)


def batch(*sizes_px):
    count = len(sizes_px)
    return Batch(
        ids=tuple(f"{n}.png" for n in range(count)),
        images=torch.zeros(count, 1, 8, 8),
        labels=torch.zeros(count, 2),
        sizes_px=torch.tensor(sizes_px),
    )


def output(boxes, logits):
    """Regions with these boxes, in one image."""
    boxes, logits = torch.tensor([boxes]), torch.tensor([logits])
    sigmas = boxes[..., 2:] / 2
    log_x, log_y = gaussian.log_maps(boxes[..., :2], sigmas, (7, 7))
    regions = Regions(boxes, boxes[..., :2], sigmas, logits, log_x, log_y)
    return ModelOutput(logits=torch.tensor([[1.0, -1.0]]), regions=regions)


def one(given, config=LOOSE, size=(200, 100)):
    return detections(batch(size), given, config)[0]


def test_a_region_becomes_a_box_in_pixels_of_the_file_once_per_class():
    found = one(output([[0.5, 0.25, 0.2, 0.1]], [[2.0, -2.0]]))
    assert found.id == "0.png"
    assert found.xyxy_px == pytest.approx(np.array([[40, 40, 60, 60]] * 2), abs=1e-3)
    assert found.classes.tolist() == [0, 1]
    assert found.scores == pytest.approx([0.8808, 0.1192], abs=1e-4)
    assert found.image_logits.tolist() == [1, -1]


def test_boxes_are_cut_to_the_image_and_empty_ones_are_dropped():
    found = one(output([[0.0, 0.5, 0.5, 0.5], [0.5, 0.5, 0.0, 0.5]], [[1.0, 1.0], [3.0, 3.0]]))
    assert found.xyxy_px == pytest.approx(np.array([[0, 50, 25, 150]] * 2), abs=1e-3)


def test_a_better_box_of_the_same_class_suppresses_and_the_best_are_kept():
    boxes = [[0.5, 0.5, 0.4, 0.4], [0.52, 0.5, 0.4, 0.4], [0.1, 0.1, 0.1, 0.1]]
    logits = [[1.0, 0.0], [2.0, -1.0], [0.0, -9.0]]
    tight = dataclasses.replace(LOOSE, nms_iou=0.5)
    found = one(output(boxes, logits), tight)
    kept = sorted(
        zip(found.classes.tolist(), found.scores.astype(float).round(3).tolist(), strict=True)
    )
    assert kept == [(0, 0.5), (0, 0.881), (1, 0.0), (1, 0.5)]
    assert len(one(output(boxes, logits), dataclasses.replace(tight, max_per_class=1)).scores) == 2
    assert one(
        output(boxes, logits), dataclasses.replace(tight, min_score=0.6)
    ).classes.tolist() == [0]


def test_the_figures_of_the_regions_are_those_of_their_gaussians():
    figures = one(output([[0.5, 0.5, 0.4, 0.2]], [[2.0, -2.0]])).regions
    assert figures.entropy[0] == pytest.approx(2.764753, abs=1e-5)
    assert figures.top_patch[0] == pytest.approx(0.164130, abs=1e-6)
    assert figures.entropy_normalized[0] == pytest.approx(2.764753 / np.log(49), abs=1e-5)
    assert figures.alignment_error[0] == 0
    assert figures.scores.shape == (1, 2)


def test_a_map_becomes_a_box_scored_by_probability_and_height():
    cells = torch.full((1, 2, 8, 8), -1.0)
    cells[0, 0, 2:4, 4:7] = 3.0
    given = ModelOutput(logits=torch.tensor([[0.0, 5.0]]), maps=cells)
    found = one(given, size=(80, 160))
    assert found.classes.tolist() == [0], "a flat map has no box"
    x1, y1, x2, y2 = found.xyxy_px[0]
    assert (x1, y1, x2, y2) == pytest.approx((80, 20, 140, 40), abs=3)
    assert 0.35 < found.scores[0] < 0.5
    assert found.regions is None


def test_a_model_without_maps_and_regions_gives_no_boxes():
    found = one(ModelOutput(logits=torch.tensor([[0.0, 5.0]])))
    assert len(found.xyxy_px) == len(found.scores) == len(found.classes) == 0


@pytest.fixture(scope="module", params=["cam", "wsrpn"])
def trained(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    source = runs.data(folder / "data")
    config = {"cam": runs.config, "wsrpn": runs.wsrpn}[request.param](source, "train.epochs=1")
    return train(config, folder / "run"), source


def test_predictions_are_in_the_order_of_the_images_whatever_the_batch(trained):
    run = predict.open_run(trained[0], device="cpu")
    dataset = base.load(run.config.data)
    done = []
    found = predict.predict(run, dataset, listen=done.append)
    assert [image.id for image in found.images] == [record.id for record in dataset.records]
    assert sum(done) == len(dataset)
    assert found.classes == ("left", "right")
    assert found.provenance["weights_sha256"] == run.digest
    whole = torch.cat([out.logits for _, out in predict.outputs(run, dataset)])
    single = torch.cat([out.logits for _, out in predict.outputs(run, dataset, batch=1)])
    assert torch.allclose(whole, single, atol=1e-4)
    for image in found.images:
        assert image.size_px == (48, 48)
        assert image.xyxy_px.min() >= 0
        assert image.xyxy_px.max() <= 48
        assert ((image.scores >= 0) & (image.scores <= 1)).all()


def test_labels_and_boxes_of_the_data_do_not_reach_the_predictions(trained):
    run = predict.open_run(trained[0], device="cpu")
    dataset = base.load(run.config.data)
    blind = base.files([record.path for record in dataset.records])
    with_labels, without = predict.predict(run, dataset), predict.predict(run, blind)
    for a, b in zip(with_labels.images, without.images, strict=True):
        assert np.array_equal(a.xyxy_px, b.xyxy_px)
        assert np.array_equal(a.image_logits, b.image_logits)


def test_an_image_that_cannot_be_read_stops_or_is_listed(trained, tmp_path):
    run = predict.open_run(trained[0], device="cpu")
    good = make.image(tmp_path / "good.png")
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"\x89PNG")
    dataset = base.files([bad, good])
    with pytest.raises(InputError, match=r"bad\.png"):
        predict.predict(run, dataset)
    found = predict.predict(run, dataset, on_error="skip")
    assert [image.id for image in found.images] == [str(good)]
    assert list(found.failed) == [str(bad)]


def test_what_is_no_run_folder_is_refused_in_a_sentence(trained, tmp_path):
    with pytest.raises(InputError, match="not a run folder"):
        predict.open_run(tmp_path)
    copy = tmp_path / "run"
    copy.mkdir()
    for name in ("config.yaml", "run.json"):
        (copy / name).write_bytes((trained[0] / name).read_bytes())
    with pytest.raises(InputError, match="no usable 'best' checkpoint"):
        predict.open_run(copy)
    (copy / "checkpoints").symlink_to(trained[0] / "checkpoints")
    text = (copy / "config.yaml").read_text()
    (copy / "config.yaml").write_text(text.replace("backbone: tiny", "backbone: resnet18"))
    with pytest.raises(InputError, match="the checkpoint does not fit its config") as caught:
        predict.open_run(copy)
    assert "\n" not in str(caught.value)


def test_a_device_that_is_not_there_is_refused(trained):
    with pytest.raises(InputError, match="--device abacus: no such device; use cpu"):
        predict.open_run(trained[0], device="abacus")
