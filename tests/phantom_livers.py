"""Made-up livers with lesions on any grid and in any position, for tests of two time points."""

import numpy as np
from scipy.spatial.transform import Rotation

from abdoseg.evaluation.follow import TimePoint
from abdoseg.image.lesions import measure_lesions
from abdoseg.image.volume import Geometry, Labelmap, Stored, Volume
from abdoseg.image.volumetry import measure

ORGANS = {1: "liver", 2: "kidney_right", 3: "kidney_left", 4: "spleen", 5: "liver_tumour"}
LOBES = (((0, 0, 0), (75, 60, 70)), ((-70, 30, 20), (60, 35, 30)), ((15, -25, -55), (38, 30, 40)))  # centre, radii, mm


class Motion:
    """A rotation about the liver's origin, a shift in mm, and waves that bend it: points before to points after."""

    def __init__(self, shift_mm=(0, 0, 0), degrees=(0, 0, 0), bend_mm=0.0):
        self.rotation = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
        self.shift_mm, self.bend_mm = np.asarray(shift_mm, float), bend_mm

    def __call__(self, points):
        bent = points + self.bend_mm * np.sin(points[:, [1, 2, 0]] / 25)
        return bent @ self.rotation.T + self.shift_mm

    def inverse(self, points):
        """The points before, by three steps of a fixed-point iteration, which waves of a few mm allow."""
        straight = (points - self.shift_mm) @ self.rotation
        found = straight
        for _ in range(3 if self.bend_mm else 0):
            found = straight - self.bend_mm * np.sin(found[:, [1, 2, 0]] / 25)
        return found


STILL = Motion()
MOVED = Motion((35, -20, 40), (6, -8, 10), bend_mm=2)
A, B, C = ((40, 10, 20), 12), ((-90, 30, 25), 9), ((10, -20, -50), 7)  # lesions: centre, radius, mm


def grid(centre_mm=(0, 0, 0), spacing=(4.0, 4.0, 4.0), axes="RAS", size_mm=(300, 210, 240)):
    """A grid around a point, its axes named as the file has them."""
    world = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}
    affine, shape = np.eye(4), []
    for axis, letter in enumerate(axes):
        row, sign = world[letter]
        affine[:3, axis] = 0
        affine[row, axis] = sign * spacing[axis]
        shape.append(round(size_mm[row] / spacing[axis]))
    affine[:3, 3] = np.asarray(centre_mm) - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Geometry(tuple(shape), affine)


def liver(geometry, lesions=(), motion=STILL, organs=ORGANS, lobes=LOBES, others=True):
    """A labelmap, as a file on the grid is read. lesions: centres and radii in mm, where the patient lies still."""
    stored = Stored(geometry)
    canonical = stored.canonical()
    indices = np.indices(canonical.shape).reshape(3, -1).T
    points = motion.inverse(indices @ canonical.affine[:3, :3].T + canonical.affine[:3, 3])
    labels = np.zeros(len(points), np.uint8)
    for label, centre in ((2, (60, -60, -60)), (3, (-60, -70, -50)), (4, (-105, -50, 40))) if others else ():
        labels[_ball(points, centre, 22)] = label
    for centre, radii in lobes:
        labels[_ball(points, centre, radii)] = 1
    for centre, radius in lesions:
        labels[_ball(points, centre, radius)] = 5
    return Labelmap(labels.reshape(canonical.shape), canonical, stored, organs)


def time_point(lesions=(), motion=None, searched=True, with_scan=False, **place):
    """A time point; after a motion on another grid."""
    geometry = grid(**place) if motion is None else grid(motion.shift_mm, (3.0, 3.0, 5.0), "LPS", **place)
    organs = ORGANS if searched else {label: organ for label, organ in ORGANS.items() if label < 5}
    labelmap = liver(geometry, lesions, motion or STILL, organs)
    scan = None
    if with_scan:
        hu = np.array([-100, 100, 150, 150, 120, 60], np.int16)[labelmap.labels]
        scan = Volume(hu, labelmap.geometry, labelmap.stored)
    found = measure_lesions(labelmap) if searched else None
    return TimePoint("x", labelmap, tuple(measure(labelmap)), found, scan)


def _ball(points, centre, radii):
    return np.square((points - np.asarray(centre)) / np.asarray(radii)).sum(axis=1) <= 1
