"""Small networks with random weights, and models of them."""

from dataclasses import replace

import torch
from torch import nn

from abdoseg.model.plan import Plan
from abdoseg.model.vnet import VNet, VNetConfig
from abdoseg.model.weights import Model

ORGANS = ("liver", "kidney_right", "kidney_left", "spleen", "pancreas")


def random_network(**changes):
    torch.manual_seed(0)
    small = VNetConfig(6, (8, 16), (1, 2), kernel=3, stem=2, norm="batch", activation="relu", join="concat")
    network = VNet(replace(small, **changes)).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(module.weight, 0.7, 1.3)
            nn.init.normal_(module.bias, 0, 0.1)
    return network


def model_of(network, patch=(16, 16, 16)):
    plan = Plan((2.0, 2.0, 3.0), patch, ORGANS, ORGANS[:4], {"name": "vnet"})
    return Model(plan, network, torch.device("cpu"), "0" * 64)
