import torch

from radproof.models.cxrnet import CXRNet


def test_size_is_that_of_the_docstring():
    assert round(sum(p.numel() for p in CXRNet().parameters()) / 1e6, 1) == 1.0


def test_features_are_the_means_of_the_maps():
    net = CXRNet().eval()
    x = torch.rand(2, 1, 64, 48)
    maps = net.forward_features(x)
    assert maps.shape == (2, 144, 4, 3)
    assert torch.allclose(net(x), maps.flatten(2).mean(2), atol=1e-6)


def test_smallest_image():
    assert CXRNet().eval()(torch.rand(1, 1, 16, 16)).shape == (1, 144)
