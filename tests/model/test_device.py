"""Devices: named ones that are there, float types that they have, kernels laid out for them."""

import pytest
import torch

from abdoseg.errors import ResourceError
from abdoseg.model.device import fastest_float, pick_device, to_device, typed_memory_errors
from abdoseg.model.vnet import VNet, VNetConfig


def test_a_device_that_is_not_there_is_reported():
    assert pick_device("cpu") == torch.device("cpu")
    with pytest.raises(ResourceError, match="no such device; use auto"):
        pick_device("quantum")
    with pytest.raises(ResourceError, match="meta: no such device"):
        pick_device("meta")
    with pytest.raises(ResourceError, match="cpu:3: no such device"):
        pick_device("cpu:3")
    if not torch.cuda.is_available():
        with pytest.raises(ResourceError, match="use --device cpu"):
            pick_device("cuda")


def test_the_type_is_one_the_hardware_computes_in():
    assert fastest_float(torch.device("cpu")) in (torch.bfloat16, torch.float32)
    assert fastest_float(torch.device("mps")) == torch.float32


def test_memory_that_ran_out_is_a_memory_error_and_a_bug_stays_what_it_is():
    with pytest.raises(MemoryError, match="allocate"), typed_memory_errors():
        torch.empty(10**16)
    with pytest.raises(MemoryError, match="CUDA"), typed_memory_errors():
        raise torch.OutOfMemoryError("CUDA out of memory")
    with pytest.raises(RuntimeError, match="inconsistent tensor size"), typed_memory_errors():
        torch.zeros(2) @ torch.zeros(3)


def test_a_network_on_a_device_has_channels_last_kernels():
    network = to_device(VNet(VNetConfig(2, (4, 8), (1, 1), kernel=3)), torch.device("cpu"))
    kernel = network.encoder[1].convolutions[0].weight
    assert kernel.is_contiguous(memory_format=torch.channels_last_3d)
