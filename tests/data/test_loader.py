"""Batches: the same bits whatever the cache, the workers, the processes and the interruptions."""

import itertools
import json
import math
import time

import numpy as np
import pytest
import torch

from tests import make
from wsrpn import data
from wsrpn.config import AugmentConfig, DataConfig
from wsrpn.data import cache, images, loader
from wsrpn.data.images import ImageReadError
from wsrpn.data.sampler import EpochSampler, generator_of
from wsrpn.errors import InputError

AUGMENT = AugmentConfig(blur=0.3, noise=0.02, gamma=0.2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make.manifest(tmp_path_factory.mktemp("set"), 13, size=(40, 48))


def images_of(source, /, **options):
    dataset = data.load(DataConfig(source=str(source)))
    return loader.ImageDataset(dataset, **{"size": 32, "augment": AUGMENT, "seed": 7, **options})


def epoch(dataset, number=0, start=0, **options):
    made = loader.batches(dataset, **{"batch": 4, "seed": 7, "shuffle": True, **options})
    return list(made.epoch(number, start=start))


def same(one, other):
    assert [b.ids for b in one] == [b.ids for b in other]
    return all(torch.equal(a.images, b.images) for a, b in zip(one, other, strict=True))


def test_a_sample_is_the_record_in_shares_of_the_image(folder):
    dataset = images_of(folder, augment=None)
    sample, record = dataset[0], dataset.dataset.records[0]
    assert sample.image.shape == (1, 32, 32)
    assert sample.size_px == (40, 48)
    shares = np.array(record.boxes[0].xyxy_px) / [48, 40, 48, 40]
    np.testing.assert_allclose(sample.boxes[0].numpy(), shares, rtol=1e-6)
    whole = torch.from_numpy(images.read(record.path))[None]
    from wsrpn.data.transforms import resized

    # Only rounding to 8 bits lies between the file and the sample.
    assert (sample.image - resized(whole, 32)).abs().max() <= 0.5 / 255 + 1e-6


def test_the_batch_holds_labels_and_sizes_in_its_order(folder):
    dataset = images_of(folder, augment=None)
    (batch,) = epoch(dataset, batch=13, shuffle=False)
    assert batch.ids == tuple(record.id for record in dataset.dataset.records)
    np.testing.assert_array_equal(batch.labels.numpy(), dataset.dataset.labels())
    assert batch.sizes_px.tolist() == [[40, 48]] * 13
    assert batch.images.shape == (13, 1, 32, 32)


@pytest.mark.parametrize("kind", ["memory", "disk"])
def test_the_cache_changes_no_bit(folder, tmp_path, kind):
    plain = epoch(images_of(folder, cache="none"))
    kept = images_of(folder, cache=kind, folder=tmp_path)
    lazy = epoch(kept)
    kept.prepare()
    assert same(plain, lazy)
    assert same(plain, epoch(kept))
    again = images_of(folder, cache=kind, folder=tmp_path)
    again.prepare()
    assert same(plain, epoch(again))


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_no_bit(folder, workers):
    assert same(epoch(images_of(folder)), epoch(images_of(folder), workers=workers))


def test_the_global_random_state_is_neither_read_nor_moved(folder):
    first = epoch(images_of(folder))
    torch.manual_seed(99)
    np.random.seed(99)  # noqa: NPY002 - the global state is what is meant
    before = torch.get_rng_state()
    assert same(first, epoch(images_of(folder)))
    assert torch.equal(before, torch.get_rng_state())


def test_epochs_and_seeds_differ_in_order_and_augmentation(folder):
    dataset = images_of(folder)
    assert [b.ids for b in epoch(dataset, 0)] != [b.ids for b in epoch(dataset, 1)]
    assert not torch.equal(dataset[0, 3].image, dataset[1, 3].image)
    other = images_of(folder, seed=8)
    assert not torch.equal(dataset[0, 3].image, other[0, 3].image)
    assert torch.equal(dataset[3].image, other[3].image)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_epoch_goes_on_from_any_step(folder, workers):
    dataset = images_of(folder)
    whole = epoch(dataset, 2)
    made = loader.batches(dataset, batch=4, seed=7, shuffle=True, workers=workers)
    for start in range(len(whole) + 1):
        assert same(whole[start:], list(made.epoch(2, start=start)))
    assert made.steps == len(whole) == 3


@pytest.mark.parametrize("world", [1, 2, 4])
def test_processes_together_take_the_batches_of_one(folder, world):
    alone = epoch(images_of(folder))
    shares = [epoch(images_of(folder), rank=rank, world=world) for rank in range(world)]
    for step, batch in enumerate(alone):
        pieces = [share[step] for share in shares]
        assert all(len(piece.ids) == 4 // world for piece in pieces)
        found = {i: x for piece in pieces for i, x in zip(piece.ids, piece.images, strict=True)}
        assert set(found) == set(batch.ids)
        assert all(torch.equal(found[i], x) for i, x in zip(batch.ids, batch.images, strict=True))


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("count", range(1, 18))
def test_evaluation_takes_every_image_once_on_any_number_of_processes(count, world):
    taken = [
        index
        for rank in range(world)
        for step in EpochSampler(count, batch=4, rank=rank, world=world, shuffle=False)
        for _, index in step
    ]
    assert sorted(taken) == list(range(count))


def test_a_shuffled_epoch_has_full_batches_without_repeats():
    sampler = EpochSampler(103, batch=10, seed=1)
    steps = list(sampler)
    taken = [index for step in steps for _, index in step]
    assert [len(step) for step in steps] == [10] * 10
    assert len(set(taken)) == 100
    sampler.epoch = 1
    left = [
        set(range(103)) - {i for step in sampler for _, i in step},
        set(range(103)) - set(taken),
    ]
    assert left[0] != left[1]


def test_fewer_images_than_a_batch_are_one_batch():
    assert [len(step) for step in EpochSampler(3, batch=16)] == [3]
    assert [len(step) for step in EpochSampler(3, batch=16, rank=1, world=2)] == [1]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"count": 0, "batch": 4}, "this split of the data is empty"),
        ({"count": 9, "batch": 3, "world": 2}, "train.batch 3 cannot be shared by 2 processes"),
        ({"count": 1, "batch": 4, "world": 2}, "1 images cannot be shared by 2 processes"),
    ],
)
def test_what_cannot_be_shared_is_refused(options, sentence):
    with pytest.raises(InputError, match=sentence):
        EpochSampler(**options)


