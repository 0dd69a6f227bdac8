import dataclasses

import numpy as np
import pytest

from tests.segmentation import worlds
from wsrpn.config import DataConfig
from wsrpn.data import base
from wsrpn.errors import InputError
from wsrpn.masks.calibration import MaskCalibration
from wsrpn.metrics import objects, pixels
from wsrpn.segmentation import calibrate as fitting
from wsrpn.segmentation import maps, search
from wsrpn.segmentation.evaluate import evaluate
from wsrpn.segmentation.evidence import known_of
from wsrpn.segmentation.maps import Maps
from wsrpn.segmentation.predict import foreground, objects_of


@pytest.fixture(params=[False, True], ids=["joined", "numbered"])
def world(request, tmp_path):
    """Maps of random scores around the truth, and the data."""
    data = base.load(
        DataConfig(source=str(worlds.data(tmp_path, images=6, numbered=request.param)))
    )
    return draw(tmp_path, data), data


@pytest.fixture
def numbered(tmp_path):
    """The same where the truth numbers its objects."""
    data = base.load(DataConfig(source=str(worlds.data(tmp_path, images=6, numbered=True))))
    return draw(tmp_path, data), data


def draw(folder, data) -> Maps:
    files = {}
    rng = np.random.default_rng(0)
    for record in data.records:
        from PIL import Image

        truth = np.asarray(Image.open(record.mask)) > 0
        score = np.clip(0.55 * truth + rng.normal(0.2, 0.11, truth.shape), 0, 1)
        files[record.id] = folder / "maps" / f"{record.id}"
        maps.write(files[record.id], (score * 65535).astype(np.uint16))
    return Maps(files, {"weights_sha256": "w"})


CHOSEN = MaskCalibration(0.45, 5, "watershed", 4)


def test_every_figure_is_its_definition_image_by_image(world):
    found, data = world
    report = evaluate(found, data, CHOSEN, bootstrap=20)
    jaccards, dices, errors = [], [], []
    pixel, thing = pixels.PixelCounts(), None
    for record in data.records:
        mapped = found.of(record.id)
        known = known_of(record, mapped)
        mask = foreground(mapped.score, CHOSEN)
        one = pixels.counts(mask, known.inside)
        jaccards.append((mask & known.inside).sum() / (mask | known.inside).sum())
        dices.append(2 * (mask & known.inside).sum() / (mask.sum() + known.inside.sum()))
        pixel += one
        things = objects.counts(objects_of(mask, CHOSEN), known.objects if known.instances else
                                known.objects * (1 + (np.indices(mask.shape)[1] > 38)))  # fmt: skip
        thing = things if thing is None else thing + things
        errors.append(abs(things.difference))
    slow = {
        "jaccard": np.mean(jaccards), "dice": np.mean(dices), "jaccard_pooled": pixel.jaccard,
        "dice_pooled": pixel.dice, "precision_pooled": pixel.precision,
        "recall_pooled": pixel.recall, "object_ap@0.5": thing.ap[0], "object_ap": thing.mean_ap,
        "object_f1": thing.f1[0], "object_count_error": np.mean(errors),
    }  # fmt: skip
    for name, value in slow.items():
        assert report.metrics[name].value == pytest.approx(value), name
    assert report.metrics["jaccard"].low < slow["jaccard"] < report.metrics["jaccard"].high


def test_truth_that_numbers_nothing_is_taken_apart_and_the_report_says_so(world):
    found, data = world
    report = evaluate(found, data, CHOSEN, bootstrap=0)
    numbered = report.provenance["images_with_numbered_objects"]
    assert report.provenance["objects"] == 12
    assert any("connected areas" in line for line in report.warnings) == (numbered == 0)


