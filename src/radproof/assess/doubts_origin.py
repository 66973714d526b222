# SPDX-License-Identifier: Apache-2.0
"""Doubts that come with a stranger's model: what could not be climbed, and what stood in for it."""

from collections.abc import Iterator

from radproof.assess.evidence import Evidence, clean_cell, show
from radproof.core.records import Doubt, Estimate
from radproof.models.card import ModelCard
from radproof.models.classifier import ImageClassifier
from radproof.models.imported import FAR

LATERAL = ("LL", "RL", "LATERAL", "LLAT", "RLAT")
FRONTAL = ("PA", "AP")


def origin_doubts(e: Evidence) -> Iterator[Doubt]:
    """Every doubt about where the model comes from and what became of it."""
    material = e.material
    if material.plan.model.only_answers:
        carried = " and images made on other networks" if material.surrogates else ""
        yield Doubt(
            kind="black-box",
            about="defense:none",
            message=f"the model was only asked: no gradient was climbed, so figures are of attacks that ask{carried}; "
            "whoever has the network itself can do more",
        )
    if isinstance(material.model, ImageClassifier) and material.model.exact is not None:
        far = "; ".join(note for note in material.card.notes if FAR in note)
        yield Doubt(
            kind="stand-in-gradients",
            about="defense:none",
            message="the model computes with integers, so gradients are those of a stand-in without rounding; answers "
            f"are the model's own{f'; {far}' if far else ''}",
            severity="serious" if far else "note",
        )
    if material.card.notes:
        yield Doubt(
            kind="imported",
            about="all",
            message=f"the network was read from {material.card.file}: {'; '.join(material.card.notes)}",
            severity="note",
        )
    told = overstated(material.card, clean_cell(e.cells).scores.accuracy) if material.card.imported else ""
    if told:
        yield Doubt(kind="declared-accuracy", about="defense:none", message=told)
    if material.problem:
        yield Doubt(kind="conventions", about="all", message=material.problem)
    if material.untaught:
        yield Doubt(
            kind="no-detector",
            about="all",
            message=f"no detector was taught: {material.untaught}",
            severity="note",
        )
    yield from _lateral(e)


def _lateral(e: Evidence) -> Iterator[Doubt]:
    views = [sample.view.upper() for sample in e.material.test.samples]
    lateral = sum(view in LATERAL for view in views)
    if lateral and any(view in FRONTAL for view in views):
        yield Doubt(
            kind="lateral-views",
            about="all",
            message=f"{lateral} of {len(views)} images are lateral views among frontal ones: a network that learnt one "
            "kind says little about the other; see the figures by view",
            severity="note",
        )


def overstated(card: ModelCard, found: Estimate) -> str:
    """What a card's own accuracy says beyond the measured interval; '' where it does not."""
    stated = card.metrics.get("accuracy")
    if stated is None or found.high is None:
        return ""
    stated = stated / 100 if 1 < stated <= 100 else stated
    if not stated > found.high:
        return ""
    return (
        f"its card states an accuracy of {100 * stated:.0f} %; on {found.n} labelled images it is "
        f"{show(found)}: other images than it learnt, or shown in another way"
    )
