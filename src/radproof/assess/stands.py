# SPDX-License-Identifier: Apache-2.0
"""Contenders as far as counting asks: no network is opened for it."""

from collections.abc import Iterator
from dataclasses import dataclass

from radproof.assess.jobs import Parts
from radproof.assess.plan import Plan
from radproof.core.types import Backward, Defense


@dataclass(frozen=True)
class Stand:
    """One that is not open yet."""

    climbable: bool
    ways: tuple[Backward, ...]
    random: bool
    votes: int


def stands(plan: Plan, parts: Parts) -> Iterator[tuple[str, Stand]]:
    """Every contender of a plan by name."""
    climbable = not plan.model.only_answers
    for name, part in parts.defenses.items():
        yield name, _stand(part.make(), climbable)
    for name in plan.hardened:
        fronts = [part.make() for part in parts.behind.get(name, {}).values()]
        yield name, _stand(fronts[0], climbable=True) if fronts else Stand(True, ("none",), False, 0)


def _stand(defense: Defense, climbable: bool) -> Stand:
    return Stand(climbable, tuple(defense.ways), not defense.deterministic, defense.votes)
