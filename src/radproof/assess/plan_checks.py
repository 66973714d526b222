# SPDX-License-Identifier: Apache-2.0
"""What a plan asks for, checked before anything is trained: its parts, budgets, goals and names."""

from torch import Tensor

from radproof.assess.jobs import Parts
from radproof.assess.parts import settle_all
from radproof.assess.plan import Plan
from radproof.assess.severities import spread
from radproof.attacks import attack, corruption
from radproof.core.depth import Depth
from radproof.core.goals import goal as make_goal
from radproof.core.goals import scope
from radproof.core.names import nearest
from radproof.data.manifest import Manifest
from radproof.data.storage import check_budget
from radproof.defenses import defense
from radproof.detectors import detector
from radproof.errors import BadPlan
from radproof.training.denoiser_images import make_attack


def check_parts(plan: Plan) -> Parts:
    """Every part of the plan checked before anything is opened or written."""
    _check_denoisers(plan)
    return Parts(
        attacks=settle_all(plan.attacks, attack, plan.preset),
        adaptive=settle_all(plan.adaptive, attack, plan.preset) if plan.defenses or plan.hardened else {},
        corruptions=settle_all(spread(plan.corruptions), corruption, plan.preset),
        defenses=settle_all(plan.defenses, defense, plan.preset),
        behind={name: settle_all(wanted.behind, defense, plan.preset) for name, wanted in plan.hardened.items()},
        detectors=settle_all(plan.detectors, detector, plan.preset),
        aware=settle_all(plan.detection.aware, attack, plan.preset),
        learned=settle_all(plan.detection.learned.attacks if plan.detection.learned else (), attack, plan.preset),
    )


def _check_denoisers(plan: Plan) -> None:
    for wanted in plan.hardened.values():
        if wanted.denoiser is not None:
            make_attack(wanted.denoiser, wanted.denoiser.eps)


def check_budgets(plan: Plan, depth: Depth) -> None:
    """Budgets that no stored image can hold are refused before anything is trained."""
    for eps in (*plan.budgets, *((plan.searched.most,) if plan.searched else ())):
        check_budget(eps, depth)


def check_aware(plan: Plan, parts: Parts) -> None:
    """Aware attacks have detectors to know of. Raises BadPlan where they have none."""
    for label, part in parts.aware.items():
        if not {"watch", "features"} & set(part.recipe.needs.values()):
            raise BadPlan(f"{label} knows nothing of detectors; put it under attacks:, and one that does under aware:")
    for name in plan.detection.against or ():
        if name not in parts.detectors:
            raise BadPlan(f"aware attacks are to be made against {name!r}{nearest(name, list(parts.detectors))}")
    if parts.aware and not parts.detectors:
        raise BadPlan("detection: has aware attacks and the plan has no detectors: to be aware of; name one")


def check_learned(plan: Plan, parts: Parts) -> None:
    """Learnt detectors' attacks have other patients than the assessed, and need no anatomy. Raises BadPlan."""
    if parts.learned and parts.detectors and plan.data.fold == "validation":
        raise BadPlan(
            "detection.learned uses validation patients, which this plan assesses; "
            "leave it out, or assess the test fold"
        )
    for label, part in parts.learned.items():
        if part.params.get("where") == "anatomy":
            raise BadPlan(f"{label}: where lungs and heart are is not known in detection.learned; choose another where")


def check_goals(plan: Plan, y: Tensor, manifest: Manifest) -> None:
    """Every goal concerns some of the images with labels y (N,) or (N, K). Raises BadPlan for one that does not."""
    for name in plan.goals:
        make_goal(name, y, manifest.labels, manifest.head)
        if not bool(scope(name, y, manifest.labels).any()):
            raise BadPlan(
                f"the goal {name} concerns none of the {len(y)} images to assess; drop it or take more images"
            )


def check_names(plan: Plan, parts: Parts) -> None:
    """Surrogates, hardened networks and defences have names of their own. Raises BadPlan for a shared one."""
    for kind, names in (("surrogate", plan.surrogates), ("hardened network", plan.hardened)):
        for name in names:
            if name in parts.defenses:
                raise BadPlan(f"a {kind} and a defence are both called {name}; call the {kind} something else")
    both = [name for name in plan.hardened if name in plan.surrogates]
    if both:
        raise BadPlan(f"a surrogate and a hardened network are both called {both[0]}; call one something else")
