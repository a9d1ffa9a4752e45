"""Batches: a pure function of seed and step, alike however many processes share them."""

from collections import Counter
from dataclasses import replace

import pytest
import torch
from tiny import RECIPE, SHAPE, STILL, packed

from abdoseg.anatomy.organs import MAIN
from abdoseg.errors import DatasetError
from abdoseg.training.augment import sampler
from abdoseg.training.augment.rng import Rng
from abdoseg.training.augment.sampler import Sampler, apply_window, channel_table, has_healthy_liver, is_annotated
from abdoseg.training.data.cache import Cache, CaseArrays, CaseSource, prepare_cases

NAMES = ["case0", "case1", "case2"]


def same(a, b):
    return torch.equal(a.image, b.image) and torch.equal(a.target, b.target) and torch.equal(a.annotated, b.annotated)


def test_a_batch_depends_on_seed_and_step_alone(tmp_path):
    cache = packed(tmp_path)
    one, two = Sampler(cache, NAMES, RECIPE), Sampler(cache, NAMES, RECIPE)
    later = one.batch(5)
    assert same(two.batch(5), later) and same(one.batch(5), later)
    assert not same(one.batch(6), later)
    assert not same(Sampler(cache, NAMES, replace(RECIPE, seed=1)).batch(5), later)


def test_two_processes_see_what_one_of_twice_the_batch_sees(tmp_path):
    cache = packed(tmp_path)
    for config in (RECIPE, replace(RECIPE, epoch_steps=0)):
        whole = Sampler(cache, NAMES, replace(config, batch=4))
        parts = [Sampler(cache, NAMES, config, rank=rank, processes=2) for rank in range(2)]
        for step in range(3):
            images = torch.cat([part.batch(step).image for part in parts])
            assert torch.equal(images, whole.batch(step).image)


def test_an_epoch_of_zero_steps_takes_each_case_once_in_another_order_each_time(tmp_path):
    patches = Sampler(packed(tmp_path), NAMES, replace(STILL, epoch_steps=0))
    orders = [tuple(patches._case(3 * epoch + n, Rng(0)) for n in range(3)) for epoch in range(12)]
    assert all(sorted(order) == [0, 1, 2] for order in orders) and len(set(orders)) > 1


def test_weights_say_how_often_a_case_is_drawn(tmp_path):
    patches = Sampler(packed(tmp_path), NAMES, RECIPE, {"case1": 8.0, "case2": 0.0})
    drawn = Counter(patches._case(n, Rng(n)) for n in range(300))
    assert drawn[2] == 0 and 5 < drawn[1] / drawn[0] < 12


def test_without_augmentation_a_whole_scan_is_itself_windowed(tmp_path):
    cache = packed(tmp_path, 1)
    config = replace(STILL, spacing_mm=None, patch=SHAPE, scaled_to=(0.0, 1.0))
    batch = Sampler(cache, ["case0"], config).batch(0)
    hu = torch.tensor(cache.cases[0].array("image").astype("float32"))
    torch.testing.assert_close(batch.image[0, 0], (hu.clamp(-125, 275) + 125) / 400, atol=1e-4, rtol=0)
    assert torch.equal(batch.target[0], torch.tensor(cache.cases[0].array("labels")).long())


def test_patches_are_centred_on_organs_as_often_as_asked(tmp_path):
    patches = Sampler(packed(tmp_path, 1), ["case0"], replace(STILL, foreground=1.0))
    assert all((patches.batch(step).target > 0).any() for step in range(8))


def test_a_run_begins_with_coarse_patches_that_show_as_much(tmp_path):
    cache, whole = packed(tmp_path, 1), replace(STILL, foreground=0.0)
    coarse = Sampler(cache, ["case0"], replace(whole, progressive=((2, 2.0), (1, 1.4))))
    batches = [coarse.batch(step) for step in range(4)]
    assert [tuple(batch.image.shape[2:]) for batch in batches] == [(8, 8, 8)] * 2 + [(12, 12, 12), (16, 16, 16)]
    fine = Sampler(cache, ["case0"], whole)
    assert same(batches[3], fine.batch(3))
    halved = torch.nn.functional.avg_pool3d(fine.batch(0).image, 2)
    assert float((halved - batches[0].image).abs().mean()) < 0.2 * float(halved.std())


def test_drawing_coarse_patches_takes_no_random_number_from_the_network(tmp_path):
    coarse = Sampler(packed(tmp_path, 1), ["case0"], replace(RECIPE, progressive=((2, 2.0),)))
    before = torch.get_rng_state()
    coarse.batch(0)
    assert torch.equal(torch.get_rng_state(), before)


def test_organs_nobody_looked_for_are_marked(tmp_path):
    cache = packed(tmp_path, 1, annotated=("liver", "kidney_right"))
    assert Sampler(cache, ["case0"], RECIPE).batch(0).annotated[0].tolist() == [False, True, True, False, False]
    assert not is_annotated(cache.cases[0], "kidney")  # one side is not both


