"""Two masks in, numbers out: overlap, surfaces, lesions. Knows neither files nor networks."""

from abdoseg.metrics.lesions import Detection, detect
from abdoseg.metrics.overlap import Confusion, confusion, confusion_of, dice, iou, joint_histogram
from abdoseg.metrics.surface import Surface, SurfaceDistances, bounding_box, nsd, surface_distances

__all__ = [
    "Confusion",
    "Detection",
    "Surface",
    "SurfaceDistances",
    "bounding_box",
    "confusion",
    "confusion_of",
    "detect",
    "dice",
    "iou",
    "joint_histogram",
    "nsd",
    "surface_distances",
]
