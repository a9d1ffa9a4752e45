"""Phantoms of a head and of legs: scans without an abdomen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from abdoseg.anatomy.tissues import Tissue
from abdoseg.phantom.body import Body
from abdoseg.phantom.shapes import Floats, Point, ellipsoid, noise, tube, warped_space

Layers = Sequence[tuple[float, Tissue]]  # from the outermost: below which depth in mm a tissue begins


def head(shape: Sequence[int], spacing_mm: Sequence[float], rng: np.random.Generator) -> Body:
    """Brain, ventricles and skull; a face with sinuses and teeth; a neck with vertebrae, windpipe and vessels.

    The grid lies around the skull's base; everything below ends with the neck.
    """
    body = Body.empty(warped_space(shape, spacing_mm, rng))
    fat_mm, bone_mm, furrows = rng.uniform(3, 14), rng.uniform(4, 10), rng.uniform(0.9, 1.6)
    _tube(body, [(0, -20, 0), (0, -20, -300)], (62, 66), [(0, Tissue.SKIN), (2, Tissue.FAT), (fat_mm, Tissue.MUSCLE)])
    _ball(body, (0, 45, -30), (62, 50, 75),
          [(0, Tissue.SKIN), (2, Tissue.FAT), (8, Tissue.MUSCLE), (20, Tissue.BONE_MARROW)])  # fmt: skip
    _tube(body, [(0, -35, -5), (0, -35, -300)], (17, 18), [(0, Tissue.BONE_CORTEX), (2.5, Tissue.BONE_MARROW)])
    _tube(body, [(0, 8, -40), (0, 8, -300)], (9, 9), [(0, Tissue.GAS)])
    for side in (-1, 1):
        _tube(body, [(side * 28, -8, -40), (side * 28, -8, -300)], (4, 4), [(0, Tissue.ARTERY)])
        _tube(body, [(side * 36, -4, -40), (side * 36, -4, -300)], (7, 7), [(0, Tissue.VEIN)])
    _ball(body, (0, 78, -70), (28, 10, 12), [(0, Tissue.BONE_CORTEX)])  # teeth
    radii = (rng.normal(76, 3), rng.normal(94, 4), rng.normal(82, 3))
    depth = _ball(body, (0, 0, 45), radii,
                  [(0, Tissue.SKIN), (2, Tissue.FAT), (5, Tissue.BONE_CORTEX), (7, Tissue.BONE_MARROW),
                   (3 + bone_mm, Tissue.BONE_CORTEX), (5 + bone_mm, Tissue.NERVE)])  # fmt: skip
    brain = depth > 5 + bone_mm
    sulcus = np.abs(noise(body.space.axes, 14, rng)) < 0.12 * furrows
    falx = (np.abs(body.space.x) < 1.2) & (body.space.z > 30)
    body.tissues[brain & ((sulcus & (depth < 25 + bone_mm)) | (depth < 6 + bone_mm + furrows))] = Tissue.WATER
    body.tissues[brain & falx] = Tissue.MUSCLE
    for side in (-1, 1):
        _ball(body, (side * 13, 0, 55), (5 * furrows, 28, 11), [(0, Tissue.WATER)])  # ventricle
        _ball(body, (side * 21, 62, -28), (14, 16, 17), [(0, Tissue.GAS)])  # sinus
        _ball(body, (side * 32, 72, 12), (13, 13, 13), [(0, Tissue.WATER)])  # eye
    return body


def legs(shape: Sequence[int], spacing_mm: Sequence[float], rng: np.random.Generator) -> Body:
    """Both thighs: skin, fat, muscles with fat between them, a femur and its vessels."""
    body = Body.empty(warped_space(shape, spacing_mm, rng))
    upper, fat_mm = rng.uniform(68, 88), rng.uniform(6, 24)
    seams = np.abs(noise(body.space.axes, 40, rng)) < 0.05
    for side in (-1.0, 1.0):
        depth = _tube(body, [(side * 92, 0, 300), (side * 83, 0, -300)], (upper + 8, upper - 20),
                      [(0, Tissue.SKIN), (2, Tissue.FAT), (2 + fat_mm, Tissue.MUSCLE)])  # fmt: skip
        body.tissues[seams & (depth > 4 + fat_mm)] = Tissue.FAT
        _tube(body, [(side * 101, 5, 300), (side * 83, -8, -300)], (15, 17),
              [(0, Tissue.BONE_CORTEX), (5, Tissue.BONE_MARROW)])  # fmt: skip
        _tube(body, [(side * 66, 18, 300), (side * 75, -34, -300)], (4.5, 4), [(0, Tissue.ARTERY)])
        _tube(body, [(side * 58, 12, 300), (side * 70, -40, -300)], (5.5, 5), [(0, Tissue.VEIN)])
    return body


def _ball(body: Body, centre: Point, radii: Point, layers: Layers) -> Floats:
    return _layered(body, -ellipsoid(body.space, centre, radii), layers)


def _tube(body: Body, points: Sequence[Point], radii: Sequence[float], layers: Layers) -> Floats:
    return _layered(body, -tube(body.space, points, radii)[0], layers)


def _layered(body: Body, depth_mm: Floats, layers: Layers) -> Floats:
    """Gives what lies deeper than each depth to its tissue, whatever was there; returns the depths."""
    for least, tissue in layers:
        body.tissues[depth_mm > least] = tissue
    return depth_mm
