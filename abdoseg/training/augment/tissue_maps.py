"""Tissue maps from label maps, with or without their scans: the input of CT synthesis.

A tissue map is uint8 in canonical axes. Numbers below 64 are a `tissues.Tissue`. From WALL on they are shells 2 mm
apart around the trunk's organs and bones; synthesis makes them muscle, fat, skin and air once the patient's girth is
drawn. From SCANNED on they are HU of a scan in steps of 8, where nothing is labelled. So a map can be rotated and
deformed by nearest neighbour, and is as small as a label map.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import edt
import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial import ConvexHull, QhullError

from abdoseg.anatomy.tissues import LUMEN_TIERS, Tissue

WALL, WALL_COUNT, WALL_STEP_MM, WALL_START_MM = 64, 64, 2.0, -16.0
SCANNED, SCANNED_COUNT, SCANNED_STEP_HU, SCANNED_START_HU = 128, 51, 8, -128
VERSION = 2  # to be raised when the same labels give another map, so that caches are filled anew

Map = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
_EXACT: Mapping[str, Tissue] = {
    "liver": Tissue.LIVER, "spleen": Tissue.SPLEEN, "pancreas": Tissue.PANCREAS, "gallbladder": Tissue.BILE,
    "aorta": Tissue.ARTERY, "brachiocephalic_trunk": Tissue.ARTERY, "inferior_vena_cava": Tissue.VEIN,
    "superior_vena_cava": Tissue.VEIN, "pulmonary_vein": Tissue.HEART_BLOOD,
    "atrial_appendage_left": Tissue.HEART_BLOOD, "portal_vein_and_splenic_vein": Tissue.PORTAL_VEIN,
    "heart": Tissue.MYOCARDIUM, "esophagus": Tissue.BOWEL_WALL,
    "stomach": Tissue.STOMACH_LUMEN, "duodenum": Tissue.SMALL_BOWEL_LUMEN, "small_bowel": Tissue.SMALL_BOWEL_LUMEN,
    "colon": Tissue.COLON_LUMEN, "trachea": Tissue.GAS, "urinary_bladder": Tissue.URINE, "prostate": Tissue.GLAND,
    "thyroid_gland": Tissue.THYROID, "spinal_cord": Tissue.NERVE, "brain": Tissue.NERVE,
    "costal_cartilages": Tissue.CARTILAGE, "liver_tumour": Tissue.TUMOUR, "kidney_tumour": Tissue.TUMOUR,
    "kidney_cyst": Tissue.WATER, "sternum": Tissue.BONE_MARROW, "sacrum": Tissue.BONE_MARROW,
    "skull": Tissue.BONE_MARROW,
}  # fmt: skip
_PREFIXES: Mapping[str, Tissue] = {
    "kidney_cyst": Tissue.WATER, "kidney": Tissue.KIDNEY_MEDULLA, "adrenal_gland": Tissue.ADRENAL,
    "lung": Tissue.LUNG, "heart": Tissue.MYOCARDIUM, "iliac_artery": Tissue.ARTERY, "common_carotid": Tissue.ARTERY,
    "subclavian_artery": Tissue.ARTERY, "iliac_vena": Tissue.VEIN, "brachiocephalic_vein": Tissue.VEIN,
    "autochthon": Tissue.MUSCLE, "gluteus": Tissue.MUSCLE, "iliopsoas": Tissue.MUSCLE, "rib": Tissue.BONE_MARROW,
    "vertebrae": Tissue.BONE_MARROW, "hip": Tissue.BONE_MARROW, "femur": Tissue.BONE_MARROW,
    "humerus": Tissue.BONE_MARROW, "scapula": Tissue.BONE_MARROW, "clavicula": Tissue.BONE_MARROW,
}  # fmt: skip
# Inner tissue, the tissue of the layer around it, and the layer's thickness in mm.
_RINDS: tuple[tuple[Tissue, Tissue, float], ...] = (
    (Tissue.KIDNEY_MEDULLA, Tissue.KIDNEY_CORTEX, 6.0),
    (Tissue.BONE_MARROW, Tissue.BONE_CORTEX, 2.2),
    (Tissue.MYOCARDIUM, Tissue.MYOCARDIUM, 9.0),
    (Tissue.STOMACH_LUMEN, Tissue.BOWEL_WALL, 3.5),
    (Tissue.SMALL_BOWEL_LUMEN, Tissue.BOWEL_WALL, 2.2),
    (Tissue.COLON_LUMEN, Tissue.BOWEL_WALL, 2.2),
)
_LUMENS = (Tissue.STOMACH_LUMEN, Tissue.SMALL_BOWEL_LUMEN, Tissue.COLON_LUMEN)
_LIMBS = ("humerus", "femur", "scapula", "clavicula", "skull")


def tissue_map(
    labels: npt.NDArray[Any],
    names: Mapping[int, str],
    spacing_mm: Sequence[float],
    voxels_hu: npt.NDArray[Any] | None = None,
) -> Map:
    """The tissue map of a labelled body: (I, J, K) uint8.

    Args:
        labels: (I, J, K) integers in canonical axes (RAS+).
        names: their structures, as TotalSegmentator names them; unknown names count as unlabelled.
        spacing_mm: of the voxels.
        voxels_hu: the scan (I, J, K), which shows what has no label. Without it the labels must be those of a whole
            trunk (ribs, spine, muscles), and the space between them is filled; leave a margin of 40 mm to the
            sides, front and back for the fat.
    """
    tissues = _grouped(labels, names)
    organs = tissues.copy()
    _add_rinds(tissues, spacing_mm)
    if voxels_hu is None:
        limbs = [label for label, name in names.items() if name.startswith(_LIMBS)]
        _fill_trunk(tissues, (labels > 0) & ~np.isin(labels, limbs), spacing_mm)
    else:
        _fill_from_scan(tissues, organs, voxels_hu, spacing_mm)
    _add_sinus(tissues, organs == Tissue.KIDNEY_MEDULLA, spacing_mm)
    return tissues


def tissue_of(name: str) -> Tissue | None:
    """The tissue of a structure, by TotalSegmentator's name; None for one that is not known.

    >>> tissue_of("rib_left_7").name, tissue_of("liver").name, tissue_of("face")
    ('BONE_MARROW', 'LIVER', None)
    """
    if name in _EXACT:
        return _EXACT[name]
    return next((tissue for prefix, tissue in _PREFIXES.items() if name.startswith(prefix)), None)


def _grouped(labels: npt.NDArray[Any], names: Mapping[int, str]) -> Map:
    table = np.zeros(max(256, int(labels.max(initial=0)) + 1), np.uint8)
    for label, name in names.items():
        if label > 0 and (tissue := tissue_of(name)) is not None:
            table[label] = tissue
    return np.asarray(table[labels])


def _depth_mm(mask: Mask, spacing_mm: Sequence[float]) -> npt.NDArray[np.float32]:
    """Depth of each voxel of the mask below its surface; 0 outside. The array's faces are no surface."""
    return np.asarray(edt.edt(np.ascontiguousarray(mask), anisotropy=tuple(map(float, spacing_mm))), np.float32)


