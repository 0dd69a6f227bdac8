"""The config: its order of precedence, what it refuses and how it says so, and its round trip."""

import dataclasses
import re

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st

from wsrpn import config as configs
from wsrpn import models
from wsrpn.config import Phase, RunConfig, TrainConfig
from wsrpn.errors import InputError
from wsrpn.losses import Objective
from wsrpn.train.phases import unreached, weights_at
from wsrpn.train.run import complete
from wsrpn.types import TextSpace


def file(tmp_path, text):
    path = tmp_path / "mine.yaml"
    path.write_text(text, "utf-8")
    return path


def test_changes_lie_over_the_file_and_the_file_over_the_defaults(tmp_path):
    path = file(tmp_path, "train: {epochs: 5, lr: 3e-5}\ndata:\n  augment: {rotate: 2}\n")
    run = configs.load(path, ["train.epochs=7", "data.augment.flip=0.5", "losses.image_bce={}"])
    assert run.train.epochs == 7
    assert run.train.lr == 3e-5, "YAML reads 3e-5 as text; the schema makes it a number"
    assert run.data.augment.rotate == 2.0
    assert run.data.augment.flip == 0.5
    assert run.train.batch == TrainConfig().batch
    assert run.losses == {"image_bce": {}}


def test_an_empty_mapping_is_all_defaults(tmp_path):
    assert configs.load(file(tmp_path, "{}\n")) == RunConfig()


def test_a_later_change_wins(tmp_path):
    path = file(tmp_path, "{}")
    assert configs.load(path, ["train.seed=1", "train.seed=2"]).train.seed == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("train: {epoch: 5}", "unknown key 'train.epoch'. Did you mean 'epochs'?"),
        ("tain: {}", "unknown key 'tain'. Did you mean 'train'?"),
        ("data: {augment: {rotat: 1}}", "unknown key 'data.augment.rotat'. Did you mean 'rotate'?"),
        ("phases: [{weights: {a: 1}, untl: 3}]", "'phases.0.untl'. Did you mean 'until'?"),
        ("train: {lr: fast}", "train.lr: Input should be a valid number"),
        ("train: {lr: 0}", "train.lr: Input should be greater than 0 (got 0)"),
        ("train: {lr: .nan}", "train.lr"),
        ("train: {epochs: 2.5}", "train.epochs: Input should be a valid integer"),
        ("train: {epochs: 0}", "train.epochs: Input should be greater than or equal to 1"),
        ("train: {schedule: linear}", "'constant' or 'cosine'"),
        ("data: {val_share: 1.5}", "less than or equal to 1"),
        ("data: {size: 8}", "data.size"),
        ("train: 5", "train"),
        ("model: {backbone: tiny}", "model.name is missing"),
        ("phases: []", "at least one phase"),
        ("phases: [{weights: {a: 1}}, {weights: {a: 1}}]", "phases.0.until is missing"),
        ("phases: [{weights: {a: 1}, until: 3}, {weights: {a: 1}, until: 3}]", "above 3"),
        ("phases: [{weights: {a: -1}}]", "phases.0.weights.a"),
        ("phases: [{weights: {a: 1}, ramp: 2}]", "phases.0.ramp: there is no phase before it"),
        ("- a\n- b", "a config is a mapping"),
        ("just words", "a config is a mapping"),
        ("train: {epochs: 5", "line 1: not YAML"),
        ("a: !!python/object/apply:os.system [ls]", "not YAML"),
        ("train: {\tepochs: [}", "not YAML"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_place_and_a_way_out(tmp_path, text, words):
    path = file(tmp_path, text)
    with pytest.raises(InputError) as caught:
        configs.load(path)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("train.epochs", "write it as a.b=value"),
        ("=5", "write it as a.b=value"),
        ("train.epochs=[", "the value is not YAML"),
        ("train.epochs.more=5", "'train.epochs' is a value and has no keys below it"),
        ("train.epoch=5", "Did you mean 'epochs'?"),
        ("phases.7.until=5", "'7' is no place in a list of 1"),
    ],
)
def test_a_change_that_does_not_fit_is_refused(tmp_path, change, words):
    path = file(tmp_path, "train: {epochs: 5}\nphases: [{weights: {image_bce: 1}}]")
    with pytest.raises(InputError) as caught:
        configs.load(path, [change])
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("tiles.mp=1", "unknown key 'tiles.mp'. Did you mean 'mpp'?"),
        ("tiles.overlap=1.5", "tiles.overlap: Input should be less than or equal to 0.95"),
        ("tiles.mpp.more=1", "tiles.mpp: Input should be a valid number"),
        ("train={epochs: 0}", "train.epochs: Input should be greater than or equal to 1"),
        ("phases.0.weights.image_bce=-1", "phases.0.weights.image_bce: Input should be"),
    ],
)
def test_an_error_of_a_change_names_the_change_and_not_the_file(tmp_path, change, words):
    path = file(tmp_path, "phases: [{weights: {image_bce: 1}}]")
    with pytest.raises(InputError) as caught:
        configs.load(path, ["train.epochs=4", change, "train.seed=3"])
    assert str(caught.value).startswith(f"--set {change}: {words}")
    bad = file(tmp_path, "train: {epochs: 0}")
    with pytest.raises(InputError, match=re.escape(f"{bad}: train.epochs")):
        configs.load(bad, ["train.seed=3"])


