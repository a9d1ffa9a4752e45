"""The anatomy of the phantom: position, shape and order of placement of each organ.

Sizes follow the usual adult ones: liver 1500 ml, spleen 200 ml, a kidney 150 ml. The patient lies on the back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from abdoseg.anatomy.organs import BY_NAME
from abdoseg.anatomy.tissues import LUMEN_TIERS, Tissue
from abdoseg.image.components import Box
from abdoseg.phantom.shapes import (
    Floats,
    Point,
    Space,
    bounds,
    ellipsoid,
    noise,
    smooth_intersection,
    tube,
    warped_space,
)

Codes = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
VERTEBRA_MM, RIB_MM = 36.0, 27.0

AORTA = [(-8, -34, 320), (-10, -32, 60), (-13, -28, 0), (-10, -24, -75), (14, -26, -150), (30, -20, -320)]
LEFT_ILIAC = [(-10, -24, -75), (-32, -28, -150), (-45, -20, -320)]
CAVA = [(18, 2, 130), (22, -8, 85), (25, -16, 40), (24, -24, 0), (20, -26, -70), (34, -32, -150), (48, -22, -320)]
PORTAL = [(-88, -26, 38), (-45, -6, 22), (2, -2, 6), (22, -2, 18), (42, 4, 42)]
MESENTERIC = [(2, -2, 6), (6, 10, -40), (16, 14, -110)]
RENAL = [(58, -40, -22), (20, -24, -12), (-12, -20, -8), (-58, -40, -8)]
PANCREAS = [(36, 4, -26), (26, 8, -10), (2, 14, 4), (-30, 8, 14), (-62, -10, 26), (-84, -22, 34)]
DUODENUM = [(24, 34, 16), (48, 18, 8), (54, 4, -14), (50, -2, -46), (24, -6, -60), (-18, 2, -52), (-34, 16, -38)]
OESOPHAGUS = [(-4, -22, 320), (-8, -18, 110), (-26, -8, 78), (-42, -4, 66)]
STOMACH = [(-66, -16, 70), (-72, 8, 46), (-66, 34, 18), (-40, 50, -4), (-6, 48, -2), (24, 36, 14)]
COLON = [
    (104, -10, -320), (104, -16, -150), (108, -14, -90), (104, 4, -58), (76, 52, -66), (20, 68, -84), (-40, 68, -62),
    (-96, 30, -8), (-116, -12, 12), (-120, -26, -40), (-118, -24, -150), (-112, -14, -320),
]  # fmt: skip


@dataclass(frozen=True)
class Body:
    """Tissue numbers and organ labels on one grid, uint8 (I, J, K) each; labels in our numbers."""

    space: Space
    tissues: Codes
    labels: Codes

    @classmethod
    def empty(cls, space: Space) -> Body:
        """Air."""
        return cls(space, np.zeros(space.x.shape, np.uint8), np.zeros(space.x.shape, np.uint8))

    def claim(self, box: Box, mask: Mask, tissue: int | Codes, organ: str | None = None) -> Mask:
        """Fills the free voxels (gaps) of a mask with a tissue and an organ's label; returns those voxels."""
        part = self.tissues[box]
        free = mask & (part == Tissue.GAP)
        part[free] = tissue[free] if isinstance(tissue, np.ndarray) else tissue
        if organ is not None:
            self.labels[box][free] = BY_NAME[organ].label
        return np.asarray(free)


def build(shape: Sequence[int], spacing_mm: Sequence[float], rng: np.random.Generator) -> Body:
    """A patient on a grid around the first lumbar vertebra; one state of the rng is one patient on any grid."""
    space = warped_space(shape, spacing_mm, rng)
    size = float(rng.normal(1.0, 0.03))
    for positions in (space.x, space.y, space.z):
        positions /= np.float32(size)
    body = Body.empty(space)
    depth = _wall(body, rng)
    _bones(body, depth)
    _vessels(body)
    _muscles(body)
    _chest(body, depth, rng)
    for side in (1, -1):
        _kidney(body, side, rng)
    _upper_organs(body, depth, rng)
    _bowel(body, rng)
    return body


