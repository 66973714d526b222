import pytest
import torch
from torch import nn

from radproof.errors import BadInput, BadModel
from radproof.models.explain import grad_cam
from radproof.models.zoo import build

X = torch.full((2, 1, 16, 16), 0.5)


def test_each_class_lights_its_own_corner(corner_model):
    cam = grad_cam(corner_model, X, torch.tensor([0, 1]))
    expected = torch.zeros(2, 16, 16)
    expected[0, :8, :8] = 1
    expected[1, 8:, 8:] = 1
    assert torch.allclose(cam, expected, atol=1e-6)


def test_what_speaks_against_a_class_is_not_shown(corner_model):
    corner_model.top = nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        corner_model.top.weight.copy_(torch.tensor([[-1.0, 0.0], [-1.0, 2.0]]))
    cam = grad_cam(corner_model.freeze(), X, torch.tensor([0, 1]))
    assert cam[0].max() == 0
    assert cam[1, :8, :8].max() == 0
    assert cam[1, 12, 12] == 1


def test_equals_hooks_on_a_hand_written_network(tiny, images):
    kept = {}
    last = tiny.backbone.stages[-1]
    handles = [last.register_forward_hook(lambda _m, _i, out: kept.update(maps=out))]
    x = images.clone().requires_grad_()
    logits = tiny(x)
    (gradient,) = torch.autograd.grad(logits[:, 1].sum(), kept["maps"])
    handles[0].remove()
    cam = (gradient.mean((2, 3), keepdim=True) * kept["maps"]).sum(1).relu().detach()
    ours = grad_cam(tiny, images, torch.ones(5, dtype=torch.int64))
    assert ours.shape == (5, 48, 48)
    # Corners of the upsampled map are the corners of the coarse one.
    assert torch.allclose(ours[:, 0, 0], cam[:, 0, 0] / cam.flatten(1).amax(1).clamp_min(1e-12), atol=1e-2)


def test_micro_batches_change_nothing(tiny, images):
    classes = torch.tensor([0, 1, 2, 0, 1])
    whole = grad_cam(tiny, images, classes)
    tiny.micro_batch = 2
    assert torch.allclose(grad_cam(tiny, images, classes), whole, atol=1e-5)


@pytest.mark.parametrize("name", ["densenet121", "mobilenetv3_small_050", "resnet10t"])
def test_real_networks_with_in_place_layers(name):
    model = build(name, labels=("a", "b"), input_size=64, hidden=4).freeze()
    cam = grad_cam(model, torch.rand(2, 1, 80, 80), torch.tensor([0, 1]))
    assert cam.shape == (2, 80, 80)
    assert cam.isfinite().all()
    assert 0 <= cam.min() <= cam.max() <= 1 + 1e-6
    assert all(p.grad is None for p in model.parameters())


def test_works_inside_no_grad(corner_model):
    with torch.no_grad():
        assert grad_cam(corner_model, X, torch.tensor([0, 1])).max() == 1


def test_refuses_classes_that_do_not_go_with_the_images(corner_model):
    with pytest.raises(BadInput, match="one class per image"):
        grad_cam(corner_model, X, torch.tensor([0]))
    with pytest.raises(BadInput, match="classes must lie in"):
        grad_cam(corner_model, X, torch.tensor([0, 2]))


def test_refuses_networks_without_feature_maps():
    model = build("test_vit", labels=("a", "b"), input_size=160, hidden=0).freeze()
    with pytest.raises(BadModel, match="convolutional"):
        grad_cam(model, torch.rand(1, 1, 160, 160), torch.tensor([0]))
