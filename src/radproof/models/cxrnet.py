# SPDX-License-Identifier: Apache-2.0
"""cxrnet: a small residual network drawn up for chest radiographs, the baseline that owes nothing to photographs.

Why it looks as it does:

- One channel in. A radiograph has no colour, and a first layer that repeats it thrice learns the same filter thrice.
- Four scales, each halved by average pooling instead of strided convolution: averaging filters out what the coarser
  grid cannot hold, so that an image shifted by a pixel gives nearly the same answer (Zhang, "Making Convolutional
  Networks Shift-Invariant Again", ICML 2019), and thin structures such as a pleural line survive into the deep layers.
- Plain 3x3 residual blocks (He et al., "Identity Mappings in Deep Residual Networks", ECCV 2016), two at the two
  coarsest scales, where consolidation and effusion are told apart by their surroundings. Depthwise convolutions would
  have fewer weights and take longer on a CPU.
- Batch normalisation, since a few thousand images from scratch do not train without it, and global average pooling,
  so that any image size works and the class activation map is the last feature map itself.

One million weights: few enough that a few thousand radiographs can determine them.
"""

from torch import Tensor, nn

MEAN, STD = 0.5, 0.25
_WIDTHS = (24, 48, 96, 144)
_DEPTHS = (1, 1, 2, 2)


class Residual(nn.Module):
    """x + two normalised 3x3 convolutions of x; a 1x1 convolution brings x to a new width."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.convolve = nn.Sequential(
            nn.Conv2d(before, after, 3, padding=1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(),
            nn.Conv2d(after, after, 3, padding=1, bias=False),
            nn.BatchNorm2d(after),
        )
        self.shortcut = nn.Identity() if before == after else nn.Conv2d(before, after, 1, bias=False)
        self.activate = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """(N, before, H, W) -> (N, after, H, W)."""
        return self.activate(self.convolve(x) + self.shortcut(x))


class CXRNet(nn.Module):
    """The backbone: (N, 1, H, W) normalised pixels -> (N, 144) features, H and W at least 16."""

    def __init__(self) -> None:
        super().__init__()
        first = _WIDTHS[0]
        self.stem = nn.Sequential(nn.Conv2d(1, first, 3, padding=1, bias=False), nn.BatchNorm2d(first), nn.ReLU())
        self.stages = nn.Sequential()
        before = first
        for width, depth in zip(_WIDTHS, _DEPTHS, strict=True):
            blocks = [Residual(before if block == 0 else width, width) for block in range(depth)]
            self.stages.append(nn.Sequential(nn.AvgPool2d(2), *blocks))
            before = width
        self.num_features = self.head_hidden_size = before

    def forward_features(self, x: Tensor) -> Tensor:
        """(N, 1, H, W) -> feature maps (N, 144, H/16, W/16)."""
        return self.stages(self.stem(x))

    def forward_head(self, maps: Tensor) -> Tensor:
        """Feature maps -> their means (N, 144)."""
        return maps.mean((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        """(N, 1, H, W) -> (N, 144)."""
        return self.forward_head(self.forward_features(x))
