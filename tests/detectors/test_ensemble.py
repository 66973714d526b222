# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from radproof.detectors import detector
from radproof.detectors.ensemble import Ensemble
from radproof.detectors.fitted import fit, learn, restore, taught_on
from radproof.detectors.kin import folds, kin
from radproof.detectors.usual import middle
from radproof.errors import BadInput, BadPlan


@pytest.fixture
def both(cheap):
    return detector["ensemble"].make({"members": ["rough", "level"]})


def test_it_is_the_mean_of_scores_in_spreads_of_images_that_taught_nobody(both, model, pictures):
    clean, x = pictures(60, 0), pictures(9, 1)
    pieces = taught_on(model, clean)
    out = folds(kin(pieces), 5) == 0
    assert 5 < int(out.sum()) < 20
    expected = []
    for name in ("rough", "level"):
        one = learn(detector[name].make({}), taught_on(model, clean[~out]))
        centre, spread = middle(one.score(clean[out])[:, None])
        expected.append((one.score(x) - centre) / spread)
    found = fit(both, model, clean).score(x)
    assert torch.allclose(found, torch.stack(expected).mean(0), rtol=1e-6)


def test_it_tells_what_all_its_members_measured(both, model, pictures):
    found = fit(both, model, pictures(40, 0)).measures(pictures(3, 1))
    assert set(found) == {"size of differences across", "size of differences down", "mean brightness"}


def test_what_was_stored_of_other_members_is_refused(both, cheap, model, pictures):
    state = fit(both, model, pictures(40, 0)).state()
    with pytest.raises(BadInput, match=r"is of level, rough, this one of rough"):
        restore(Ensemble({"rough": detector["rough"].make({})}), model, state)


@pytest.mark.parametrize("members", [["drift", "drift"], ["drift", "ensemble"]])
def test_an_ensemble_is_of_different_detectors(members):
    with pytest.raises(BadInput, match="different detectors"):
        detector["ensemble"].make({"members": members})


def test_one_is_no_ensemble():
    with pytest.raises(BadPlan, match="at least 2"):
        detector["ensemble"].make({"members": ["drift"]})