def test_tiles_that_a_config_leaves_open_are_those_of_the_run_in_its_weights(tmp_path):
    run = tmp_path / "vae"
    run.mkdir()
    own = ["data.size=48", "tiles.mpp=2", "tiles.stain=macenko", "tiles.overlap=0.5"]
    (run / "config.yaml").write_text(configs.dump(configs.load("vae-b1", own)))
    weights = f"model.weights={run}"

    def tiles(*changes):
        found = configs.load("vae-head", [weights, *changes])
        assert configs.load(file(tmp_path, configs.dump(found))) == found
        return found.data.size, found.tiles.mpp, found.tiles.level, found.tiles.stain

    assert tiles() == (48, 2, None, "macenko")
    assert configs.load("vae-head", [weights]).tiles.overlap == 0
    assert tiles("data.size=96", "tiles.stain=none") == (96, 2, None, "none")
    assert tiles("data.size=224") == (224, 2, None, "macenko"), "also where it is the usual one"
    assert tiles("tiles.level=1") == (48, None, 1, "macenko"), "instead of a resolution"
    over = configs.load("vae-head", over=[{"model.weights": str(run), "tiles.mpp": 1}])
    assert (over.data.size, over.tiles.mpp) == (48, 1)
    based = file(tmp_path, f"base: vae-head\nmodel: {{weights: {run}}}\ntiles: {{mpp: 3}}\n")
    assert (configs.load(based).data.size, configs.load(based).tiles.mpp) == (48, 3)
    assert configs.load("vae-head").data.size == 224
    (run / "config.yaml").write_text("data: [")
    with pytest.raises(InputError, match=r"vae.config\.yaml: line"):
        tiles()


def test_a_missing_file_and_an_unknown_preset_say_what_there_is(tmp_path):
    with pytest.raises(InputError, match=r"no such config file; a preset is named .*cam"):
        configs.load(tmp_path / "none.yaml")
    with pytest.raises(InputError, match=r"No preset is called 'camm'. Did you mean 'cam'\?"):
        configs.load("camm")


def test_a_file_that_is_not_utf8_is_refused(tmp_path):
    path = tmp_path / "latin.yaml"
    path.write_bytes("data: {source: möglich}".encode("latin-1"))
    with pytest.raises(InputError, match="cannot be read as UTF-8"):
        configs.load(path)