def test_perfect_maps_have_perfect_figures_and_groups_have_their_own(tmp_path):
    data = base.load(DataConfig(source=str(worlds.data(tmp_path, numbered=True))))
    files = {record.id: record.mask for record in data.records}
    report = evaluate(Maps(_masks(tmp_path, files)), data, MaskCalibration(), by="site")
    others = {"object_count_error", "specificity"}
    assert all(f.value == 1 for n, f in report.metrics.items() if n not in others)
    assert report.metrics["object_count_error"].value == 0
    assert report.metrics["specificity"].value is None, "no image is without foreground"
    assert set(report.per_group) == {"a", "b"}
    with pytest.raises(InputError, match="Did you mean 'site'"):
        evaluate(Maps(_masks(tmp_path, files)), data, MaskCalibration(), by="sites")


def _masks(folder, files):
    from PIL import Image

    out = {}
    for name, path in files.items():
        out[name] = folder / "perfect" / name
        inside = np.asarray(Image.open(path)) > 0
        maps.write(out[name], inside.astype(np.uint16) * np.uint16(65535))
    return out


@pytest.fixture
def two_normal(tmp_path):
    """Six images, the first two of which are known to have nothing."""
    data = base.load(DataConfig(source=str(worlds.data(tmp_path, labels=""))))
    bare = tuple(dataclasses.replace(r, mask=None, labels=(0.0,)) for r in data.records[:2])
    return dataclasses.replace(data, classes=("x",), records=bare + tuple(
        dataclasses.replace(r, labels=(1.0,)) for r in data.records[2:]
    ))  # fmt: skip


def of_levels(folder, data, levels) -> Maps:
    """Maps that have one level everywhere."""
    made = {}
    for record, level in zip(data.records, levels, strict=True):
        made[record.id] = folder / "flat" / record.id
        maps.write(made[record.id], np.full(known_shape(record), level, dtype=np.uint16))
    return Maps(made)


def test_images_without_foreground_are_of_specificity_and_of_no_mean(tmp_path, two_normal):
    data = two_normal
    # One normal image is filled, and so are three of the four that have something.
    report = evaluate(
        of_levels(tmp_path, data, [0, 65535, 0, 65535, 65535, 65535]), data, MaskCalibration(),
        bootstrap=0,
    )  # fmt: skip
    shares = []
    for record in data.records[3:]:
        from PIL import Image

        shares.append((np.asarray(Image.open(record.mask)) > 0).mean())
    slow = {
        "jaccard": np.mean([0, *shares]),
        "dice": np.mean([0, *(2 * share / (1 + share) for share in shares)]),
        "precision": np.mean(shares),  # nothing is found in the image before them
        "recall": 3 / 4,
        "specificity": 1 / 2,
    }
    for name, value in slow.items():
        assert report.metrics[name].value == pytest.approx(value), name
    assert any("2 images with an empty mask" in line for line in report.warnings)
    assert any("precision leaves out 1 image " in line for line in report.warnings)


def test_replicates_that_draw_no_image_of_a_group_do_not_count(tmp_path):
    """A group of one patient has no interval but its own value, whatever the others draw."""
    data = base.load(DataConfig(source=str(worlds.data(tmp_path, numbered=True))))
    data = dataclasses.replace(data, records=tuple(
        dataclasses.replace(r, extra={"site": "lone" if k == 0 else "rest"})
        for k, r in enumerate(data.records)
    ))  # fmt: skip
    report = evaluate(
        of_levels(tmp_path, data, [65535] * 6), data, MaskCalibration(), by="site", bootstrap=200
    )
    for name, figure in report.per_group["lone"].items():
        if figure.value is not None:
            assert (figure.low, figure.high) == (pytest.approx(figure.value),) * 2, name


def test_where_nothing_is_found_that_is_said(tmp_path, two_normal):
    report = evaluate(
        of_levels(tmp_path, two_normal, [0] * 6), two_normal, MaskCalibration(), bootstrap=0
    )
    assert report.metrics["jaccard"].value == 0
    assert report.metrics["precision"].value is None
    assert report.metrics["recall"].value == 0
    assert report.metrics["specificity"].value == 1
    assert any("precision leaves out 4 images" in line for line in report.warnings)
    assert any("Nothing is found in any image" in line for line in report.warnings)


def known_shape(record):
    from wsrpn.data import images

    return images.size(record.path)


