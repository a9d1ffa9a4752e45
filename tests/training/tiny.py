"""Tiny patients, datasets, caches and recipes for the tests of training: seconds, not minutes."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from abdoseg.anatomy.organs import BY_NAME, MAIN
from abdoseg.image.volume import Geometry, Stored
from abdoseg.io import write_nifti
from abdoseg.training.augment.transforms import NO_AUGMENTATION
from abdoseg.training.data.cache import Cache, CaseArrays, CaseSource, PreparedCase, load_manifest, prepare_cases
from abdoseg.training.recipes import TrainingConfig

SHAPE = (24, 20, 16)
SPACING = (6.0, 6.0, 8.0)
# Centre and radii in voxels of the grid (right, anterior, superior), and HU.
ORGANS = {
    "liver": ((17, 12, 9), (5, 5, 4), 110),
    "kidney_right": ((16, 5, 4), (2, 2, 3), 180),
    "kidney_left": ((7, 5, 4), (2, 2, 3), 180),
    "spleen": ((5, 11, 10), (3, 3, 3), 130),
}
RECIPE = TrainingConfig(
    recipe="default",
    organs=MAIN,
    network={"name": "vnet", "widths": (4, 8), "depths": (1, 1), "kernel": 3, "norm": "batch", "activation": "relu",
             "join": "concat"},
    spacing_mm=SPACING,
    patch=(16, 16, 16),
    epochs=2,
    epoch_steps=2,
    warmup_steps=1,
    ema=0.5,
)  # fmt: skip
STILL = replace(RECIPE, augmentation=NO_AUGMENTATION)


def patient(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """HU int16 and labels uint8 in our numbers, (24, 20, 16), canonical."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*[np.arange(n) for n in SHAPE], indexing="ij"))
    labels = np.zeros(SHAPE, np.uint8)
    hu = np.where(((grid[0] - 11.5) / 11) ** 2 + ((grid[1] - 9.5) / 9) ** 2 < 1, -90.0, -1000.0)
    shift = rng.integers(-1, 2, 3)
    for name, (centre, radii, value) in ORGANS.items():
        inside = sum(((g - c - s) / r) ** 2 for g, c, s, r in zip(grid, centre, shift, radii, strict=True)) < 1
        labels[inside] = BY_NAME[name].label
        hu[inside] = value
    return (hu + rng.normal(0, 5, SHAPE)).astype(np.int16), labels


def stored(spacing=SPACING, origin=(0.0, 0.0, 0.0), shape=SHAPE) -> Stored:
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = origin
    return Stored(Geometry(shape, affine))


def write(path: Path, array: np.ndarray, where: Stored | None = None) -> Path:
    """A NIfTI file of a canonical array."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_nifti(array, where or stored(), path)
    return path


def renumbered(labels: np.ndarray, numbers: dict[str, int]) -> np.ndarray:
    """Labels in another scheme's numbers."""
    out = np.zeros_like(labels)
    for name, number in numbers.items():
        out[labels == BY_NAME[name].label] = number
    return out


FLARE = {"liver": 1, "kidney_right": 2, "spleen": 3, "kidney_left": 13}


def flare(folder: Path, cases: int = 3) -> Path:
    """A dataset in FLARE22's layout."""
    for n in range(cases):
        hu, labels = patient(n)
        write(folder / "images" / f"case{n}_0000.nii.gz", hu)
        write(folder / "labels" / f"case{n}.nii.gz", renumbered(labels, FLARE))
    return folder


def packed(folder: Path, cases: int = 3, annotated: tuple[str, ...] = MAIN) -> Cache:
    """A cache of tiny patients."""

    def read(case: str) -> CaseArrays:
        hu, labels = patient(int(case[-1]))
        facts = {"organ_ml": dict.fromkeys(MAIN, 1.0), "spacing_mm": list(SPACING)}
        return CaseArrays({"image": hu, "labels": labels}, SPACING, facts)

    done, _ = prepare_cases(folder, [CaseSource(f"case{n}", "v1", annotated, f"case{n}") for n in range(cases)], read)
    return Cache(done)


def known(folder: Path) -> list[PreparedCase]:
    return load_manifest(folder)
