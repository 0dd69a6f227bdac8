"""Batches of images with masks: the same bits whatever keeps, reads, resumes or shares them."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests import make
from wsrpn.config import AugmentConfig, DataConfig, MasksConfig, RunConfig, TrainConfig
from wsrpn.data.images import ImageReadError
from wsrpn.masks import loader
from wsrpn.masks.store import Store
from wsrpn.types import Dataset, Record

STILL = AugmentConfig(rotate=0.0, translate=0.0, scale=0.0, brightness=0.0, contrast=0.0)
MOVING = AugmentConfig(turns=True, flip=0.5, rotate=20.0, blur=0.3, noise=0.02, gamma=0.2)
SIZES = ((40, 56), (32, 32), (70, 33), (20, 90), (64, 64), (48, 48), (33, 31))
SIDE = 32


def pattern(height, width, number):
    """Grey levels that name their pixel, and a mask that follows from them alone."""
    rows, columns = np.mgrid[:height, :width]
    grey = ((rows * 7 + columns * 3 + number * 11) % 256).astype(np.uint8)
    return grey, grey >= 128


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Images of many sizes; the DRR (of every second one) is the image itself."""
    root = tmp_path_factory.mktemp("masks")
    records = []
    for number, (height, width) in enumerate(SIZES):
        grey, inside = pattern(height, width, number)
        path = make.image(root / f"{number}.png", grey)
        mask = make.image(root / "masks" / f"{number}.png", inside.astype(np.uint8))
        drr = path if number % 2 else None
        records.append(Record(f"{number}.png", path, f"p{number}", (1.0,), mask=mask, drr=drr))
    blank = make.image(root / "blank.png", np.full((40, 40), 9, np.uint8))
    records.append(Record("blank.png", blank, "p", (0.0,)))
    return Dataset("patterns", ("bead",), tuple(records))


def config_of(*, scale="native", cache="memory", workers=0, batch=4, augment=STILL, **options):
    return RunConfig(
        data=DataConfig(size=options.pop("size", SIDE), cache=cache, augment=augment, **options),
        train=TrainConfig(batch=batch, workers=workers),
        masks=MasksConfig(scale=scale),
    )


def batches_of(data, config, *, training=True, epoch=0, start=0, cache=None, **options):
    fed = loader.feed(data, config, training=training, cache=cache, **options)
    return list(fed(epoch, start))


def assert_same(found, expected):
    assert [batch.ids for batch in found] == [batch.ids for batch in expected]
    for one, other in zip(found, expected, strict=True):
        for name in ("images", "masks", "labels", "sizes_px", "drrs", "has_drr"):
            assert torch.equal(getattr(one, name), getattr(other, name)), name


@pytest.mark.parametrize("scale", ["fit", "native"])
@pytest.mark.parametrize("training", [True, False])
def test_where_images_are_kept_and_who_reads_them_changes_no_bit(data, tmp_path, scale, training):
    options = {"epoch": 3, "training": training}
    expected = batches_of(data, config_of(scale=scale, augment=MOVING), **options)
    for cache, workers in [("none", 0), ("disk", 0), ("disk", 2), ("memory", 2)]:
        config = config_of(scale=scale, augment=MOVING, cache=cache, workers=workers)
        assert_same(batches_of(data, config, cache=tmp_path, **options), expected)
    assert len(list(tmp_path.glob("*.bin"))) == 1


def test_a_damaged_cache_on_disk_is_made_again(data, tmp_path):
    config = config_of(cache="disk")
    expected = batches_of(data, config, cache=tmp_path)
    array, about = next(tmp_path.glob("*.bin")), next(tmp_path.glob("*.json"))
    for damage in (lambda: array.write_bytes(b"short"), lambda: about.write_text('{"key": 1}')):
        damage()
        assert_same(batches_of(data, config, cache=tmp_path), expected)


def test_a_resume_inside_an_epoch_goes_on_as_if_unbroken(data):
    config = config_of(augment=MOVING)
    whole = batches_of(data, config, epoch=2)
    assert_same(batches_of(data, config, epoch=2, start=1), whole[1:])
    again = batches_of(data, config, epoch=3)
    assert not torch.equal(
        torch.cat([b.images for b in again]), torch.cat([b.images for b in whole])
    )


