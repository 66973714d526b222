# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from torch import nn

from radproof.core.rng import generator
from radproof.detectors.disagreement import disagreement
from radproof.detectors.squeezers import squeezers
from radproof.errors import BadInput, BadModel
from radproof.models.blueprint import Blueprint
from radproof.models.classifier import ImageClassifier
from radproof.models.zoo import build


class Sharpness(nn.Module):
    """Feature map 0 is the pixels themselves, map 1 how far each is from its neighbours' mean."""

    num_features = head_hidden_size = 2

    def forward_features(self, x):
        sharp = (x - nn.functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False)).abs()
        return nn.functional.avg_pool2d(torch.cat([x, sharp], dim=1), 4)

    def forward_head(self, maps):
        return maps.mean((2, 3))


def seeing(weights, **more):
    blueprint = Blueprint(
        architecture="sharpness", labels=("a", "b"), input_size=64, channels=1, mean=(0.0,), std=(1.0,), **more
    )
    top = nn.Linear(2, 2, bias=False)
    top.weight.data = torch.tensor(weights)
    return ImageClassifier(blueprint, Sharpness(), top, micro_batch=2).freeze()


BOTH = [[1.0, 1.0], [-1.0, -1.0]]


def with_patch(n=1, side=64, top=36, left=8, size=12):
    """A soft gradient with a patch of noise."""
    line = torch.linspace(0.3, 0.6, side)
    x = (line[:, None] + line).div(2).expand(n, 1, -1, -1).clone()
    noise = 0.2 * torch.rand(n, 1, size, size, generator=generator(0))
    x[..., top : top + size, left : left + size] += noise
    return x


def test_it_peaks_where_the_patch_is():
    heat = disagreement(seeing(BOTH), with_patch(3))
    assert heat.shape == (3, 64, 64)
    inside = torch.zeros(64, 64, dtype=torch.bool)
    inside[36:48, 8:20] = True
    for one in heat:
        row, column = divmod(int(one.argmax()), 64)
        assert bool(inside[row, column])
        assert one[inside].mean() > 5 * one[~inside].mean()
        assert one.max() == 1
        assert one.min() >= 0


def test_it_is_the_mean_over_squeezers_by_hand():
    model, x = seeing([[2.0, 0.0], [-2.0, 0.0]]), with_patch()
    maps = lambda view: nn.functional.avg_pool2d(view, 4)  # noqa: E731
    views = [maps(part(x, rng=generator(0))) for part in squeezers().values()]
    coarse = torch.stack([(view - maps(x)).abs() for view in views]).mean(0)
    fine = nn.functional.interpolate(coarse, size=(64, 64), mode="bilinear")[:, 0]
    assert torch.allclose(disagreement(model, x), fine / fine.max(), atol=1e-5)


def test_a_channel_that_the_answer_ignores_does_not_count():
    x = with_patch()
    pixels = disagreement(seeing([[1.0, 0.0], [-1.0, 0.0]]), x)
    sharp = disagreement(seeing([[0.0, 1.0], [0.0, -1.0]]), x)
    assert not torch.allclose(pixels, sharp, atol=0.05)
    assert disagreement(seeing([[0.0, 0.0], [0.0, 0.0]]), x).max() == 0


def test_where_nothing_differs_it_is_0_everywhere():
    black = torch.zeros(2, 1, 64, 64)
    black[1] = with_patch()[0]
    heat = disagreement(seeing(BOTH), black)
    assert heat[0].max() == 0
    assert heat[1].max() == 1


def test_each_image_has_a_scale_of_its_own_and_micro_batches_change_nothing():
    x = torch.cat([with_patch(), with_patch(2, top=8, left=40)])
    whole = disagreement(seeing(BOTH), x)
    alone = torch.cat([disagreement(seeing(BOTH), one) for one in x.split(1)])
    assert torch.allclose(whole, alone, atol=1e-6)


@pytest.mark.parametrize("head", ["softmax", "sigmoid"])
def test_real_networks_with_in_place_layers(head):
    model = build("mobilenetv3_small_050", labels=("a", "b"), head=head, input_size=64, hidden=4).freeze()
    with torch.no_grad():
        heat = disagreement(model, torch.rand(2, 1, 80, 72, generator=generator(1)))
    assert heat.shape == (2, 80, 72)
    assert heat.isfinite().all()
    assert heat.flatten(1).amax(1).tolist() == [1, 1]
    assert all(weight.grad is None for weight in model.parameters())


def test_refusals(model):
    with pytest.raises(BadModel, match="shows none"):
        disagreement(model, torch.rand(1, 1, 32, 32))
    with pytest.raises(BadInput):
        disagreement(seeing(BOTH), torch.full((1, 1, 32, 32), 2.0))
    vit = build("test_vit", labels=("a", "b"), input_size=160, hidden=0).freeze()
    with pytest.raises(BadModel, match="convolutional"):
        disagreement(vit, torch.rand(1, 1, 160, 160))


def test_no_images_have_no_maps():
    assert disagreement(seeing(BOTH), torch.zeros(0, 1, 64, 64)).shape == (0, 64, 64)
