"""Third-party scans with known geometry and HU, or a known reason to be refused. Skipped where they are not."""

import json
import zipfile

import numpy as np
import pytest
from shared_data import SHARED_DATA

from abdoseg.errors import ScanError
from abdoseg.io import read_scan

ARCHIVE = SHARED_DATA / "interop.zip"
pytestmark = pytest.mark.skipif(not ARCHIVE.is_file(), reason="the shared data is not there")


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    folder = tmp_path_factory.mktemp("interop")
    with zipfile.ZipFile(ARCHIVE) as archive:
        archive.extractall(folder)
    (expected,) = folder.rglob("expected.json")
    return expected.parent, json.loads(expected.read_text(encoding="utf-8"))["cases"]


def test_every_case_is_read_rightly_or_refused_where_it_may_be(cases):
    root, rows = cases
    wrong = []
    for row in rows:
        expect = row["expect"]
        try:
            volume = read_scan(root / row["path"])
        except ScanError as error:
            if not (expect.get("error") or expect.get("may_refuse")):
                wrong.append(f"{row['id']}: refused: {error}")
            continue
        if expect.get("error"):
            wrong.append(f"{row['id']}: read, but {expect['why']}")
        elif bad := [probe for probe in expect["probes"] if not probed(volume, probe)]:
            wrong.append(f"{row['id']}: {len(bad)} probes wrong")
        if expect.get("must_warn") and not volume.notes:
            wrong.append(f"{row['id']}: no word of warning")
    assert len(rows) >= 38
    assert wrong == []


def probed(volume, probe):
    index = np.linalg.inv(volume.geometry.affine) @ [*probe["ras"], 1]
    found = volume.voxels[tuple(np.rint(index[:3]).astype(int))]
    return abs(float(found) - max(probe["hu"], -1024)) <= 0.6
