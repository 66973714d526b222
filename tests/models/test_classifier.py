import pytest
import torch
from torchvision.transforms.v2.functional import resize as reference_resize

from radproof.errors import BadInput
from radproof.models.classifier import resize
from radproof.models.zoo import build

LABELS = ("Normal", "Pneumonia", "Pneumothorax")


@pytest.fixture(scope="module")
def mobile():
    """A real timm network with three input channels."""
    return build("mobilenetv3_small_050", labels=LABELS, input_size=64, hidden=0).freeze()


def test_resize_is_torchvisions_antialiased_one():
    x = torch.rand(2, 3, 50, 70)
    assert torch.allclose(resize(x, 32), reference_resize(x, [32, 32], antialias=True), atol=1e-6)


def test_resize_leaves_the_right_size_alone():
    x = torch.rand(1, 1, 32, 32)
    assert resize(x, 32) is x


def test_normalises_as_by_hand(mobile):
    x = torch.rand(2, 3, 64, 64)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    by_hand = (x - mean[:, None, None]) / std[:, None, None]
    assert torch.equal(mobile.prepare(x), by_hand)
    assert torch.allclose(mobile(x), mobile.top(mobile.backbone(by_hand)), atol=1e-5)


def test_one_channel_answers_like_three_equal_ones(mobile):
    x = torch.rand(2, 1, 80, 80)
    assert torch.equal(mobile(x), mobile(x.expand(-1, 3, -1, -1)))


def test_one_channel_backbone_averages_rgb(tiny):
    x = torch.rand(2, 3, 32, 32)
    assert torch.equal(tiny(x), tiny(x.mean(1, keepdim=True)))


def test_one_channel_gradient_is_the_sum_over_three(mobile):
    x = torch.rand(1, 1, 64, 64)
    grey, colour = x.clone().requires_grad_(), x.repeat(1, 3, 1, 1).requires_grad_()
    mobile(grey)[0, 0].backward()
    mobile(colour)[0, 0].backward()
    assert torch.allclose(grey.grad, colour.grad.sum(1, keepdim=True), atol=1e-6)


def test_gradient_through_resize_in_float64(tiny, images):
    model = tiny.double()
    x = images[:1, :, :40, :40].double()
    pixel = torch.zeros_like(x)
    pixel[..., 11, 17] = 1e-6
    leaf = x.clone().requires_grad_()
    model(leaf)[0, 1].backward()
    numeric = (model(x + pixel)[0, 1] - model(x - pixel)[0, 1]) / 2e-6
    assert leaf.grad[0, 0, 11, 17].item() == pytest.approx(numeric.item(), rel=1e-4, abs=1e-9)


def test_features_are_what_the_head_sees(tiny, images):
    assert torch.equal(tiny.top(tiny.features(images)), tiny(images))
    assert tiny.feature_maps(images).shape == (5, 144, 2, 2)


def test_temperature_divides_logits_and_keeps_answers(tiny, images):
    before = tiny(images)
    after = tiny.calibrate(2.5)(images)
    assert torch.allclose(after * 2.5, before, atol=1e-6)
    assert tiny.temperature == 2.5


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
def test_refuses_such_temperatures(tiny, temperature):
    with pytest.raises(BadInput, match="temperature"):
        tiny.calibrate(temperature)


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (torch.rand(3, 32, 32), r"\(N, C, H, W\)"),
        (torch.rand(2, 2, 32, 32), "C 1 or 3"),
        (torch.rand(0, 1, 32, 32), "shape"),
        (torch.zeros(1, 1, 32, 32, dtype=torch.uint8), "uint8"),
        (torch.full((1, 1, 32, 32), float("nan")), "NaN"),
        (torch.full((1, 1, 32, 32), float("inf")), "infinite"),
    ],
)
def test_refuses_what_is_no_image(tiny, x, words):
    with pytest.raises(BadInput, match=words):
        tiny(x)


def test_one_nan_pixel_is_enough_to_refuse(tiny, images):
    images[3, 0, 2, 2] = float("nan")
    with pytest.raises(BadInput, match="NaN"):
        tiny(images)


def test_range_is_checked_when_strict_with_room_for_rounding(tiny):
    tiny.strict = True
    tiny(torch.full((1, 1, 32, 32), -2.98e-8))
    with pytest.raises(BadInput, match=r"\[0, 1\]"):
        tiny(torch.full((1, 1, 32, 32), 255.0))


def test_freeze_stops_gradients_and_training_mode():
    model = build("cxrnet", labels=LABELS, input_size=32, hidden=8).freeze()
    assert not model.training
    assert not any(p.requires_grad for p in model.parameters())


def test_fingerprint_changes_with_weights_and_with_the_blueprint():
    def make(seed=0, labels=LABELS):
        return build("cxrnet", labels=labels, input_size=32, hidden=8, seed=seed)

    first = make().fingerprint()
    assert first == make().to(memory_format=torch.channels_last).fingerprint()
    others = [make(seed=1), make(labels=LABELS[::-1]), make().calibrate(2.0)]
    assert len({first, *(model.fingerprint() for model in others)}) == 4
