# SPDX-License-Identifier: Apache-2.0
"""What a run has to do, counted before any network is opened."""

from pathlib import Path

from radproof.assess.jobs import list_jobs
from radproof.assess.outline import opening, trainings, weight
from radproof.assess.plan import make_plan
from radproof.assess.plan_checks import check_parts
from radproof.assess.stands import stands

TRAIN = {"architecture": "cxrnet", "input_size": 16, "hidden": 0, "head_epochs": 2, "epochs": 3}
PLAN = {
    "data": {"kind": "phantom", "count": 50},
    "model": {"train": TRAIN},
    "surrogates": {"other": {"train": {**TRAIN, "head_epochs": 0}}},
    "hardened": {
        "hard": {"train": {**TRAIN, "head_epochs": 0, "adversarial": {"steps": 5}}},
        "clean": {"like": "model", "denoiser": {"epochs": 1}},
    },
    "attacks": [{"name": "pgd", "steps": 5}],
    "adaptive": [{"name": "pgd", "steps": 5}],
    "budgets": ["1/255"],
}


class Folds:
    """A manifest of 30, 10 and 10 images."""

    def fold(self, name):
        return range({"train": 30, "validation": 10, "test": 10}[name])

    def __len__(self):
        return 50


def test_trainings_stand_in_the_order_in_which_they_come_and_finished_ones_are_left_out(tmp_path):
    plan = make_plan(PLAN, base=tmp_path)
    told = list(trainings(plan, 30, 10, tmp_path))
    names = ["training", "features", "head", "training", "training", "denoiser images", "denoiser"]
    assert [stage.name for stage in told] == names
    assert told[4].passes > 5 * told[3].passes  # attacked anew in five steps for every batch
    (tmp_path / "surrogates" / "other").mkdir(parents=True)
    (tmp_path / "surrogates" / "other" / "card.yaml").touch()
    assert [stage.name for stage in trainings(plan, 30, 10, tmp_path)] == names[1:]


def test_the_attacks_to_come_are_counted_before_anything_is_trained(tmp_path):
    plan = make_plan(PLAN, base=tmp_path)
    parts = check_parts(plan)
    told = {stage.name: stage for stage in opening(plan, parts, Folds(), 10, tmp_path)}
    contenders = dict(stands(plan, parts))
    jobs = list_jobs(plan, parts, contenders)
    counted = sum(10 * weight(job, plan, parts, contenders, watched=False) for job in jobs)
    assert told["attacks"].passes == counted > 10 * len(jobs)
    assert {piece.kind for piece in told["attacks"].pieces} >= {"attack on model", "attack on other", "attack on hard"}
    assert list(told)[-2:] == ["audit images", "summary"]


def test_nothing_is_foretold_at_the_opening_where_nothing_is_trained(tmp_path):
    plan = make_plan({**PLAN, "model": {"path": "m"}, "surrogates": {}, "hardened": {}}, base=Path(tmp_path))
    assert opening(plan, check_parts(plan), Folds(), 10, tmp_path) == ()
