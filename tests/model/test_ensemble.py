"""Several weights of one plan give the mean of their logits; others are refused."""

from dataclasses import replace

import pytest
import torch

from abdoseg.errors import ModelError
from abdoseg.inference.backend import precision
from abdoseg.model.ensemble import load_models
from abdoseg.model.plan import Plan
from abdoseg.model.weights import build_network, load_model, to_bytes

NETWORK = {"name": "vnet", "widths": (4, 8), "depths": (1, 1), "kernel": 3, "norm": "batch", "classes": 2}
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
    assert precision(ensemble) != torch.int8
    assert "an ensemble of 2 models: 2 times the network's time" in caplog.text
    assert len(ensemble.digest) == 64 and ensemble.digest not in [load_model(path, "cpu").digest for path in folds]


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