def test_a_group_is_one_channel_and_a_tumour_is_liver():
    table = channel_table(("liver", "kidney", "spleen"))
    assert table[[1, 2, 3, 4, 5]].tolist() == [1, 2, 2, 3, 1]
    assert channel_table(("liver", "liver_tumour"))[5] == 2


def test_no_case_to_train_on_is_reported(tmp_path):
    with pytest.raises(DatasetError, match="smaller --val"):
        Sampler(packed(tmp_path), [], RECIPE)


def test_a_cache_that_vanishes_is_reported(tmp_path):
    cache = packed(tmp_path, 1)
    patches = Sampler(cache, ["case0"], RECIPE)
    (tmp_path / "case0.image.npy").unlink()
    with pytest.raises(DatasetError, match="--resume packs it again"):
        patches.batch(0)


def test_a_mistake_while_a_patch_is_drawn_is_not_taken_for_a_lost_cache(tmp_path):
    impossible = replace(RECIPE, augmentation=replace(RECIPE.augmentation, contrast=(0.0, 1.0)))
    with pytest.raises(ValueError, match="math domain error"):
        Sampler(packed(tmp_path, 1), ["case0"], impossible).batch(0)


def test_the_window_maps_onto_the_range():
    hu = torch.tensor([-1000.0, -125.0, 75.0, 275.0, 3000.0])
    assert apply_window(hu, RECIPE).tolist() == [-1, -1, 0, 1, 1]


def test_tumours_are_put_into_livers_that_are_known_to_be_healthy(tmp_path):
    organs = (*MAIN, "liver_tumour")
    config = replace(STILL, organs=organs, tumours=1.0, foreground=1.0)
    unknown, healthy = packed(tmp_path / "a", 1), packed(tmp_path / "b", 1, annotated=organs)
    assert not any((Sampler(unknown, ["case0"], config).batch(step).target == 5).any() for step in range(6))
    batches = [Sampler(healthy, ["case0"], config).batch(step) for step in range(6)]
    assert any((batch.target == 5).any() for batch in batches) and all(batch.annotated[:, 5].all() for batch in batches)
    none = Sampler(healthy, ["case0"], replace(config, tumours=0.0))
    assert not any((none.batch(step).target == 5).any() for step in range(6))


def test_a_liver_with_a_labelled_tumour_is_not_healthy(tmp_path):
    (case,) = packed(tmp_path, 1, annotated=(*MAIN, "liver_tumour")).cases
    assert has_healthy_liver(case)
    assert not has_healthy_liver(replace(case, facts={"organ_ml": {"liver": 900.0, "liver_tumour": 2.0}}))


def test_synthetic_patches_show_diseases_as_often_as_the_recipe_says(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(sampler, "add_disease", lambda anatomy, rng: drawn.append(1) or anatomy)
    labels = packed(tmp_path / "a", 1).cases[0].array("labels")
    contents = CaseArrays({"labels": labels, "tissues": (labels > 0).astype("uint8")}, (6.0, 6.0, 8.0))
    cache = Cache(prepare_cases(tmp_path / "b", [CaseSource("map", "v", MAIN)], lambda case: contents)[0])
    for fraction, expected in ((0.0, 0), (1.0, 16)):
        drawn.clear()
        patches = Sampler(cache, ["map"], replace(STILL, diseases=fraction))
        for step in range(8):
            patches.batch(step)
        assert len(drawn) == expected


def test_lesions_of_a_synthetic_scan_are_unknown_and_belong_to_their_organ(tmp_path):
    labels = packed(tmp_path / "a", 1).cases[0].array("labels").copy()
    labels[16:19, 11:14, 8:11] = 5
    contents = CaseArrays({"labels": labels, "tissues": (labels > 0).astype("uint8")}, (6.0, 6.0, 8.0))
    organs = (*MAIN, "liver_tumour")
    done, _ = prepare_cases(tmp_path / "b", [CaseSource("map", "v", organs)], lambda case: contents)
    config = replace(STILL, organs=organs, foreground=1.0)
    batches = [Sampler(Cache(done), ["map"], config).batch(step) for step in range(4)]
    assert not any((batch.target == 5).any() for batch in batches) and any((b.target == 1).any() for b in batches)
    assert all(batch.annotated.tolist() == [[False, True, True, True, True, False]] * 2 for batch in batches)


def test_a_label_map_alone_gives_a_synthetic_scan(tmp_path):
    labels = packed(tmp_path / "a", 1).cases[0].array("labels")
    contents = CaseArrays({"labels": labels, "tissues": (labels > 0).astype("uint8")}, (6.0, 6.0, 8.0))
    done, _ = prepare_cases(tmp_path / "b", [CaseSource("map", "v", MAIN)], lambda case: contents)
    first, second = (Sampler(Cache(done), ["map"], RECIPE).batch(0) for _ in range(2))
    assert same(first, second) and first.image.std() > 0.05
