"""From a run and slides to the table of scores: what stands in it, and what is not done twice."""

import dataclasses
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from tests.scoring import tile_worlds
from wsrpn import config as configs
from wsrpn.errors import InputError
from wsrpn.scoring import Options, Shard, score
from wsrpn.scoring.jobs import CutSlide, of_tiles
from wsrpn.scoring.parts import Parts, of_file
from wsrpn.slides import reader as slide_files
from wsrpn.slides import table
from wsrpn.tiling import looks, pixels, sets
from wsrpn.tiling.store import TilePixels

SIZE = tile_worlds.SIZE
FP32 = Options(precision="fp32")


@pytest.fixture(autouse=True, scope="module")
def _forget():
    yield
    tile_worlds.forget()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return tile_worlds.opened(tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture(scope="module")
def slides(tmp_path_factory):
    """Three slides of 5 × 4 tiles; copy files before changing them."""
    return tile_worlds.slides(tmp_path_factory.mktemp("slides"))


def tile_set(path, run):
    """The tiles that a table lists."""
    data = dataclasses.replace(run.config.data, source=str(path))
    return sets.load(dataclasses.replace(run.config, data=data))


def rows(path):
    return pq.read_table(path).to_pandas()


def damaged(slide, folder):
    """The slide with a file that ends too early."""
    path = folder / slide.file.name
    path.write_bytes(slide.file.read_bytes()[:1500])
    return dataclasses.replace(slide, file=path)


def test_every_tile_of_every_slide_has_the_score_of_its_pixels(tmp_path, run, slides):
    done = score(run, slides, tmp_path / "s.parquet", options=FP32)
    assert done.failed == {}
    assert (done.done, done.skipped) == (("s0", "s1", "s2"), ())
    assert done.tiles == 60
    found = rows(done.path)
    for slide in slides:
        whole = np.asarray(Image.open(slide.file))
        own = found[found.slide == slide.id]
        assert len(own) == 20
        for tile in own.itertuples():
            part = whole[tile.y : tile.y + SIZE, tile.x : tile.x + SIZE]
            assert tile.score == pytest.approx(tile_worlds.darkness(part), abs=1e-5)
            assert tile.score_red == pytest.approx(part[..., 0].mean() / 255, abs=1e-5)
    assert set(zip(own.x, own.y, strict=True)) == {
        (SIZE * c, SIZE * r) for c in range(5) for r in range(4)
    }


def test_the_table_reads_back_with_all_that_is_known_of_its_slides(tmp_path, run, slides):
    path = score(run, slides, tmp_path / "s.parquet", options=FP32).path
    found = table.read(path)
    for tiles, slide in zip(found.slides, slides, strict=True):
        assert (tiles.slide, tiles.patient, tiles.split) == (slide.id, slide.patient, "test")
        assert (tiles.mpp, tiles.extent_px0, tiles.size_px0) == (1.0, (80, 64), (SIZE, SIZE))
        assert tiles.lattice.pitch_px0 == (SIZE, SIZE)
        assert np.isnan(tiles.label).all()
    assert table.read(path, score="score_red").slides[0].score.mean() == pytest.approx(0.5, abs=0.1)
    said = pq.read_schema(path).metadata[b"wsrpn"].decode()
    assert run.digest in said
    assert '"precision": "float32"' in said


def test_listed_tiles_keep_their_places_labels_and_order(tmp_path, run):
    listed = tile_set(tile_worlds.listed(tmp_path), run)
    found = rows(score(run, listed, tmp_path / "s.parquet", options=FP32).path)
    store = TilePixels(listed, SIZE, kind="none")
    names = [listed.slides[number].id for number in listed.slide]
    assert found.slide.tolist() == names
    assert found[["x", "y"]].to_numpy().tolist() == listed.corner_px0.tolist()
    assert found.label.tolist() == listed.label.tolist()
    want = [tile_worlds.darkness(tile) for tile in store.take(np.arange(len(listed)))]
    np.testing.assert_allclose(found.score, want, atol=1e-5)


def test_listed_places_are_kept_to_the_pixel_where_the_pitch_is_not_whole(tmp_path, run):
    path = tile_worlds.listed(tmp_path, 1, tiles=6)
    lines = path.read_text().splitlines()
    wide = [lines[0].replace("size,x", "size,width,height,x")]
    for number, line in enumerate(lines[1:]):
        *head, _, _, label = line.split(",")
        wide.append(",".join([*head, "37.5", "37.5", str(round(37.5 * number)), "0", label]))
    path.write_text("\n".join(wide) + "\n")
    done = score(run, tile_set(path, run), tmp_path / "s.parquet", options=FP32)
    assert rows(done.path).x.tolist() == [0, 38, 75, 112, 150, 188]
    assert table.read(done.path).slides[0].lattice.column.tolist() == list(range(6))


def test_tiles_whose_place_nobody_knows_fail_with_the_way_out(tmp_path, run):
    listed = tile_set(tile_worlds.listed(tmp_path, 2), run)
    lost = np.where((listed.slide == 0)[:, None], np.nan, listed.corner_px0)
    done = score(run, dataclasses.replace(listed, corner_px0=lost), tmp_path / "s.parquet")
    assert done.done == ("t1",)
    assert "6 tiles of 6" in done.failed["t0"]
    assert "x and y" in done.failed["t0"]


@pytest.mark.parametrize("batch", [1, 7, 20, 1000])
def test_the_size_of_batches_changes_no_score(tmp_path, run, slides, batch):
    one = score(run, slides[:1], tmp_path / "a.parquet", options=FP32).path
    options = dataclasses.replace(FP32, batch=batch)
    other = score(run, slides[:1], tmp_path / "b.parquet", options=options).path
    a, b = rows(one), rows(other)
    assert a.drop(columns=["score", "score_red"]).equals(b.drop(columns=["score", "score_red"]))
    np.testing.assert_allclose(a.score, b.score, atol=1e-6)


def test_colours_are_brought_to_those_of_the_training(tmp_path, slides):
    run = tile_worlds.opened(tmp_path / "run", "tiles.stain=reinhard")
    target = torch.tensor([[2.0, 0, 0, -1], [0, 1.5, 0, -0.5], [0, 0, 3.0, -1.2]])
    run.model.look.copy_(target)
    found = rows(score(run, slides[:1], tmp_path / "s.parquet", options=FP32).path)
    whole = np.asarray(Image.open(slides[0].file))
    parts = [whole[t.y : t.y + SIZE, t.x : t.x + SIZE] for t in found.itertuples()]
    order = np.lexsort((found.x, found.y))
    sample = np.stack([parts[index] for index in order])
    look = looks.of_slide(sample, run.config.tiles, target)
    want = 1 - looks.apply(np.stack(parts), look).mean(dim=(1, 2, 3)).numpy()
    np.testing.assert_allclose(found.score, want, atol=2e-3)
    plain = [tile_worlds.darkness(part) for part in parts]
    assert np.abs(found.score - plain).min() > 0.02


def test_what_is_scored_already_is_not_read_again(tmp_path, run, slides, monkeypatch):
    first = score(run, slides, tmp_path / "s.parquet")
    before = first.path.read_bytes()
    monkeypatch.setattr(slide_files, "open_slide", pytest.fail)
    again = score(run, slides, tmp_path / "s.parquet")
    assert again.skipped == ("s0", "s1", "s2")
    assert (again.done, again.tiles) == ((), 0)
    assert again.path.read_bytes() == before


def test_only_what_is_missing_is_scored_after_a_slide_is_added(tmp_path, run, slides):
    score(run, slides[:2], tmp_path / "s.parquet")
    done = score(run, slides, tmp_path / "s.parquet")
    assert (done.done, done.skipped) == (("s2",), ("s0", "s1"))
    assert done.path.read_bytes() == score(run, slides, tmp_path / "o.parquet").path.read_bytes()


def test_slides_that_leave_a_table_are_told_and_come_back_without_a_look(tmp_path, run, slides):
    out = tmp_path / "s.parquet"
    score(run, slides, out)
    fewer = score(run, slides[1:2], out)
    assert any("2 slides of the earlier s.parquet" in note for note in fewer.notes)
    assert any("s0, s2" in note for note in fewer.notes)
    again = score(run, slides, out)
    assert (again.done, again.notes) == ((), ())


def test_other_weights_pixels_or_cuts_are_scored_anew(tmp_path, run, slides):
    out = tmp_path / "s.parquet"
    score(run, slides[:1], out)
    other = tile_worlds.opened(tmp_path / "other", shade=0.25)
    assert score(other, slides[:1], out).done == ("s0",)
    tiles = dataclasses.replace(run.config.tiles, overlap=0.5)
    assert score(other, slides[:1], out, options=Options(tiles)).done == ("s0",)
    assert score(other, slides[:1], out, options=Options(tiles)).done == ()
    assert score(other, slides[:1], out, options=Options(tiles, precision="fp32")).done == ("s0",)
    copy = tmp_path / "s0.png"
    tile_worlds.picture(copy, (80, 64), 99)
    changed = dataclasses.replace(slides[0], file=copy)
    assert score(other, [changed], out, options=Options(tiles, precision="fp32")).done == ("s0",)


def test_another_option_of_the_model_is_scored_anew(tmp_path, run, slides):
    """With equal weights, too: which score leads is such an option."""
    out = tmp_path / "s.parquet"
    score(run, slides[:1], out)
    model = {**run.config.model, "slow": 0.001}
    other = dataclasses.replace(run, config=dataclasses.replace(run.config, model=model))
    assert score(other, slides[:1], out).done == ("s0",)


def test_another_scale_of_the_mask_of_tissue_is_scored_anew(tmp_path, run, slides):
    """Columns of slides.csv say what a pixel of a mask is."""
    out, mask = tmp_path / "s.parquet", tmp_path / "mask.png"
    Image.fromarray(np.full((2, 2), 255, dtype=np.uint8)).save(mask)
    grid = {"tile_px0": "40", "grid_w": "2", "grid_h": "2"}
    one = dataclasses.replace(slides[0], tissue=mask, extra=grid)
    tiles = dataclasses.replace(run.config.tiles, min_tissue=0.5)
    assert score(run, [one], out, options=Options(tiles)).tiles == 20
    half = dataclasses.replace(one, extra={**grid, "tile_px0": "20"})
    assert score(run, [half], out, options=Options(tiles)).tiles == 8
    noted = dataclasses.replace(half, extra={**half.extra, "scanner": "B"})
    assert score(run, [noted], out, options=Options(tiles)).skipped == ("s0",)


def test_pixels_beside_a_slide_file_are_part_of_what_decides_its_scores(tmp_path):
    (tmp_path / "a.mrxs").write_bytes(b"index")
    alone = of_file(tmp_path / "a.mrxs")
    data = tmp_path / "a" / "Data0000.dat"
    data.parent.mkdir()
    data.write_bytes(b"pixels")
    before = of_file(tmp_path / "a.mrxs")
    data.write_bytes(b"other pixels")
    assert alone != before != of_file(tmp_path / "a.mrxs")


def test_a_tile_that_was_never_read_fails_its_slide(tmp_path, run, slides, monkeypatch):
    whole = pixels.read

    def less(file, boxes, size):
        for index, levels in whole(file, boxes, size):
            keep = index != 7
            yield index[keep], levels[keep]

    monkeypatch.setattr(pixels, "read", less)
    done = score(run, slides[:1], tmp_path / "s.parquet", options=Options(batch=4))
    assert "of 20 is not finite" in done.failed["s0"]


def test_slides_scored_with_other_weights_meanwhile_never_share_a_table(
    tmp_path, run, slides, monkeypatch
):
    out = tmp_path / "s.parquet"
    score(run, slides, out)
    before = out.read_bytes()
    other = tile_worlds.opened(tmp_path / "other", shade=0.25)
    told = []

    def listen(slide, count):
        """Another command writes s0 again, between its part and the table."""
        if slide == "s2" and not told:
            told.append(slide)
            score(other, slides[:1], tmp_path / "t.parquet")
            Parts(tmp_path / "t.parquet").path("s0").replace(Parts(out).path("s0"))

    third = tile_worlds.opened(tmp_path / "third", shade=0.5)
    with pytest.raises(InputError, match="other weights or options"):
        score(third, slides, out, listen=listen)
    assert out.read_bytes() == before
    assert score(third, slides, out).done == ("s0",)


def test_another_split_or_patient_is_told_without_scoring_again(tmp_path, run, slides):
    out = tmp_path / "s.parquet"
    score(run, slides[:2], out)
    moved = [dataclasses.replace(s, split="val", patient="q") for s in slides[:2]]
    assert score(run, moved, out).skipped == ("s0", "s1")
    assert {(t.split, t.patient) for t in table.read(out).slides} == {("val", "q")}


def test_a_slide_that_fails_is_named_and_the_others_go_on(tmp_path, run, slides):
    broken = damaged(slides[1], tmp_path)
    gone = dataclasses.replace(slides[0], id="gone", file=tmp_path / "gone.svs")
    empty = dataclasses.replace(slides[0], id="empty", file=None)
    done = score(run, [slides[0], broken, gone, empty, slides[2]], tmp_path / "s.parquet")
    assert done.done == ("s0", "s2")
    assert set(done.failed) == {"s1", "gone", "empty"}
    assert str(broken.file) in done.failed["s1"]
    assert "gone.svs" in done.failed["gone"]
    assert "slides.csv" in done.failed["empty"]
    assert [t.slide for t in table.read(done.path).slides] == ["s0", "s2"]


def test_a_slide_that_failed_is_tried_again(tmp_path, run, slides):
    broken = damaged(slides[1], tmp_path)
    out = tmp_path / "s.parquet"
    assert score(run, [broken, slides[0]], out).failed
    done = score(run, [slides[1], slides[0]], out)
    assert (done.done, done.skipped, done.failed) == (("s1",), ("s0",), {})


def test_a_score_that_is_not_finite_fails_the_slide(tmp_path, run, slides):
    whole = np.asarray(Image.open(slides[0].file)).copy()
    whole[SIZE, SIZE] = (1, 2, 3)
    Image.fromarray(whole).save(tmp_path / "odd.png")
    odd = dataclasses.replace(slides[0], id="odd", file=tmp_path / "odd.png")
    done = score(run, [odd, slides[1]], tmp_path / "s.parquet", options=FP32)
    assert done.done == ("s1",)
    assert "score of 1 tile of 20 is not finite" in done.failed["odd"]


def test_where_all_slides_fail_an_older_table_stays(tmp_path, run, slides):
    out = tmp_path / "s.parquet"
    score(run, slides[:1], out)
    before = out.read_bytes()
    done = score(run, [damaged(slides[1], tmp_path)], out)
    assert done.path is None
    assert out.read_bytes() == before


def test_a_fault_of_the_model_is_no_fault_of_a_slide(tmp_path, run, slides, monkeypatch):
    def broken(batch):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(run.model, "scores", broken, raising=False)
    with pytest.raises(RuntimeError, match="out of memory"):
        score(run, slides, tmp_path / "s.parquet")
    monkeypatch.undo()
    assert score(run, slides, tmp_path / "s.parquet").done == ("s0", "s1", "s2")  # locks are free


def test_bytes_do_not_depend_on_order_shards_or_number_of_calls(tmp_path, run, slides):
    whole = score(run, slides, tmp_path / "a.parquet").path.read_bytes()
    backwards = score(run, slides[::-1], tmp_path / "b.parquet").path.read_bytes()
    out = tmp_path / "c.parquet"
    for number in (3, 1, 2):
        part = dataclasses.replace(Options(), shard=Shard(number, 3))
        done = score(run, slides, out, options=part)
    assert done.path == out
    assert whole == backwards == out.read_bytes()


def test_the_last_shard_makes_the_table_and_earlier_ones_say_what_is_missing(tmp_path, run, slides):
    out = tmp_path / "s.parquet"
    first, second = (dataclasses.replace(Options(), shard=Shard(n, 2)) for n in (1, 2))
    names = {s.id for s in slides}
    mine = {name for name in names if Shard(1, 2).has(name)}
    assert mine
    assert mine != names
    one = score(run, slides, out, options=first)
    assert set(one.done) == mine
    assert (one.path, set(one.missing)) == (None, names - mine)
    assert not out.exists()
    two = score(run, slides, out, options=second)
    assert set(two.done) == names - mine
    assert (two.path, two.missing) == (out, ())


def test_a_slide_that_failed_in_another_shard_is_told_by_the_last(tmp_path, run, slides):
    out = tmp_path / "s.parquet"
    mixed = [damaged(s, tmp_path) if Shard(1, 2).has(s.id) else s for s in slides]
    first = score(run, mixed, out, options=dataclasses.replace(Options(), shard=Shard(1, 2)))
    last = score(run, mixed, out, options=dataclasses.replace(Options(), shard=Shard(2, 2)))
    assert first.failed
    assert last.failed == first.failed
    assert {t.slide for t in table.read(out).slides} == set(last.done)


def test_a_slide_that_another_process_has_is_waited_for(tmp_path, run, slides):
    out = tmp_path / "s.parquet"
    lock = Parts(out).lock("s0")
    lock.acquire()
    seen, found = [], []
    thread = threading.Thread(
        target=lambda: found.append(score(run, slides, out, listen=lambda s, _: seen.append(s)))
    )
    thread.start()
    begun = time.monotonic()
    while seen[-1:] != ["s2"] and time.monotonic() - begun < 20:
        time.sleep(0.01)
    assert set(seen) == {"s1", "s2"}  # the others first
    time.sleep(0.05)
    assert not found
    lock.release()
    thread.join(20)
    assert found[0].done == ("s1", "s2", "s0")


def test_what_another_process_finished_meanwhile_counts_as_done_before(tmp_path, run, slides):
    out, other = tmp_path / "s.parquet", tmp_path / "o.parquet"
    score(run, slides[:1], other)
    lock = Parts(out).lock("s0")
    lock.acquire()
    found = []
    thread = threading.Thread(target=lambda: found.append(score(run, slides[:1], out)))
    thread.start()
    Parts(out).path("s0").write_bytes(Parts(other).path("s0").read_bytes())
    lock.release()
    thread.join(20)
    assert (found[0].done, found[0].skipped) == ((), ("s0",))


def test_a_part_cut_short_is_scored_again(tmp_path, run, slides):
    out = tmp_path / "s.parquet"
    whole = score(run, slides, out).path.read_bytes()
    part = Parts(out).path("s1")
    part.write_bytes(part.read_bytes()[:-100])
    assert score(run, slides, out).done == ("s1",)
    assert out.read_bytes() == whole


def test_a_part_damaged_inside_is_told_and_scored_again_by_the_same_command(tmp_path, run, slides):
    out = tmp_path / "s.parquet"
    whole = score(run, slides, out).path.read_bytes()
    part = Parts(out).path("s1")
    data = bytearray(part.read_bytes())
    data[60] ^= 0xFF
    part.write_bytes(bytes(data))
    with pytest.raises(InputError, match=r"s1\.parquet: damaged"):
        score(run, slides, out)
    assert score(run, slides, out).done == ("s1",)
    assert out.read_bytes() == whole


def test_slides_with_whole_and_fractional_places_share_a_table(tmp_path, run, slides):
    odd = dataclasses.replace(slides[1], mpp=0.8)  # tiles of 20 px, on this slide alone
    even = dataclasses.replace(slides[2], mpp=0.75)  # tiles of 21.33 px
    found = table.read(score(run, [slides[0], odd, even], tmp_path / "s.parquet").path)
    assert [t.size_px0[0] for t in found.slides] == pytest.approx([16, 20, SIZE / 0.75])
    assert [t.mpp for t in found.slides] == [1.0, 0.8, 0.75]


def test_mpp_is_for_slides_of_which_nothing_else_says_it(tmp_path, run, slides):
    silent = dataclasses.replace(slides[0], mpp=None)
    done = score(run, [silent, slides[1]], tmp_path / "s.parquet", options=Options(mpp=0.5))
    assert [t.mpp for t in table.read(done.path).slides] == [0.5, 1.0]


def test_a_slide_without_mpp_is_refused_with_the_ways_out(tmp_path, run, slides):
    silent = dataclasses.replace(slides[0], mpp=None)
    done = score(run, [silent, slides[1]], tmp_path / "s.parquet")
    for way in ("slides.csv", "--mpp", "tiles.level"):
        assert way in done.failed["s0"]


def test_the_resolution_of_training_tiles_is_that_of_slides(tmp_path, slides):
    run = tile_worlds.opened(tmp_path / "run", "tiles.mpp=null")
    with pytest.raises(InputError, match=r"tiles\.mpp=0\.5 or --set tiles\.level=1"):
        score(run, slides, tmp_path / "s.parquet")
    facts = run.folder / "run.json"
    facts.write_text('{"classes": ["tumour"], "text": null, "tiles": {"mpp": 2.0}}')
    done = score(run, slides[:1], tmp_path / "s.parquet")
    assert table.read(done.path).slides[0].size_px0 == (2 * SIZE, 2 * SIZE)


def test_slides_that_cannot_be_told_apart_are_refused(tmp_path, run, slides):
    with pytest.raises(InputError, match="two slides are called 's0'"):
        score(run, [slides[0], slides[0]], tmp_path / "s.parquet")
    loud = dataclasses.replace(slides[1], id="S0")
    with pytest.raises(InputError, match="differ in case only"):
        score(run, [slides[0], loud], tmp_path / "s.parquet")
    with pytest.raises(InputError, match="no slide"):
        score(run, [], tmp_path / "s.parquet")


def test_another_kind_of_table_is_refused(tmp_path, run, slides):
    with pytest.raises(InputError, match=r"written as \.parquet"):
        score(run, slides, tmp_path / "s.csv")
    (tmp_path / "d.parquet").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        score(run, slides, tmp_path / "d.parquet")


def test_a_model_of_radiographs_is_refused(tmp_path, run, slides):
    config = dataclasses.replace(run.config, model={"name": "cam"})
    with pytest.raises(InputError, match="cam is for radiographs"):
        score(dataclasses.replace(run, config=config), slides, tmp_path / "s.parquet")


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="open files are counted in /proc")
def test_slides_are_closed_one_by_one(tmp_path, run):
    slides = tile_worlds.slides(tmp_path, 8)
    counts = []
    score(
        run, slides, tmp_path / "s.parquet", options=Options(batch=5),
        listen=lambda *_: counts.append(len(list(Path("/proc/self/fd").iterdir()))),
    )  # fmt: skip
    assert len(counts) == 8 * 4
    assert max(counts[16:]) <= max(counts[:16])


