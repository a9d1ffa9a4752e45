"""Phantoms of what leads a network astray: exact labels, and the voxels that it takes for an organ by mistake."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from abdoseg.anatomy.organs import BY_NAME, MAIN
from abdoseg.anatomy.tissues import LUMEN_TIERS, Tissue, patient_hu
from abdoseg.image.organ_maps import OrganMaps
from abdoseg.image.volume import Geometry
from abdoseg.phantom import phantom_tissues

Mask = npt.NDArray[np.bool_]
LABEL = {name: organ.label for name, organ in BY_NAME.items()}
SHAPE, SPACING_MM = (88, 72, 60), (4.0, 4.0, 5.0)
HEART = (Tissue.HEART_BLOOD, Tissue.MYOCARDIUM)
STOMACH = (LABEL["stomach"],)
LESIONS_MM = (9.0, 18.0, 36.0)  # diameters of the lesions in the liver


@dataclass(frozen=True, eq=False)
class PhantomCase:
    """hu: (I, J, K) float32. labels: (I, J, K) uint8, the truth in our numbers. mistaken: by organ, what is not it.

    tissues: (I, J, K) uint8, what the HU follow.
    """

    tissues: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.uint8]
    geometry: Geometry
    hu: npt.NDArray[np.float32]
    mistaken: Mapping[str, Mask]

    def mask(self, organ: str) -> Mask:
        return np.asarray(self.labels == LABEL[organ])

    def ml(self, mask: Mask) -> float:
        return float(mask.sum()) * self.geometry.voxel_ml

    def answer(self, organs: Sequence[str] = MAIN, blur_mm: float = 3.0) -> OrganMaps:
        """A network's answer that finds every organ and takes for it what is `mistaken`, too."""
        margins = np.empty((len(organs), *self.labels.shape), np.float16)
        for margin, organ in zip(margins, organs, strict=True):
            found = self.mask(organ) | self.mistaken.get(organ, np.zeros_like(self.labels, bool))
            soft = ndimage.gaussian_filter(found.astype(np.float32), [blur_mm / s for s in self.geometry.spacing_mm])
            margin[:] = 8 * soft - 4
        return OrganMaps(margins, tuple(organs), self.geometry)


def healthy(seed: int = 4, shape: Sequence[int] = SHAPE, spacing_mm: Sequence[float] = SPACING_MM) -> PhantomCase:
    """A patient in the portal phase in whom nothing is mistaken; the stomach has a label, too."""
    tissues, labelmap = phantom_tissues(seed, shape, spacing_mm, organs=(*MAIN, "stomach"))
    return _imaged(tissues, labelmap.labels, labelmap.geometry)


def bright_stomach(seed: int = 4) -> PhantomCase:
    """A stomach full of contrast medium as bright as the spleen beside it, and taken for it."""
    case = healthy(seed)
    stomach = np.isin(case.labels, STOMACH)
    return replace(case, hu=_with_hu(case, stomach, case.hu[case.mask("spleen")].mean()), mistaken={"spleen": stomach})


def bright_heart(seed: int = 4) -> PhantomCase:
    """A heart larger than the spleen, as bright, and taken for it."""
    case = healthy(seed)
    heart = np.isin(case.tissues, HEART)
    return replace(case, hu=_with_hu(case, heart, case.hu[case.mask("spleen")].mean()), mistaken={"spleen": heart})


def accessory_spleen(seed: int = 4) -> PhantomCase:
    """A second spleen of some 4 ml in the fat below the spleen; it is spleen."""
    case = healthy(seed)
    room = ndimage.binary_erosion(case.tissues == Tissue.GAP, iterations=2)
    spleen = case.mask("spleen")
    apart_mm = ndimage.distance_transform_edt(~spleen, sampling=case.geometry.spacing_mm)
    places = np.argwhere(room & (apart_mm > 14) & (apart_mm < 60))
    lowest = places[np.argmin(places[:, 2])]
    return _replaced(case, _ball(case, lowest, 10.0), Tissue.SPLEEN, "spleen")