def _add_rinds(tissues: Map, spacing_mm: Sequence[float]) -> None:
    for inside, rind, thickness_mm in _RINDS:
        mask = tissues == inside
        if not mask.any():
            continue
        box = _box(mask)
        depth = _depth_mm(mask[box], spacing_mm)
        part, outer = tissues[box], (depth > 0) & (depth <= thickness_mm)
        part[outer] = rind
        if inside in _LUMENS:
            lumen = mask[box] & ~outer
            part[lumen] = inside + _tier(lumen)[lumen]
        elif inside == Tissue.MYOCARDIUM:
            part[mask[box] & ~outer] = Tissue.HEART_BLOOD


def _box(mask: Mask) -> tuple[slice, ...]:
    """The mask's bounding box and a voxel around it, as far as the array goes."""
    found = ndimage.find_objects(mask.view(np.uint8))[0]
    return tuple(slice(max(0, part.start - 1), part.stop + 1) for part in found)


def _tier(lumen: Mask) -> npt.NDArray[np.uint8]:
    """0 (posterior) to 3 (anterior): how high each voxel lies in its loop of bowel, axial slice by slice."""
    tiers = np.zeros(lumen.shape, np.uint8)
    height = np.arange(lumen.shape[1], dtype=np.float32)
    for k in range(lumen.shape[2]):
        loops, count = ndimage.label(lumen[:, :, k])
        for number, box in enumerate(ndimage.find_objects(loops, count), start=1):
            low, high = box[1].start, box[1].stop
            rank = ((height[box[1]] - low) * LUMEN_TIERS / (high - low)).astype(np.uint8)
            tiers[box[0], box[1], k] = np.where(loops[box] == number, rank, tiers[box[0], box[1], k])
    return tiers


