import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim.lr_scheduler import OneCycleLR, ReduceLROnPlateau

from radproof.training.recipe import TrainingRecipe
from radproof.training.schedule import exhausted, one_cycle_rate, plateau_rate


def optimiser(lr):
    return torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)


@given(st.lists(st.integers(0, 6), max_size=40), st.integers(1, 5))
def test_plateau_is_torchs(losses, patience):
    recipe = TrainingRecipe(lr=1.0, plateau_factor=0.5, plateau_patience=patience, lr_floor=0.01)
    sgd = optimiser(1.0)
    # torch waits for one epoch more than it calls patience.
    reference = ReduceLROnPlateau(sgd, factor=0.5, patience=patience - 1, threshold=0, min_lr=0.01, eps=0)
    for end, loss in enumerate(losses):
        reference.step(loss)
        assert plateau_rate(recipe, losses[: end + 1]) == pytest.approx(sgd.param_groups[0]["lr"])


@pytest.mark.parametrize("steps", [4, 10, 37])
def test_one_cycle_is_torchs(steps):
    sgd = optimiser(0.1)
    reference = OneCycleLR(sgd, 0.1, total_steps=steps, cycle_momentum=False)
    for step in range(steps):
        assert one_cycle_rate(0.1, step, steps) == pytest.approx(sgd.param_groups[0]["lr"])
        sgd.step()
        if step < steps - 1:
            reference.step()


def test_a_floor_above_the_rate_does_not_raise_it():
    assert plateau_rate(TrainingRecipe(lr=1e-8, plateau_patience=1), [1.0, 2.0, 3.0]) == 1e-8


@pytest.mark.parametrize(
    ("losses", "stop"),
    [([], False), ([1.0], False), ([1.0, 2.0], False), ([1.0, 2.0, 2.0], True), ([3.0, 1.0, 1.0, 0.9], False)],
)
def test_exhausted_after_patience_epochs_without_a_lower_loss(losses, stop):
    assert exhausted(TrainingRecipe(patience=2), losses) is stop
