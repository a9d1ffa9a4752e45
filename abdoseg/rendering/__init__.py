"""Pictures of a segmentation, drawn with numpy and Pillow alone: no display, the same bytes everywhere."""

from abdoseg.rendering.contact_sheet import preview as preview
from abdoseg.rendering.slices import WINDOWS as WINDOWS
from abdoseg.rendering.slices import SliceStyle as SliceStyle
