import pytest
import torch

from radproof.core.progress import SILENT
from radproof.models.zoo import build
from radproof.training.arithmetic import Arithmetic, settle
from radproof.training.folds import gather
from radproof.training.stages import features_of, logits_of

CPU = torch.device("cpu")


@pytest.mark.parametrize("name", ["cxrnet", "mobilenetv3_small_050"])
def test_cached_features_are_those_of_a_plain_pass(name, blobs):
    model = build(name, labels=("a", "b"), input_size=32, hidden=4)
    fold = gather("training", blobs[1].images, blobs[1].targets, size=32, labels=("a", "b"), head="softmax")
    cached = features_of(model.train(), fold, Arithmetic(CPU, "fp32"), 7, SILENT)
    with torch.no_grad():
        plain = torch.cat([model.freeze().features(image[None]) for image in blobs[1].images])
        logits = torch.cat([model(image[None]) for image in blobs[1].images])
    assert torch.allclose(cached, plain, atol=1e-5)
    assert torch.allclose(logits_of(model, fold, Arithmetic(CPU, "fp32"), 7), logits, atol=1e-5)


@pytest.mark.parametrize(
    ("has", "groups", "expected"), [(True, 1, "bf16"), (False, 1, "fp32"), (True, 8, "fp32"), (False, 8, "fp32")]
)
def test_precision_follows_processor_and_network(monkeypatch, has, groups, expected):
    monkeypatch.setattr("radproof.core.device.has_bfloat16", lambda _: has)
    network = torch.nn.Sequential(torch.nn.Conv2d(8, 8, 3, groups=groups))
    assert settle("auto", CPU, network).precision == expected
    assert settle("fp32", CPU, network).precision == "fp32"
    assert settle("bf16", CPU, network).precision == "bf16"
