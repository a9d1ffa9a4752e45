"""A scan that is its own mirror image: when the network is asked, and what is made of its answer."""

from dataclasses import replace

import numpy as np
import pytest
from shared_data import SHARED_DATA

from abdoseg.image.organ_maps import OrganMaps
from abdoseg.image.volume import Geometry
from abdoseg.io import read_scan
from abdoseg.model.weights import load_model
from abdoseg.quality import laterality
from abdoseg.quality.evidence import examine
from abdoseg.quality.laterality import mirrored_warning
from abdoseg.segmentation import segment

SCANS = SHARED_DATA / "extra"
GRID = Geometry((40, 30, 30), np.diag([3.0, 3.0, 3.0, 1.0]))
IMAGE = np.zeros(GRID.shape, np.float32)
LIVER, LARGE, SMALL = (slice(16, 28),) * 3, (slice(2, 12),) * 3, (slice(2, 7),) * 3


def margin(box, ahead):
    values = np.full(GRID.shape, -1, np.float16)
    values[box] = ahead
    return values


def verdict(monkeypatch, spleen, ahead, mirror_ahead):
    """What is said of a liver of some margin beside a spleen, and whether the mirror image was looked at."""
    looked = []

    def coarse_to_fine(model, image, grid, organs, max_tile_voxels):
        looked.append(image)
        return OrganMaps(margin(LIVER, mirror_ahead)[None], organs, grid)

    monkeypatch.setattr(laterality, "coarse_to_fine", coarse_to_fine)
    maps = OrganMaps(np.stack([margin(LIVER, ahead), margin(spleen, 3)]), ("liver", "spleen"), GRID)
    evidence = examine(maps, IMAGE)
    return mirrored_warning(None, IMAGE, GRID, evidence, 1), bool(looked)


def test_a_spleen_of_usual_size_is_no_reason_to_look(monkeypatch):
    assert verdict(monkeypatch, SMALL, 1, 5) == (None, False)


def test_beside_a_large_one_the_clearer_liver_decides(monkeypatch):
    assert verdict(monkeypatch, LARGE, 3, 3) == (None, True)
    sentence, _ = verdict(monkeypatch, LARGE, 2, 3)
    assert sentence.startswith(
        "left and right seem to be exchanged: mirrored, the liver is clearer (confidence 0.95, as"
    )


@pytest.mark.skipif(not SCANS.is_dir(), reason="the shared data is not there")
def test_a_real_scan_is_distinguished_from_its_mirror_image():
    volume, model = read_scan(SCANS / "amos_0001_slab_ct.nii.gz"), load_model(None, "cpu")
    assert not any("exchanged" in warning for warning in segment(volume, model).warnings)
    exchanged = segment(replace(volume, voxels=volume.voxels[::-1]), model).warnings[0]
    assert exchanged.startswith("left and right seem to be exchanged")
