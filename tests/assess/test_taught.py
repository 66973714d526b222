# SPDX-License-Identifier: Apache-2.0
"""What a run keeps of its detectors."""

import torch

from radproof.assess import taught
from radproof.assess.watching import Watching, as_kept
from radproof.core.rng import generator
from radproof.detectors import detector
from radproof.detectors.calibrate import calibrate, calibrate_groups
from radproof.detectors.fitted import fit, restore
from radproof.models.zoo import build


def pictures(n, seed):
    coarse = torch.rand(n, 1, 5, 5, generator=generator(seed))
    return torch.nn.functional.interpolate(coarse, size=(24, 24), mode="bicubic", align_corners=True).clamp(0, 1)


def test_what_was_kept_judges_to_the_bit_as_it_did(tmp_path):
    network = build("cxrnet", labels=("a", "b"), input_size=24, hidden=0).freeze()
    learners = {"drift": detector["drift"].make({}), "two": detector["ensemble"].make({"members": ["lid", "blocks"]})}
    found = {}
    for name, learner in learners.items():
        fitted = restore(learner, network, as_kept(fit(learner, network, pictures(40, 0))))
        scores = fitted.score(pictures(30, 1)).numpy()
        thresholds = calibrate_groups({"clean": scores}, false_positive_rate=0.1)
        found[name] = Watching(fitted, thresholds, {0.05: calibrate(scores, false_positive_rate=0.05)}, 0.25)
    path = tmp_path / taught.NAME
    assert taught.read(path, learners, network) is None
    taught.keep(path, found)
    again = taught.read(path, learners, network)
    assert list(again) == ["drift", "two"]
    for name, one in again.items():
        assert torch.equal(one.fitted.score(pictures(9, 2)), found[name].fitted.score(pictures(9, 2)))
        assert (one.thresholds, one.at, one.spread) == (found[name].thresholds, found[name].at, 0.25)


def test_of_other_detectors_nothing_is_read(tmp_path):
    learners = {"blocks": detector["blocks"].make({})}
    network = build("cxrnet", labels=("a", "b"), input_size=24, hidden=0).freeze()
    fitted = fit(learners["blocks"], network, pictures(20, 0))
    one = Watching(fitted, calibrate_groups({"clean": [1.0] * 30}, false_positive_rate=0.1), {}, 1.0)
    taught.keep(tmp_path / taught.NAME, {"blocks": one})
    other = {"lid": detector["lid"].make({})}
    assert taught.read(tmp_path / taught.NAME, other, network) is None