def _wall(body: Body, rng: np.random.Generator) -> Floats:
    """Skin, fat and muscle around a cavity of gaps; returns the depth below the muscle's outer surface, mm."""
    space = body.space
    half_width, half_depth, fat_mm = rng.normal(146, 5), rng.normal(102, 4), np.exp(rng.uniform(np.log(8), np.log(32)))
    waist = 1 - 0.07 * np.exp(-(((space.z + 75) / 60) ** 2))
    x, y = np.abs(space.x) / (half_width * waist), np.abs(space.y) / half_depth
    power = 2.35
    r = np.maximum((x**power + y**power) ** (1 / power), 1e-3)
    slope = r ** (1 - power) * np.sqrt((x ** (power - 1) / half_width) ** 2 + (y ** (power - 1) / half_depth) ** 2)
    depth = np.asarray((1 - r) / slope, np.float32)
    groove = 9 * np.exp(-((space.x / 14) ** 2)) * (space.y < -60)  # along the spine the back is hollow
    fat = fat_mm * (1 + 0.2 * noise(space.axes, 90, rng) + 0.25 * (space.y < -40)) - groove
    muscle = 9 + 1.5 * noise(space.axes, 60, rng) + 3 * (np.abs(np.abs(space.x) - 32) < 26) * (space.y > 60)
    body.tissues[depth > -fat - 2] = Tissue.SKIN
    body.tissues[depth > -fat] = Tissue.FAT
    body.tissues[depth > 0] = Tissue.MUSCLE
    body.tissues[depth > muscle] = Tissue.GAP
    front = (space.y > 50) & (depth > 2) & (depth < muscle)
    body.tissues[front & (np.abs(space.x) < 3) & (space.z < 40)] = Tissue.FAT  # linea alba
    body.tissues[front & (np.abs(space.x) < 17) & (space.z > 66)] = Tissue.BONE_MARROW  # sternum
    return depth


def _bones(body: Body, depth: Floats) -> None:
    """Vertebrae, discs, the canal, arches and spinous processes; ribs that slope to the front, and their cartilage."""
    box = body.space.box((-42, -125, -400), (42, -30, 400))
    s, part = body.space.part(box), body.tissues[box]
    level = np.abs(np.mod(s.z, VERTEBRA_MM) - VERTEBRA_MM / 2)  # 0 at mid-vertebra, 18 at mid-disc
    column = (np.sqrt((s.x / 22) ** 2 + ((s.y + 56) / 17) ** 2) - 1) * 18 + 1.2 * np.cos(level * np.pi / 18)
    canal = np.sqrt((s.x / 10) ** 2 + ((s.y + 82) / 8.5) ** 2)
    vertebra = level < 13.5
    part[column < 0] = np.where(vertebra, Tissue.BONE_MARROW, Tissue.DISC)[column < 0]
    part[(column > -2.5) & (column < 0) & vertebra | (column < 0) & (level > 11.5) & vertebra] = Tissue.BONE_CORTEX
    arch = (canal < 1.65) & (column > 0) & (level < 11)
    spinous = (np.abs(s.x) < 3.2) & (s.y < -92) & (s.y > -118) & (level < 9)
    transverse = (np.abs(s.x) < 36) & (np.abs(s.y + 78 - 0.1 * np.abs(s.x)) < 4) & (level < 5)
    part[arch | spinous | transverse] = Tissue.BONE_CORTEX
    part[(spinous & (np.abs(s.x) < 1.2)) | (arch & (canal > 1.3) & (canal < 1.45))] = Tissue.BONE_MARROW
    part[(canal < 1) & (column > 0)] = Tissue.NERVE
    s = body.space
    along = s.z + 0.5 * s.y  # a rib sinks as it runs forwards
    offset = np.mod(along, RIB_MM) - RIB_MM / 2
    rib = np.hypot(offset / 6.0, (depth - 5.5) / 3.8)
    margin = s.z > np.where(s.y < 0, -52 + 0.1 * s.y, -52 + 1.05 * s.y)
    ribs = (rib < 1) & margin & (np.abs(s.x) > 30) & (s.y > -100)
    cartilage = s.y > 62
    body.tissues[ribs] = np.where(cartilage, Tissue.CARTILAGE, Tissue.BONE_CORTEX)[ribs]
    body.tissues[ribs & (rib < 0.5) & ~cartilage] = Tissue.BONE_MARROW


