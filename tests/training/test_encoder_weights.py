"""Pretrained encoders: taken by name and shape, colours summed, and refused with what does not fit."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from abdoseg.errors import ModelError
from abdoseg.model.slicewise import SliceNet
from abdoseg.training.encoder_weights import load_encoder


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 4, 3)
        self.bn1 = nn.BatchNorm2d(4)


@pytest.fixture
def network():
    """A network on slices, its library not needed."""
    made = SliceNet.__new__(SliceNet)
    nn.Module.__init__(made)
    made.encoder = Encoder()
    return made


def tensors(**changes):
    given = {name: torch.randn(t.shape) for name, t in Encoder().state_dict().items() if t.is_floating_point()}
    return {**given, "fc.weight": torch.randn(10, 4), **changes}


def test_colours_are_summed_and_a_classifier_is_left_out(network, tmp_path):
    given = tensors(**{"conv1.weight": torch.randn(4, 3, 3, 3)})
    save_file(given, tmp_path / "resnet.safetensors")
    name = load_encoder(network, tmp_path / "resnet.safetensors")
    assert name.startswith("resnet.safetensors, SHA-256 `")
    torch.testing.assert_close(network.encoder.conv1.weight.detach(), given["conv1.weight"].sum(1, keepdim=True))
    assert torch.equal(network.encoder.bn1.running_mean, given["bn1.running_mean"])


def test_a_whole_networks_tensors_may_be_given(network, tmp_path):
    given = {f"encoder.{name}": tensor for name, tensor in tensors().items()}
    save_file(given, tmp_path / "unet.safetensors")
    load_encoder(network, tmp_path / "unet.safetensors")
    assert torch.equal(network.encoder.conv1.weight, given["encoder.conv1.weight"])


def test_other_shapes_and_missing_tensors_are_reported_and_nothing_is_changed(network, tmp_path):
    before = network.encoder.conv1.weight.detach().clone()
    wide = tensors(**{"conv1.weight": torch.randn(8, 1, 3, 3)})
    del wide["bn1.bias"]
    save_file(wide, tmp_path / "wide.safetensors")
    words = r"1 of 6 tensors are missing \(bn1.bias\); conv1.weight \(8, 1, 3, 3\) there and \(4, 1, 3, 3\) here"
    with pytest.raises(ModelError, match=words):
        load_encoder(network, tmp_path / "wide.safetensors")
    assert torch.equal(network.encoder.conv1.weight, before)


def test_a_pickle_and_a_network_without_slices_are_refused(network, tmp_path):
    (tmp_path / "resnet.pth").write_bytes(b"\x80\x04]\x94.")
    with pytest.raises(ModelError, match=r"not a readable \.safetensors file"):
        load_encoder(network, tmp_path / "resnet.pth")
    with pytest.raises(ModelError, match="are for networks on slices; give --recipe unetplusplus"):
        load_encoder(nn.Linear(1, 1), tmp_path / "resnet.pth")
