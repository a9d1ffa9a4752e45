"""Annotations on pictures: legend, orientation letters, slice position, scale bar."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

from PIL import Image, ImageDraw, ImageFont

from abdoseg.anatomy.organs import title_of
from abdoseg.image.volume import AXIS_NAMES
from abdoseg.image.volumetry import OrganVolume
from abdoseg.rendering.slices import ACROSS, EDGES, SliceStyle, View, colour_of

GROUND = (14, 16, 20)
INK = (232, 234, 238)
DIM = (138, 144, 156)
WARNING = (255, 190, 80)
RIM_PX = 2
LEAST_PX = (96, 330)  # height, width that the words on a picture need


@lru_cache(maxsize=8)
def font(size_px: int) -> ImageFont.FreeTypeFont:
    """Pillow's own font, so that pictures are the same on every machine."""
    loaded = ImageFont.load_default(size_px)
    assert isinstance(loaded, ImageFont.FreeTypeFont)  # Pillow is built with FreeType
    return loaded


def volume_text(volume_ml: float) -> str:
    """A volume for people: 1523 ml, 12.3 ml, 0.04 ml."""
    if volume_ml >= 100:
        return f"{volume_ml:.0f} ml"
    return f"{volume_ml:.1f} ml" if volume_ml >= 1 or volume_ml == 0 else f"{volume_ml:.2g} ml"


def captioned_size(view: View) -> tuple[int, int]:
    """(height, width) that a picture takes with its words, which stand beside it when it is small."""
    return max(view.size_px[0], LEAST_PX[0]), max(view.size_px[1], LEAST_PX[1])


def annotate(tile: Image.Image, view: View, index: int, at: tuple[int, int]) -> None:
    """Writes plane, position, the patient's edges and a scale bar about the picture that lies at `at` (x, y)."""
    (height, width), (tall, wide) = view.size_px, captioned_size(view)
    x, y = at[0] + width // 2, at[1] + height // 2
    left, top = x - wide // 2, y - tall // 2
    right, bottom = left + wide, top + tall
    places = (((left + 5, y), "lm"), ((right - 5, y), "rm"), ((x, top + 4), "mt"), ((x, bottom - 4), "mb"))
    for letter, (place, anchor) in zip(EDGES[view.plane], places, strict=True):
        write(tile, place, letter, anchor)
    position_mm = round(view.position_mm(index), 1)
    side = AXIS_NAMES[ACROSS[view.plane]][int(position_mm >= 0)]
    write(tile, (left + 7, top + 6), f"{view.plane}  {side} {abs(position_mm):.1f} mm", "lt")
    bar_cm = 5 if 50 * view.scale_px_mm < wide / 3 else 1
    length = round(10 * bar_cm * view.scale_px_mm)
    ImageDraw.Draw(tile).line([(right - 8 - length, bottom - 9), (right - 8, bottom - 9)], fill=INK, width=2)
    write(tile, (right - 8 - length // 2, bottom - 14), f"{bar_cm} cm", "mb")


def legend(
    image: Image.Image,
    rows: Sequence[OrganVolume],
    at: tuple[int, int],
    columns: int = 1,
    column_px: int = 190,
    notes: Mapping[str, str] | None = None,
) -> None:
    """Lists the organs with swatch and volume from `at` (x, y) on, row by row over `columns`. notes: by organ."""
    draw = ImageDraw.Draw(image)
    for number, row in enumerate(rows):
        x = at[0] + number % columns * column_px
        y = at[1] + number // columns * 42
        found = row.voxels > 0
        colour = colour_of(row.organ, row.label)
        draw.rounded_rectangle([x, y + 2, x + 13, y + 15], 3, fill=colour if found else None, outline=colour)
        draw.text((x + 22, y), title_of(row.organ), INK if found else DIM, font(14))
        words = volume_text(row.volume_ml) if found else "not found"
        draw.text((x + 22, y + 18), words, DIM, font(13))
        for text, ink in (((notes or {}).get(row.organ, ""), INK), ("cut by border" if row.touches else "", WARNING)):
            if text:
                words += "  "
                draw.text((x + 22 + draw.textlength(words, font(13)), y + 18), text, ink, font(13))
                words += text


def window_text(style: SliceStyle) -> str:
    """The window in a radiologist's words."""
    low, high = style.window_hu
    return f"W {high - low:.0f}  L {(low + high) / 2:.0f}"


def write(tile: Image.Image, place: tuple[int, int], words: str, anchor: str) -> None:
    """Small words with a dark rim, at `place` (x, y). anchor: l, m or r, then t, m or b."""
    stamp = _stamp(words)
    x = place[0] - {"l": 0, "m": stamp.width // 2, "r": stamp.width}[anchor[0]]
    y = place[1] - {"t": 0, "m": stamp.height // 2, "b": stamp.height}[anchor[1]]
    tile.paste(stamp, (x, y), stamp)


@lru_cache(maxsize=1024)
def _stamp(words: str) -> Image.Image:
    """The words on a clear ground. Kept, since every frame of a video has them and drawing a rim is slow."""
    left, top, right, bottom = font(13).getbbox(words, anchor="ls", stroke_width=RIM_PX)
    stamp = Image.new("RGBA", (int(right - left) + 1, int(bottom - top) + 1))
    ImageDraw.Draw(stamp).text(
        (-left, -top), words, INK, font(13), anchor="ls", stroke_width=RIM_PX, stroke_fill=(0, 0, 0)
    )
    return stamp
