import pytest
import torch

from radproof.training import checkpoint
from radproof.training.checkpoint import Checkpoint
from radproof.training.history import History

STATE = Checkpoint(
    History(digest="d", epochs=()),
    {"conv.weight": torch.rand(2, 3, 3, 3).to(memory_format=torch.channels_last), "n": torch.tensor(3)},
    {"conv.weight": torch.rand(2, 3, 3, 3), "n": torch.tensor(2)},
    {"0.step": torch.tensor(7.0)},
)


def test_round_trip_is_exact(tmp_path):
    checkpoint.save(tmp_path, STATE)
    found = checkpoint.load(tmp_path, "d")
    assert found is not None
    assert found.history == STATE.history
    for part in ("model", "best", "optimiser"):
        ours, theirs = getattr(found, part), getattr(STATE, part)
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


def test_another_recipe_or_other_data_start_afresh(tmp_path):
    checkpoint.save(tmp_path, STATE)
    assert checkpoint.load(tmp_path, "e") is None


def test_missing_and_damaged_files_start_afresh(tmp_path):
    assert checkpoint.load(tmp_path, "d") is None
    checkpoint.save(tmp_path, STATE)
    (path,) = (tmp_path / "checkpoint").iterdir()
    path.write_bytes(path.read_bytes()[:-3])
    assert checkpoint.load(tmp_path, "d") is None


def test_removed_without_a_trace(tmp_path):
    checkpoint.save(tmp_path, STATE)
    checkpoint.remove(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_an_optimiser_goes_on_as_if_nothing_had_happened(tmp_path, layout):
    def run(interrupted):
        w = torch.nn.Parameter(torch.arange(36.0).view(2, 2, 3, 3).to(memory_format=layout))
        adam = torch.optim.Adam([w], lr=0.1, fused=True)
        for step in range(6):
            if interrupted and step == 3:
                memory = checkpoint.optimiser_tensors(adam)
                checkpoint.save(tmp_path, Checkpoint(STATE.history, {}, {}, memory))
                adam = torch.optim.Adam([w], lr=0.1, fused=True)
                checkpoint.restore_optimiser(adam, checkpoint.load(tmp_path, "d").optimiser)
            adam.zero_grad()
            (w.sin() * (step + 1)).sum().backward()
            adam.step()
        return w.detach()

    assert torch.equal(run(False), run(True))
