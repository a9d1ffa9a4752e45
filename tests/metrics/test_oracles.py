"""Values that four other projects publish in their tests, from shared data; skipped where that is absent."""

import json

import nibabel as nib
import numpy as np
import pytest
from directed_distances import averages, masd, overlaps
from shared_data import SHARED_DATA

from abdoseg.metrics import confusion, dice, surface_distances

FOLDER = SHARED_DATA / "oracles"
CASES = json.loads((FOLDER / "metrics.json").read_text())["cases"] if FOLDER.exists() else []
pytestmark = pytest.mark.skipif(not CASES, reason="shared/data/oracles is not there")
UPSTREAM = {  # upstream's name of a value, and ours; by convention
    "border": {
        "hd": lambda d: d.hausdorff(),
        "hd_directed_pred_to_ref": lambda d: d.directed()[1],
        "hd95_max_of_directed": lambda d: d.hausdorff(95),
        "assd_pooled_symmetric": lambda d: d.assd(),
        "assd": lambda d: d.assd(),
        "asd_pred_to_ref": lambda d: averages(d)[1],
        "masd": masd,
        "nsd_tol0": lambda d: d.nsd(0),
        "nsd_tol1": lambda d: d.nsd(1),
        "nsd_tol10": lambda d: d.nsd(10),
    },
    "elements": {
        "avg_gt_to_pred": lambda d: averages(d)[0],
        "avg_pred_to_gt": lambda d: averages(d)[1],
        "hd100": lambda d: d.hausdorff(),
        "hd95": lambda d: d.hausdorff(95),
        "surface_dice_1mm": lambda d: d.nsd(1),
        "overlap_1mm": lambda d: overlaps(d, 1),
    },
}


def pair(case):
    masks = [np.asanyarray(nib.load(FOLDER / case[side]).dataobj) > 0 for side in ("ref", "pred")]
    return [mask.reshape(case["shape"]) for mask in masks]


def number(value):
    return [float(one) for one in value] if isinstance(value, list) else float("nan" if value is None else value)


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_overlap(case):
    truth, prediction = pair(case)
    assert dice(truth, prediction) == pytest.approx(number(case["dice"]), nan_ok=True)
    found = confusion(truth, prediction)
    assert (found.truth, found.prediction) == (case["ref_voxels"], case["pred_voxels"])
    for name in {"tp", "fp", "fn", "tn"} & set(case["upstream_expected"]):
        assert getattr(found, name) == case["upstream_expected"][name]


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_border_voxels(case):
    wanted = case["edge_voxel_definition"]
    if wanted is None:
        return
    found = surface_distances(*pair(case), case["spacing"])
    values = {
        "hd": found.hausdorff(),
        "hd_pred_to_ref": found.directed()[1],
        "hd_ref_to_pred": found.directed()[0],
        "hd95_max_of_directed": found.hausdorff(95),
        "hd95_pooled": np.percentile(np.concatenate([found.truth_mm, found.prediction_mm]), 95),
        "asd_pred_to_ref": averages(found)[1],
        "asd_ref_to_pred": averages(found)[0],
        "assd": found.assd(),
        "masd": masd(found),
        "n_edge_pred": len(found.prediction_mm),
        "n_edge_ref": len(found.truth_mm),
    }
    assert values == pytest.approx({name: wanted[name] for name in values}, rel=1e-6)
    for tolerance, value in wanted["nsd"].items():
        assert found.nsd(float(tolerance)) == pytest.approx(value)


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_surface_elements(case):
    wanted = case["surface_element_definition_deepmind"]
    found = surface_distances(*pair(case), case["spacing"], "elements")
    for name in ("avg_gt_to_pred", "avg_pred_to_gt", "hd100", "hd95", "overlap_1mm"):
        value = UPSTREAM["elements"][name](found)
        assert value == pytest.approx(number(wanted[name]), rel=1e-6, nan_ok=True), name
    for tolerance, value in wanted["surface_dice"].items():
        assert found.nsd(float(tolerance)) == pytest.approx(number(value), nan_ok=True)


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_what_upstream_published(case):
    expected = case["upstream_expected"]
    atol = expected.get("atol", 10.0 ** -expected.get("places", 4))
    convention = "elements" if case["id"].startswith("dm-") else "border"
    found = surface_distances(*pair(case), case["spacing"], convention)
    for name, value in expected.items():
        if name in UPSTREAM[convention]:
            ours = UPSTREAM[convention][name](found)
            assert ours == pytest.approx(number(value), abs=atol, nan_ok=True), name
