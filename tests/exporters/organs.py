"""A small abdomen for the exporters' tests: a liver with a lesion, two kidneys, a spleen that the border cuts."""

from dataclasses import replace

import numpy as np

from abdoseg.exporters.job import Job
from abdoseg.image.volume import Geometry, Labelmap, Stored, Volume

ORGANS = {1: "liver", 2: "kidney_right", 3: "kidney_left", 4: "spleen", 5: "liver_tumour"}
# centre and half axes in mm, RAS, from the grid's middle
ELLIPSOIDS = {
    1: ((32, 5, 10), (30, 28, 24)),
    2: ((30, -28, -25), (9, 9, 14)),
    3: ((-30, -28, -25), (9, 9, 14)),
    4: ((-50, -10, 20), (20, 20, 18)),
    5: ((38, 8, 12), (6, 6, 6)),
}


def grid(spacing=(2.0, 2.0, 4.0), shape=(66, 44, 22), rotation=None, origin=(-66.0, -44.0, -44.0)):
    affine = np.eye(4)
    affine[:3, :3] = (np.eye(3) if rotation is None else rotation) * np.array(spacing)
    affine[:3, 3] = origin
    return Geometry(shape, affine)


def labels_of(geometry, origin=(-66.0, -44.0, -44.0)):
    """Labels by the grid's own millimetres, so that organs are whole whatever its rotation."""
    axes = [o + s * np.arange(n) for o, s, n in zip(origin, geometry.spacing_mm, geometry.shape, strict=True)]
    x, y, z = np.meshgrid(*axes, indexing="ij", sparse=True)
    labels = np.zeros(geometry.shape, np.uint8)
    for label, ((a, b, c), (u, v, w)) in ELLIPSOIDS.items():
        labels[((x - a) / u) ** 2 + ((y - b) / v) ** 2 + ((z - c) / w) ** 2 < 1] = label
    return labels


def make(geometry=None, case="phantom", **changes):
    """A job with everything: labels, a scan of 40 HU with organs at 100, no truth."""
    geometry = geometry or grid()
    labels = labels_of(geometry)
    stored = Stored(geometry)
    hu = np.where(labels > 0, 100, 40).astype(np.int16)
    scan = changes.pop("scan", Volume(hu, geometry, stored))
    return Job.measured(case, Labelmap(labels, geometry, stored, dict(ORGANS)), scan, **changes)


def relabelled(job, labels):
    """The same job with other labels on its grid."""
    return remapped(job, labels=labels)


def remapped(job, **changes):
    """The same job with another labelmap, measured anew."""
    labelmap = replace(job.labelmap, **changes)
    rows = Job.measured(job.case, labelmap, job.scan).rows
    return replace(job, labelmap=labelmap, rows=rows)
