"""Rendering of segmentations: slices, contact sheets, 3-D views and HTML pages, without a display."""

from abdoseg.rendering.contact_sheet import preview as preview
from abdoseg.rendering.slices import WINDOWS as WINDOWS
from abdoseg.rendering.slices import SliceStyle as SliceStyle
