"""`ablate`: named changes to one recipe, each trained with the same seeds, side by side.

`OUT/ARM/seed-N` are run folders, done once by whichever process comes first; `wsrpn.study.results`
makes the tables of those that are done.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsrpn import config as configs
from wsrpn import files, models
from wsrpn.config import DataConfig, RunConfig
from wsrpn.data import base
from wsrpn.errors import InputError, nearest
from wsrpn.study import kinds, plan, pool
from wsrpn.study.plan import Ablation
from wsrpn.study.training import Changed, Training, refuse_changed
from wsrpn.train import run
from wsrpn.types import Dataset

# What decides which images, labels and splits there are; the rest of the section is of no matter.
READING = (
    "source", "rename", "classes", "uncertain", "blank", "views", "val_share", "test_share",
    "split_seed",
)  # fmt: skip


@dataclass(frozen=True)
class Study:
    """An ablation that is ready to run: nothing in it is wrong as far as can be told beforehand.

    Attributes:
        plan: what the file says, with the changes of the command line.
        out: the study's folder.
        trainings: all of them, seed by seed, so that there are early tables of all arms.
        data: arm → its data.
        damaged: trainings whose folder cannot be used → why.
    """

    plan: Ablation
    out: Path
    trainings: tuple[Training, ...]
    data: Mapping[str, Dataset]
    damaged: Mapping[Training, str]

    @property
    def kind(self) -> kinds.Kind:
        """What the models of all arms are asked for."""
        return self.trainings[0].kind

    @property
    def arms(self) -> tuple[str, ...]:
        """Names of the rows, in order."""
        return tuple(plan.arms(self.plan))

    @property
    def baseline(self) -> str:
        """Name of the row that the others are measured against."""
        return self.plan.baseline or self.arms[0]

    def share(self, only: Sequence[str] = (), shard: tuple[int, int] = (1, 1)) -> list[Training]:
        """The usable trainings of some arms, or those of one of several machines.

        Args:
            only: names of arms; all where there are none.
            shard: number of this machine, from 1, and how many there are.

        Raises:
            InputError: no such arm.
        """
        for name in only:
            if name not in self.arms:
                raise InputError(
                    f"--only {name}: no arm is called that. {nearest(name, self.arms)}"
                )
        chosen = [t for t in self.trainings if not only or t.arm in only]
        return [t for t in chosen[shard[0] - 1 :: shard[1]] if t not in self.damaged]


def trainings(study: Ablation, out: Path, *, where: Path) -> tuple[Training, ...]:
    """Every training of a study, seed by seed.

    Figures of boxes are watched while a model with regions trains, unless the study says
    otherwise: that is what the curves show.

    Args:
        study: what to train.
        out: folder of the study.
        where: folder that a config file is looked for in.

    Raises:
        InputError: a change does not fit, or two arms are the same.
    """
    slugs = plan.slugs(plan.arms(study))
    made = {
        (arm, seed): _config(study, arm, over, seed, where)
        for seed in plan.seeds(study.seeds)
        for arm, over in plan.arms(study).items()
    }
    _refuse_alike({arm: c for (arm, seed), c in made.items() if seed == plan.seeds(study.seeds)[0]})
    return tuple(
        Training(arm, seed, config, out / slugs[arm] / f"seed-{seed}", study.split)
        for (arm, seed), config in made.items()
    )


def _config(
    study: Ablation, arm: str, over: Sequence[plan.Changes], seed: int, where: Path
) -> RunConfig:
    watching = dataclasses.replace(study, set={"train.watch_boxes": True, **study.set})
    try:
        found = run.complete(plan.config(study, over, seed=seed, where=where))
        if "regions" in models.models.facts(found.model["name"])["gives"]:
            found = run.complete(plan.config(watching, over, seed=seed, where=where))
    except InputError as error:
        raise InputError(f"arm '{arm}': {error}") from None
    return found


def _kind(made: Sequence[Training]) -> kinds.Kind:
    """What all arms are asked for.

    Raises:
        InputError: arms that no study compares, or not with each other.
    """
    first, kind = made[0], made[0].kind
    for other in made[1:]:
        if other.kind is not kind:
            names = [f"{t.arm} ({t.config.model['name']})" for t in (first, other)]
            raise InputError(
                f"arms {' and '.join(names)}: one answers every pixel and the other with labels "
                "and boxes; figures of these are not compared."
            )
    return kind


def _refuse_alike(found: Mapping[str, RunConfig]) -> None:
    seen: dict[str, str] = {}
    for arm, config in found.items():
        text = configs.dump(config)
        if text in seen:
            raise InputError(
                f"arms '{seen[text]}' and '{arm}' have the same config: what one of them changes "
                "is so already."
            )
        seen[text] = arm


def prepare(study: Ablation, out: Path, *, where: Path) -> Study:
    """Look at everything that can be wrong before hours of training.

    Args:
        study: what to train.
        out: folder of the study.
        where: folder that a config file is looked for in.

    Raises:
        InputError: configs, data, figures or pictures that do not fit, or a run of another config
            or other data in the folder.
    """
    files.refuse_file(out)
    made = trainings(study, out, where=where)
    kind = _kind(made)
    known = kind.known()
    for figure in study.figures:
        if figure not in known and study.figures != ("all",):
            raise InputError(f"figures: no figure is called '{figure}'. {nearest(figure, known)}")
    data = _data(made)
    _refuse_untestable(kind, data, study.split, study.pictures)
    damaged = {}
    for training in made:
        try:
            refuse_changed(training, data[training.arm])
        except Changed:
            raise
        except InputError as error:
            damaged[training] = str(error)
    return Study(study, out, made, data, damaged)


def _data(made: Sequence[Training]) -> dict[str, Dataset]:
    """Arm → data; read once where arms have the same."""
    read: dict[str, Dataset] = {}
    found = {}
    for training in made:
        if training.arm not in found:
            key = json.dumps([_plain(training.config.data, name) for name in READING])
            if key not in read:
                read[key] = base.load(training.config.data)
            found[training.arm] = read[key]
    return found


def _plain(config: DataConfig, name: str) -> Any:
    value = getattr(config, name)
    return dict(value) if isinstance(value, dict) else value


def _refuse_untestable(
    kind: kinds.Kind, data: Mapping[str, Dataset], split: str, pictures: Sequence[str]
) -> None:
    """All arms must be asked about the same images, and those to be drawn must be among them."""
    parts = {arm: dataset.split(split) for arm, dataset in data.items()}  # type: ignore[arg-type]
    for part in parts.values():
        if not len(part):
            raise InputError(f"{part.name}: no image in split {split}, where figures are taken.")
    kind.refuse_untestable(parts)
    for part in parts.values():
        known = {record.id for record in part.records}
        for name in pictures:
            if name not in known:
                raise InputError(
                    f"pictures: no image of split {split} is called '{name}'. "
                    f"{nearest(name, known)}"
                )


def begin(study: Study) -> None:
    """Write `study.yaml`, which repeats the study: `wsrpn ablate OUT/study.yaml --out OUT`."""
    files.write(study.out / "study.yaml", plan.dump(study.plan).encode())


def train(
    study: Study,
    chosen: Sequence[Training],
    means: pool.Means,
    listen: pool.Listener = lambda word: None,
) -> dict[Training, str]:
    """Do what is not done, see `wsrpn.study.pool.run_all`; damaged runs are among the failed."""
    begin(study)
    for training in study.trainings:
        study.kind.refresh(training.folder, training.split, study.data[training.arm])
    return {**study.damaged, **pool.run_all(chosen, means, listen)}