def test_a_map_of_another_size_is_refused_by_name(numbered):
    found, data = numbered
    maps.write(next(iter(found.files.values())), np.zeros((5, 6), dtype=np.uint16))
    with pytest.raises(
        InputError, match=r"00\.png: the map has 6 × 5 pixels and its image 80 × 60"
    ):
        evaluate(found, data, MaskCalibration())


def test_a_calibration_of_other_weights_is_refused(numbered):
    found, data = numbered
    other = MaskCalibration(objective="jaccard", provenance={"maps": {"weights_sha256": "other"}})
    with pytest.raises(InputError, match="other weights"):
        evaluate(found, data, other)


# Calibration


def test_a_ladder_of_areas_counts_what_cleaning_leaves(numbered):
    found, data = numbered
    looked = search.Search(found, data.records)
    looked.curves("jaccard", np.zeros(len(data), dtype=np.int64))
    levels = (0, 9000, 20000, 40000, 65536)
    table = looked.areas(levels)
    for index, record in enumerate(data.records[:3]):
        mapped = found.of(record.id)
        inside = known_of(record, mapped).inside
        for at, level in enumerate(levels):
            for s, size in enumerate(table.sizes):
                mask = foreground(mapped.score, MaskCalibration(maps.threshold_of(level), size))
                counts = pixels.counts(mask, inside)
                assert table.tp[index, at, s] == counts.tp
                assert table.said[index, at, s] == counts.tp + counts.fp


@pytest.mark.parametrize("touching", ["joined", "watershed"])
def test_a_ladder_of_objects_counts_what_cleaning_leaves(world, touching):
    found, data = world
    data = dataclasses.replace(data, records=data.records[:2])
    looked = search.Search(found, data.records)
    looked.curves("jaccard", np.zeros(len(data), dtype=np.int64))
    table = looked.objects((20000, 30000), (3, 8), touching)
    for index, record in enumerate(data.records):
        mapped = found.of(record.id)
        known = fitting.known_of(record, mapped)
        truth = search.objects_in(known)
        for t, d, s in np.ndindex(2, 2, len(table.sizes)):
            chosen = MaskCalibration(
                maps.threshold_of(table.levels[t]), table.sizes[s], touching, table.distances[d]
            )
            mask = foreground(mapped.score, chosen)
            counts = objects.counts(objects_of(mask, chosen), truth, thresholds=(0.5,))
            assert table.tp[index, t, d, s] == counts.tp[0]
            assert table.said[index, t, d, s] == counts.found
        assert table.there[index] == counts.truth


@pytest.mark.parametrize("objective", ["jaccard", "dice"])
def test_no_threshold_of_all_levels_beats_the_one_that_is_chosen(numbered, objective):
    found, data = numbered
    fitted = fitting.calibrate(found, data, objective=objective, bootstrap=0)
    curve = search.Search(found, data.records).curves(
        objective, np.zeros(len(data), dtype=np.int64)
    )[0] / len(data)
    assert fitted.after[objective].value >= curve.max() - 1e-12
    assert fitted.after[objective].value > fitted.before[objective].value
    exact = MaskCalibration(maps.threshold_of(search.plateau(curve)))
    reached = evaluate(found, data, exact, bootstrap=0).metrics[objective].value
    assert reached == pytest.approx(curve.max())


def test_objects_can_be_what_the_calibration_is_best_for(numbered):
    found, data = numbered
    data = dataclasses.replace(data, records=data.records[:2])
    for_pixels = fitting.calibrate(found, data, touching="watershed", bootstrap=0)
    for_objects = fitting.calibrate(
        found, data, objective="object_f1", touching="watershed", bootstrap=0
    )
    assert for_objects.after["object_f1"].value >= for_pixels.after["object_f1"].value - 1e-12
    assert for_objects.touching == "watershed"


def test_a_smallest_size_is_taken_only_where_it_gains(tmp_path):
    data = base.load(DataConfig(source=str(worlds.data(tmp_path))))
    records = {record.id: record.mask for record in data.records}
    perfect = fitting.calibrate(Maps(_masks(tmp_path, records)), data, bootstrap=0)
    assert perfect.min_size_px == 0
    assert perfect.threshold == pytest.approx(0.5, abs=1e-4)  # the middle of the gap
    assert perfect.after["jaccard"].value == 1


