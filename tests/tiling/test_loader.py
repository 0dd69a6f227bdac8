"""Batches of tiles: the same bits whatever keeps them, reads them, resumes or shares them."""

import csv
import dataclasses
import os

import numpy as np
import pytest
import torch
from PIL import Image

from tests import slide_files
from tests.tiling.stained import OTHERS, STAINS, levels, strengths
from wsrpn.config import AugmentConfig, DataConfig, RunConfig, TilesConfig, TrainConfig
from wsrpn.data.images import ImageReadError
from wsrpn.errors import InputError
from wsrpn.tiling import loader, looks, sets
from wsrpn.tiling.store import TilePixels

SIDE = 16
CHANGES = AugmentConfig(turns=True, stain=0.1, blur=0.2, noise=0.01)
PLAIN = TilesConfig()
STAINED = TilesConfig(stain="reinhard", intensity="white")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two slides as contact sheets of 3 × 4 tiles, and one of single pictures, differently dyed."""
    root = tmp_path_factory.mktemp("tiles")
    rows = []
    for number, (name, stains) in enumerate({"a": STAINS, "b": OTHERS, "c": OTHERS}.items()):
        tiles = levels(strengths(seed=number, tiles=12, side=SIDE), stains)
        sheet = np.full((4 * SIDE, 3 * SIDE, 3), 255, dtype=np.uint8)
        for i, tile in enumerate(tiles):
            y, x = (i // 3) * SIDE, (i % 3) * SIDE
            sheet[y : y + SIDE, x : x + SIDE] = tile
            row = {"slide": name, "x": x, "y": y, "label": i % 2, "split": "train", "size": SIDE,
                   "image": "", "sheet": "", "sheet_x": "", "sheet_y": ""}  # fmt: skip
            if name == "c":
                row["image"] = f"c_{i}.png"
                Image.fromarray(tile).save(root / row["image"])
            else:
                row |= {"sheet": f"{name}.png", "sheet_x": x, "sheet_y": y}
            rows.append(row)
        Image.fromarray(sheet).save(root / f"{name}.png")
    with (root / "tiles.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return root


def config_of(folder, *, cache="memory", workers=0, batch=8, augment=CHANGES, tiles=PLAIN, **data):
    return RunConfig(
        data=DataConfig(
            source=str(folder), size=data.pop("size", SIDE), cache=cache, augment=augment,
            val_share=0.0, test_share=0.0, **data,
        ),
        train=TrainConfig(batch=batch, workers=workers),
        tiles=tiles,
    )  # fmt: skip


def batches_of(config, *, training=True, epoch=0, start=0, cache=None, **options):
    tiles = sets.load(config)
    look = loader.target_look(tiles, config)
    fed = loader.feed(tiles, config, training=training, cache=cache, look=look, **options)
    return list(fed(epoch, start))


def assert_same(found, expected):
    assert [batch.ids for batch in found] == [batch.ids for batch in expected]
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.labels, other.labels)
        assert torch.equal(one.sizes_px, other.sizes_px)


def test_batches_hold_the_pixels_labels_and_sizes_of_their_tiles(folder):
    config = config_of(folder)
    tiles = sets.load(config)
    fed = loader.feed(tiles, config, training=False, cache=None)
    assert (len(fed), fed.steps, fed.failed) == (36, 5, {})
    found = list(fed())
    assert sum((batch.ids for batch in found), ()) == tuple(tiles.id(i) for i in range(36))
    images = torch.cat([batch.images for batch in found])
    for number, (name, stains) in enumerate({"a": STAINS, "b": OTHERS, "c": OTHERS}.items()):
        expected = levels(strengths(seed=number, tiles=12, side=SIDE), stains)
        own = images[tiles.slide == number].permute(0, 2, 3, 1)
        assert torch.equal(own, torch.from_numpy(expected).float() / 255), name
    labels = torch.cat([batch.labels for batch in found])
    assert torch.equal(labels[:, 0], torch.from_numpy(tiles.label).float())
    assert found[0].sizes_px.tolist() == [[SIDE, SIDE]] * 8


@pytest.mark.parametrize("tiles", [PLAIN, STAINED], ids=["plain", "stained"])
def test_where_tiles_are_kept_and_who_reads_them_changes_no_bit(folder, tmp_path, tiles):
    expected = batches_of(config_of(folder, tiles=tiles), epoch=3)
    ways = [("none", 0), ("disk", 0), ("disk", 0), ("none", 2), ("memory", 2)]
    for cache, workers in ways:
        config = config_of(folder, cache=cache, workers=workers, tiles=tiles)
        assert_same(batches_of(config, epoch=3, cache=tmp_path), expected)
    assert len(list(tmp_path.glob("*.npy"))) == 1


def test_a_resume_inside_an_epoch_goes_on_as_if_unbroken(folder):
    config = config_of(folder)
    whole = batches_of(config, epoch=2)
    assert_same(batches_of(config, epoch=2, start=2), whole[2:])
    assert whole[0].ids != batches_of(config, epoch=3)[0].ids


def test_a_tile_is_changed_anew_in_every_epoch(folder):
    seen = []
    for epoch in range(2):
        found = batches_of(config_of(folder, batch=36), epoch=epoch)
        (batch,) = found
        seen.append(dict(zip(batch.ids, batch.images, strict=True)))
    assert seen[0].keys() == seen[1].keys()
    assert not any(torch.equal(seen[0][name], seen[1][name]) for name in seen[0])


def test_two_processes_see_together_what_one_sees(folder):
    config = config_of(folder, tiles=STAINED)
    one = batches_of(config)
    shares = [batches_of(config, rank=rank, world=2) for rank in range(2)]
    for step, whole in enumerate(one):
        for rank in range(2):
            assert shares[rank][step].ids == whole.ids[rank::2]
            assert torch.equal(shares[rank][step].images, whole.images[rank::2])


def test_the_random_state_of_the_program_changes_nothing(folder):
    config = config_of(folder)
    expected = batches_of(config)
    torch.manual_seed(99)
    np.random.default_rng(0).random(3)
    assert_same(batches_of(config), expected)


def test_tiles_are_brought_to_the_size_of_the_network(folder):
    config = config_of(folder, size=24)
    whole, part = (
        TilePixels(sets.load(config), 24, kind=kind).take(np.array([30, 2, 7]))
        for kind in ("memory", "none")
    )
    assert whole.shape == (3, 24, 24, 3)
    np.testing.assert_array_equal(whole, part)
    small = TilePixels(sets.load(config), SIDE, kind="none").take(np.array([30, 2, 7]))
    np.testing.assert_allclose(whole.mean((1, 2)), small.mean((1, 2)), atol=3)


def test_slides_of_two_laboratories_come_to_look_alike(folder):
    apart = together = None
    for tiles in (PLAIN, STAINED):
        config = config_of(folder, tiles=tiles)
        found = batches_of(config, training=False)
        images = torch.cat([batch.images for batch in found])
        means = images.reshape(3, 12, 3, -1).mean((1, 3))
        apart, together = together, float((means[0] - means[1]).abs().max())
    assert together < apart / 3


def test_the_target_is_the_identity_where_stains_are_left_alone(folder):
    tiles = sets.load(config_of(folder))
    assert torch.equal(loader.target_look(tiles, config_of(folder)), looks.identity())
    config = config_of(folder, tiles=TilesConfig(intensity="white"))
    assert torch.equal(loader.target_look(tiles, config), looks.identity())
    fed = loader.feed(tiles, config, training=False, cache=None, look=looks.identity())
    assert fed.looks is not None
    assert torch.equal(fed.looks[:, :, :3], torch.eye(3).expand(3, 3, 3))


def test_a_training_without_any_tissue_has_no_look(tmp_path):
    for i in range(3):
        Image.new("RGB", (SIDE, SIDE), (250, 250, 250)).save(tmp_path / f"s_{i}_0.png")
    config = config_of(tmp_path, tiles=STAINED)
    tiles = sets.load(config)
    with pytest.raises(InputError, match=r"no training slide can be seen: .*tiles\.stain=none"):
        loader.target_look(tiles, config)
    fed = loader.feed(tiles, config, training=False, cache=None, look=looks.identity())
    assert any("stains cannot be seen" in note for note in fed.dataset.notes)


@pytest.mark.parametrize("cache", ["none", "memory", "disk"])
def test_damaged_files_stop_or_are_left_out_and_named(folder, tmp_path, cache):
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in folder.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    (copy / "c_3.png").write_bytes(b"nothing")
    (copy / "b.png").write_bytes((copy / "b.png").read_bytes()[:300])
    config = config_of(copy, cache=cache)
    tiles = sets.load(config)
    with pytest.raises(ImageReadError, match=r"(b|c_3)\.png.*data\.on_error=skip"):
        list(loader.feed(tiles, config, training=True, cache=tmp_path)())
    config = config_of(copy, cache=cache, on_error="skip")
    for _ in range(2):  # the second time from what was kept on disk
        fed = loader.feed(tiles, config, training=True, cache=tmp_path)
        assert len(fed.failed) == 13
        assert len(fed.dataset) == 23
        assert set(fed.failed) == {tiles.id(i) for i in range(12, 24)} | {tiles.id(27)}
        assert sum(len(batch.ids) for batch in fed()) == 16


def test_a_tile_that_vanishes_in_an_epoch_is_named(folder, tmp_path):
    path = tmp_path / "s_1_2.png"
    Image.new("RGB", (SIDE, SIDE)).save(path)
    for workers in (0, 1):
        config = config_of(tmp_path, cache="none", workers=workers)
        fed = loader.feed(sets.load(config), config, training=True, cache=None)
        kept = path.read_bytes()
        path.unlink()
        with pytest.raises(ImageReadError, match=r"s_1_2\.png: no such file"):
            list(fed())
        path.write_bytes(kept)


def test_a_box_outside_its_sheet_leaves_out_that_tile_alone(folder):
    tiles = sets.load(config_of(folder))
    boxes = tiles.box_px.copy()
    boxes[5] += 1000
    moved = dataclasses.replace(tiles, box_px=boxes)
    for kind in ("none", "memory"):
        pixels = TilePixels(moved, SIDE, kind=kind)
        pixels.prepare()
        assert list(pixels.failed) == [5]
        assert "leaves the sheet of 48 × 64" in pixels.failed[5]


def test_the_disk_cache_is_made_again_when_a_file_or_a_box_changes(folder, tmp_path):
    tiles = sets.load(config_of(folder))
    first = TilePixels(tiles, SIDE, kind="disk", folder=tmp_path).take(np.arange(36))
    shifted = dataclasses.replace(tiles, box_px=tiles.box_px[np.r_[1, 0, 2:36]])
    second = TilePixels(shifted, SIDE, kind="disk", folder=tmp_path).take(np.arange(36))
    np.testing.assert_array_equal(second[[1, 0]], first[[0, 1]])
    for about in tmp_path.glob("*.json"):
        about.write_text("{}")  # never finished
    again = TilePixels(tiles, SIDE, kind="disk", folder=tmp_path).take(np.arange(36))
    np.testing.assert_array_equal(again, first)
    with pytest.raises(InputError, match="needs a folder"):
        TilePixels(tiles, SIDE, kind="disk")


def test_an_empty_split_has_no_batches_and_an_empty_training_is_refused(folder):
    config = config_of(folder)
    nothing = sets.load(config).split("test")
    fed = loader.feed(nothing, config, training=False, cache=None)
    assert (len(fed), fed.steps, list(fed())) == (0, 0, [])
    with pytest.raises(InputError, match="no images"):
        loader.feed(nothing, config, training=True, cache=None)


def test_more_tiles_than_the_memory_holds_are_refused_before_it_is_full(folder, monkeypatch):
    config = config_of(folder)
    tiles = sets.load(config)
    monkeypatch.setattr(os, "sysconf", {"SC_PHYS_PAGES": 2, "SC_PAGE_SIZE": 4096}.__getitem__)
    with pytest.raises(InputError, match=r"GiB of memory; set data\.cache=disk"):
        loader.feed(tiles, config, training=False, cache=None)


def test_tiles_of_slide_files_are_the_same_whoever_reads_them(tmp_path):
    source = slide_files.cohort(tmp_path, slides=3, tiles=20)
    cut = dataclasses.replace(STAINED, mpp=1.0)
    config = config_of(source, size=96, tiles=cut)
    expected = batches_of(config, epoch=1)
    assert expected
    for cache, workers in (("none", 0), ("none", 2), ("disk", 0)):
        config = config_of(source, size=96, cache=cache, workers=workers, tiles=cut)
        assert_same(batches_of(config, epoch=1, cache=tmp_path / "cache"), expected)


def test_resampled_tiles_do_not_depend_on_what_is_read_with_them(tmp_path):
    source = slide_files.cohort(tmp_path, slides=3, tiles=20)
    config = config_of(source, size=96, cache="none", tiles=TilesConfig(mpp=1.37))
    tiles = sets.load(config)
    index = np.arange(min(12, len(tiles)))
    pixels = TilePixels(tiles, 96, kind="none")
    together = pixels.take(index)
    alone = np.concatenate([pixels.take(index[[i]]) for i in range(len(index))])
    np.testing.assert_array_equal(together, alone)
    kept = TilePixels(tiles, 96, kind="memory").take(index)
    assert np.abs(kept.astype(int) - together).max() <= 1
