"""Organs in 3-D inside a page: meshes small enough to travel in it, a script to turn them, a still picture below."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files

import numpy as np
import numpy.typing as npt

from abdoseg.image.mesh import Surface
from abdoseg.rendering import rasterizer as raster
from abdoseg.rendering.html import png_data_uri, swatch
from abdoseg.rendering.slices import Colour, title_of

STILL_PX = (420, 560)
STYLE = """<style>
.organs{position:relative;background:#0e1014;border-radius:8px;overflow:hidden;height:460px}
.organs canvas,.organs img{width:100%;height:100%;display:block;object-fit:contain}
.organs canvas{cursor:grab;touch-action:pan-y}.organs canvas:active{cursor:grabbing}
.organs canvas[hidden],.organs img[hidden]{display:none}
.organs span{position:absolute;left:14px;bottom:10px;color:#8a909c;font-size:13px;pointer-events:none}
.toggles{display:flex;flex-wrap:wrap;gap:4px 18px;margin:10px 0 0;font-size:14px}.toggles label{cursor:pointer}
</style>"""


@dataclass(frozen=True, eq=False)
class ViewerOrgan:
    """One organ in the viewer. inner: a lesion, seen through the organ around it."""

    organ: str
    surface: Surface
    colour: Colour
    inner: bool


def viewer(shown: Sequence[ViewerOrgan]) -> str:
    """HTML of the viewer; `script()` must follow it on the page."""
    scene = raster.scene([(one.surface, one.colour, one.inner) for one in shown])
    solids = [_packed(one, solid.points) for one, solid in zip(shown, scene.solids, strict=True)]
    extent = {"across": round(scene.radius_mm, 3), "tall": round(scene.half_height_mm, 3)}
    data = json.dumps({**extent, "solids": solids}, separators=(",", ":"))
    still = png_data_uri(raster.render(scene, 0.0, STILL_PX))
    toggles = "".join(
        f'<label><input type="checkbox" data-solid="{escape(one.organ)}" checked> '
        f"{swatch(one.colour)}{escape(title_of(one.organ))}</label>"
        for one in shown
    )
    return (
        f'{STYLE}<div class="organs"><img id="organs-still" src="{still}" alt="The organs in 3-D from the front">'
        '<canvas id="organs" tabindex="0" role="img" hidden aria-label="The organs in 3-D; arrow keys turn them">'
        f'</canvas><span id="organs-from"></span></div><div class="toggles">{toggles}</div>'
        f'<script type="application/json" id="organs-data">{data}</script>'
    )


def script() -> str:
    """The JavaScript that turns the organs."""
    return files("abdoseg.rendering").joinpath("viewer.js").read_text(encoding="utf-8")


def _packed(one: ViewerOrgan, points: npt.NDArray[np.float64]) -> dict[str, object]:
    """Points as 16-bit steps from a corner, about 10 micrometres each; all as base64."""
    origin = points.min(axis=0)
    step = max(float((points - origin).max()), 1e-6) / 65535
    whole = np.rint((points - origin) / step).astype("<u2")
    return {
        "organ": one.organ,
        "colour": one.colour,
        "inner": one.inner,
        "origin": [round(float(value), 4) for value in origin],
        "step": step,
        "points": base64.b64encode(whole.tobytes()).decode("ascii"),
        "triangles": base64.b64encode(one.surface.triangles.astype("<u4").tobytes()).decode("ascii"),
    }
