# SPDX-License-Identifier: Apache-2.0
"""What watches one model in use: is the image attacked, is it of the model's own kind, and why.

A guard keeps one promise: at most so many clean images get an alarm, whichever. Its detectors share that rate in equal
parts (Bonferroni), so one half is for "suspicious" and one for "outside the model's data". The promise holds for images
from where its calibration images came from.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from radproof.core.depth import EIGHT, Depth
from radproof.core.records import Record
from radproof.core.types import Classifier
from radproof.defenses.checks import require_images
from radproof.detectors.calibrate import CLEAN, By, Thresholds, calibrate_groups
from radproof.detectors.common import require_detectable
from radproof.detectors.fitted import Fitted, learn, taught_on
from radproof.detectors.look import Look
from radproof.detectors.registry import detector
from radproof.detectors.screening import Answer, Reading, Screening, answers, finite, reasons_for, verdict_of
from radproof.detectors.sentry import Choice, Sentry, thinned
from radproof.errors import BadInput

__all__ = ["About", "Choice", "Grid", "Guard", "Images", "Screening", "Sentry", "Source", "fit_guard"]

Images = Tensor | Callable[[], Tensor]
"""Images (N, C, H, W), or what makes them when they are asked for: one harmless change at a time fits in memory."""

Source = Literal["", "training", "other"]
"""Whether a guard's data are those that its model was trained on, in the same folds; "" where nobody has said."""


class Grid(Record):
    """What an image's grain depends on: channels, size, and the bits that its grey levels need."""

    channels: int = Field(ge=1, le=3)
    height: int = Field(ge=1)
    width: int = Field(ge=1)
    bits: int = Field(default=8, ge=1, le=16)

    def __str__(self) -> str:
        kind = "grey" if self.channels == 1 else "colour"
        return f"{kind} images of {self.width} × {self.height} pixels in {self.bits} bits"

    def require(self, x: Tensor, what: str) -> None:
        """Raise BadInput where images (N, C, H, W) have other channels or another size."""
        if tuple(x.shape[1:]) != (self.channels, self.height, self.width):
            channels, height, width = x.shape[1:]
            given = f"{'grey' if channels == 1 else 'colour'} images of {width} × {height} pixels"
            raise BadInput(
                f"{what} was made for {self} and was given {given}; export or import images as those were, or make a "
                "guard for these: resizing here would destroy the grain that is looked at"
            )


class About(Record):
    """What a guard was made for, and from."""

    model_fingerprint: str
    grid: Grid
    data_fingerprint: str = ""
    data: Source = ""
    images: int = 0  # clean ones that thresholds were set on
    patients: int | None = None  # of them; None where they were not told


@dataclass(frozen=True)
class Guard:
    """A model, a detector of attacks, and perhaps one of images that are not of the model's kind."""

    model: Classifier
    about: About
    suspicion: Sentry
    outside: Sentry | None = None

    def screen(self, x: Tensor, *, views: Sequence[str] | None = None) -> tuple[Screening, ...]:
        """Judge images (N, C, H, W) in [0, 1] on the grid that the guard was made for, each by itself.

        `views`: of each image, needed where thresholds are by view. Raises BadInput for another grid: resizing would
        destroy the very grain that is looked at. Raises BadModel where the model's answer is no number.
        """
        require_images(x)
        self.about.grid.require(x, "this guard")
        if self.suspicion.thresholds.by == "view" and (views is None or len(views) != len(x)):
            raise BadInput(f"this guard has a threshold for each view: say the view of each of the {len(x)} images")
        found: list[Screening] = []
        with torch.no_grad():
            for look in _looks(self.model, x):
                found += self._piece(look, views and views[len(found) : len(found) + len(look)])
        return tuple(found)

    def _piece(self, look: Look, views: Sequence[str] | None) -> list[Screening]:
        said = answers(look.seen().logits, self.model)
        groups = _groups(self.suspicion.thresholds.by, said, views)
        inside = _read(self.suspicion, look, groups)
        outside = _read(self.outside, look, groups) if self.outside else [(None, ())] * len(look)
        return [_told(answer, *mine, *other) for answer, mine, other in zip(said, inside, outside, strict=True)]


