"""The plan: complete, checked, and the same after JSON."""

import json
from dataclasses import replace

import numpy as np
import pytest

from abdoseg.errors import ModelError
from abdoseg.image.volume import Geometry
from abdoseg.model.plan import Plan, members

PLAN = Plan((2.0, 2.0, 3.0), (96, 96, 64), ("liver", "kidney_right", "kidney_left"), ("liver",), {"name": "vnet"})


def test_a_plan_survives_json():
    assert Plan.from_json(PLAN.to_json()) == PLAN
    whole = replace(PLAN, spacing_mm=None)
    assert Plan.from_json(whole.to_json()) == whole


@pytest.mark.parametrize(
    "wrong", [{"window_hu": [1]}, {"activation_ranges": [1, 2]}, {"network": [1]}, {"output_organs": 3}]
)
def test_a_damaged_plan_is_an_error_of_ours(wrong):
    with pytest.raises(ModelError, match="plan"):
        Plan.from_json(json.dumps(json.loads(PLAN.to_json()) | wrong))


def test_a_channel_stands_for_itself_or_for_both_sides():
    assert members("kidney") == ("kidney_right", "kidney_left") and members("spleen") == ("spleen",)


def test_the_grid_is_of_the_plans_spacing_over_the_same_box():
    geometry = Geometry((100, 80, 60), np.diag([1.0, 1.0, 2.5, 1.0]))
    grid = PLAN.grid(geometry)
    assert grid.shape == (50, 40, 50)
    np.testing.assert_allclose(grid.spacing_mm, (2, 2, 3))


def test_it_is_segmented_on_the_grid_that_was_trained_on_unless_another_is_better():
    finer = replace(PLAN, inference_spacing_mm=(1.6, 1.6, 2.4))
    assert PLAN.inference_spacing_mm == (2, 2, 3) and finer.inference_spacing_mm == (1.6, 1.6, 2.4)
    assert replace(finer, spacing_mm=None).inference_spacing_mm is None
    assert Plan.from_json(finer.to_json()) == finer
    unsaid = PLAN.to_json().replace('"inference_spacing_mm": [2.0, 2.0, 3.0], ', "")
    assert unsaid != PLAN.to_json() and Plan.from_json(unsaid) == PLAN


def test_a_plan_of_the_former_format_is_read():
    plan = replace(
        PLAN, inference_spacing_mm=(1.6, 1.6, 2.4), presence_threshold=0.9, roi_downsampling=2,
        activation_ranges={"stem": (-1.0, 2.0)},
    )  # fmt: skip
    values = json.loads(plan.to_json())
    former = {
        **{name: values[name] for name in ("spacing_mm", "patch", "organs", "network", "window_hu", "scaled_to")},
        "training": {}, "delivered": ["liver"], "asked_mm": [1.6, 1.6, 2.4], "certain": 0.9, "locating": 2,
        "ranges": {"stem": [-1, 2]},
    }  # fmt: skip
    assert Plan.from_json(json.dumps(former)) == plan


def test_a_plan_that_names_a_field_twice_is_refused():
    with pytest.raises(ModelError, match="two names: delivered and output_organs"):
        Plan.from_json(json.dumps(json.loads(PLAN.to_json()) | {"delivered": ["liver"]}))


@pytest.mark.parametrize("shape", [(100, 80, 60), (512, 511, 3), (7, 9, 1000)])
def test_a_whole_scan_is_resized_to_the_patch_whatever_its_size(shape):
    geometry = Geometry(shape, np.diag([0.7, 0.7, 5.0, 1.0]))
    grid = replace(PLAN, spacing_mm=None, patch=(128, 128, 64)).grid(geometry)
    assert grid.shape == (128, 128, 64)
    np.testing.assert_allclose(np.array(grid.shape) * grid.spacing_mm, np.array(shape) * geometry.spacing_mm)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"organs": ("liver", "tail")}, "does not know: tail"),
        ({"output_organs": ("spleen",)}, "gives only"),
        ({"window_hu": (100.0, 100.0)}, "window .* is empty"),
    ],
)
def test_a_plan_that_contradicts_itself_is_refused(change, words):
    with pytest.raises(ModelError, match=words):
        replace(PLAN, **change)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"spacing": 1}'])
def test_what_is_no_plan_is_refused(text):
    with pytest.raises(ModelError, match="cannot be understood"):
        Plan.from_json(text)