def _muscles(body: Body) -> None:
    """Erector spinae, psoas and quadratus lumborum on both sides; crura of the diaphragm."""
    for side in (1, -1):
        for centre, radii in (
            ((side * 30, -88, 0), (26, 19, 2000)),
            ((side * 72, -72, -90), (16, 8, 95)),
            ((side * 14, -30, 45), (7, 9, 50)),
        ):
            _put(body, Tissue.MUSCLE, centre, radii)
        box = body.space.box(*bounds([(side * 34, -52, -10), (side * 62, -42, -320)], 24))
        points = [(side * 26.0, -56.0, 0.0), (side * 38.0, -50.0, -70.0), (side * 48.0, -44.0, -150.0)]
        psoas, _ = tube(body.space.part(box), [*points, (side * 70.0, -20.0, -320.0)], (5, 16, 22, 22))
        body.claim(box, psoas < 0, Tissue.MUSCLE)


def _put(body: Body, tissue: Tissue, centre: Point, radii: Point, organ: str | None = None) -> None:
    box = _around(body, centre, radii)
    body.claim(box, ellipsoid(body.space.part(box), centre, radii) < 0, tissue, organ)


def _around(body: Body, centre: Point, radii: Point, slack: float = 1.4) -> Box:
    low, high = np.subtract(centre, np.multiply(slack, radii)), np.add(centre, np.multiply(slack, radii))
    return body.space.box((low[0], low[1], low[2]), (high[0], high[1], high[2]))


def _dome(space: Space) -> Floats:
    """Height above the diaphragm in mm, negative below. The right dome is higher."""
    right = 98 - 0.0078 * ((space.x - 66) ** 2 + 1.1 * (space.y - 12) ** 2)
    left = 86 - 0.0068 * ((space.x + 70) ** 2 + 1.1 * (space.y - 8) ** 2)
    middle = 82 - 0.012 * (space.x**2 + 0.6 * (space.y - 40) ** 2)
    return np.asarray((space.z - np.maximum(np.maximum(right, left), middle)) * 0.8, np.float32)


def _chest(body: Body, depth: Floats, rng: np.random.Generator) -> None:
    """Heart, lungs, and the diaphragm under them."""
    box = body.space.box((-160, -120, -20), (160, 120, 400))
    space = body.space.part(box)
    above = _dome(space)
    centre = (-22.0 + float(rng.normal(0, 4)), 34.0, 128.0)
    heart = np.maximum(ellipsoid(space, centre, (62, 46, 48), (-20, 10)), -above - 1)
    body.claim(box, heart < -10, Tissue.HEART_BLOOD)
    body.claim(box, heart < 0, Tissue.MYOCARDIUM)
    mediastinum = np.hypot((space.x + 4) / 26, (space.y + 20) / 60) < 1
    body.claim(box, (above > 0) & ~mediastinum & (heart > 2) & (depth[box] > 10), Tissue.LUNG)
    body.claim(box, (above > -3) & (above <= 0) & ~mediastinum, Tissue.MUSCLE)


