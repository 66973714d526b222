# SPDX-License-Identifier: Apache-2.0
"""A guard's promises in words: for the page of a screened image and for the command line."""

import re

from radproof.core.depth import SIXTEEN
from radproof.detectors.benign import benign
from radproof.detectors.calibrate import Threshold, Thresholds
from radproof.detectors.guard import About, Guard, Source
from radproof.detectors.save import GuardCard, SentryCard
from radproof.reports.verdicts import rate, share
from radproof.reports.words import count, plain

NOTHING = "nothing is promised"
AIMS = ("an attack", "outside the model's data")
ORIGINS: dict[Source, str] = {
    "training": "The data are those that the model was trained on, in the same folds: it has not learnt from the "
    "patients that thresholds were set on.",
    "other": "The data are not those that the model was trained on; that it has seen none of them was said, not found.",
}


def bound(text: str) -> str:
    """No line ends between a number and its unit."""
    return re.sub(r"(?<=\d) (?=%|images?\b|pixels\b|patients?\b|spreads\b|bits\b)", "\u00a0", text)


def interval(threshold: Threshold) -> str:
    """How far the share that one calibration set achieves may lie from what was promised."""
    if threshold.low is None or threshold.high is None:
        return NOTHING
    reach = f"between {share(threshold.low)} and" if threshold.low else "up to"
    return f"{reach} {share(threshold.high)} in 95 of 100 calibration sets"


def basis(about: About) -> str:
    """What thresholds were set on: '120 clean images of 90 patients'."""
    patients = "" if about.patients is None else f" of {count(about.patients, 'patient')}"
    return f"{count(about.images, 'clean image')}{patients}"


def origin(about: About) -> str:
    """What is known of the data in relation to the model, in sentences."""
    return ORIGINS.get(about.data, "Whether the model has learnt from these data is not known.")


def any_alarm(guard: Guard | GuardCard) -> float:
    """The share of clean images that may get an alarm, whichever."""
    return sum(one.thresholds.promised for one in (guard.suspicion, guard.outside) if one)


def shared(guard: Guard | GuardCard) -> str:
    """How the detectors share the promised rate, in a sentence."""
    if guard.outside is None:
        return f"At most {rate(any_alarm(guard))} of clean images are to get an alarm."
    return (
        f"At most {rate(any_alarm(guard))} of clean images are to get an alarm: "
        f"{rate(guard.suspicion.thresholds.promised)} as suspicious, "
        f"{rate(guard.outside.thresholds.promised)} as outside the model's data."
    )


def promise(guard: Guard, one: Threshold) -> str:
    """What a guard promises of clean images, and how far its threshold of suspicion holds; or why there is none."""
    if one.value is None:
        return f"There is no threshold: {one.reason}."
    return (
        f"{shared(guard)} Called suspicious are {interval(one)}. "
        f"{covered(guard.suspicion.thresholds)} The threshold was set on {count(one.n, 'image')}."
    )


def covered(thresholds: Thresholds) -> str:
    """For which images the promise is made, in a sentence."""
    after = f", and for such images after harmless changes ({changes(thresholds)})" if thresholds.covers[1:] else ""
    return f"This is promised for clean images{after}."


def changes(thresholds: Thresholds) -> str:
    """The harmless changes that the promise is also made for, in words."""
    titles = {one.name: one.title for one in benign(SIXTEEN)}  # every change has a title there
    return "; ".join(titles.get(name, name) for name in thresholds.covers[1:])


def threshold_rows(card: GuardCard) -> list[dict[str, str]]:
    """One row per threshold, for the command line."""
    return [row for aim, sentry in zip(AIMS, _sentries(card), strict=False) for row in _rows(aim, sentry)]


def refusals(card: GuardCard) -> list[str]:
    """Why thresholds were refused."""
    return [
        f"No threshold for {sentry.choice.name}{f' ({group})' if group else ''}: {one.reason}"
        for sentry in _sentries(card)
        for group, one in sentry.thresholds.groups.items()
        if one.value is None
    ]


def _sentries(card: GuardCard) -> list[SentryCard]:
    return [card.suspicion, *([card.outside] if card.outside else [])]


def _rows(aim: str, sentry: SentryCard) -> list[dict[str, str]]:
    by = sentry.thresholds.by
    return [
        {
            "detector": sentry.choice.name,
            "tells": aim,
            **({by: group} if by else {}),
            "threshold": NOTHING if one.value is None else plain(one.value),
            "false alarms": f"at most {rate(one.promised)}",
            "95 of 100 times": "" if one.high is None else f"{share(one.low or 0)}–{share(one.high)}",
            "images": str(one.n),
        }
        for group, one in sorted(sentry.thresholds.groups.items())
    ]