def _add_sinus(tissues: Map, kidneys: Mask, spacing_mm: Sequence[float]) -> None:
    """The sinus of each kidney, fat, vessels and pelvis alike: its hollow, where no label says what it is."""
    hollow = _closed(kidneys, 12.0, spacing_mm) & ~kidneys
    tissues[hollow & ((tissues == Tissue.GAP) | (tissues >= SCANNED))] = Tissue.KIDNEY_SINUS


def _closed(mask: Mask, radius_mm: float, spacing_mm: Sequence[float]) -> Mask:
    """Morphological closing by a ball."""
    if not mask.any():
        return mask
    grown = _depth_mm(~mask, spacing_mm) <= radius_mm
    return np.asarray((_depth_mm(grown, spacing_mm) > radius_mm) | mask)


def _fill_trunk(tissues: Map, trunk: Mask, spacing_mm: Sequence[float]) -> None:
    """Fills what has no label: muscle between bones, a diaphragm, gaps between organs, shells around the trunk."""
    empty = tissues == Tissue.AIR
    distance = _hull_distance_mm(trunk, spacing_mm)
    shells = np.clip(np.round((distance - WALL_START_MM) / WALL_STEP_MM), 0, WALL_COUNT - 1).astype(np.uint8)
    frame = np.isin(tissues, (Tissue.MUSCLE, Tissue.BONE_CORTEX, Tissue.BONE_MARROW, Tissue.CARTILAGE))
    near_lung = empty & (_depth_mm(tissues != Tissue.LUNG, spacing_mm) <= 4.0)
    tissues[empty] = Tissue.GAP
    tissues[near_lung & (distance < 0)] = Tissue.MUSCLE
    tissues[_closed(frame, 9.0, spacing_mm) & empty] = Tissue.MUSCLE
    wall = empty & (distance > WALL_START_MM) & (tissues == Tissue.GAP)
    tissues[wall] = WALL + shells[wall]
    tissues[empty & (distance > 0)] = WALL + shells[empty & (distance > 0)]


def _hull_distance_mm(trunk: Mask, spacing_mm: Sequence[float]) -> npt.NDArray[np.float32]:
    """Signed distance to the trunk's hull, negative inside: axial convex hulls, smoothed along the body."""
    hull = np.zeros(trunk.shape, bool)
    for k in range(trunk.shape[2]):
        hull[:, :, k] = _convex_hull(trunk[:, :, k])
    distance = _depth_mm(~hull, spacing_mm) - _depth_mm(hull, spacing_mm)
    sigma = [8.0 / s for s in spacing_mm[:2]] + [12.0 / spacing_mm[2]]
    return np.asarray(ndimage.gaussian_filter(distance, sigma, mode="nearest"), np.float32)


def _convex_hull(mask: Mask) -> Mask:
    """The convex hull of a mask (I, J), filled; the mask itself when it is empty or a line."""
    points = np.argwhere(mask ^ ndimage.binary_erosion(mask))
    try:
        equations = ConvexHull(points).equations.astype(np.float32)
    except (QhullError, ValueError):
        return mask
    i, j = np.indices(mask.shape, dtype=np.float32)
    inside = np.ones(mask.shape, bool)
    for a, b, c in equations:
        inside &= a * i + b * j + c <= 1e-3
    return inside


