"""Pictures of a segmentation, drawn with numpy and Pillow alone: no display, the same bytes everywhere."""

from abdoseg.preview.sheet import preview as preview
from abdoseg.preview.slices import WINDOWS as WINDOWS
from abdoseg.preview.slices import Look as Look