@pytest.mark.parametrize("scale", ["fit", "native"])
def test_two_processes_together_take_what_one_takes(data, scale):
    config = config_of(scale=scale, augment=MOVING)
    for training in (True, False):
        alone = batches_of(data, config, training=training)
        parts = [batches_of(data, config, training=training, rank=r, world=2) for r in (0, 1)]
        together = {
            name: image
            for part in parts for batch in part
            for name, image in zip(batch.ids, batch.images, strict=True)
        }  # fmt: skip
        everything = [(n, i) for b in alone for n, i in zip(b.ids, b.images, strict=True)]
        assert len(everything) == len(together)
        assert all(torch.equal(together[name], image) for name, image in everything)


@given(st.integers(1, 200), st.integers(1, 200), st.integers(1, 64))
def test_windows_cover_every_pixel_and_stay_inside(height, width, side):
    seen = np.zeros((height, width), dtype=int)
    found = loader.corners((height, width), side)
    for top, left in found:
        assert 0 <= top <= max(height - side, 0)
        assert 0 <= left <= max(width - side, 0)
        seen[top : top + side, left : left + side] += 1
    assert seen.min() >= 1
    assert len(found) == len(set(found)) == -(-height // side) * -(-width // side)


def test_native_validation_gives_back_every_image_and_mask_pixel_by_pixel(data):
    found = {}
    for batch in batches_of(data, config_of(), training=False):
        for at, name in enumerate(batch.ids):
            found[name] = (batch.images[at, 0].numpy(), batch.masks[at, 0].numpy())
    for number, (height, width) in enumerate(SIZES):
        grey, inside = pattern(height, width, number)
        for k, (top, left) in enumerate(loader.corners((height, width), SIDE)):
            image, mask = found[f"{number}.png@{k}"]
            part = np.s_[top : top + SIDE, left : left + SIDE]
            rows, columns = grey[part].shape
            assert (image[:rows, :columns] == grey[part].astype(np.float32) / 255).all()
            assert (mask[:rows, :columns] == inside[part]).all()
            assert ((image >= 128 / 255) == mask).all()  # what is mirrored is mirrored alike
    assert {loader.image_of(name) for name in found} == {record.id for record in data.records}


def test_a_random_crop_holds_pixels_of_its_image_and_moves_from_epoch_to_epoch(data):
    fed = loader.feed(data, config_of(batch=8), training=True, cache=None)
    places = set()
    for epoch in range(6):
        batch = next(fed(epoch))
        assert len(set(batch.ids)) == len(data) == len(fed) == 8
        for at, name in enumerate(batch.ids):
            image = batch.images[at, 0]
            inside = (image >= 128 / 255).float()
            if name != "blank.png":
                assert torch.equal(inside, batch.masks[at, 0])
            if name == "4.png":
                places.add(round(float(image[0, 0]) * 255))
                grey = pattern(64, 64, 4)[0].astype(np.float32) / 255
                tops = np.argwhere(grey[:33, :33] == float(image[0, 0]))
                assert any((grey[t : t + 32, c : c + 32] == image.numpy()).all() for t, c in tops)
    assert len(places) > 3


def test_every_crop_of_a_larger_image_can_come(data):
    only = data.where(lambda record: record.id == "6.png")  # 33 × 31: two heights, one width
    fed = loader.feed(only, config_of(size=32), training=True, cache=None)
    seen = {round(float(next(fed(epoch)).images[0, 0, 0, 0]) * 255) for epoch in range(20)}
    grey = pattern(33, 31, 6)[0]
    assert seen == {int(grey[0, 0]), int(grey[1, 0])}


@pytest.mark.parametrize("scale", ["fit", "native"])
def test_image_mask_and_drr_move_together(data, scale):
    """The DRR is the image, and the mask follows from it: after any move it still does."""
    augment = AugmentConfig(turns=True, flip=0.5, rotate=25.0, translate=0.2, scale=0.3,
                            brightness=0.0, contrast=0.0)  # fmt: skip
    smooth = data.where(lambda record: record.drr is not None)
    for batch in batches_of(smooth, config_of(scale=scale, augment=augment), epoch=1):
        assert batch.has_drr.all()
        assert torch.equal(batch.images, batch.drrs)


@pytest.mark.parametrize("scale", ["fit", "native"])
def test_image_mask_and_a_drr_of_another_size_and_look_move_together(tmp_path, scale):
    """Blobs without symmetry; the DRR is dimmer and of half the size, and every second is there."""
    records = []
    for n in range(4):
        two = [((0.3, 0.35 + 0.05 * n), 0.1), ((0.6, 0.7), 0.06)]
        sharp, coarse = (sum(make.blob((s, s), at, r) for at, r in two) for s in (96, 48))
        path = make.image(tmp_path / f"{n}.png", np.clip(sharp, 0, 1))
        mask = make.image(tmp_path / "m" / f"{n}.png", (sharp > 0.5).astype(np.uint8))
        drr = make.image(tmp_path / "d" / f"{n}.png", 0.5 * np.clip(coarse, 0, 1))
        records.append(Record(f"{n}", path, f"p{n}", (1.0,), mask=mask, drr=drr if n % 2 else None))
    data = Dataset("blobs", ("bead",), tuple(records))
    augment = dataclasses.replace(
        STILL, turns=True, flip=0.5, rotate=25.0, translate=0.1, scale=0.2
    )
    config, seen = config_of(scale=scale, size=64, augment=augment), []
    for epoch in range(6):
        (batch,) = batches_of(data, config, epoch=epoch)
        assert [int(name) % 2 for name in batch.ids] == batch.has_drr.int().tolist()
        for image, mask, drr, has in zip(
            batch.images, batch.masks, batch.drrs, batch.has_drr, strict=True
        ):
            sure = (image - 0.5).abs() > 0.2
            assert torch.equal((mask > 0.5)[sure], (image > 0.5)[sure])
            assert (drr - 0.5 * image).abs().max() < 0.06 if has else not drr.any()
            seen.append(image)
    assert (torch.stack(seen).amax((1, 2, 3)) > 0.7).float().mean() > 0.6  # not black squares


def test_a_mask_moves_like_the_image_that_it_is(tmp_path):
    grey = (make.blob((64, 64), (0.3, 0.4), 0.1) > 0.5).astype(np.uint8) * 255
    path = make.image(tmp_path / "blob.png", grey)
    data = Dataset("blob", ("bead",), (Record("blob", path, "p", (1.0,), mask=path),))
    augment = dataclasses.replace(
        STILL, turns=True, flip=0.5, rotate=40.0, translate=0.2, scale=0.3
    )
    for scale in ("fit", "native"):
        config = config_of(scale=scale, size=48, augment=augment)
        for epoch in range(8):
            batch = batches_of(data, config, epoch=epoch)[0]
            assert (batch.images - batch.masks).abs().max() < 1e-6


def test_tones_blur_and_noise_leave_mask_and_drr_alone(data):
    tones = dataclasses.replace(STILL, brightness=0.3, contrast=0.3, blur=1.0, noise=0.1)
    for scale in ("fit", "native"):
        plain = batches_of(data, config_of(scale=scale))
        toned = batches_of(data, config_of(scale=scale, augment=tones))
        for one, other in zip(plain, toned, strict=True):
            assert torch.equal(one.masks, other.masks)
            assert torch.equal(one.drrs, other.drrs)
            assert not torch.equal(one.images, other.images)


def test_all_eight_symmetries_come_and_differ():
    sample = loader._sample("x", loader.Planes(
        np.arange(9, dtype=np.uint8).reshape(3, 3), np.zeros((3, 3), np.uint8), None, (3, 3)
    ))  # fmt: skip
    found = {tuple(loader.turned(sample, n).image.flatten().tolist()) for n in range(8)}
    assert len(found) == 8
    grey = sample.image[0].numpy()
    expected = {tuple(np.rot90(g, k).ravel().tolist()) for g in (grey, grey.T) for k in range(4)}
    assert found == expected


def test_fit_is_exact_where_nothing_is_resampled_and_soft_elsewhere(data):
    masks = {}
    for batch in batches_of(data, config_of(scale="fit"), training=False):
        masks |= dict(zip(batch.ids, batch.masks, strict=True))
    assert set(masks) == {record.id for record in data.records}
    exact = torch.from_numpy(pattern(32, 32, 1)[1].astype(np.float32))
    assert torch.equal(masks["1.png"][0], exact)
    assert ((masks["4.png"] > 0) & (masks["4.png"] < 1)).any()
    for number in (0, 2, 4):  # a soft mask keeps the area
        assert abs(masks[f"{number}.png"].mean() - pattern(*SIZES[number], number)[1].mean()) < 0.02


def test_an_image_known_to_have_nothing_has_an_empty_mask_and_label_0(data):
    for scale in ("fit", "native"):
        for batch in batches_of(data, config_of(scale=scale), training=False):
            for at, name in enumerate(batch.ids):
                blank = name.startswith("blank")
                assert batch.labels[at].item() == (0 if blank else 1)
                assert batch.masks[at].any() == (not blank)
                assert batch.has_drr[at].item() == (name[0] in "135")
                assert batch.has_drr[at] or not batch.drrs[at].any()


def test_data_without_any_drr_have_none_in_their_batches(data):
    bare = data.where(lambda record: record.drr is None)
    for batch in batches_of(bare, config_of()):
        assert batch.drrs is None
        assert batch.has_drr is None


@pytest.mark.parametrize("cache", ["none", "memory", "disk"])
def test_what_cannot_be_read_stops_or_is_skipped_and_listed(data, tmp_path, cache):
    wrong = make.image(tmp_path / "wrong.png", np.ones((5, 5), np.uint8))
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    first, second, third, *rest = data.records
    records = (
        dataclasses.replace(first, mask=wrong), dataclasses.replace(second, drr=broken),
        dataclasses.replace(third, path=broken), *rest,
    )  # fmt: skip
    faulty = dataclasses.replace(data, records=records)
    with pytest.raises(ImageReadError, match=r"wrong\.png: the mask has 5 × 5 .*2 more like it"):
        loader.feed(faulty, config_of(cache=cache), training=True, cache=tmp_path)
    config = config_of(cache=cache, on_error="skip")
    fed = loader.feed(faulty, config, training=True, cache=tmp_path)
    assert list(fed.failed) == ["0.png", "1.png", "2.png"]
    assert len(fed) == len(fed.dataset) == 5
    assert {name for batch in fed() for name in batch.ids} <= {r.id for r in rest}
    assert len(list(tmp_path.glob("*.bin"))) == (cache == "disk")  # nothing is kept twice


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("cache", ["none", "memory", "disk"])
def test_without_what_cannot_be_read_batches_are_those_of_the_rest_and_files_are_read_once(
    data, tmp_path, monkeypatch, cache, training
):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    records = tuple(
        dataclasses.replace(one, path=broken) if n in (0, 3) else one
        for n, one in enumerate(data.records)
    )
    faulty = dataclasses.replace(data, records=records)
    bad = {data.records[n].id for n in (0, 3)}
    config = config_of(cache=cache, on_error="skip", augment=MOVING)
    expected = batches_of(data.where(lambda one: one.id not in bad), config, training=training,
                          cache=tmp_path / "whole")  # fmt: skip
    read = counted_decodes(monkeypatch)
    fed = loader.feed(faulty, config, training=training, cache=tmp_path / "rest")
    assert sorted(read) == list(range(len(records)))
    assert_same(list(fed(0)), expected)


def counted_decodes(monkeypatch):
    """Indices of the images that stores decode from now on."""
    read, decoded = [], Store._decoded
    monkeypatch.setattr(Store, "_decoded", lambda s, i: read.append(i) or decoded(s, i))
    return read


def test_windows_of_an_image_that_is_not_kept_are_cut_from_one_decoding(data, monkeypatch):
    fed = loader.feed(data, config_of(cache="none"), training=False, cache=None)
    read = counted_decodes(monkeypatch)
    assert sum(len(batch.ids) for batch in fed()) > len(data)
    assert read == list(range(len(data)))


def test_a_file_that_is_damaged_later_is_named_and_no_traceback_of_a_worker(data, tmp_path):
    grey = pattern(40, 40, 0)[0]
    path = make.image(tmp_path / "later.png", grey)
    late = Dataset("late", ("bead",), (Record("later", path, "p", (1.0,), mask=path),))
    for workers in (0, 1):
        make.image(path, grey)
        fed = loader.feed(late, config_of(cache="none", workers=workers), training=True, cache=None)
        path.write_bytes(path.read_bytes()[:60])
        with pytest.raises(ImageReadError, match=r"later\.png"):
            list(fed())