def _vessels(body: Body) -> None:
    for points, radii, tissue, organ in (
        (AORTA, (12, 11, 10, 9, 6, 5), Tissue.ARTERY, "aorta"),
        (LEFT_ILIAC, (7, 6, 5), Tissue.ARTERY, None),
        (CAVA, (12, 12, 12, 11, 10, 7, 6), Tissue.VEIN, "inferior_vena_cava"),
        (PORTAL, (4, 5, 6.5, 7, 6), Tissue.PORTAL_VEIN, None),
        (MESENTERIC, (6, 5, 4), Tissue.PORTAL_VEIN, None),
        (RENAL, (4, 4, 4, 4), Tissue.VEIN, None),
        (OESOPHAGUS, (8, 8, 9, 10), Tissue.BOWEL_WALL, "esophagus"),
    ):
        _tube(body, points, radii, tissue, organ)


def _tube(body: Body, points: Sequence[Point], radii: Sequence[float], tissue: Tissue, organ: str | None) -> None:
    box = body.space.box(*bounds(points, max(radii)))
    distance, _ = tube(body.space.part(box), points, radii)
    body.claim(box, distance < 0, tissue, organ)


def _kidney(body: Body, side: int, rng: np.random.Generator) -> None:
    """A bean: an ellipsoid with a hollow towards the spine, in which the sinus lies; cortex around pyramids."""
    organ = "kidney_right" if side > 0 else "kidney_left"
    sag = 24.0 if side > 0 else 10.0
    centre = (side * rng.normal(64, 2.5), rng.normal(-42, 2), -sag + rng.normal(0, 6))
    grow = float(rng.normal(1.0, 0.05))
    radii = (grow * 28.0, grow * 25.0, grow * 53.0)
    box = _around(body, centre, radii)
    space = body.space.part(box)
    lean = (-side * 12.0, -8.0)
    kidney = ellipsoid(space, centre, radii, lean)
    sinus = ellipsoid(space, (centre[0] - side * 17, centre[1] + 4, centre[2]), (17, 7, 21), lean)
    pyramids = np.cos((space.z - centre[2]) / 3.1) + np.cos(np.arctan2(space.y - centre[1], space.x - centre[0]) * 6)
    inner = (kidney < -6.5) & (pyramids > -0.5)
    body.claim(box, (kidney < 0) & (sinus < 0), Tissue.KIDNEY_SINUS)
    tissue = np.where(inner, Tissue.KIDNEY_MEDULLA, Tissue.KIDNEY_CORTEX).astype(np.uint8)
    body.claim(box, kidney < 0, tissue, organ)
    upper = (centre[0] - side * 22, centre[1] + 10, centre[2] + 52)
    for turn in (-1, 1):
        limb = _around(body, upper, (16, 16, 18))
        s = body.space.part(limb)
        across = (s.x - upper[0]) - turn * 0.45 * (s.y - upper[1])
        sheet = np.maximum(np.abs(across) - 2.6, ellipsoid(s, upper, (12, 15, 17)))
        body.claim(limb, sheet < 0, Tissue.ADRENAL, "adrenal_gland_right" if side > 0 else "adrenal_gland_left")


def _upper_organs(body: Body, depth: Floats, rng: np.random.Generator) -> None:
    """Gallbladder, liver, spleen, pancreas: what lies under the diaphragm, each as large as there is room."""
    fossa = (56.0 + rng.normal(0, 4), 46.0, -26.0)
    box = _around(body, fossa, (15, 15, 30))
    body.claim(box, ellipsoid(body.space.part(box), fossa, (14, 14, 29), (-8, 14)) < 0, Tissue.BILE, "gallbladder")
    _liver(body, depth, float(rng.normal(0, 5)))
    centre = (-104.0, -40.0 + rng.normal(0, 3), 30.0 + rng.normal(0, 5))
    grow = float(rng.normal(1.0, 0.06))
    radii = (grow * 31.0, grow * 50.0, grow * 60.0)
    box = _around(body, centre, radii)
    space = body.space.part(box)
    spleen = smooth_intersection(
        ellipsoid(space, centre, radii, (8, 20)), _dome(space) + 4, 11 - depth[box], softness_mm=3
    )
    stomach_side = ellipsoid(space, (-48, 12, 48), (36, 50, 64))
    body.claim(box, (spleen < 0) & (stomach_side > 0), Tissue.SPLEEN, "spleen")
    _tube(body, PANCREAS, (18, 15, 11, 12, 13, 10), Tissue.PANCREAS, "pancreas")