def fit_guard(
    model: Classifier,
    choice: Choice,
    clean: Tensor,
    calibration: Iterable[Mapping[str, Images]],
    *,
    model_fingerprint: str,
    changed: Mapping[str, Tensor] | None = None,
    outside: Choice | None = None,
    false_positive_rate: float = 0.05,
    by: By = "",
    views: Sequence[str] | None = None,
    patients: Sequence[str] | None = None,
    depth: Depth = EIGHT,
    data_fingerprint: str = "",
    data: Source = "",
    seed: int = 0,
) -> Guard:
    """Learn from clean images (N ≥ 20, C, H, W), then set thresholds on images of other patients.

    `changed`: by harmless change, images to learn from besides. `calibration`: in pieces that fit in memory, each by
    harmless change, "clean" first; the promise is made for each change. `false_positive_rate` is of any alarm: where
    `outside` is given, each of the two detectors has half of it. `views`, `patients`: of each calibration image; of a
    patient one image is used, drawn by `seed`. Raises BadInput for too few images, for images of different sizes
    and for tables that do not go together, UnknownName for a detector that is not there.
    """
    pieces = taught_on(model, clean, changed)
    grid = Grid(channels=clean.shape[1], height=clean.shape[2], width=clean.shape[3], bits=depth.top.bit_length())
    chosen = [_settled(one) for one in (choice, outside) if one]
    fitted = [learn(detector[one.name].make(one.params), pieces) for one in chosen]
    del pieces  # they hold every image
    tables, groups = _scored(model, fitted, calibration, grid, by, views)

    def sentry(one: Choice, its: Fitted, scores: Mapping[str, Tensor]) -> Sentry:
        told = groups if by else None
        thresholds = calibrate_groups(
            {change: found.numpy() for change, found in scores.items()},
            told,
            false_positive_rate=false_positive_rate / len(chosen),
            by=by,
            patients=patients,
            seed=seed,
        )
        thresholds = _explained(thresholds, false_positive_rate, len(chosen))
        return Sentry(one, its, thresholds, thinned(scores[CLEAN]))

    sentries = [sentry(*each) for each in zip(chosen, fitted, tables, strict=True)]
    about = About(
        model_fingerprint=model_fingerprint,
        grid=grid,
        data_fingerprint=data_fingerprint,
        data=data,
        images=len(tables[0][CLEAN]),
        patients=None if patients is None else len({name or row for row, name in enumerate(patients)}),
    )
    return Guard(model, about, *sentries)


def _settled(choice: Choice) -> Choice:
    return Choice(name=choice.name, params=detector[choice.name].settle(choice.params))


def _explained(thresholds: Thresholds, rate: float, detectors: int) -> Thresholds:
    """A refusal says where the rate that it names comes from."""
    note = f" ({detectors} detectors share the {100 * rate:g} % that any alarm is promised at)" if detectors > 1 else ""
    told = {
        group: one if one.value is not None else one.model_copy(update={"reason": one.reason + note})
        for group, one in thresholds.groups.items()
    }
    return thresholds.model_copy(update={"groups": told})


def _scored(
    model: Classifier,
    fitted: Sequence[Fitted],
    calibration: Iterable[Mapping[str, Images]],
    grid: Grid,
    by: By,
    views: Sequence[str] | None,
) -> tuple[list[dict[str, Tensor]], dict[str, list[str]]]:
    """By detector and change the scores, and by change the groups, from one pass each."""
    tables: list[dict[str, list[float]]] = [{} for _ in fitted]
    groups: dict[str, list[str]] = {}
    for change, images in (pair for piece in calibration for pair in piece.items()):
        x = images if isinstance(images, Tensor) else images()
        require_detectable(x)
        grid.require(x, f"a guard's threshold for {change} images")
        named = groups.setdefault(change, [])
        own = views and views[len(named) : len(named) + len(x)]
        said: list[Answer] = []
        with torch.no_grad():
            for look in _looks(model, x):
                said += answers(look.seen().logits, model)
                for table, one in zip(tables, fitted, strict=True):
                    table.setdefault(change, []).extend(finite(one.judge(look)))
        named += _groups(by, said, own)
    if by == "view" and len(views or ()) != len(groups.get(CLEAN, ())):
        raise BadInput(f"thresholds by view need the view of each image, got {len(views or ())}; say one for each")
    if not groups.get(CLEAN):
        raise BadInput(f"thresholds need clean images first, got {', '.join(groups) or 'none'}; give them as 'clean'")
    return [{c: torch.tensor(found, dtype=torch.float64) for c, found in one.items()} for one in tables], groups


def _groups(by: By, said: Sequence[Answer], views: Sequence[str] | None) -> list[str]:
    if by == "view":
        if views is None or len(views) != len(said):
            raise BadInput(
                f"thresholds by view need the view of each image: {len(said)} images, {len(views or ())} views"
            )
        return list(views)
    return [answer.group if by == "class" else "" for answer in said]


def _looks(model: Classifier, x: Tensor) -> Iterator[Look]:
    """One piece at a time, so that no more than one is in memory."""
    return (Look(model, part) for part in x.detach().split(max(1, model.micro_batch)) if len(part))


def _read(sentry: Sentry, look: Look, groups: Sequence[str]) -> list[tuple[Reading, tuple[str, ...]]]:
    """Each image's reading, with its reasons; measured again only where something has to be explained."""
    readings = sentry.read(look, groups)
    measures = sentry.measures(look) if any(one.flagged for one in readings) else [{}] * len(look)
    return [(one, reasons_for(one, measured)) for one, measured in zip(readings, measures, strict=True)]


def _told(
    answer: Answer, suspicion: Reading, why: tuple[str, ...], outside: Reading | None, why_outside: tuple[str, ...]
) -> Screening:
    verdict = verdict_of(suspicion, outside)
    reasons = (*why_outside, *why) if verdict != "clear" else ()
    return Screening(**dict(answer), verdict=verdict, reasons=reasons, suspicion=suspicion, outside=outside)