@pytest.mark.parametrize("few", [0, 10**6])
def test_a_slide_is_read_while_the_one_before_is_scored_or_in_turns_on_few_cores(
    tmp_path, run, slides, monkeypatch, few
):
    """Ahead: the second slide is opened before the last batch of the first has its scores."""
    monkeypatch.setattr("wsrpn.scoring.engine._FEW", few)
    order = []
    plain_open, plain_scores = CutSlide.open, run.model.scores

    def opened(self, *given):
        order.append(f"open {self.slide.id}")
        return plain_open(self, *given)

    def scores(batch):
        time.sleep(0.02)
        order.append(f"score {batch.ids[0].partition('@')[0]}")
        return plain_scores(batch)

    monkeypatch.setattr(CutSlide, "open", opened)
    monkeypatch.setattr(run.model, "scores", scores, raising=False)
    done = score(run, slides[:2], tmp_path / "s.parquet", options=Options(batch=10))
    last = len(order) - 1 - order[::-1].index("score s0")
    assert (order.index("open s1") < last) == (few == 0)
    monkeypatch.undo()
    plain = score(run, slides[:2], tmp_path / "p.parquet", options=Options(batch=10))
    assert done.path.read_bytes() == plain.path.read_bytes()


def test_a_job_of_listed_tiles_brings_only_its_own_files(tmp_path, run):
    jobs = of_tiles(tile_set(tile_worlds.listed(tmp_path, 3), run))
    assert [job.slide.id for job in jobs] == ["t0", "t1", "t2"]
    assert [[path.name for path in job.tiles.files] for job in jobs] == [
        ["0.png"], ["1.png"], ["2.png"]
    ]  # fmt: skip
    assert [len(job.tiles) for job in jobs] == [6, 6, 6]


