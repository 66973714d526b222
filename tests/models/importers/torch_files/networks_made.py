"""Networks with random weights whose answers are spread as those of trained ones, and their files."""

import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

CLASSES = 3


def images(count=4, side=64, channels=3, seed=0):
    return torch.rand(count, channels, side, side, generator=torch.Generator().manual_seed(seed))


class ChannelsLast(nn.Module):
    """What Keras's users export: (N, H, W, C) in."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        return self.network(x.permute(0, 3, 1, 2))


def made(architecture, classes=CLASSES, scale=1.0):
    """A network whose batch normalisation knows the images that it will see, with logits of about `scale`."""
    import timm

    with torch.random.fork_rng():
        torch.manual_seed(0)
        name = architecture.removeprefix("torchvision:")
        network = (
            timm.create_model(name, num_classes=classes)
            if name == architecture
            else torchvision.models.get_model(name, weights=None, num_classes=classes)
        )
        norms = [part for part in network.modules() if isinstance(part, nn.BatchNorm2d)]
        for norm in norms:
            norm.momentum = 1.0
            nn.init.uniform_(norm.weight, 0.8, 1.2)
            nn.init.normal_(norm.bias, 0.0, 0.1)
        with torch.no_grad():
            network.train()(2 * images(8, seed=9) - 1)
            network.eval()
            logits = network(2 * images(8, seed=9) - 1)
            last = [part for part in network.modules() if isinstance(part, nn.Linear)][-1]
            spread = scale / float(logits.std(0).mean())
            last.weight *= spread
            last.bias.copy_(-(logits.mean(0) - last.bias) * spread)
    return network.eval()


def to_safetensors(network, path):
    save_file({name: value.contiguous() for name, value in network.state_dict().items()}, path)
    return path


def to_torch(network, path, nest="state_dict", prefix="module."):
    weights = {prefix + name: value for name, value in network.state_dict().items()}
    torch.save({nest: weights, "epoch": 3} if nest else weights, path)
    return path


def to_pt2(network, path, *, batch=None, last=False, side=64, channels=3):
    """batch None: any number of images; last: channels last."""
    given = images(batch or 2, side, channels)
    free = None if batch else ({0: torch.export.Dim("n", min=1, max=4096)},)
    if last:
        network, given = ChannelsLast(network).eval(), given.permute(0, 2, 3, 1)
    torch.export.save(torch.export.export(network, (given,), dynamic_shapes=free), path)
    return path


class Small(nn.Module):
    """Two convolutions, batch normalisation, dropout, two layers."""

    def __init__(self, classes=CLASSES, channels=3):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 6, 3, stride=2)
        self.drop = nn.Dropout(0.5)
        self.fc = nn.Linear(6, classes)

    def forward(self, x):
        maps = torch.relu_(self.norm(self.conv1(x)))
        maps = torch.relu(self.conv2(maps))
        return self.fc(self.drop(maps.mean((2, 3))))
