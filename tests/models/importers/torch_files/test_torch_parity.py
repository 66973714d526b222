"""The same network by several roads: its answers, its gradients and what attacks make of them stay the same."""

from functools import cache

import pytest
import torch
from networks_made import images, made, to_pt2, to_safetensors, to_torch

from radproof.attacks.registry import attack
from radproof.core.goals import Misclassify
from radproof.models.assembly import IMAGENET, assembled
from radproof.models.card import ModelCard
from radproof.models.explain import grad_cam
from radproof.models.importers.pt2 import read_pt2
from radproof.models.importers.state_dict import read_state_dict
from radproof.models.layers import see

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
MOBILE = "torchvision:mobilenet_v3_large"
LARGE = pytest.param("torchvision:resnet50", marks=pytest.mark.slow)
NETWORKS = ["torchvision:densenet121", "torchvision:resnet18", LARGE, MOBILE, "tf_efficientnet_lite0"]


def answers(network, x):
    x = x.clone().requires_grad_()
    logits = network(x)
    loss = torch.nn.functional.cross_entropy(logits, torch.arange(len(x)) % logits.shape[1])
    return logits.detach(), torch.autograd.grad(loss, x)[0]


def alike(imported, network):
    x = 2 * images(imported.batch or 3, seed=1) - 1
    (ours, slope), (theirs, wanted) = answers(imported.graph, x), answers(network, x)
    assert float((ours - theirs).abs().max()) < 1e-4
    assert float((slope - wanted).abs().max()) < 1e-4 * max(1.0, float(wanted.abs().max()))
    assert float(wanted.abs().max()) > 1e-5


@pytest.mark.parametrize("architecture", NETWORKS)
def test_weights_by_name(architecture, tmp_path):
    network = made(architecture)
    found = read_state_dict(to_safetensors(network, tmp_path / "a.safetensors"), architecture)
    assert (found.classes, found.channels, found.size, found.batch) == (3, 3, None, None)
    alike(found, network)
    alike(read_state_dict(to_torch(network, tmp_path / "a.pth"), architecture, classes=3), network)


@pytest.mark.slow  # one of them goes every road below
@pytest.mark.parametrize("architecture", NETWORKS)
def test_exported_programs(architecture, tmp_path):
    network = made(architecture)
    found = read_pt2(to_pt2(network, tmp_path / "a.pt2"))
    assert (found.classes, found.channels, found.size, found.batch) == (3, 3, (64, 64), None)
    alike(found, network)


@pytest.fixture(scope="module")
def mobile():
    return made(MOBILE, scale=2.0)


@pytest.fixture(scope="module")
def shallow():
    """Deep networks with random weights are too rugged for gradient steps to agree for long."""
    return made("resnet10t", scale=2.0)


@pytest.fixture(scope="module")
def roads(mobile, shallow, tmp_path_factory):
    """A network as a file gives it back: (deep or shallow, which file)."""
    folder = tmp_path_factory.mktemp("roads")
    told = {"any": {}, "one": {"batch": 1}, "four": {"batch": 4}, "last": {"last": True}}

    @cache
    def read(which, road):
        network, name = (mobile, MOBILE) if which == "deep" else (shallow, "resnet10t")
        if road == "weights":
            return read_state_dict(to_torch(network, folder / f"{which}.pt"), name)
        return read_pt2(to_pt2(network, folder / f"{which}-{road}.pt2", **told[road]))

    return read


def card(**more):
    return ModelCard(
        architecture="imported", labels=("a", "b", "c"), head="softmax", input_size=64, hidden=0, channels=3,
        **{**IMAGENET, **more},
    )  # fmt: skip


class Plain:
    """The original, by hand."""

    labels, head, micro_batch = ("a", "b", "c"), "softmax", 32

    def __init__(self, network):
        self.network = network.requires_grad_(False)

    def __call__(self, x):
        mean, std = (torch.tensor(IMAGENET[name]).view(3, 1, 1) for name in ("mean", "std"))
        return self.network((x - mean) / std)


@pytest.fixture(scope="module")
def attacked(shallow):
    """Images, their labels, and a budget at which PGD fools some of them; how many."""
    model, x = Plain(shallow), images(64, seed=3)
    labels = model(x).argmax(1)
    for eps in (0.25 / 255, 0.5 / 255, 1 / 255, 2 / 255, 4 / 255, 8 / 255):
        share = fooled(model, x, labels, eps)
        if share > 0.2:
            break
    assert 0.1 < share < 0.9, share
    return x, labels, eps, share


def fooled(model, x, labels, eps):
    pushed = attack["pgd"].make({"eps": eps, "steps": 4})(
        model, x, Misclassify(labels), rng=torch.Generator().manual_seed(1)
    )
    assert float((pushed - x).abs().max()) <= eps + 1e-6
    return float((model(pushed).argmax(1) != labels).float().mean())


def slow(*given):
    return pytest.param(*given, marks=pytest.mark.slow)  # the same by the shallow network, in a third of the time


ROADS = ("one", "four", "last")


@pytest.mark.parametrize(
    ("which", "road"),
    [
        ("deep", "weights"),
        ("deep", "any"),
        *(("shallow", road) for road in ROADS),
        *(slow("deep", road) for road in ROADS),
    ],
)
def test_each_road(which, road, roads, mobile, shallow):
    alike(roads(which, road), mobile if which == "deep" else shallow)


SLOW = [pytest.param(road, marks=pytest.mark.slow) for road in ("one", "four", "last")]


@pytest.mark.parametrize("road", ["weights", "any", *SLOW])
def test_attacks_find_what_they_find_on_the_original(road, roads, attacked):
    x, labels, eps, share = attacked
    model = assembled(roads("shallow", road), card()).freeze()
    assert torch.equal(model(x).argmax(1), labels)
    assert abs(fooled(model, x, labels, eps) - share) <= 0.02


@pytest.mark.parametrize(
    ("which", "road"), [("deep", "weights"), ("deep", "any"), ("shallow", "last"), slow("deep", "last")]
)
def test_an_imported_network_can_be_looked_into(which, road, roads):
    model = assembled(roads(which, road), card()).freeze()
    x = images(2, seed=4)
    seen = see(model, x)
    assert torch.allclose(seen.logits, model(x), atol=1e-5)
    assert len([name for name in seen.layers if name.startswith("stages.")]) >= 4 and "features" in seen.layers
    cam = grad_cam(model, x, torch.tensor([0, 1]))
    assert cam.shape == (2, 64, 64) and float(cam.amax()) <= 1 and float(cam.std()) > 0


@pytest.mark.parametrize(("which", "road"), [("deep", "weights"), ("shallow", "four"), slow("deep", "four")])
def test_cut_in_two_it_answers_bit_for_bit_as_the_whole(which, road, roads):
    found = roads(which, road)
    model = assembled(found, card())
    x = images(4, seed=5)
    maps = model.backbone.forward_features(x)
    assert maps.dim() == 4 and maps.shape[1] == model.backbone.num_features and maps.shape[2] > 1
    assert torch.equal(model.top(model.backbone.forward_head(maps)), found.graph(x))
