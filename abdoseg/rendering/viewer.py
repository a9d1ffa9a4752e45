"""Interactive 3-D view in an HTML page: meshes packed as JSON for viewer.js, and a still picture for where it fails."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from abdoseg.image.mesh import Surface, decimate
from abdoseg.rendering import rasterizer
from abdoseg.rendering.slices import RGB, Colour

STILL_PX = (420, 560)
MOST_TRIANGLES = 80_000


@dataclass(frozen=True, eq=False)
class ViewerOrgan:
    """One organ in the viewer. inner: a lesion, seen through the organ around it."""

    organ: str
    surface: Surface
    colour: Colour
    inner: bool


@dataclass(frozen=True, eq=False)
class ViewerScene:
    """What a page needs to show organs in 3-D. still: from the front. data: for viewer.js."""

    still: RGB
    data: dict[str, Any]


def viewer_scene(organs: Sequence[ViewerOrgan]) -> ViewerScene:
    """The organs packed for the page, with at most MOST_TRIANGLES in all."""
    most = MOST_TRIANGLES // max(1, len(organs))
    organs = [replace(one, surface=decimate(one.surface, most)) for one in organs]
    scene = rasterizer.make_scene([(one.surface, one.colour, one.inner) for one in organs])
    solids = [_packed(one, solid.points) for one, solid in zip(organs, scene.solids, strict=True)]
    data = {"across": round(scene.radius_mm, 3), "tall": round(scene.half_height_mm, 3), "solids": solids}
    return ViewerScene(rasterizer.render(scene, 0.0, STILL_PX), data)


def _packed(one: ViewerOrgan, points: npt.NDArray[np.float64]) -> dict[str, Any]:
    """Points as 16-bit steps from a corner, about 10 micrometres each, triangles in 16 bits where they fit; base64."""
    origin = points.min(axis=0)
    step = max(float((points - origin).max()), 1e-6) / 65535
    whole = np.rint((points - origin) / step).astype("<u2")
    width = "<u2" if len(points) <= 65536 else "<u4"
    return {
        "organ": one.organ,
        "colour": one.colour,
        "inner": one.inner,
        "origin": [round(float(value), 4) for value in origin],
        "step": step,
        "points": base64.b64encode(whole.tobytes()).decode("ascii"),
        "short": len(points) <= 65536,
        "triangles": base64.b64encode(one.surface.triangles.astype(width).tobytes()).decode("ascii"),
    }
