# SPDX-License-Identifier: Apache-2.0
"""Where a squeezed view is another image in the network's eyes: the heat map beside a suspicion.

The last convolutional feature maps of the image and of each view are compared place by place. A channel counts as much
as the answer depends on it (the weights of Grad-CAM, Selvaraju et al., ICCV 2017, without their signs).
"""

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from radproof.core.types import Classifier
from radproof.detectors.common import require_detectable
from radproof.detectors.squeezers import squeezers
from radproof.errors import BadModel
from radproof.models.classifier import ImageClassifier


def disagreement(model: Classifier, x: Tensor) -> Tensor:
    """Images (N, C, H, W) in [0, 1] -> (N, H, W) in [0, 1]: the mean over squeezers, scaled to a maximum of 1.

    0 everywhere where nothing differs. It tells where, never how much: an honest image has its maximum of 1 too.
    Raises BadInput for what is no image, BadModel for a network without convolutional feature maps.
    """
    if not isinstance(model, ImageClassifier):
        raise BadModel(
            "a map of where squeezed views disagree needs the network's feature maps, and this classifier shows none; "
            "give a network that radproof opens itself"
        )
    require_detectable(x)
    return torch.cat([_heat(model, part) for part in x.detach().split(max(1, model.micro_batch))])


def _heat(model: ImageClassifier, x: Tensor) -> Tensor:
    if not len(x):
        return x.new_zeros(0, *x.shape[2:])
    rng = Generator(device=x.device)  # squeezers are deterministic, all of them
    with torch.no_grad():
        maps = model.feature_maps(x)
        if maps.dim() != 4 or maps.shape[1] != model.backbone.num_features:
            raise BadModel(
                f"a map of where squeezed views disagree needs convolutional feature maps (N, C, h, w); "
                f"{model.blueprint.architecture} gives {tuple(maps.shape)}; choose a convolutional network"
            )
        weights = _weights(model, maps)
        apart = [(model.feature_maps(way(x, rng=rng)) - maps).abs() for way in squeezers().values()]
        heat = torch.stack([(weights * one).sum(1, keepdim=True) for one in apart]).mean(0)
        heat = F.interpolate(heat, size=x.shape[2:], mode="bilinear", align_corners=False)
        highest = heat.amax((2, 3), keepdim=True)
        return torch.where(highest > 0, heat / highest, 0).squeeze(1)


def _weights(model: ImageClassifier, maps: Tensor) -> Tensor:
    """(N, C, 1, 1): how much the highest logit depends on each channel."""
    with torch.enable_grad():
        maps = maps.detach().requires_grad_()
        # The copy is what in-place layers of the head may overwrite.
        (slope,) = torch.autograd.grad(model.answer(maps.clone()).amax(1).sum(), maps)
    return slope.mean((2, 3), keepdim=True).abs()
