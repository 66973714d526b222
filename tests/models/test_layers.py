# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from torch import nn

from radproof.errors import BadInput, BadModel
from radproof.models.layers import require_layers, see, stages
from radproof.models.zoo import build

LABELS = ("a", "b", "c")
SHOWN = {
    "cxrnet": ("stages.0 24, stages.1 48, stages.2 96, stages.3 144, features 144, hidden 4", 32),
    "resnet18": ("act1 64, layer1 64, layer2 128, layer3 256, layer4 512, features 512, hidden 4", 32),
    "densenet121": (
        "features.norm0 64, features.denseblock1 256, features.denseblock2 512, features.denseblock3 1024, "
        "features.norm5 1024, features 1024, hidden 4",
        32,
    ),
    "mobilenetv3_small_050": (
        "bn1 16, blocks.0 8, blocks.1 16, blocks.2 24, blocks.3 24, blocks.4 48, blocks.5 288, features 1024, hidden 4",
        32,
    ),
    "test_vit": ("blocks.0 64, blocks.1 64, blocks.2 64, blocks.3 64, blocks.4 64, blocks.5 64, features 64", 160),
}


def net(name, side, hidden=4):
    return build(name, labels=LABELS, input_size=side, hidden=hidden).freeze()


def pixels(side, n=2):
    return torch.rand(n, 1, side, side, generator=torch.Generator().manual_seed(3))


def hooks_of(model):
    return sum(len(module._forward_hooks) for module in model.modules())


@pytest.mark.parametrize("name", SHOWN)
def test_names_widths_and_the_models_own_logits(name):
    expected, side = SHOWN[name]
    model = net(name, side, hidden=4 if "hidden" in expected else 0).calibrate(1.7)
    x = pixels(side)
    seen = see(model, x)
    assert ", ".join(f"{layer} {found.shape[1]}" for layer, found in seen.layers.items()) == expected
    assert all(found.shape[0] == 2 for found in seen.layers.values())
    assert torch.equal(seen.logits, model(x))
    assert torch.equal(seen.layers["features"], model.features(x))
    assert hooks_of(model) == 0


def test_means_by_hand(tiny, images):
    seen = see(tiny, images)
    maps = tiny.backbone.stem(tiny.prepare(images))
    for place, stage in enumerate(tiny.backbone.stages):
        maps = stage(maps)
        by_hand = maps.double().sum((2, 3)) / (maps.shape[2] * maps.shape[3])
        assert torch.allclose(seen.layers[f"stages.{place}"].double(), by_hand, atol=1e-6)
    assert torch.equal(seen.layers["hidden"], tiny.top.hidden(tiny.features(images)))


def test_tokens_and_channels_last_are_averaged_over_places():
    vit, swin = net("test_vit", 160), net("swin_s3_tiny_224", 224)
    x = (pixels(160, 1) - 0.5) / 0.5
    tokens = vit.backbone.forward_intermediates(x.expand(-1, 3, -1, -1), return_prefix_tokens=True, output_fmt="NLC")[1]
    grid, prefix = tokens[0]
    expected = torch.cat([prefix, grid], dim=1).mean(1)
    assert torch.allclose(see(vit, pixels(160, 1)).layers["blocks.0"], expected, atol=1e-5)
    kept = {}
    swin.backbone.layers[1].register_forward_hook(lambda _module, _given, out: kept.update(maps=out))
    found = see(swin, pixels(224, 1)).layers["layers.1"]
    assert kept["maps"].shape == (1, 28, 28, 192)
    assert torch.allclose(found, kept["maps"].mean((1, 2)), atol=1e-5)


class Rectified(nn.Module):
    """A stage, and after it a layer that works in place on what the stage gave."""

    num_features = head_hidden_size = 2

    def __init__(self):
        super().__init__()
        self.stages = nn.Sequential(nn.Conv2d(1, 2, 1))
        self.rectify = nn.ReLU(inplace=True)

    def forward_features(self, x):
        return self.rectify(self.stages(x))

    def forward_head(self, maps):
        return maps.mean((2, 3))


def test_layers_that_work_in_place_spoil_nothing(tiny, images):
    tiny.backbone, tiny.top = Rectified(), nn.Sequential(nn.ReLU(inplace=True), nn.Linear(2, 3))
    with torch.no_grad():
        tiny.backbone.stages[0].weight.copy_(torch.tensor([1.0, -1.0]).view(2, 1, 1, 1))
        tiny.backbone.stages[0].bias.fill_(-10.0)
    seen = see(tiny, images)
    assert seen.layers["stages.0"].max() < -5
    assert seen.layers["features"].max() == 0


def test_a_head_that_works_in_place_spoils_no_hidden_layer(tiny, images):
    hidden, classes = tiny.top.hidden, tiny.top.classes
    tiny.top = nn.Sequential()
    for name, layer in (("hidden", hidden), ("rectify", nn.ReLU(inplace=True)), ("classes", classes)):
        tiny.top.add_module(name, layer)
    assert see(tiny, images).layers["hidden"].min() < 0


def test_gradients_reach_the_pixels_from_every_layer(tiny, images):
    x = images.clone().requires_grad_()
    for name, layer in see(tiny, x).layers.items():
        (gradient,) = torch.autograd.grad(layer.sum(), x, retain_graph=True)
        assert gradient.abs().max() > 0, name
    leaf = images[:1].double().requires_grad_()
    model = tiny.double()
    (gradient,) = torch.autograd.grad(see(model, leaf).layers["stages.1"][0, 5], leaf)
    step = torch.zeros_like(leaf)
    step[..., 20, 11] = 1e-6
    with torch.no_grad():
        ahead, behind = (see(model, leaf + sign * step).layers["stages.1"][0, 5] for sign in (1, -1))
    assert gradient[0, 0, 20, 11].item() == pytest.approx((ahead - behind).item() / 2e-6, rel=1e-4, abs=1e-10)


def test_hooks_are_gone_after_an_error(tiny, images):
    others = [tiny.backbone.stages[1].register_forward_hook(lambda *_: None)]

    def fail(*_):
        raise RuntimeError("broken layer")

    others.append(tiny.top.hidden.register_forward_pre_hook(fail))
    with pytest.raises(RuntimeError, match="broken layer"):
        see(tiny, images)
    with pytest.raises(BadInput, match="NaN"):
        see(tiny, images * torch.nan)
    assert hooks_of(tiny) == 1  # the test's own
    for hook in others:
        hook.remove()


def test_a_layer_that_gives_no_tensor_is_left_out(tiny, images):
    class Pair(nn.Module):
        def forward(self, x):
            return x, x

    class First(nn.Module):
        def forward(self, pair):
            return pair[0]

    tiny.backbone.stages.append(Pair())
    tiny.backbone.stages.append(First())
    assert "stages.4" not in see(tiny, images).layers
    assert "stages.5" in see(tiny, images).layers


def test_other_classifiers_show_logits_alone(images):
    def model(x):
        return x.mean((2, 3))

    seen = see(model, images)
    assert torch.equal(seen.logits, images.mean((2, 3)))
    with pytest.raises(BadModel, match="mahalanobis looks into the network's layers"):
        require_layers(seen, "mahalanobis")


def test_a_network_without_stages_still_shows_its_features(corner_model):
    assert stages(corner_model) == {}
    assert list(see(corner_model, torch.rand(1, 1, 16, 16)).layers) == ["features"]
