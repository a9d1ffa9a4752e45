"""Segmentation metrics of two masks: overlap, surface distances, lesion detection. No files, no networks."""

from abdoseg.metrics.lesions import Detection, detect
from abdoseg.metrics.overlap import Confusion, confusion, confusion_of, dice, iou, joint_histograms
from abdoseg.metrics.points import Surface, Surfaces, bounding_box, surfaces
from abdoseg.metrics.surface import SurfaceDistances, nsd, surface_distances

__all__ = [
    "Confusion",
    "Detection",
    "Surface",
    "SurfaceDistances",
    "Surfaces",
    "bounding_box",
    "confusion",
    "confusion_of",
    "detect",
    "dice",
    "iou",
    "joint_histograms",
    "nsd",
    "surface_distances",
    "surfaces",
]
