"""Several weights of one plan give the mean of their logits; others are refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from abdoseg.errors import ModelError
from abdoseg.inference.backend import fuse_model, precision
from abdoseg.inference.sliding_window import sliding_window
from abdoseg.model.ensemble import load_models
from abdoseg.model.plan import Plan
from abdoseg.model.weights import build_network, load_model, to_bytes

NETWORK = {
    "name": "vnet",
    "widths": (4, 8),
    "depths": (1, 1),
    "kernel": 3,
    "norm": "batch",
    "activation": "relu",
    "classes": 2,
}
PLAN = Plan((2.0, 2.0, 3.0), (16, 16, 16), ("liver",), ("liver",), NETWORK, presence_threshold=0.5)


@pytest.fixture
def folds(tmp_path):
    torch.manual_seed(0)
    paths = [tmp_path / f"fold{n}.safetensors" for n in (1, 2)]
    for path, threshold in zip(paths, (0.5, 0.7), strict=True):
        path.write_bytes(to_bytes(build_network(NETWORK), replace(PLAN, presence_threshold=threshold)))
    return paths


def test_logits_are_averaged_and_what_it_takes_is_reported(folds, caplog):
    caplog.set_level("INFO", "abdoseg")
    ensemble = load_models(folds, "cpu")
    image = torch.randn(1, 1, 16, 16, 16)
    with torch.inference_mode():
        one, other = (load_model(path, "cpu").network(image) for path in folds)
        torch.testing.assert_close(ensemble.network(image), (one + other) / 2)
    assert ensemble.plan.presence_threshold == pytest.approx(0.6)
    assert precision(ensemble) != torch.int8  # the folds' activation ranges are not known
    assert "an ensemble of 2 models: 2 times the network's time" in caplog.text
    assert len(ensemble.digest) == 64 and ensemble.digest not in [load_model(path, "cpu").digest for path in folds]


def test_an_ensemble_runs_fused_and_in_float32_to_the_same_mean(folds):
    ensemble, image = load_models(folds, "cpu"), torch.randn(1, 1, 16, 16, 16)
    fused = fuse_model(ensemble, torch.float32, (16, 16, 16))
    with torch.inference_mode():
        np.testing.assert_allclose(fused(image).numpy(), ensemble.network(image)[0].half().numpy(), atol=2e-3)


def test_the_same_weights_twice_give_the_margins_of_one_bit_for_bit(tmp_path):
    one = load_model(None, "cpu")
    copies = [tmp_path / f"{name}.safetensors" for name in "ab"]
    for path in copies:
        path.write_bytes(to_bytes(one.network, replace(one.plan, training={"copy": path.stem})))
    image = np.random.default_rng(0).normal(40, 60, (48, 48, 32)).astype(np.float32)
    assert precision(load_models(copies, "cpu")) == precision(one)
    ensemble, alone = (sliding_window(model, image) for model in (load_models(copies, "cpu"), one))
    np.testing.assert_array_equal(ensemble, alone)


def test_one_name_or_none_is_a_model_as_ever(folds):
    assert load_models(folds[:1], "cpu").digest == load_model(folds[0], "cpu").digest
    assert load_models((), "cpu").digest == load_model(None, "cpu").digest


def test_weights_of_another_plan_the_same_ones_twice_and_missing_ones_are_refused(folds, tmp_path):
    other = tmp_path / "other.safetensors"
    other.write_bytes(to_bytes(build_network(NETWORK), replace(PLAN, spacing_mm=(3.0, 3.0, 3.0))))
    with pytest.raises(ModelError, match=r"other.*: another spacing_mm"):
        load_models([*folds, other], "cpu")
    with pytest.raises(ModelError, match="two of them are the same"):
        load_models([folds[0], folds[0]], "cpu")
    with pytest.raises(ModelError, match="absent: no such weights file"):
        load_models([folds[0], "absent"], "cpu")
