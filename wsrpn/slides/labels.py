"""Truth of a cohort: outlines or the table's own shares become labels by a stated rule."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from wsrpn.errors import InputError, counted
from wsrpn.slides import assemble, camelyon16, masks, outlines, reader, rules
from wsrpn.slides.outlines import Outlines
from wsrpn.slides.rules import DEFAULT, ceiling, parse
from wsrpn.tiles import AS_GIVEN, Cohort, Slide, Tiles

__all__ = ["DEFAULT", "attach", "ceiling", "completed", "parse"]

_COARSE = 0.5  # a mask whose pixels are larger than this share of a tile says less than shares do
_UNDER_TILES = 0.5  # less of a tumour under tiles than this is worth a word
_APART = 0.02  # micrometres per pixel that differ by more are not the same
_NAMED = 5  # slides named in one note


def attach(cohort: Cohort, slides: Mapping[str, Slide], *, rule: str = "") -> Cohort:
    """Give the tiles of a cohort their truth, and what else a table of slides knows.

    Outlines come before the table's own truth. With a `rule` labels are made from outlines, or else
    from the table's shares; without one, by the table's rule if it names one, else `share@0.5`, and
    the table's own labels are kept where a slide has no annotation. Shares of the table are kept,
    too, where all there is beside them is a mask no finer than the tiles.

    Args:
        cohort: from a score table.
        slides: name → slide; may be empty.
        rule: `any`, `centre`, `share@X`, or "".

    Returns:
        The cohort; a slide whose truth cannot be read is in `failed`.

    Raises:
        InputError: a rule of another name.
    """
    if rule:
        parse(rule)
    desk = _Desk(rule, cohort.rule if cohort.rule != AS_GIVEN else "")
    done, failed = [], dict(cohort.failed)
    for tiles in cohort.slides:
        try:
            done.append(desk.labelled(tiles, slides.get(tiles.slide)))
        except Exception as error:  # one slide's file must not end the cohort
            failed[tiles.slide] = assemble.reason(error, f"{tiles.slide}: its truth")
    missing = [tiles.slide for tiles in cohort.slides if tiles.slide not in slides]
    if slides and missing:
        desk.told.setdefault("not in the table of slides", []).extend(missing)
    return dataclasses.replace(
        cohort,
        slides=tuple(done),
        rule=desk.used or cohort.rule,
        notes=(*cohort.notes, *desk.notes()),
        failed=failed,
    )


def completed(slide: Slide, tiles: Tiles) -> Slide:
    """A row of slides.csv with the facts that `attach` gave its tiles, for reading outlines again.

    The size and the resolution may stand in the score table alone, and a mask needs the size.
    """
    return dataclasses.replace(
        slide,
        mpp=tiles.mpp if slide.mpp is None else slide.mpp,
        extent_px0=slide.extent_px0 or tiles.extent_px0,
    )


class _Desk:
    """Labels one slide after the other and keeps what must be said.

    Args:
        rule: that the user asked for, or "".
        given: rule of the table's own labels, or "".
    """

    def __init__(self, rule: str, given: str) -> None:
        self.rule, self.given = rule, given
        self.usual = rule or (given if _is_rule(given) else DEFAULT)
        self.used = ""
        self.kept = 0
        self.told: dict[str, list[str]] = {}
        self.single: list[str] = []

    def labelled(self, tiles: Tiles, slide: Slide | None) -> Tiles:
        """The tiles with all that is known: facts, tissue, and truth from outlines or the table."""
        if slide is None:
            whole = tiles.exhaustive and camelyon16.exhaustive(tiles.slide)
            return self._own(dataclasses.replace(tiles, exhaustive=whole))
        full = self._complete(slide)
        tiles = self._with_facts(tiles, slide, full)
        full = dataclasses.replace(full, extent_px0=tiles.extent_px0)
        tiles = self._with_tissue(tiles, full)
        found = outlines.read(full)
        if found is None:
            return self._own(tiles)
        self._refuse_tumour(tiles, slide)
        self.single.extend(found.notes)
        coarse = found.grain_px0 > _COARSE * min(tiles.size_px0) and self.usual != "centre"
        if coarse and not np.isnan(tiles.truth).all():
            self._tell(
                "shares of the score table kept, the masks are no finer than its tiles", tiles
            )
            return self._own(tiles)
        self.used = self.usual
        made = rules.label(tiles, found, self.usual)
        self._compare(tiles, made, found)
        return made

    def _complete(self, slide: Slide) -> Slide:
        try:
            return reader.complete(slide)
        except InputError as error:
            self.single.append(f"{slide.id}: nothing is known from its file: {error}")
            return slide

    def _with_facts(self, tiles: Tiles, slide: Slide, full: Slide) -> Tiles:
        """What slides.csv says, then what the score table says, then what the slide file says."""
        told = [um for um in (slide.mpp, tiles.mpp, full.mpp) if um is not None]
        if any(abs(um / told[0] - 1) > _APART for um in told):
            differ = " and ".join(f"{um:g}" for um in dict.fromkeys(told))
            self._tell("mpp differs from source to source (the first is used)", tiles, differ)
        return dataclasses.replace(
            tiles,
            mpp=told[0] if told else None,
            extent_px0=slide.extent_px0 or tiles.extent_px0 or full.extent_px0,
            patient=slide.patient if slide.patient != slide.id else tiles.patient,
            split=slide.split or tiles.split,
            exhaustive=slide.exhaustive and tiles.exhaustive,
        )

    def _with_tissue(self, tiles: Tiles, slide: Slide) -> Tiles:
        """Shares of tissue from the mask where the table has none."""
        if slide.tissue is None or (tiles.tissue != 1).any():
            return tiles
        share = masks.shares(masks.read(slide, slide.tissue), rules.boxes_px0(tiles))
        if not share.any():
            self._tell("no tissue under any tile in their tissue masks (masks not used)", tiles)
            return tiles
        return dataclasses.replace(tiles, tissue=share)

    def _refuse_tumour(self, tiles: Tiles, slide: Slide) -> None:
        """Stop where a slide that is said to be normal has tiles of tumour."""
        tumour = (tiles.label == 1) | (tiles.truth > 0)
        if slide.normal and tumour.any():
            many = counted(int(tumour.sum()), "tile")
            raise InputError(
                f"slides.csv says that {slide.id} is normal, but the score table has {many} of "
                "tumour; correct one."
            )

    def _own(self, tiles: Tiles) -> Tiles:
        """Labels of the table, or made from its shares where it has none or a rule is asked for."""
        labels, shares = ~np.isnan(tiles.label), ~np.isnan(tiles.truth)
        if not shares.any() or (labels.any() and not self.rule):
            self.kept += int(labels.any())
            if labels.any() and self.rule and self.rule != self.given:
                self._tell(
                    f"labels of the score table kept, no shares to apply {self.rule} to", tiles
                )
            return tiles
        name, least = parse(self.usual)
        if name == "centre":
            raise InputError(
                f"{tiles.slide}: the rule centre needs outlines, and the score table has shares; "
                "use any or share@X."
            )
        self.used = self.usual
        return dataclasses.replace(tiles, label=rules.by_share(tiles.truth, name, least))

    def _compare(self, before: Tiles, after: Tiles, found: Outlines) -> None:
        both = ~np.isnan(before.label) & ~np.isnan(after.label)
        other = int((before.label[both] != after.label[both]).sum())
        if other:
            self._tell(f"other labels than in the score table by {self.usual} (outlines are used)",
                       after, f"{other} of {both.sum()} tiles")  # fmt: skip
        under = _area_under(after)
        if found.tumour.area > 0 and under < _UNDER_TILES * found.tumour.area:
            self._tell(
                "most of the tumour under no tile; are outlines and tiles in pixels of one "
                "file?", after, f"{under / found.tumour.area:.0%} under tiles",
            )  # fmt: skip

    def _tell(self, what: str, tiles: Tiles, detail: str = "") -> None:
        name = f"{tiles.slide} ({detail})" if detail else tiles.slide
        self.told.setdefault(what, []).append(name)

    def notes(self) -> list[str]:
        """What was found, counted and named."""
        notes = [f"{counted(len(who), 'slide')}: {what}: {_some(who)}."
                 for what, who in self.told.items()]  # fmt: skip
        if self.used and self.kept and self.used != self.given:
            notes.append(
                f"{counted(self.kept, 'slide')} with the labels of the score table, all others "
                f"labelled by {self.used}."
            )
        return notes + self.single


def _is_rule(rule: str) -> bool:
    try:
        parse(rule)
    except InputError:
        return False
    return True


def _some(names: list[str]) -> str:
    rest = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + rest


def _area_under(tiles: Tiles) -> float:
    """Tumour under tiles in full-size pixels; overlapping tiles count their own cell only."""
    cell = [min(a, b) for a, b in zip(tiles.size_px0, tiles.lattice.pitch_px0, strict=True)]
    return float(np.nansum(tiles.truth)) * cell[0] * cell[1]
