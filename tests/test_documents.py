"""The documents keep their word: every command line in them runs, on phantoms, and every link leads somewhere."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
from phantom_dicom import write_series

from abdoseg.anatomy.label_schemes import numbers_in
from abdoseg.io import write_nifti
from abdoseg.phantom import phantom

ROOT = Path(__file__).parents[1]
FOLDERS = (ROOT, ROOT / "man", ROOT / "weights")
PAGES = sorted(page for folder in FOLDERS for page in folder.glob("*.md"))
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#]+)(?:#[^)]*)?\)")
SHAPE, SPACING = (110, 90, 56), (3.2, 3.2, 5.0)


def commands(page):
    """The command lines of a page's shell blocks, continued lines joined."""
    lines = "\n".join(BLOCK.findall(page.read_text(encoding="utf-8"))).replace("\\\n", " ").splitlines()
    return [line for line in lines if line.strip() and not line.lstrip().startswith("#")]


@pytest.fixture(scope="module")
def tidy_desk(tmp_path_factory):
    """A folder with the files that the documents name, made from two phantoms."""
    folder = tmp_path_factory.mktemp("desk")
    for name in (
        "bin",
        "cohort",
        "pred",
        "pred2",
        "gt",
        "totalseg_out",
        "flare_gt",
        "FLARE22/images",
        "FLARE22/labels",
    ):
        (folder / name).mkdir(parents=True)
    script = folder / "bin" / "abdoseg"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m abdoseg "$@"\n')
    script.chmod(0o755)
    for seed in (1, 2):
        scan, truth = phantom(seed, SHAPE, SPACING)
        labels = {scheme: renumbered(truth, scheme) for scheme in ("abdoseg", "flare22", "totalseg")}
        write_nifti(scan.voxels, scan.stored, folder / "cohort" / f"case{seed}.nii.gz")
        write_nifti(scan.voxels, scan.stored, folder / "FLARE22" / "images" / f"case{seed}_0000.nii.gz")
        write_nifti(labels["flare22"], scan.stored, folder / "FLARE22" / "labels" / f"case{seed}.nii.gz")
        for place, scheme in (
            ("pred", "abdoseg"), ("pred2", "abdoseg"), ("gt", "abdoseg"), ("totalseg_out", "totalseg"),
            ("flare_gt", "flare22"),
        ):  # fmt: skip
            write_nifti(labels[scheme], scan.stored, folder / place / f"case{seed}.nii.gz")
    (folder / "scan.nii.gz").write_bytes((folder / "cohort" / "case1.nii.gz").read_bytes())
    scan, _ = phantom(1, SHAPE, SPACING)
    as_scanned = scan.geometry.affine.copy()  # columns to the patient's left and back, as scanners store them
    as_scanned[:3, 3] += as_scanned[:3, :2] @ np.subtract(SHAPE[:2], 1)
    as_scanned[:3, :2] *= -1
    write_series(folder / "ct_folder", scan.voxels[::-1, ::-1], as_scanned)
    return folder


@pytest.fixture
def desk(tidy_desk, tmp_path):
    """A page's own: what another page's commands have left does not lie there."""
    return Path(shutil.copytree(tidy_desk, tmp_path / "desk"))


def renumbered(labelmap, scheme):
    """The labels under the numbers of a scheme."""
    numbers, found = numbers_in(scheme), np.zeros_like(labelmap.labels)
    for label, organ in labelmap.organs.items():
        found[labelmap.labels == label] = numbers[organ]
    return found


def run(line, desk):
    """Runs a command line in the desk's folder; training only shows what it understood."""
    line = re.sub(r"^(abdoseg train )", r"\1--dry-run ", line)
    path = {"PATH": f"{desk / 'bin'}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        ["bash", "-c", line], cwd=desk, env=os.environ | path, capture_output=True, text=True, timeout=300
    )


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=lambda page: page.stem)
def test_every_command_of_a_page_runs(page, desk):
    for line in commands(page):
        done = run(line, desk)
        assert done.returncode == 0, f"{line}\n{done.stderr}"
        assert "Traceback" not in done.stderr, f"{line}\n{done.stderr}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.parent.name}-{page.stem}")
def test_every_link_of_a_page_leads_to_a_file(page):
    links = [link for link in LINK.findall(page.read_text(encoding="utf-8")) if "://" not in link]
    missing = [link for link in links if not (page.parent / link).exists()]
    assert missing == []


def test_the_desk_holds_what_it_says(desk):
    image = nibabel.load(desk / "scan.nii.gz")
    assert image.shape == SHAPE
    assert set(np.unique(nibabel.load(desk / "flare_gt" / "case1.nii.gz").dataobj)) == {0, 1, 2, 3, 13}
