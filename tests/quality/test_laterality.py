"""A scan that is its own mirror image: when the network is asked, and what is made of its answer."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from abdoseg.image.volume import Geometry
from abdoseg.inference.sliding_window import Fields
from abdoseg.io import read_scan
from abdoseg.model.weights import load_model
from abdoseg.quality import laterality as mirrored
from abdoseg.quality.evidence import examine
from abdoseg.quality.laterality import seems_mirrored
from abdoseg.segmentation import segment

SCANS = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "extra"
GRID = Geometry((40, 30, 30), np.diag([3.0, 3.0, 3.0, 1.0]))
IMAGE = np.zeros(GRID.shape, np.float32)
LIVER, LARGE, SMALL = (slice(16, 28),) * 3, (slice(2, 12),) * 3, (slice(2, 7),) * 3


def field(box, lead):
    values = np.full(GRID.shape, -1, np.float16)
    values[box] = lead
    return values


def said(monkeypatch, spleen, lead, mirror_lead):
    """What is said of a liver of some lead beside a spleen, and whether the mirror image was looked at."""
    looked = []

    def predict_located(model, image, organs, most_voxels):
        looked.append(image)
        return Fields(field(LIVER, mirror_lead)[None], organs)

    monkeypatch.setattr(mirrored, "predict_located", predict_located)
    evidence = examine(np.stack([field(LIVER, lead), field(spleen, 3)]), ("liver", "spleen"), IMAGE, GRID)
    return seems_mirrored(None, IMAGE, GRID, evidence, 1), bool(looked)


def test_a_spleen_of_usual_size_is_no_reason_to_look(monkeypatch):
    assert said(monkeypatch, SMALL, 1, 5) == (None, False)


def test_beside_a_large_one_the_clearer_liver_decides(monkeypatch):
    assert said(monkeypatch, LARGE, 3, 3) == (None, True)
    sentence, _ = said(monkeypatch, LARGE, 2, 3)
    assert sentence.startswith(
        "left and right seem to be exchanged: mirrored, the liver is clearer (confidence 0.95, as"
    )


@pytest.mark.skipif(not SCANS.is_dir(), reason="the shared data is not there")
def test_a_real_scan_is_told_from_its_mirror_image():
    volume, model = read_scan(SCANS / "amos_0001_slab_ct.nii.gz"), load_model(None, "cpu")
    assert not any("exchanged" in warning for warning in segment(volume, model).warnings)
    exchanged = segment(replace(volume, voxels=volume.voxels[::-1]), model).warnings[0]
    assert exchanged.startswith("left and right seem to be exchanged")
