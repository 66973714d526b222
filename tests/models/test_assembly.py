import pytest
import torch
from torch import nn

from radproof.errors import BadModel
from radproof.models.assembly import answering, assembled, guessed, service_card
from radproof.models.card import ModelCard
from radproof.models.imported import Imported
from radproof.models.importers.tracing import traced

X = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def imported(classes=3, channels=3, **more):
    torch.manual_seed(2)
    net = nn.Sequential(
        nn.Conv2d(channels, 5, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, classes)
    )
    graph, _ = traced(net.eval(), channels, (32, 32), "net")
    return Imported(graph, channels, (32, 32), classes, **more)


def card(labels=("a", "b", "c"), head="softmax", **more):
    told = {"mean": (0.0,) * 3, "std": (1.0,) * 3, "hidden": 0, "input_size": 32}
    return ModelCard(architecture="onnx", labels=labels, head=head, **(told | more))


def close(a, b):
    return torch.allclose(a, b, atol=1e-5)


def test_the_classifier_answers_as_the_graph_does():
    network = imported()
    assert close(assembled(network, card()).freeze()(X), network.graph(X))


def test_one_answer_becomes_two_classes_for_the_original_too():
    network = imported(1, exact=lambda x: x.mean((1, 2, 3))[:, None])
    model = assembled(network, card(("no", "yes"))).freeze()
    logits = model(X)
    assert close(logits[:, 0], torch.zeros(4)) and close(logits[:, 1], X.mean((1, 2, 3)))
    alone = assembled(imported(1), card(("yes",), "sigmoid")).freeze()
    assert close(alone(X), imported(1).graph(X))


def test_classes_are_chosen_by_name_for_the_original_too():
    network = imported(exact=lambda x: x.mean((2, 3)))
    model = answering(assembled(network, card()), ("c", "a", "b")).freeze()
    assert model.labels == ("c", "a", "b")
    assert close(model(X), X.mean((2, 3))[:, [2, 0, 1]])
    plain = answering(assembled(imported(), card()), ("c", "a", "b")).freeze()
    assert close(plain(X), imported().graph(X)[:, [2, 0, 1]])


def test_findings_side_by_side_may_be_some_of_them():
    model = assembled(imported(), card(head="sigmoid"))
    assert close(answering(model, ("c",)).freeze()(X), imported().graph(X)[:, [2]])
    assert answering(model, ("a", "b", "c")) is model


@pytest.mark.parametrize(
    ("head", "labels"), [("softmax", ("a", "b")), ("softmax", ("a", "b", "d")), ("sigmoid", ("d",))]
)
def test_other_classes_are_refused(head, labels):
    with pytest.raises(BadModel, match=r"the model answers a, b, c .*choose the same classes"):
        answering(assembled(imported(), card(head=head)), labels)


@pytest.mark.parametrize(
    ("network", "wrong", "said"),
    [
        (lambda: imported(4), {}, "gives 4 answers, and there are 3 classes"),
        (lambda: imported(1), {}, "gives 1 answers"),
        (lambda: imported(1), {"labels": ("a", "b"), "head": "sigmoid"}, "gives 1 answers"),
        (lambda: imported(channels=1), {}, "takes 1 channels, its card says 3"),
        (imported, {"input_size": (32, 48)}, "takes 32 × 32 pixels only.*32 × 48"),
        (lambda: imported(head="softmax"), {"head": "sigmoid"}, "ends in a softmax"),
    ],
)
def test_card_and_network_must_agree(network, wrong, said):
    with pytest.raises(BadModel, match=said):
        assembled(network(), card(**wrong))


def guess(network, labels=("a", "b", "c"), head="softmax"):
    return guessed(network, labels, head, architecture="onnx", name="file")


def test_what_is_guessed():
    assert guess(imported()).mean == (0.485, 0.456, 0.406)
    assert guess(imported(channels=1)).mean == (0.5,) and guess(imported(channels=1)).channels == 1
    assert guess(imported(hints={"labels": ("c", "a", "b")})).labels == ("c", "a", "b")
    assert guess(imported(hints={"labels": ("x", "y", "z")})).labels == ("a", "b", "c")
    assert guess(imported(hints={"labels": ("c", "a", "b")}), ("a",), "sigmoid").labels == ("c", "a", "b")
    ranged = guess(imported(hints={"range": (0.0, 255.0), "order": "bgr"}))
    assert (ranged.range, ranged.order, ranged.mean, ranged.std) == ((0.0, 255.0), "bgr", (0.0,) * 3, (1.0,) * 3)
    assert guess(imported(hints={"mean": (0.1,) * 3, "std": (0.2,) * 3})).std == (0.2,) * 3


@pytest.mark.parametrize("hints", [{"mean": (0.5,)}, {"range": (1.0, 1.0)}, {"std": (0.0,) * 3}, {"order": "grb"}])
def test_hints_that_make_no_card(hints):
    with pytest.raises(BadModel, match=r"give a card: --card FILE"):
        guess(imported(hints=hints))


def test_a_services_card_is_usual():
    assert service_card(("a", "b"), "softmax").mean == (0.485, 0.456, 0.406)
