"""Recipes: what each states, saved and read back whole, and its network trains."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny import packed

from abdoseg.anatomy.organs import MAIN
from abdoseg.errors import UsageError
from abdoseg.model.weights import build_network
from abdoseg.training.augment.sampler import Sampler
from abdoseg.training.augment.transforms import Augmentation
from abdoseg.training.fit import make_optimiser
from abdoseg.training.losses import mixed_loss
from abdoseg.training.recipe_summaries import SUMMARIES, listing
from abdoseg.training.recipes import RECIPES, TrainingConfig, check_recipe, find_recipe, from_json


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_survives_json(name):
    recipe = RECIPES[name]
    assert recipe.recipe == name and from_json(recipe.to_json()) == recipe
    if recipe.network["name"] == "vnet":
        check_recipe(recipe)


@pytest.mark.parametrize("name", RECIPES)
def test_each_recipe_trains_a_few_steps(name, tmp_path):
    """Its own network (narrower), loss and optimiser, at a small patch: the loss falls on one batch."""
    recipe = RECIPES[name]
    if recipe.network["name"] == "slices":
        pytest.importorskip("segmentation_models_pytorch", exc_type=ImportError)
        network, patch = {**recipe.network, "encoder": "resnet18"}, (32, 32, 1)
    else:
        widths = tuple(max(4, width // 8) for width in recipe.network.get("widths", (16, 32, 64, 128, 256)))
        network, patch = {**recipe.network, "widths": widths}, (16, 16, 16)
    config = replace(
        recipe, network=network, patch=patch, epoch_steps=1,
        spacing_mm=recipe.spacing_mm and (6.0, 6.0, 8.0), learning_rate=max(recipe.learning_rate, 1e-3), warmup_steps=0,
    )  # fmt: skip
    config = config.for_organs(tuple(o for o in config.organs if o in ("liver", "kidney", "spleen", "kidney_right")))
    torch.manual_seed(0)
    network = build_network(config.plan().network).train()
    optimiser = make_optimiser(config, network)
    batch = Sampler(packed(tmp_path), ["case0", "case1"], config).batch(0)
    losses = []
    for _ in range(4):
        loss = mixed_loss(network(batch.image), batch.target, batch.annotated, config.loss_weights, config.dice_weights)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_a_recipe_for_weights_has_their_network_window_and_the_grid_that_they_segment_on():
    theirs = replace(TrainingConfig(), window_hu=(-50, 200), patch=(8, 8, 8), learning_rate=7.0)
    ours = replace(TrainingConfig(), progressive=((10, 2.0),))
    plan = replace(theirs.plan(), inference_spacing_mm=(1.5, 1.5, 2.0))
    assert ours.for_weights(plan) == replace(
        TrainingConfig(), window_hu=(-50, 200), patch=(8, 8, 8), spacing_mm=(1.5, 1.5, 2.0)
    )


def test_in_dice_output_organs_count_most_unless_the_recipe_says_otherwise():
    config = TrainingConfig(organs=("liver", "aorta", "spleen"), output_organs=("liver", "spleen"))
    assert config.dice_weights == (0, 1, 0.125, 1)
    assert replace(config, class_weights=(1, 2, 3, 4)).dice_weights == (1, 2, 3, 4)


def test_a_patch_that_the_network_cannot_halve_is_reported():
    with pytest.raises(UsageError, match="a patch of 96 x 90 x 64 voxels, but the network needs multiples of 16 x 16"):
        check_recipe(replace(TrainingConfig(), patch=(96, 90, 64)))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("learning_rate", "x", "learning_rate is 'x', but must be a number above 0"),
        ("batch", 0, "batch is 0, but must be a whole number above 0"),
        ("spacing_mm", [2, 2], "must be null or three numbers above 0"),
        ("loss_weights", [1, 2], "must be three numbers, 0 or more"),
        ("schedule", "step", "must be cosine, poly or constant"),
        ("window_hu", [300, -100], "two numbers, the lower first"),
        ("organs", "liver", "organs is 'liver', but must be a list of names"),
        ("progressive", [[400]], "must be a list of pairs: whole steps, and a zoom above 0"),
        ("progressive", [[400, 0]], "must be a list of pairs"),
        ("progressive", 5, "must be a list of pairs"),
        ("class_weights", [0, "a", 1, 1, 1], "must be null or a list of numbers"),
        ("class_weights", [0, 0, 0, 0, 0], "must be null or a list of numbers"),
        ("presence_threshold", "a", "must be null or a number from 0 to 1"),
        ("roi_downsampling", -1, "must be null or a whole number above 0"),
        ("inference_spacing_mm", [0, 1, 1], "must be null or three numbers above 0"),
        ("network", [], "must be the network's description"),
        ("learning_rate", float("inf"), "must be a number above 0"),
        ("seed", 202611301723, "must be a whole number up to 4294967295"),
        ("augmentation", {"scale": 1.0}, "scale is 1.0, but must be two numbers above 0, the lower first"),
        ("augmentation", {"contrast": [0, 1]}, "contrast is"),
        ("augmentation", {"mirror": 4}, "mirror is 4, but must be a number from 0 to 1"),
        ("organs", ["liver", "kidney", "kidney_left"], "liver, kidney, kidney_left. name kidney_left twice"),
        ("class_weights", [0, 1, 1], "class_weights are 3 numbers, but must be 5: of the background"),
    ],
)
def test_a_value_that_cannot_be_is_reported_with_what_may(field, value, message, tmp_path):
    (tmp_path / "r.json").write_text(json.dumps({field: value}))
    with pytest.raises(UsageError, match=message):
        check_recipe(find_recipe(tmp_path / "r.json"))


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_passes(name):
    if RECIPES[name].network["name"] == "vnet":
        check_recipe(RECIPES[name])


def test_coarse_patches_are_what_the_network_can_halve():
    recipe = replace(TrainingConfig(), progressive=((10, 2.0), (5, 1.5)))
    seen = [recipe.zoom_and_patch(step) for step in (0, 9, 10, 15)]
    assert seen == [(2, (48, 48, 32)), (2, (48, 48, 32)), (1.5, (64, 64, 48)), (1, (96, 96, 64))]


def test_inference_spacing_and_presence_threshold_go_from_a_recipe_into_the_plan():
    plan = from_json('{"inference_spacing_mm": [1.5, 1.5, 2], "presence_threshold": 0.9}').plan()
    assert (plan.spacing_mm, plan.inference_spacing_mm, plan.presence_threshold) == ((2, 2, 3), (1.5, 1.5, 2), 0.9)
    assert TrainingConfig().plan().presence_threshold is None


def test_a_recipe_with_the_names_of_format_1_is_read():
    former = from_json('{"painted": 0.3, "delivered": ["liver"], "asked_mm": [1, 1, 2], "certain": 0.9, "locating": 2}')
    assert former == replace(
        RECIPES["default"], synthetic=0.3, output_organs=("liver",), inference_spacing_mm=(1, 1, 2),
        presence_threshold=0.9, roi_downsampling=2,
    )  # fmt: skip


def test_a_lesion_counts_as_its_organ_where_nobody_looked_for_it():
    config = replace(TrainingConfig(), organs=("spleen", "liver", "liver_tumour", "kidney"))
    assert config.hosts == (0, 0, 0, 2, 0)
    assert replace(config, organs=("spleen", "liver_tumour")).hosts == (0, 0, 0)


def test_every_recipe_has_its_line():
    assert list(SUMMARIES) == list(RECIPES) and all(len(line) < 80 for line in listing().splitlines())


SHARED = Path(__file__).parents[3] / "shared" / "weights"


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared weights are not there")
def test_organs_is_the_recipe_that_the_bundled_weights_were_trained_with():
    five = from_json((SHARED / "five.json").read_text())
    ours = replace(RECIPES["organs"], recipe="default", tumours=0.0, progressive=())
    assert ours == five
    four = from_json((SHARED / "four.json").read_text())
    assert RECIPES["organs"].progressive == four.progressive and RECIPES["organs"].network == four.network


def test_organs_learns_tumours_beside_organs_and_weighs_each_channel():
    recipe = RECIPES["organs"]
    assert recipe.organs[:4] == MAIN and recipe.output_organs == (*MAIN, "liver_tumour")
    assert len(recipe.organs) == 13 and len(recipe.dice_weights) == 14 and recipe.hosts[-1] == 1
    assert (recipe.batch, recipe.tumours, recipe.synthetic) == (16, 0.6, 0.15)


def test_vnet_softmax_states_what_its_system_states():
    recipe = RECIPES["vnet-softmax"]
    assert recipe.spacing_mm is None and recipe.patch == (128, 128, 64) and recipe.scaled_to == (0.0, 1.0)
    assert recipe.organs == ("liver", "kidney_right", "kidney_left", "spleen")
    assert (recipe.optimiser, recipe.epochs, recipe.loss_weights) == ("adam", 10, (0.0, 1.0, 0.0))
    assert recipe.network["down"] == "maxpool" and not recipe.network["residual"]


def test_vnet_dice_flips_rotates_and_scales():
    recipe = RECIPES["vnet-dice"]
    assert (recipe.optimiser, recipe.learning_rate, recipe.epochs) == ("adam", 1e-4, 100)
    assert recipe.schedule != "constant" and recipe.loss_weights == (1.0, 0.0, 0.0)
    how = recipe.augmentation
    assert how.mirror == 0.5 and how.rotate_degrees > 0 and how.scale != (1.0, 1.0)


def test_vnet_dice_focal_weighs_its_four_classes():
    recipe = RECIPES["vnet-dice-focal"]
    assert recipe.organs == ("liver", "kidney", "spleen") and recipe.class_weights == (0.26, 22.53, 22.53, 26.21)
    assert recipe.network["widths"] == (16, 32, 64, 128, 128) and recipe.loss_weights == (1.0, 0.0, 1.0)


def test_vnet_paper_is_the_papers_network_whole():
    assert RECIPES["vnet-paper"].network == {"name": "vnet"} and RECIPES["vnet-paper"].patch == (128, 128, 64)


def test_a_file_may_state_only_what_differs(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"recipe": "vnet-dice", "batch": 4, "augmentation": {"mirror": 0.0}}))
    recipe = find_recipe(path)
    expected = replace(RECIPES["vnet-dice"].augmentation, mirror=0.0)
    assert recipe == replace(RECIPES["vnet-dice"], batch=4, augmentation=expected)


@pytest.mark.parametrize("text", ["{", '{"bach": 4}', '{"augmentation": {"flip": 1}}', "[]"])
def test_a_file_that_is_no_recipe_is_refused(text, tmp_path):
    path = tmp_path / "bad.json"
    path.write_text(text)
    with pytest.raises(UsageError, match="no recipe"):
        find_recipe(path)


def test_a_file_that_states_its_organs_alone_writes_those(tmp_path):
    (tmp_path / "few.json").write_text('{"recipe": "organs", "organs": ["liver", "pancreas", "liver_tumour"]}')
    recipe = find_recipe(tmp_path / "few.json")
    assert (recipe.output_organs, recipe.class_weights) == (("liver", "liver_tumour"), None)
    (tmp_path / "other.json").write_text('{"organs": ["pancreas"]}')
    assert find_recipe(tmp_path / "other.json").output_organs == ("pancreas",)


def test_an_unknown_recipe_is_reported_with_the_known_ones():
    with pytest.raises(UsageError, match=r"vnet-foo.*default, organs, vnet-softmax"):
        find_recipe("vnet-foo")


def test_learning_fewer_organs_drops_weights_that_no_longer_fit():
    fewer = RECIPES["vnet-dice-focal"].for_organs(("liver",))
    assert fewer.class_weights is None and fewer.output_organs == ("liver",)
    assert TrainingConfig().for_organs(("aorta",)).output_organs == ("aorta",)


def test_an_epoch_of_each_case_once_counts_processes():
    assert RECIPES["vnet-dice"].steps_an_epoch(15) == 8 and RECIPES["vnet-dice"].steps_an_epoch(15, 4) == 2
    assert RECIPES["default"].steps_an_epoch(15) == 250


def test_augmentation_is_part_of_the_recipe():
    assert isinstance(RECIPES["default"].augmentation, Augmentation)