def test_held_out_figures_are_of_numbers_chosen_without_the_patient(numbered):
    found, data = numbered
    fitted = fitting.calibrate(found, data, cross_validate=True, bootstrap=0)
    assert 0 < fitted.held_out["jaccard"].value <= fitted.after["jaccard"].value + 1e-12
    folds = fitting._folds([record.patient for record in data.records], 0)
    slow = []
    for fold in np.unique(folds):
        rest = [r for r, f in zip(data.records, folds, strict=True) if f != fold]
        here = [r for r, f in zip(data.records, folds, strict=True) if f == fold]
        part = fitting.calibrate(found, dataclasses.replace(data, records=tuple(rest)), bootstrap=0)
        for record in here:
            one = dataclasses.replace(data, records=(record,))
            chosen = dataclasses.replace(part, provenance={})
            slow.append(evaluate(found, one, chosen, bootstrap=0).metrics["jaccard"].value)
    assert fitted.held_out["jaccard"].value == pytest.approx(np.mean(slow))


def test_images_of_one_patient_share_a_fold():
    folds = fitting._folds(["a", "b", "a", "c", "b", "d"], seed=3)
    assert folds[0] == folds[2]
    assert folds[1] == folds[4]
    assert len(set(folds.tolist())) == 4


def test_an_evaluated_image_that_was_fitted_on_is_named(numbered):
    found, data = numbered
    fitted = fitting.calibrate(found, data, bootstrap=0)
    report = evaluate(found, data, fitted, bootstrap=0)
    assert any("6 evaluated images were used to fit" in line for line in report.warnings)


def test_a_calibration_comes_back_as_it_was(numbered, tmp_path):
    found, data = numbered
    fitted = fitting.calibrate(found, data, touching="watershed", cross_validate=True, bootstrap=9)
    fitted.save(tmp_path / "calibration.json")
    assert MaskCalibration.load(tmp_path / "calibration.json") == fitted


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"kind": "detection"}, "kind 'masks'"), ({"schema": 9}, "schema 9"),
        ({"threshold": "x"}, "damaged"), ({"touching": "glued"}, "damaged"),
        ({"min_size_px": -1}, "damaged"), ({"provenance": []}, "damaged"),
    ],
)  # fmt: skip
def test_a_calibration_of_another_kind_or_damaged_is_refused(tmp_path, change, word):
    from wsrpn import files

    path = tmp_path / "calibration.json"
    MaskCalibration(provenance={"maps": {}}).save(path)
    files.write_json(path, {**files.read_json(path, what="it"), **change})
    with pytest.raises(InputError, match=word):
        MaskCalibration.load(path)


def test_a_fit_says_what_it_comes_to_and_does_not_send_to_calibrate(tmp_path):
    """All scores are one: to find everything is as good as it gets."""
    data = base.load(DataConfig(source=str(worlds.data(tmp_path))))
    data = dataclasses.replace(data, records=data.records[:3])
    flat = fitting.calibrate(of_levels(tmp_path, data, [0, 0, 0]), data, bootstrap=0)
    said = " ".join(flat.warnings)
    assert "wsrpn calibrate" not in said
    assert ("nothing is found at all" in said) == (flat.after["recall"].value == 0)
    assert flat.after["recall"].value == 1, "everything, as the share of foreground is above 0"
    assert "times as many pixels are found as are foreground" in said
    assert "The best threshold is 0: every pixel is foreground." in said


def test_doubts_are_about_what_is_found():
    high = MaskCalibration(threshold=0.99999)
    assert fitting._doubts(high, 99, found=5.0) == []
    (said,) = fitting._doubts(high, 99, found=0.0)
    assert said == "With the best threshold nothing is found at all."


def test_other_objectives_are_refused_with_those_that_are():
    with pytest.raises(InputError, match="Did you mean 'jaccard'"):
        fitting.check_objective("jacard")