@given(
    epochs=st.integers(1, 999),
    lr=st.floats(1e-8, 1),
    classes=st.lists(st.text(min_size=1), unique=True, max_size=3),
    until=st.floats(0.5, 9),
    monitor=st.sampled_from(["auroc", "image_ap", "loss"]),
)
def test_what_is_written_reads_back_equal(tmp_path_factory, epochs, lr, classes, until, monitor):
    run = configs.parse(
        {
            "train": {"epochs": epochs, "lr": lr, "monitor": monitor},
            "data": {"classes": classes, "source": "nih:Röntgen bilder"},
            "phases": [{"weights": {"a": 0.5}, "until": until}, {"weights": {"b": 1}, "ramp": 2}],
            "losses": {"a": {"x": None, "y": [1, 2]}},
        }
    )
    path = tmp_path_factory.mktemp("config") / "run.yaml"
    path.write_text(configs.dump(run), "utf-8")
    assert configs.load(path) == run
    assert configs.parse(configs.document(run)) == run


def test_the_written_config_names_every_field():
    def fields(value):
        if dataclasses.is_dataclass(value):
            return {f.name: fields(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return None

    def keys(tree):
        free = {"model", "losses", "rename"}
        return {k: keys(v) if isinstance(v, dict) and k not in free else None
                for k, v in tree.items()}  # fmt: skip

    assert keys(yaml.safe_load(configs.dump(RunConfig()))) == fields(RunConfig())


@pytest.mark.parametrize("name", configs.presets())
def test_every_preset_is_complete_and_builds_with_a_small_backbone(name):
    run = complete(configs.load(name))
    assert set(run.model) > {"name"}
    used = {loss for phase in run.phases for loss in phase.weights}
    assert set(run.losses) == used
    options = {"backbone": "tiny", "weights": "none"}
    small = {**run.model, **{key: options[key] for key in options if key in run.model}}
    classes = 1 if "input" in models.models.facts(run.model["name"]) else 3
    assert models.build(small, classes=classes, text=TextSpace(8, torch.zeros(3, 2, 8)))
    Objective(run.losses)
    assert complete(configs.parse(configs.document(run))) == run


@pytest.mark.parametrize("name", configs.presets())
def test_every_preset_begins_with_what_it_is(name):
    assert configs.presets()[name].startswith("# ")


BASELINES = (
    "cam", "grad-cam", "grad-cam-pp", "mil-attention", "mil-lse", "mil-max", "mil-mean", "pcam",
    "weldon",
)  # fmt: skip


def test_every_baseline_has_the_budget_the_backbone_and_the_data_of_preset_wsrpn():
    ours = configs.load("wsrpn")
    for name in BASELINES:
        run = configs.load(name)
        assert (run.train, run.data) == (ours.train, ours.data), name
        assert run.inference == configs.load("cam").inference, name
        for key in ("backbone", "grid", "dropout"):
            assert run.model[key] == ours.model[key], (name, key)


def test_a_file_lies_over_the_preset_that_it_names_as_its_base(tmp_path):
    text = "base: cam\nmodel: {name: mil}\ntrain: {epochs: 3}\ninference: {map_thresholds: []}\n"
    run, cam = configs.load(file(tmp_path, text)), configs.load("cam")
    assert run.model == {**cam.model, "name": "mil"}
    assert run.train == dataclasses.replace(cam.train, epochs=3)
    assert run.phases == cam.phases
    assert run.inference.map_thresholds == ()
    again = configs.load(file(tmp_path, configs.dump(run)))
    assert again == run, "what is written needs no base"


@pytest.mark.parametrize("base", ["camm", "../cam.yaml", "5"])
def test_a_base_that_is_no_preset_is_refused(tmp_path, base):
    with pytest.raises(InputError, match=r"mine\.yaml: base: no preset is called"):
        configs.load(file(tmp_path, f"base: {base}\n"))


FUSIONS = (
    "wsrpn-vl",
    *(f"fusion-{n}" for n in ("none", "independent", "late", "mid", "optimisation")),
)


def test_every_fusion_has_the_detector_the_budget_and_the_data_of_preset_wsrpn():
    ours = complete(configs.load("wsrpn"))
    for name in FUSIONS:
        run = complete(configs.load(name))
        assert (run.train, run.data, run.inference) == (ours.train, ours.data, ours.inference), name
        detector = {key: value for key, value in run.model.items() if key in ours.model}
        assert {**detector, "name": "wsrpn"} == ours.model, name


def test_wsrpn_vl_has_the_two_phases_of_its_source():
    phases = configs.load("wsrpn-vl").phases
    detection = {"detection": 1.0}
    assert weights_at(phases, 1.99) == detection
    assert weights_at(phases, 2.0) == {**detection, "contrastive": 0.5, "consistency": 0.5}
    assert weights_at(phases, 9.0) == weights_at(phases, 2.0)


def run_of(**changes):
    base = {"model": {"name": "cam"}, "phases": [{"weights": {"image_bce": 1.0}}]}
    return configs.parse({**base, **changes})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model": {"name": "camm"}}, "No model is called 'camm'. Did you mean 'cam'?"),
        ({"model": {"name": "cam", "grid": 9}}, "model cam: grid: Input should be 7 or 14"),
        ({"model": {"name": "cam", "gird": 7}}, "unknown key 'gird'. Did you mean 'grid'?"),
        ({"model": {"name": "cam", "classes": 7}}, "unknown key 'classes'"),
        ({"losses": {"image_bce": {"pos": 1}}}, "loss image_bce: unknown key 'pos'"),
        ({"losses": {"detection": {}}}, "no phase gives this loss a weight"),
        ({"train": {"monitor": "last", "patience": 2}}, "train.patience has no effect"),
        ({"phases": [{"weights": {"image_bc": 1}}]}, "Did you mean 'image_bce'?"),
        (
            {"phases": [{"weights": {"cell_consistency": 1}}]},
            "reads output.regions, which model 'cam' does not give. Models that give it: fusion_",
        ),
    ],
)
def test_parts_that_do_not_exist_or_do_not_fit_are_refused_before_training(changes, words):
    with pytest.raises(InputError) as caught:
        complete(run_of(**changes))
    assert words in str(caught.value)


