"""Weights files: plan and tensors in one, nothing that can run code, and a message for every kind of damage."""

import json
import pickle
import struct
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from abdoseg.errors import ModelError
from abdoseg.model.plan import FORMAT, FORMER_KEYS, Plan
from abdoseg.model.weights import build_network, find_weights, load_model, to_bytes

NETWORK = {"name": "vnet", "widths": (4, 8), "depths": (1, 1), "kernel": 3, "norm": "batch", "classes": 2}
PLAN = Plan((2.0, 2.0, 3.0), (16, 16, 16), ("liver",), ("liver",), NETWORK)


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(0)
    path = tmp_path / "w.safetensors"
    path.write_bytes(to_bytes(build_network(NETWORK), PLAN))
    return path


def test_what_was_saved_is_loaded_to_half_precision(weights):
    torch.manual_seed(0)
    saved = build_network(NETWORK).state_dict()
    model = load_model(weights, "cpu")
    assert model.plan.organs == PLAN.organs and len(model.digest) == 64 and not model.network.training
    for name, tensor in model.network.state_dict().items():
        torch.testing.assert_close(tensor, saved[name], atol=1e-3, rtol=1e-3)


def test_the_same_network_gives_the_same_bytes(weights):
    assert weights.read_bytes() == to_bytes(load_model(weights, "cpu").network, PLAN)


def test_a_pickle_is_refused_unread(tmp_path):
    class Bomb:
        def __reduce__(self):
            return print, ("run",)

    path = tmp_path / "bomb.safetensors"
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ModelError, match=r"not a readable \.safetensors"):
        load_model(path)


def test_a_name_that_can_be_no_file_is_refused_and_an_empty_one_is_not_the_default():
    for name in ("", "w" * 300):
        with pytest.raises(ModelError, match="no such weights file or bundled model; bundled are organs"):
            load_model(name)


def test_a_truncated_file_is_refused(weights):
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ModelError, match="fetch or train it again"):
        load_model(weights)


def test_weights_of_a_newer_version_are_reported_as_such(tmp_path):
    save_file({"x": torch.zeros(1)}, tmp_path / "x.safetensors", {"abdoseg-9": "{}"})
    with pytest.raises(ModelError, match=r"made by a newer version of abdoseg \(format 'abdoseg-9'"):
        load_model(tmp_path / "x.safetensors")


def test_another_programs_file_is_refused(tmp_path):
    save_file({"x": torch.zeros(1)}, tmp_path / "x.safetensors")
    with pytest.raises(ModelError, match=rf"no abdoseg weights .*{FORMAT}"):
        load_model(tmp_path / "x.safetensors")


def test_tensors_that_do_not_fit_the_plan_are_refused(tmp_path):
    path = tmp_path / "w.safetensors"
    path.write_bytes(to_bytes(build_network(NETWORK), replace(PLAN, network={**NETWORK, "depths": (2, 1)})))
    with pytest.raises(ModelError, match="do not fit the plan's network"):
        load_model(path)


@pytest.mark.parametrize(
    ("description", "words"),
    [
        ({"name": "unet"}, "'unet' is not known here"),
        ({"name": "vnet", "wings": 2}, "unknown fields: wings"),
        ({"name": "vnet", "kernel": 4}, "does not hold together"),
    ],
)
def test_a_network_that_cannot_be_built_is_reported(description, words):
    with pytest.raises(ModelError, match=words):
        build_network(description)


def test_a_tensor_of_another_shape_is_a_message(weights):
    content = weights.read_bytes()
    (size,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + size])
    plan = json.loads(header["__metadata__"][FORMAT])
    plan["network"]["classes"] = 3
    header["__metadata__"][FORMAT] = json.dumps(plan)
    text = json.dumps(header).encode()
    weights.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + size :])
    with pytest.raises(ModelError, match="do not fit the plan's network"):
        load_model(weights)


SHARED = sorted((Path(__file__).parents[3] / "shared" / "weights").glob("*.safetensors"))


def test_the_former_formats_files_are_read(weights, tmp_path):
    tensors = load_file(weights)
    values = json.loads(PLAN.to_json())
    former = {old: values.pop(new) for old, new in FORMER_KEYS.items() if new in values}
    save_file(tensors, tmp_path / "former.safetensors", {"abdoseg-1": json.dumps(values | former)})
    assert load_model(tmp_path / "former.safetensors", "cpu").plan == load_model(weights, "cpu").plan


@pytest.mark.parametrize("path", SHARED, ids=lambda path: path.stem)
def test_shared_weights_of_the_former_format_are_read(path):
    plan = load_model(path, "cpu").plan
    assert plan.output_organs[:4] == ("liver", "kidney_right", "kidney_left", "spleen")
    assert plan.inference_spacing_mm == plan.spacing_mm == (1.5, 1.5, 2.25) and plan.activation_ranges


def test_the_bundled_weights_have_a_measured_plan():
    plan = load_model("organs", "cpu").plan
    assert plan.output_organs == ("liver", "kidney_right", "kidney_left", "spleen")
    assert len(plan.organs) == 13 and plan.organs[-1] == "liver_tumour"
    assert plan.roi_downsampling == 2 and plan.presence_threshold == 0.89 and len(plan.activation_ranges) == 17
    assert plan.spacing_mm == (1.5, 1.5, 2.25) and plan.inference_spacing_mm == (1.44, 1.44, 2.16)


def test_a_name_that_is_not_there_lists_the_bundled_models():
    with pytest.raises(ModelError, match="nowhere: no such weights file or bundled model"):
        find_weights("nowhere")