def test_keys_of_generators_do_not_collide():
    keys = [(seed, epoch, index) for seed in range(5) for epoch in range(5) for index in range(40)]
    assert len({generator_of(*key).initial_seed() for key in keys}) == len(keys)


@pytest.fixture
def damaged(tmp_path):
    folder = make.manifest(tmp_path / "set", 8, size=(24, 24))
    (folder / "images/002.png").write_bytes(b"")
    (folder / "images/005.png").unlink()
    return folder


@pytest.mark.parametrize("kind", ["none", "memory", "disk"])
def test_preparing_lists_what_cannot_be_read(damaged, tmp_path, kind):
    told = []
    dataset = images_of(damaged, cache=kind, folder=tmp_path / "cache")
    failed = dataset.prepare(lambda done, total: told.append((done, total)))
    assert list(failed) == ["images/002.png", "images/005.png"]
    assert "002.png: the file is empty" in failed["images/002.png"]
    assert "005.png: no such file" in failed["images/005.png"]
    assert told == [(n, 8) for n in range(1, 9)]
    assert len(dataset.readable()) == 6


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", ["none", "memory"])
def test_skipping_leaves_out_and_lists_and_stopping_names_the_file(damaged, workers, kind):
    dataset = images_of(damaged, augment=None, cache=kind)
    made = loader.batches(dataset, batch=3, workers=workers, on_error="skip")
    ids = [i for batch in made for i in batch.ids]
    assert ids == [f"images/{n:03d}.png" for n in (0, 1, 3, 4, 6, 7)]
    assert list(made.failed) == ["images/002.png", "images/005.png"]
    strict = loader.batches(dataset, batch=3, workers=workers)
    with pytest.raises(ImageReadError) as caught:
        list(strict)
    assert str(caught.value).startswith(str(damaged / "images/002.png"))
    assert "\n" not in str(caught.value)
    assert "data.on_error=skip" in str(caught.value)


def test_a_batch_of_nothing_but_failures_is_left_out(tmp_path):
    folder = make.manifest(tmp_path, 4, pictures=False)
    made = loader.batches(images_of(folder), batch=2, on_error="skip")
    assert list(made) == []
    assert len(made.failed) == 4


