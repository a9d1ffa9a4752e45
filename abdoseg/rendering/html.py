"""HTML pages from jinja2 templates: self-contained, escaped, with tables that sort, fetching nothing from anywhere."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO

import numpy as np
import numpy.typing as npt
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Cell:
    """One cell of a table.

    sort: the value it is sorted by, when that is not its text; NaN and None come last. tone: "bad", "warn", "good" or
    "soft". colour: of a swatch before the text.
    """

    text: str = ""
    sort: float | str | None = None
    tone: str = ""
    colour: Colour | None = None

    @property
    def sort_key(self) -> str | None:
        """The sort value as an attribute: empty for an empty cell, None where the text serves."""
        if self.sort is None or self.sort != self.sort:
            return None if self.text else ""
        return str(self.sort)


Value = Cell | str | float | int | None
Table = tuple[list[str], list[list[Value]]]  # headers, rows


@lru_cache(maxsize=1)
def environment() -> Environment:
    """The templates of `rendering/templates`, with autoescape. Pages extend page.html and use the macros of parts.html.

    In templates `picture|png`, `picture|jpeg` and `colour|css` are attribute values, and `source(name)` is a file as it
    stands.
    """
    made = Environment(
        loader=PackageLoader("abdoseg.rendering"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    made.filters |= {"png": png_data_uri, "jpeg": jpeg_data_uri, "css": hex_colour}
    made.globals |= {"as_cells": _as_cells, "numeric_columns": _numeric_columns, "source": _source}
    return made


def render_page(template: str, title: str, *, lead: str = "", foot: str = "", **values: object) -> str:
    """A whole HTML document. title, lead, foot: text. values: what the template, which extends page.html, shows."""
    return environment().get_template(template).render(title=title, lead=lead, foot=foot, **values)


def hex_colour(colour: Colour) -> str:
    """An sRGB colour as CSS has it."""
    return "#{:02x}{:02x}{:02x}".format(*colour)


def png_data_uri(picture: npt.NDArray[np.uint8]) -> str:
    """A picture (H, W) grey or (H, W, 3) RGB, uint8, as a data URI."""
    return data_uri(png(picture), "image/png")


def data_uri(content: bytes, kind: str) -> str:
    """Bytes of a media type as a URI that holds them."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def jpeg_data_uri(picture: npt.NDArray[np.uint8]) -> str:
    """A picture (H, W, 3) as a data URI, a fifth of the PNG's size."""
    return data_uri(jpeg(picture), "image/jpeg")


def jpeg(picture: npt.NDArray[np.uint8], quality: int = 85) -> bytes:
    """A picture (H, W) or (H, W, 3) as a JPEG file."""
    file = BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality, optimize=True)
    return file.getvalue()


def png(picture: npt.NDArray[np.uint8]) -> bytes:
    """A picture (H, W) or (H, W, 3) as a PNG file. The same bytes for the same picture."""
    file = BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()


def _source(name: str) -> Markup:
    loader = environment().loader
    assert loader is not None
    return Markup(loader.get_source(environment(), name)[0])


def _as_cells(rows: Sequence[Sequence[Value]]) -> list[list[Cell]]:
    return [[_as_cell(value) for value in row] for row in rows]


def _as_cell(value: Value) -> Cell:
    if isinstance(value, Cell):
        return value
    if value is None or value != value:
        return Cell("", None)
    return Cell(value) if isinstance(value, str) else Cell(f"{value:.6g}", value)


def _numeric_columns(rows: Sequence[Sequence[Cell]], count: int) -> list[bool]:
    """For each column after the first, whether all of its cells that are not empty hold numbers."""

    def is_numeric(column: int) -> bool:
        numbers = [isinstance(row[column].sort, (int, float)) for row in rows if row[column].text]
        return bool(numbers) and all(numbers)

    return [column > 0 and is_numeric(column) for column in range(count)]
