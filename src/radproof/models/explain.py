# SPDX-License-Identifier: Apache-2.0
"""Where the network looks: Grad-CAM (Selvaraju et al., ICCV 2017) on the last convolutional feature maps.

The classifier is cut open at its feature maps instead of being hooked, so nothing is left behind in the model when
something fails, and a ReLU that works in place cannot overwrite what is explained.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from radproof.errors import BadInput, BadModel
from radproof.models.classifier import ImageClassifier


def grad_cam(model: ImageClassifier, x: Tensor, classes: Tensor) -> Tensor:
    """How much each place speaks for a class: images (N, C, H, W), one class each (N,) -> (N, H, W) in [0, 1].

    Every map is scaled to a maximum of 1; one with nothing that speaks for its class is 0 everywhere. Raises BadInput
    where classes do not go with the images, BadModel for a network without convolutional feature maps.
    """
    if classes.shape != x.shape[:1]:
        raise BadInput(f"expected one class per image, {len(x)}, got classes of shape {tuple(classes.shape)}")
    if bool(((classes < 0) | (classes >= len(model.labels))).any()):
        raise BadInput(f"classes must lie in 0 … {len(model.labels) - 1}, the model's {', '.join(model.labels)}")
    pairs = zip(x.split(model.micro_batch), classes.to(x.device).split(model.micro_batch), strict=True)
    return torch.cat([_cam(model, part, which) for part, which in pairs])


def _cam(model: ImageClassifier, x: Tensor, classes: Tensor) -> Tensor:
    with torch.no_grad():
        maps = model.feature_maps(x)
    if maps.dim() != 4 or maps.shape[1] != model.backbone.num_features:
        raise BadModel(
            f"Grad-CAM needs convolutional feature maps (N, C, h, w); {model.blueprint.architecture} gives "
            f"{tuple(maps.shape)}; choose a convolutional network"
        )
    with torch.enable_grad():
        maps = maps.detach().requires_grad_()
        # The copy is what in-place layers of the head may overwrite.
        chosen = model.answer(maps.clone()).gather(1, classes.view(-1, 1)).sum()
        (gradient,) = torch.autograd.grad(chosen, maps)
    importance = gradient.mean((2, 3), keepdim=True)
    cam = (importance * maps.detach()).sum(1, keepdim=True).relu()
    cam = F.interpolate(cam, size=x.shape[2:], mode="bilinear", align_corners=False)
    return (cam / cam.amax((2, 3), keepdim=True).clamp_min(1e-12)).squeeze(1)