def _fill_from_scan(tissues: Map, organs: Map, voxels_hu: npt.NDArray[Any], spacing_mm: Sequence[float]) -> None:
    """Fills what has no label from the scan: air around the body, lungs, bones, and HU as scanned."""
    hu = np.asarray(ndimage.median_filter(np.clip(voxels_hu, -400, 400).astype(np.int16), size=(3, 3, 1)))
    gas_hu = -121 if hu.min(initial=0) > -200 else -250  # -121: the scan was clipped at the window's floor, -125
    body = _body(hu > gas_hu + 2, organs > 0)
    levels = np.clip((hu - SCANNED_START_HU) // SCANNED_STEP_HU, 0, SCANNED_COUNT - 1).astype(np.uint8)
    unknown = (tissues == Tissue.AIR) & body
    tissues[unknown] = SCANNED + levels[unknown]
    gas = unknown & (hu < gas_hu)
    tissues[_pieces(gas, 0.3, spacing_mm)] = Tissue.GAS
    tissues[_lungs(gas, organs == Tissue.LIVER, spacing_mm)] = Tissue.LUNG
    bone = _bones(unknown & (hu > 160), body, spacing_mm)
    tissues[bone] = np.where(hu[bone] > 255, Tissue.BONE_CORTEX, Tissue.BONE_MARROW)


def _body(dense: Mask, organs: Mask) -> Mask:
    """The patient: the largest piece denser than air, its cavities filled axial slice by slice."""
    opened = ndimage.binary_opening(dense | organs, structure=np.ones((3, 3, 1)))
    pieces, count = ndimage.label(opened)
    if count == 0:
        return np.asarray(organs)
    body = pieces == 1 + int(np.argmax(ndimage.sum_labels(opened, pieces, range(1, count + 1))))
    for k in range(body.shape[2]):
        body[:, :, k] = ndimage.binary_fill_holes(body[:, :, k])
    return np.asarray(ndimage.binary_dilation(body, structure=np.ones((3, 3, 1))))


def _pieces(mask: Mask, least_ml: float, spacing_mm: Sequence[float], up_to: int = 0) -> Mask:
    """The connected pieces of a mask of at least `least_ml` millilitres that reach above slice `up_to`."""
    pieces, count = ndimage.label(mask)
    sizes_ml = np.bincount(pieces.ravel(), minlength=count + 1) * float(np.prod(spacing_mm)) / 1000.0
    tops = [0] + [box[2].stop for box in ndimage.find_objects(pieces)]
    kept = (sizes_ml >= least_ml) & (np.array(tops) > up_to)
    kept[0] = False
    return np.asarray(kept[pieces])


def _lungs(gas: Mask, liver: Mask, spacing_mm: Sequence[float]) -> Mask:
    """The lungs: gas in large pieces that reach as high as the liver; bowel gas is lower or in smaller pieces."""
    slices = np.flatnonzero(liver.any(axis=(0, 1)))
    dome = int(slices[-1]) if len(slices) else 0
    inner = _pieces(ndimage.binary_opening(gas), 200.0, spacing_mm, up_to=dome - 1)
    return np.asarray(ndimage.binary_dilation(inner, iterations=2) & gas)


def _bones(dense: Mask, body: Mask, spacing_mm: Sequence[float]) -> Mask:
    """The bones: the largest dense piece (the spine) and those near the skin; contrast in the bowel lies deeper."""
    pieces, count = ndimage.label(dense, structure=np.ones((3, 3, 3)))
    if count == 0:
        return dense
    depth = _depth_mm(body, spacing_mm)
    numbers = range(1, count + 1)
    shallow = np.asarray(ndimage.mean(depth, pieces, numbers)) < 35.0
    shallow[int(np.argmax(ndimage.sum_labels(dense, pieces, numbers)))] = True
    return np.asarray(np.concatenate([[False], shallow])[pieces])
