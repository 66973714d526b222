# SPDX-License-Identifier: Apache-2.0
"""How far attacks reach: other networks, equal cost, what an archive does, the smallest budget."""

from typing import Any

from radproof.core.records import Estimate, Record


class Network(Record):
    """One network of the transfer matrix."""

    name: str  # "model", or a surrogate's name in the plan
    architecture: str  # "densenet121"; of an ensemble its members' names, with plus signs
    accuracy: Estimate | None  # clean; None for an ensemble, which is a source only


class TransferCell(Record):
    """How often images made on one network fool another, over images that every network answers right."""

    source: str
    target: str
    attack: str
    goal: str
    eps: float
    budget: str
    success: Estimate


class Transfer(Record):
    """The transfer matrix: every source by every target; on the diagonal white-box."""

    networks: tuple[Network, ...]  # the model first
    images: int  # answered right by every network
    cells: tuple[TransferCell, ...]


class Spent(Record):
    """One attack, with its parameters scaled so that it costs about so many gradients (or queries)."""

    attack: str
    made_on: str  # "model", or the surrogate from which the images are carried over to the model
    params: dict[str, Any]  # those that were scaled
    forwards: float  # per image
    backwards: float
    success: Estimate


class Spending(Record):
    """Success against gradients spent, all attacks at equal cost."""

    goal: str
    eps: float
    budget: str
    images: int
    points: tuple[Spent, ...]


class Treatment(Record):
    """Something that happens to an image between the archive and the reader."""

    name: str  # "jpeg-75"
    title: str  # "JPEG, quality 75"
    clean_accuracy: Estimate  # of the model on clean images that went the same way


class Survived(Record):
    """Share of the images that fooled the model as stored which still fool it after a treatment."""

    attack: str
    goal: str
    eps: float
    budget: str
    treatment: str
    success: Estimate  # n: images that fooled the model as stored


class Survival(Record):
    """Whether adversarial images outlive what an archive does to them."""

    treatments: tuple[Treatment, ...]
    rows: tuple[Survived, ...]


class Smallest(Record):
    """The smallest budget that fools each image, found by white-box search."""

    attack: str
    images: int
    median_float: Estimate  # in [0, 1] pixel units
    median_stored: Estimate
    float_budgets: tuple[float | None, ...]  # per image; None: not fooled at the largest budget tried
    stored_budgets: tuple[float | None, ...]
    most: float