def test_a_kept_cache_is_used_without_opening_a_file(folder, tmp_path, monkeypatch):
    images_of(folder, cache="disk", folder=tmp_path).prepare()
    monkeypatch.setattr(cache, "decode", lambda *a, **k: pytest.fail("decoded again"))
    again = images_of(folder, cache="disk", folder=tmp_path)
    again.prepare()
    assert len(epoch(again)) == 3


@pytest.mark.parametrize("damage", ["cut", "no description", "half a description", "other key"])
def test_a_half_written_cache_is_made_again(folder, tmp_path, damage):
    images_of(folder, cache="disk", folder=tmp_path).prepare()
    (array,), (about,) = tmp_path.glob("*.npy"), tmp_path.glob("*.json")
    if damage == "cut":
        array.write_bytes(array.read_bytes()[:-100])
    elif damage == "no description":
        about.unlink()
    elif damage == "half a description":
        about.write_text(about.read_text()[:40])
    else:
        about.write_text(json.dumps({**json.loads(about.read_text()), "key": "x"}))
    (tmp_path / f"{array.stem}.tmp.1").write_bytes(b"left behind")
    again = images_of(folder, cache="disk", folder=tmp_path)
    again.prepare()
    assert same(epoch(images_of(folder)), epoch(again))
    assert not list(tmp_path.glob("*.tmp.*"))


def test_a_changed_file_or_size_makes_another_cache(tmp_path):
    folder = make.manifest(tmp_path / "set", 3)
    keep = tmp_path / "cache"
    images_of(folder, cache="disk", folder=keep).prepare()
    make.image(folder / "images/001.png", make.blob((64, 64), (0.1, 0.1), 0.3))
    changed = images_of(folder, cache="disk", folder=keep)
    changed.prepare()
    assert torch.equal(changed[1].image, images_of(folder, cache="none")[1].image)
    images_of(folder, cache="disk", folder=keep, size=16).prepare()
    assert len(list(keep.glob("*.npy"))) == 3


def test_a_disk_cache_needs_a_folder(folder):
    with pytest.raises(InputError, match="needs a folder"):
        images_of(folder, cache="disk")


def test_masks_are_read_when_asked_for_and_instances_count_as_inside(tmp_path):
    folder = make.manifest(
        tmp_path, [{"image": "a.png", "mask": "m.png"}, {"image": "b.png", "mask": ""}]
    )
    instances = np.zeros((64, 64), np.uint16)
    instances[:, :32] = 700
    make.image(folder / "m.png", instances)
    with_masks = images_of(folder, augment=None, masks=True)
    mask = with_masks[0].mask
    assert mask.shape == (1, 32, 32)
    assert mask[0, :, :15].min() == 1
    assert mask[0, :, 17:].max() == 0
    assert with_masks[1].mask is None
    assert images_of(folder, augment=None)[0].mask is None


def test_unknown_labels_arrive_as_nan(tmp_path):
    folder = make.manifest(tmp_path, [{"image": "a.png", "labels": "A", "unknown": "B"}])
    (batch,) = epoch(images_of(folder), batch=1)
    assert batch.labels[0, 0] == 1
    assert math.isnan(batch.labels[0, 1])


def test_a_file_damaged_behind_its_header_is_found_at_once_by_whoever_cannot_stop_later(tmp_path):
    root = make.manifest(tmp_path, 6, size=(64, 64))
    path = root / "images" / "000.png"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    lazy, thorough = (images_of(root, cache="none", augment=None) for _ in range(2))
    assert lazy.prepare() == {}
    assert list(thorough.prepare(decode=True)) == ["images/000.png"]


def test_images_that_are_decoded_together_come_in_their_order(folder, monkeypatch):
    plain = images_of(folder, augment=None, cache="none")
    alone = list(loader.batches(plain, batch=4))
    monkeypatch.setattr(loader.os, "cpu_count", lambda: 4)
    slow_first = itertools.count()
    decode = cache.decode

    def late(*words, **options):
        time.sleep(0.02 / (1 + next(slow_first) % 4))
        return decode(*words, **options)

    monkeypatch.setattr(cache, "decode", late)
    together = list(loader.batches(plain, batch=4))
    assert [b.ids for b in together] == [b.ids for b in alone]
    assert all(torch.equal(a.images, b.images) for a, b in zip(alone, together, strict=True))
