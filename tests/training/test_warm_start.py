"""A warm start: tensors by name, the head's channels by organ, and a refusal where weights do not fit."""

import logging
from dataclasses import replace

import pytest
import torch
from tiny import RECIPE

from abdoseg.errors import ModelError
from abdoseg.model.weights import build_network, to_bytes
from abdoseg.training.warm_start import LESION_LOGIT, warm_start

THEIRS = replace(RECIPE, organs=("liver", "spleen", "aorta"), output_organs=("liver",))


@pytest.fixture(params=[1, 2], ids=["stem 1", "stem 2"])
def stem(request):
    """The head is a convolution, or with a stem a transposed one."""
    return request.param


def saved(tmp_path, config):
    torch.manual_seed(1)
    network = build_network(config.plan().network)
    path = tmp_path / "theirs.safetensors"
    path.write_bytes(to_bytes(network, config.plan()))
    return path, network.half().float()


def test_organs_that_both_know_keep_their_channels_and_new_ones_begin_anew(stem, tmp_path, caplog):
    theirs = replace(THEIRS, network={**RECIPE.network, "stem": stem})
    path, given = saved(tmp_path, theirs)
    plan = replace(theirs, organs=("spleen", "pancreas", "liver"), output_organs=("liver",)).plan()
    network = build_network(plan.network)
    before = network.head.weight.detach().clone()
    with caplog.at_level(logging.INFO, "abdoseg"):
        name = warm_start(network, plan, str(path))
    assert name.startswith(str(path)) and "pancreas, which begin anew" in caplog.text
    axis = 0 if stem == 1 else 1
    channel = [network.head.weight.select(axis, n) for n in range(4)]
    of = [given.head.weight.select(axis, n) for n in range(4)]
    for ours, theirs_at in ((0, 0), (1, 2), (3, 1)):  # background, spleen, liver
        assert torch.equal(channel[ours], of[theirs_at]) and network.head.bias[ours] == given.head.bias[theirs_at]
    assert torch.equal(channel[2], before.select(axis, 2))
    rest = given.state_dict()
    assert all(torch.equal(t, rest[k]) for k, t in network.state_dict().items() if not k.startswith("head."))


def test_a_new_lesion_begins_as_its_organ_and_less_likely(stem, tmp_path, caplog):
    theirs = replace(THEIRS, network={**RECIPE.network, "stem": stem})
    path, given = saved(tmp_path, theirs)
    plan = replace(theirs, organs=("liver_tumour", "spleen", "liver"), output_organs=("liver",)).plan()
    network, image = build_network(plan.network).eval(), torch.randn(1, 1, 16, 16, 16)
    with caplog.at_level(logging.INFO, "abdoseg"), torch.no_grad():
        warm_start(network, plan, str(path))
        lesion, liver, of = network(image)[0, 1], network(image)[0, 3], given.eval()(image)[0, 1]
    assert "liver_tumour, which begins as the liver it lies in" in caplog.text
    torch.testing.assert_close(liver, of)
    torch.testing.assert_close(lesion, liver - LESION_LOGIT)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"spacing_mm": None}, r'grid "in mm" there and \['),
        ({"window_hu": (-100.0, 240.0)}, "HU window"),
        ({"network": {**RECIPE.network, "widths": (8, 8)}}, r"network widths \[4, 8\] there"),
        (
            {"network": {**RECIPE.network, "kernel": 5, "dropout": 0.1}},
            r"recipe: network kernel 3 there and 5 here; leave",
        ),
        ({"network": {**RECIPE.network, "residual": False}}, "network residual unsaid there and false here"),
    ],
)
def test_weights_that_do_not_fit_are_refused_with_what_differs(fields, words, tmp_path):
    path, _ = saved(tmp_path, THEIRS)
    plan = replace(THEIRS, **fields).plan()
    with pytest.raises(ModelError, match=words):
        warm_start(build_network(plan.network), plan, str(path))


def test_weights_of_one_grid_go_on_on_another(tmp_path, caplog):
    path, given = saved(tmp_path, THEIRS)
    plan = replace(THEIRS, spacing_mm=(2.0, 2.0, 2.5)).plan()
    network = build_network(plan.network)
    with caplog.at_level(logging.INFO, "abdoseg"):
        warm_start(network, plan, str(path))
    assert f"{path}: of a grid of 6 x 6 x 8 mm, goes on on one of 2 x 2 x 2.5 mm" in caplog.text
    assert all(torch.equal(tensor, given.state_dict()[key]) for key, tensor in network.state_dict().items())
