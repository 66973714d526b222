import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight

from radproof.training.balance import batches, class_weights, image_weights, order

Y = torch.tensor([0] * 6 + [1] * 3 + [2])


def test_class_weights_are_sklearns_balanced_ones():
    expected = compute_class_weight("balanced", classes=np.arange(3), y=Y.numpy())
    assert class_weights(Y, 3, "softmax").tolist() == pytest.approx(expected.tolist())


def test_class_weights_average_one_over_images():
    assert class_weights(Y, 3, "softmax")[Y].mean().item() == pytest.approx(1)


def test_findings_are_weighed_negatives_to_positives():
    findings = torch.tensor([[1.0, 1.0], [0.0, 1.0], [0.0, 0.0], [0.0, 1.0]])
    assert class_weights(findings, 2, "sigmoid").tolist() == pytest.approx([3, 1 / 3])


def test_images_of_each_class_are_equally_likely():
    weights = image_weights(Y, "softmax")
    shares = torch.stack([weights[k == Y].sum() for k in range(3)])
    assert torch.allclose(shares, shares[0].expand(3))


def test_an_image_counts_as_its_rarest_finding_and_bare_ones_as_a_class():
    findings = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 0.0], [0.0, 0.0]])
    expected = torch.tensor([1 / 3, 1 / 3, 1, 1 / 2, 1 / 2])
    assert torch.allclose(image_weights(findings, "sigmoid"), expected)


def test_without_sampling_each_image_comes_once():
    rows = order(Y, "softmax", sampling=False, rng=torch.Generator().manual_seed(0))
    assert sorted(rows.tolist()) == list(range(10))
    assert rows.tolist() != list(range(10))


def test_sampling_evens_classes_out():
    targets = (torch.arange(3000) % 10 == 0).long()
    rows = order(targets, "softmax", sampling=True, rng=torch.Generator().manual_seed(0))
    assert len(rows) == 3000
    assert targets[rows].float().mean().item() == pytest.approx(0.5, abs=0.04)


@given(st.integers(2, 200), st.integers(4, 64))
def test_batches_hold_everything_evenly_and_never_a_single_image(images, size):
    parts = batches(torch.arange(images), size)
    lengths = [len(part) for part in parts]
    assert torch.equal(torch.cat(parts), torch.arange(images))
    assert max(lengths) <= size
    assert max(lengths) - min(lengths) <= 1
    assert min(lengths) >= 2
