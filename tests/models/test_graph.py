"""Graphs made plain, bare of their softmax, and cut in two: together the same answers, apart the same parts."""

import pytest
import torch
from torch import nn
from torch.fx import symbolic_trace

from radproof.errors import BadModel
from radproof.models.graph import cut, notes_of, take_off, tidy


def images(count=2, side=16):
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(0))


class Residual(nn.Module):
    """A stem, two blocks with a sum each, the second at half the size, pooling, a hidden layer."""

    def __init__(self, end=None):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True))
        self.one = nn.Conv2d(8, 8, 3, padding=1)
        self.down = nn.Conv2d(8, 12, 3, stride=2, padding=1)
        self.two = nn.Conv2d(12, 12, 3, padding=1)
        self.top = nn.Sequential(nn.Linear(12, 5), nn.ReLU(), nn.Dropout(0.5), nn.Linear(5, 3))
        self.end = end or nn.Identity()

    def forward(self, x):
        x = self.stem(x)
        x = x + self.one(x).relu_()
        x = self.down(x)
        x = x + self.two(x).relu()
        x = torch.flatten(nn.functional.adaptive_avg_pool2d(x, 1), 1)
        return self.end(self.top(x))


def network(end=None):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Residual(end)


def roads(model):
    exported = torch.export.export(model, (images(),), dynamic_shapes=({0: torch.export.Dim("n", max=999)},)).module()
    for name in ("train", "eval"):
        vars(exported).pop(name, None)
    return {"traced": symbolic_trace(model), "exported": exported}


@pytest.mark.parametrize("road", ["traced", "exported"])
@pytest.mark.parametrize("training", [False, True])
def test_plain_graphs_answer_as_the_network_in_evaluation(road, training):
    model = network().train(training)
    graph, _, _ = take_off(tidy(roads(model)[road]))
    model.eval()
    x = images(3)
    assert torch.allclose(graph(x), model(x), atol=1e-6)
    assert torch.equal(graph(x), graph(x))
    assert not any(parameter.requires_grad for parameter in graph.parameters())
    if road == "exported":
        assert bool(notes_of(graph)) is training


@pytest.mark.parametrize("road", ["traced", "exported"])
def test_cut_in_two(road):
    model = network().eval()
    graph, _, _ = take_off(tidy(roads(model)[road]))
    backbone, top = cut(graph, images())
    x = images(3)
    maps = backbone.forward_features(x)
    assert maps.shape == (3, 12, 8, 8) and backbone.num_features == 12 and backbone.head_hidden_size == 12
    assert torch.equal(maps.mean((2, 3)), backbone.forward_head(maps))
    assert torch.equal(top(backbone.forward_head(maps)), graph(x))
    _, seen = backbone.see(x)
    assert [tuple(stage.shape[1:]) for stage in seen.values()] == [(8, 16, 16), (12, 8, 8)]
    assert torch.equal(list(seen.values())[-1], maps)


def test_a_graph_for_one_number_of_images_runs_in_pieces():
    class Fixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = network().eval()

        def forward(self, x):
            return self.inner(x).reshape(2, 3)

    graph = tidy(symbolic_trace(Fixed().eval()))
    backbone, top = cut(graph, images(2), batch=2)
    x = images(5)
    answers = top(backbone.forward_head(backbone.forward_features(x)))
    assert torch.allclose(answers, network().eval()(x), atol=1e-6) and answers.shape == (5, 3)


@pytest.mark.parametrize(
    ("end", "head"),
    [(nn.Softmax(1), "softmax"), (nn.LogSoftmax(1), "softmax"), (nn.Sigmoid(), "sigmoid"), (None, None)],
)
@pytest.mark.parametrize("road", ["traced", "exported"])
def test_a_softmax_at_the_end_is_taken_off(end, head, road):
    graph, told, note = take_off(tidy(roads(network(end).eval())[road]))
    assert told == head and bool(note) is (head is not None)
    assert torch.allclose(graph(images()), network().eval()(images()), atol=1e-6)


def test_an_end_without_gradient_is_told():
    class Rounded(Residual):
        def forward(self, x):
            return torch.round(super().forward(x))

    _, head, note = take_off(tidy(symbolic_trace(Rounded().eval())))
    assert head is None and "no gradient" in note


def test_several_answers_are_refused():
    class Two(Residual):
        def forward(self, x):
            return super().forward(x), x

    with pytest.raises(BadModel, match="gives 2 tensors"):
        take_off(tidy(symbolic_trace(Two().eval())))


def test_a_network_that_answers_by_chance_is_refused():
    class Chance(Residual):
        def forward(self, x):
            return super().forward(x + torch.rand_like(x))

    with pytest.raises(BadModel, match="randomness"):
        cut(tidy(symbolic_trace(Chance().eval())), images())