def splenectomy(seed: int = 4) -> PhantomCase:
    """No spleen; the stomach is taken for one."""
    case = _replaced(healthy(seed), healthy(seed).mask("spleen"), Tissue.GAP, None)
    return replace(case, mistaken={"spleen": np.isin(case.labels, STOMACH)})


def pelvic_kidney(seed: int = 4) -> PhantomCase:
    """The left kidney lies 8 cm lower than usual and in front of the spine."""
    case = healthy(seed)
    kidney = case.mask("kidney_left")
    steps = [round(mm / s) for mm, s in zip((28.0, 36.0, -80.0), case.geometry.spacing_mm, strict=True)]
    moved, sources = (np.roll(array, steps, axis=(0, 1, 2)) for array in (kidney, case.tissues))
    tissues, labels = np.where(kidney, Tissue.GAP, case.tissues), np.where(kidney, 0, case.labels)
    tissues, labels = np.where(moved, sources, tissues), np.where(moved, LABEL["kidney_left"], labels)
    return _imaged(tissues.astype(np.uint8), labels.astype(np.uint8), case.geometry)


def liver_lesions(
    diameters_mm: Sequence[float] = LESIONS_MM,
    seed: int = 4,
    shape: Sequence[int] = (132, 108, 90),
    spacing_mm: Sequence[float] = (2.5, 2.5, 3.0),
) -> PhantomCase:
    """Round lesions of these diameters deep in the liver, 50 HU darker, at least 5 mm apart from each other."""
    case = healthy(seed, shape, spacing_mm)
    for diameter in sorted(diameters_mm, reverse=True):
        depth_mm = ndimage.distance_transform_edt(case.mask("liver"), sampling=spacing_mm)
        fits = np.argwhere(depth_mm > diameter / 2 + 5)
        case = _replaced(case, _ball(case, fits[len(fits) // 2], diameter / 2), Tissue.TUMOUR, "liver_tumour")
    return case


CASES: Mapping[str, Callable[[], PhantomCase]] = {
    function.__name__: function
    for function in (
        healthy, bright_stomach, bright_heart, accessory_spleen, splenectomy, pelvic_kidney, liver_lesions
    )
}  # fmt: skip


def _ball(case: PhantomCase, centre: Sequence[int], radius_mm: float) -> Mask:
    offsets = (np.indices(case.labels.shape).T - np.asarray(centre)) * case.geometry.spacing_mm
    return np.asarray(radius_mm >= np.linalg.norm(offsets, axis=-1).T)


def _replaced(case: PhantomCase, mask: Mask, tissue: Tissue, organ: str | None) -> PhantomCase:
    label = LABEL[organ] if organ else 0
    tissues, labels = np.where(mask, tissue, case.tissues), np.where(mask, label, case.labels)
    return _imaged(tissues.astype(np.uint8), labels.astype(np.uint8), case.geometry)


def _imaged(tissues: npt.NDArray[np.uint8], labels: npt.NDArray[np.uint8], geometry: Geometry) -> PhantomCase:
    """HU of the portal phase, blurred by a scanner and with its noise; gas in the upper half of hollow organs."""
    table = patient_hu("portal")
    for lumen in (Tissue.STOMACH_LUMEN, Tissue.SMALL_BOWEL_LUMEN, Tissue.COLON_LUMEN):
        table[lumen + LUMEN_TIERS // 2 : lumen + LUMEN_TIERS] = table[Tissue.GAS]
    table[Tissue.TUMOUR] = table[Tissue.LIVER] - 50
    hu = ndimage.gaussian_filter(table[tissues], [1.5 / s for s in geometry.spacing_mm])
    hu += np.random.default_rng(0).normal(0, 8, hu.shape).astype(np.float32)
    return PhantomCase(tissues, labels, geometry, hu, {})


def _with_hu(case: PhantomCase, mask: Mask, hu: float) -> npt.NDArray[np.float32]:
    noise = np.random.default_rng(1).normal(0, 8, case.hu.shape)
    return np.where(mask, hu + noise, case.hu).astype(np.float32)
