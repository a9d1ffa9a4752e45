"""Networks on slices: how a volume becomes slices and back; the library's own where it is installed."""

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from abdoseg.errors import ModelError
from abdoseg.inference.sliding_window import sliding_window
from abdoseg.model.device import to_device
from abdoseg.model.plan import Plan
from abdoseg.model.slicewise import ARCHITECTURES, SliceNet, SliceNetConfig
from abdoseg.model.weights import Model, build_network, load_model, to_bytes

CPU = torch.device("cpu")


class Numbering(nn.Module):
    """A head that adds the channel's number to what it sees, and counts the slices it was given."""

    def __init__(self, classes):
        super().__init__()
        self.offsets = nn.Parameter(torch.arange(float(classes)))

    def forward(self, slices):
        assert slices.ndim == 4 and slices.shape[1] == 1
        return slices + self.offsets.view(1, -1, 1, 1)


@pytest.fixture
def library(monkeypatch):
    """Stands in for the library: gives back what it sees. What it was asked for is kept."""
    calls = []

    def create_model(architecture, encoder, *, encoder_weights, in_channels, classes):
        calls.append((architecture, encoder, encoder_weights, in_channels, classes))
        return SimpleNamespace(encoder=nn.Identity(), decoder=nn.Identity(), segmentation_head=Numbering(classes))

    module = ModuleType("segmentation_models_pytorch")
    module.create_model = create_model
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", module)
    return calls


def test_every_voxel_comes_back_to_its_place(library):
    image = torch.arange(2 * 3 * 4 * 5.0).view(2, 1, 3, 4, 5)
    logits = SliceNet(SliceNetConfig(classes=3))(image)
    assert logits.shape == (2, 3, 3, 4, 5)
    for channel in range(3):
        assert torch.equal(logits[:, channel], image[:, 0] + channel)


def test_nothing_is_downloaded(library):
    build_network({"name": "slices", "architecture": "manet", "encoder": "resnet18", "classes": 4})
    assert library == [("manet", "resnet18", None, 1, 4)]


def test_without_the_library_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", None)
    with pytest.raises(ModelError, match=r"manet: networks on slices come from .* pip install 'abdoseg\[slices\]'"):
        SliceNet(SliceNetConfig(architecture="manet"))


def test_an_unknown_architecture_is_refused():
    with pytest.raises(ModelError, match="architecture 'segnet' is not one of unetplusplus, manet, deeplabv3plus"):
        build_network({"name": "slices", "architecture": "segnet"})


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_librarys_networks_are_trained_saved_and_used(architecture, tmp_path):
    pytest.importorskip("segmentation_models_pytorch", exc_type=ImportError)
    described = {"name": "slices", "architecture": architecture, "encoder": "resnet18", "classes": 2}
    plan = Plan((1.0, 1.0, 1.0), (64, 64, 1), ("liver",), ("liver",), described)
    torch.manual_seed(0)
    network = to_device(build_network(described), CPU)
    logits = network(torch.randn(1, 1, 64, 64, 3))
    assert logits.shape == (1, 2, 64, 64, 3)
    (logits * torch.randn_like(logits)).sum().backward()
    assert [n for n, p in network.named_parameters() if p.grad is None] == []
    path = tmp_path / "w.safetensors"
    path.write_bytes(to_bytes(network, plan))
    model = load_model(path, "cpu")
    image = np.random.default_rng(0).uniform(-100, 200, (70, 60, 5)).astype(np.float32)
    alone = sliding_window(Model(plan, model.network, CPU, ""), image, overlap=0.0)
    assert alone.shape == (1, 70, 60, 5)
    one_slice = sliding_window(model, image[:, :, 2:3], overlap=0.0)
    np.testing.assert_allclose(one_slice[..., 0], alone[..., 2], atol=0.1)  # no slice knows of its neighbours