def test_a_phase_is_half_open_and_its_ramp_starts_from_the_one_before():
    from wsrpn.train.phases import weights_at

    phases = (
        Phase(weights={"a": 1.0}, until=2.0, ramp=1.0),
        Phase(weights={"a": 0.5, "b": 1.0}, until=4.0, ramp=1.0),
        Phase(weights={"b": 2.0}),
    )
    expected = {
        0.0: {"a": 0.0}, 0.5: {"a": 0.5}, 1.0: {"a": 1.0}, 1.999: {"a": 1.0},
        2.0: {"a": 1.0, "b": 0.0}, 2.5: {"a": 0.75, "b": 0.5}, 3.0: {"a": 0.5, "b": 1.0},
        3.999: {"a": 0.5, "b": 1.0}, 4.0: {"b": 2.0}, 100.0: {"b": 2.0},
    }  # fmt: skip
    for epoch, weights in expected.items():
        assert weights_at(phases, epoch) == pytest.approx(weights), epoch


def test_after_the_last_end_the_last_phase_stays():
    from wsrpn.train.phases import weights_at

    assert weights_at((Phase(weights={"a": 1.0}, until=2.0),), 5.0) == {"a": 1.0}


def test_phases_that_a_training_never_reaches_are_told_with_their_losses():
    vl = configs.load("wsrpn-vl-demo").phases
    assert unreached(vl, 1) == [
        "phases 2… begin at epoch 2 and are never reached with train.epochs=1: contrastive, "
        "consistency are not used."
    ]
    assert unreached(vl, 2) == [unreached(vl, 1)[0].replace("epochs=1", "epochs=2")]
    assert unreached(vl, 3) == []
    same = (Phase(weights={"a": 1.0}, until=4.0), Phase(weights={"a": 0.5, "b": 0.0}))
    assert unreached(same, 1) == [
        "phases 2… begin at epoch 4 and are never reached with train.epochs=1."
    ]


def test_an_empty_config_is_refused(tmp_path):
    for text in ("", "# nothing\n"):
        with pytest.raises(InputError, match=r"mine.yaml: the config is empty"):
            configs.load(file(tmp_path, text))
