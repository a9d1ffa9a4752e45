"""Patches drawn on a GPU, proved without one: nothing is left on the host, and few numbers are waited for."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from elsewhere import ELSEWHERE, Far, Overseer
from tiny import RECIPE, SPACING, patient

from abdoseg.anatomy.organs import MAIN
from abdoseg.anatomy.tissues import Tissue
from abdoseg.training.augment import rng
from abdoseg.training.augment.sampler import Sampler
from abdoseg.training.augment.transforms import NO_AUGMENTATION, Augmentation
from abdoseg.training.data.cache import Cache, CaseArrays, CaseSource, prepare_cases

USUAL = Augmentation(organ_hu=0.0, oral=0.0, cut=0.0)
# What happens in a sample, and how often the host may then wait for a device: for the box that the patch needs; for
# the tissues; for the labels, the kidneys' HU and the room beside the organs; for the planes that hold organs.
KINDS = {
    "as it is": (replace(RECIPE, augmentation=NO_AUGMENTATION), 1),
    "usual": (replace(RECIPE, augmentation=USUAL), 1),
    "another phase": (replace(RECIPE, augmentation=replace(USUAL, organ_hu=1.0)), 1),
    "oral contrast": (replace(RECIPE, augmentation=replace(USUAL, oral=1.0)), 4),
    "cut and mirrored": (replace(RECIPE, augmentation=replace(USUAL, cut=1.0, mirror=1.0)), 2),
    "tumours": (replace(RECIPE, tumours=1.0, augmentation=USUAL), 2),
    "synthetic": (replace(RECIPE, synthetic=1.0, augmentation=USUAL), 2),
    "diseases": (replace(RECIPE, synthetic=1.0, diseases=1.0, augmentation=USUAL), 6),
}


@pytest.fixture
def cache(tmp_path):
    """A case with a scan and with tissues: organs, gaps and bowel in the middle, every number around them."""
    hu, labels = patient()
    tissues = np.arange(hu.size, dtype=np.uint32).reshape(hu.shape).astype(np.uint8)
    for number, tissue in enumerate((Tissue.LIVER, Tissue.SPLEEN, Tissue.KIDNEY_CORTEX, Tissue.GAP, 17, 21)):
        tissues[4 + 3 * number : 7 + 3 * number, 3:17, 3:13] = tissue
    contents = CaseArrays({"image": hu, "labels": labels, "tissues": tissues}, SPACING)
    return Cache(
        prepare_cases(tmp_path, [CaseSource("case0", "v1", (*MAIN, "liver_tumour"))], lambda case: contents)[0]
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_sample_drawn_elsewhere_lies_there_whole_and_is_seldom_waited_for(cache, kind, monkeypatch):
    config, waits = KINDS[kind]
    expected = [Sampler(cache, ["case0"], config)._sample(number) for number in range(12)]
    shared = torch.Generator()  # the device's own would draw other fields; then there was nothing to compare with
    monkeypatch.setattr(rng, "Generator", lambda device=None: shared)
    with Overseer() as overseer:
        sampler = Sampler(cache, ["case0"], config, device=ELSEWHERE)
        for number, parts in enumerate(expected):
            overseer.waits.clear()
            sample = sampler._sample(number)
            assert len(overseer.waits) <= waits, overseer.waits
            for there, here in zip(sample, parts, strict=True):
                assert there.device == ELSEWHERE
                assert torch.equal(there.held, here)


def test_elsewhere_too_a_batch_depends_on_seed_and_step_alone(cache, monkeypatch):
    monkeypatch.setattr(rng, "Generator", lambda device=None: torch.Generator())
    with Overseer():
        sampler = Sampler(cache, ["case0"], RECIPE, device=ELSEWHERE)
        first, other, again = (sampler.batch(step) for step in (3, 4, 3))
    assert first.image.shape == (2, 1, 16, 16, 16) and first.annotated.device == ELSEWHERE
    assert torch.equal(first.image.held, again.image.held) and not torch.equal(first.image.held, other.image.held)


def test_the_overseer_refuses_what_a_device_refuses_and_counts_what_it_waits_for():
    with Overseer() as overseer:
        there = torch.arange(4.0).to(ELSEWHERE, non_blocking=True)
        assert isinstance(there * torch.tensor(2.0), Far) and isinstance(torch.zeros(4, device=ELSEWHERE) + there, Far)
        assert overseer.waits == []
        with pytest.raises(RuntimeError, match="some elsewhere"):
            there + torch.ones(4)
        assert there.tolist() == [0, 1, 2, 3] and float(there[1]) == 1 and len(there[there > 1]) == 2
        assert len(overseer.waits) == 3
        torch.ones(4).to(ELSEWHERE)
        assert len(overseer.waits) == 4