def test_a_changed_label_changes_the_digest_of_listed_tiles(tmp_path, run):
    listed = tile_set(tile_worlds.listed(tmp_path, 1), run)
    (job,) = of_tiles(listed)
    (same,) = of_tiles(listed)
    (other,) = of_tiles(dataclasses.replace(listed, label=1 - listed.label))
    assert job.key({}) == same.key({})
    assert job.key({}) != other.key({})
    assert job.key({"a": 1}) != job.key({})


def test_reading_alone_is_blamed_on_the_slide_in_the_middle_of_it(
    tmp_path, run, slides, monkeypatch
):
    """A file that fails after some batches leaves no half part behind."""
    plain = pixels.read

    def failing(file, boxes, size):
        for number, block in enumerate(plain(file, boxes[:10], size)):
            yield block
            if file.path == slides[1].file and number == 0:
                raise InputError(f"{file.path}: damaged at x 0.")

    monkeypatch.setattr(pixels, "read", failing)
    out = tmp_path / "s.parquet"
    tiles = configs.parse({"model": {"name": "cam"}, "tiles": {"mpp": 1.0, "tissue": "none"}}).tiles
    done = score(run, slides[1:2], out, options=Options(tiles, batch=4))
    assert "damaged at x 0" in done.failed["s1"]
    assert not Parts(out).path("s1").exists()