def _liver(body: Body, depth: Floats, lower_mm: float) -> None:
    """A wedge under the diaphragm: a thick right lobe, a left one that thins out before the stomach."""
    box = body.space.box((-85, -100, -110), (150, 110, 110))
    space = body.space.part(box)
    left = np.clip((100 - space.x) / 165, 0, 1)  # 0 far right, 1 at the tip of the left lobe
    under = -76 - lower_mm + 142 * left**0.75 + 0.4 * (22 - space.y)
    behind = np.interp(space.x, (-60, -10, 12, 40, 70), (34, 14, -10, -52, -90)).astype(np.float32)
    fissure = 9 * np.exp(-(((space.x + 2) / 5) ** 2)) * (space.z < 55)
    liver = smooth_intersection(
        _dome(space) + 3,
        11 - depth[box],
        (under - space.z) * 0.75,
        (behind - space.y) * 0.8,
        -78 - space.x,
        softness_mm=7,
    )
    body.claim(box, liver + fissure < 0, Tissue.LIVER, "liver")


def _bowel(body: Body, rng: np.random.Generator) -> None:
    """Duodenum, stomach, colon, and loops of small bowel in what is left below."""
    _hollow(body, DUODENUM, (12, 11, 12, 12, 11, 10, 9), Tissue.SMALL_BOWEL_LUMEN, "duodenum")
    full = float(rng.uniform(0.8, 1.1))
    _hollow(body, STOMACH, [full * r for r in (34, 36, 33, 27, 21, 13)], Tissue.STOMACH_LUMEN, "stomach")
    haustra = [float(r) for r in rng.uniform(17, 25, len(COLON))]
    _hollow(body, COLON, haustra, Tissue.COLON_LUMEN, None)
    box = body.space.box((-130, -60, -400), (130, 120, -10))
    space = body.space.part(box)
    a, b = noise(space.axes, 34, rng), noise(space.axes, 34, rng)
    below = np.hypot(space.x / 96, (space.y - 24) / 62) + 0.12 * b
    room = (below < 1) & (space.z < -36 - 0.15 * space.y)
    x, y, z = (space.x + 13 * a) / 33, (space.y + 13 * b) / 30, (space.z + 10 * a - 10 * b) / 38
    turns = 2 * np.pi * np.array([x, y, z], np.float32)
    loops = np.cos(turns).sum(axis=0)  # Schwarz' P surface: round loops that join
    tier = np.clip((2 - 3 * np.sin(turns[1] + 1.2 * b)), 0, LUMEN_TIERS - 1).astype(np.uint8)
    full = 0.35 + 0.5 * float(rng.random())
    body.claim(box, room & (loops > full + 0.5), (Tissue.SMALL_BOWEL_LUMEN + tier).astype(np.uint8))
    body.claim(box, room & (loops > full), Tissue.BOWEL_WALL)


def _hollow(body: Body, points: Sequence[Point], radii: Sequence[float], lumen: Tissue, organ: str | None) -> None:
    """A hollow organ: a lumen in four tiers from back to front, and a wall of 3 mm."""
    box = body.space.box(*bounds(points, max(radii)))
    distance, height = tube(body.space.part(box), points, radii)
    tier = np.clip((height + 1) * LUMEN_TIERS / 2, 0, LUMEN_TIERS - 1).astype(np.uint8)
    body.claim(box, distance < -3, (lumen + tier).astype(np.uint8), organ)
    body.claim(box, distance < 0, Tissue.BOWEL_WALL, organ)
