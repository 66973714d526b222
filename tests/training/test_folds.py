import pytest
import torch

from radproof.errors import BadData
from radproof.models.classifier import resize
from radproof.training.folds import check_every_class, gather

X = [torch.rand(1, 30, 40), torch.rand(1, 16, 16), torch.rand(1, 50, 20)]
Y = torch.tensor([0, 1, 0])


def softmax(images=X, targets=Y, labels=("a", "b")):
    return gather("training", images, targets, size=16, labels=labels, head="softmax")


def test_images_of_any_size_are_resized_as_the_classifier_does():
    fold = softmax()
    assert fold.images.shape == (3, 1, 16, 16)
    assert torch.equal(fold.images[1], X[1])
    assert torch.allclose(fold.images[2], resize(X[2][None], 16)[0])


def test_grey_among_colour_is_repeated():
    fold = softmax([torch.rand(3, 16, 16), X[1], X[1]])
    assert fold.images.shape == (3, 3, 16, 16)
    assert torch.equal(fold.images[1], X[1].expand(3, -1, -1))


def test_a_tensor_of_images_will_do():
    assert len(softmax(torch.rand(3, 1, 16, 16))) == 3


def test_digest_follows_pixels_and_targets():
    other = [X[0], X[1].clone(), X[2]]
    other[1][0, 3, 3] += 0.1
    digests = {softmax().digest(), softmax(other).digest(), softmax(targets=torch.tensor([0, 1, 1])).digest()}
    assert len(digests) == 3
    assert softmax().digest() in digests


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"images": X[:1], "targets": Y[:1]}, "holds 1 images"),
        ({"targets": Y[:2]}, r"targets of shape \(2,\)"),
        ({"targets": torch.tensor([0, 1, 2])}, "from 0 to 1"),
        ({"targets": torch.tensor([0, -1, 1])}, "from 0 to 1"),
        ({"targets": Y.float()}, "whole numbers"),
        ({"images": [*X[:2], torch.zeros(1, 8, 8, dtype=torch.uint8)]}, "image 2 .*uint8"),
        ({"images": [X[0], torch.rand(2, 8, 8), X[2]]}, "image 1 "),
        ({"images": [X[0], X[1], torch.full((1, 16, 16), float("nan"))]}, "image 2 .* NaN"),
    ],
)
def test_refuses_what_cannot_be_used(changes, words):
    with pytest.raises(BadData, match=words):
        softmax(**changes)


@pytest.mark.parametrize("targets", [torch.zeros(3), torch.full((3, 2), 0.5)])
def test_refuses_findings_that_are_no_findings(targets):
    with pytest.raises(BadData, match="targets"):
        gather("training", X, targets, size=16, labels=("a", "b"), head="sigmoid")


def test_a_class_without_a_training_image_is_named():
    with pytest.raises(BadData, match="shows Pneumothorax;"):
        labels = ("Normal", "Pneumonia", "Pneumothorax")
        check_every_class(softmax(labels=labels), labels, "softmax")


def test_a_finding_that_every_image_shows_is_named():
    findings = torch.tensor([[1.0, 0.0], [1.0, 1.0], [1.0, 0.0]])
    fold = gather("training", X, findings, size=16, labels=("Mass", "Edema"), head="sigmoid")
    with pytest.raises(BadData, match="both shows and lacks Mass;"):
        check_every_class(fold, ("Mass", "Edema"), "sigmoid")
