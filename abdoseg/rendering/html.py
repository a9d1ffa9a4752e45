"""Self-contained HTML pages: one look, tables that sort, pictures inside the file, nothing fetched from anywhere."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import Image

# What the page may do: run and paint what is in the file, and reach nothing outside it.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"

CSS = """
:root{color-scheme:light dark;--ground:#f6f7f9;--card:#fff;--ink:#1b2430;--soft:#566273;--line:#dde2e9;--faint:#eef1f5;
--accent:#0b62a8;--bad:#b3261e;--warn:#8a5a00;--good:#1c6b3c;--badground:#fdecea;--warnground:#fff4dd}
@media(prefers-color-scheme:dark){:root{--ground:#12161c;--card:#1a2028;--ink:#e6eaf0;--soft:#a3afbf;--line:#323b47;
--faint:#222a34;--accent:#7cbcf3;--bad:#ff9a91;--warn:#f2c066;--good:#7fd6a0;--badground:#3a1f1e;--warnground:#362b14}}
*{box-sizing:border-box}
body{margin:0;background:var(--ground);color:var(--ink);font:15px/1.55 system-ui,"Segoe UI",Roboto,"Helvetica Neue",
Arial,sans-serif;-webkit-text-size-adjust:100%}
header,main,footer{max-width:1280px;margin:0 auto;padding:0 24px}
header{padding-top:36px}
h1{font-size:28px;line-height:1.2;letter-spacing:-.02em;margin:0 0 4px}
h2{font-size:19px;letter-spacing:-.01em;margin:0 0 4px}
h3{font-size:15px;margin:18px 0 6px}
p{margin:4px 0 12px;max-width:78ch}
.soft,header p,figcaption,caption{color:var(--soft)}
a{color:var(--accent)}
section{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:20px 22px;margin:18px 0}
footer{color:var(--soft);font-size:13px;padding-bottom:40px}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums;font-size:14px}
caption{text-align:left;padding:0 0 8px;font-size:13px}
th,td{padding:6px 9px;text-align:left;border-bottom:1px solid var(--line);white-space:nowrap}
thead th{color:var(--soft);font-weight:600;font-size:13px;vertical-align:bottom;background:var(--card)}
tbody tr:hover{background:var(--faint)}
tbody tr:last-child>*{border-bottom:0}
tbody th{font-weight:600;position:sticky;left:0;background:var(--card)}
tbody tr:hover th{background:var(--faint)}
.number{text-align:right}
thead button{all:unset;cursor:pointer;display:inline-block;padding:2px 4px;margin:-2px -4px;border-radius:4px}
thead button:hover{color:var(--ink)}
button:focus-visible,a:focus-visible,summary:focus-visible,[tabindex]:focus-visible{outline:2px solid var(--accent);
outline-offset:2px}
thead button::after{content:"\\2195";opacity:.35;padding-left:4px}
th[aria-sort=ascending] button::after{content:"\\2191";opacity:1}
th[aria-sort=descending] button::after{content:"\\2193";opacity:1}
.bad{color:var(--bad);font-weight:600}.warn{color:var(--warn);font-weight:600}.good{color:var(--good)}
.note{border-left:4px solid var(--warn);background:var(--warnground);padding:8px 14px;border-radius:0 6px 6px 0;
margin:8px 0;max-width:none}
.note.bad{border-color:var(--bad);background:var(--badground);color:inherit;font-weight:inherit}
.grid{display:grid;gap:16px;grid-template-columns:repeat(auto-fit,minmax(300px,1fr))}
.grid.wide{grid-template-columns:repeat(auto-fit,minmax(min(440px,100%),1fr))}
.grid>*{min-width:0}
.keys{display:flex;flex-wrap:wrap;gap:4px 18px;color:var(--soft);max-width:none}
.terms{display:grid;grid-template-columns:max-content 1fr;gap:6px 18px;margin:10px 0 0}
.terms dt{font-weight:600}.terms dd{margin:0;color:var(--soft)}
@media(max-width:640px){.terms{display:block}.terms dd{margin-bottom:8px}header,main,footer{padding:0 12px}
section{padding:16px 14px}}
.facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(130px,1fr));gap:10px;margin:12px 0 0}
.facts div{background:var(--faint);border-radius:8px;padding:10px 14px}
.facts dt{color:var(--soft);font-size:13px}.facts dd{margin:0;font-size:21px;font-weight:600;letter-spacing:-.01em;
font-variant-numeric:tabular-nums}
figure{margin:0}figcaption{font-size:13px;padding-top:6px}
img,svg{max-width:100%;height:auto}
figure svg{width:100%}
svg text{fill:var(--ink);font:12px system-ui,"Segoe UI",Roboto,Arial,sans-serif}
svg .soft{fill:var(--soft);color:var(--soft)}
.swatch{display:inline-block;width:.8em;height:.8em;border-radius:3px;margin-right:.5em;vertical-align:-.05em;
box-shadow:inset 0 0 0 1px rgb(0 0 0/.25)}
@media print{body{background:#fff}section{break-inside:avoid;border-color:#ccc}thead button::after{content:""}}
"""

SORTING = """
document.querySelectorAll("table.sortable").forEach(table => {
  const headers = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  headers.forEach((header, column) => {
    const button = header.querySelector("button");
    if (!button) return;
    button.addEventListener("click", () => {
      const up = header.getAttribute("aria-sort") !== "ascending";
      headers.forEach(other => other.removeAttribute("aria-sort"));
      header.setAttribute("aria-sort", up ? "ascending" : "descending");
      const key = row => {
        const cell = row.cells[column], text = cell.dataset.sort ?? cell.textContent.trim();
        const value = Number(text.replace(/^(-?)inf$/, "$1Infinity"));
        return text === "" ? null : isNaN(value) ? text : value;
      };
      const order = (a, b) => {
        if (a === null || b === null) return (a === null) - (b === null);
        const way = typeof a === "number" && typeof b === "number" ? (a > b) - (a < b) : String(a).localeCompare(b);
        return up ? way : -way;
      };
      const keyed = [...body.rows].map(row => [key(row), row]);
      keyed.sort((a, b) => order(a[0], b[0])).forEach(([, row]) => body.append(row));
    });
  });
});
"""


@dataclass(frozen=True)
class Cell:
    """One cell of a table.

    text: escaped when shown, unless `html` is given in its place. sort: the value it is sorted by, when that is not
    its text; NaN and None come last. tone: "bad", "warn", "good" or "soft".
    """

    text: str = ""
    sort: float | str | None = None
    tone: str = ""
    html: str = ""


def page(title: str, body: str, *, lead: str = "", foot: str = "", script: str = "", policy: str = POLICY) -> str:
    """A whole HTML document. title, lead, foot: text. body: HTML, best as `section`s. script: JavaScript run last."""
    lead = f"<p>{escape(lead)}</p>" if lead else ""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>{escape(title)}</title>
<link rel="icon" href="data:,">
<style>{CSS}</style>
</head>
<body>
<header><h1>{escape(title)}</h1>{lead}</header>
<main>
{body}
</main>
<footer>{escape(foot)}</footer>
<script>{SORTING}{script}</script>
</body>
</html>
"""


def section(heading: str, body: str, *, text: str = "", name: str = "") -> str:
    """A card with a heading, a line of text below it, and HTML. name: its anchor."""
    anchor = f' id="{escape(name)}"' if name else ""
    lead = f'<p class="soft">{escape(text)}</p>' if text else ""
    return f"<section{anchor}><h2>{escape(heading)}</h2>{lead}{body}</section>"


def table(
    headers: Sequence[str],
    rows: Sequence[Sequence[Cell | str | float | int | None]],
    *,
    caption: str = "",
    sortable: bool = False,
    name: str = "",
) -> str:
    """A table whose first column names the row. Numbers stand on the right; sortable: by a click on a header."""
    cells = [[_cell(value) for value in row] for row in rows]
    numeric = [column > 0 and _is_numeric([row[column] for row in cells]) for column in range(len(headers))]
    head = ""
    for header, number in zip(headers, numeric, strict=True):
        label = f'<button type="button">{escape(header)}</button>' if sortable else escape(header)
        head += f'<th scope="col"{_kind(number)}>{label}</th>'
    body = ""
    for row in cells:
        tags = ("th", *["td"] * (len(row) - 1))
        body += "<tr>" + "".join(map(_written, tags, row, numeric)) + "</tr>\n"
    about = f"<caption>{escape(caption)}</caption>" if caption else ""
    attributes = f' id="{escape(name)}"' if name else ""
    attributes += ' class="sortable"' if sortable else ""
    return (
        f'<div class="scroll"><table{attributes}>{about}<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{body}</tbody></table></div>"
    )


def facts(pairs: Sequence[tuple[str, str]]) -> str:
    """A few figures that matter most, large: (what it is, its value)."""
    items = "".join(f"<div><dt>{escape(what)}</dt><dd>{escape(value)}</dd></div>" for what, value in pairs)
    return f'<dl class="facts">{items}</dl>'


def note(text: str, *, bad: bool = False) -> str:
    """A sentence that a reader must not miss."""
    return f'<p class="note{" bad" if bad else ""}">{escape(text)}</p>'


def figure(picture: npt.NDArray[np.uint8], alt: str, caption: str = "") -> str:
    """A picture (H, W, 3) or (H, W), inside the page. alt: what it shows, for those who do not see it."""
    size = f'width="{picture.shape[1]}" height="{picture.shape[0]}"'
    words = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return f'<figure><img src="{png_data_uri(picture)}" alt="{escape(alt)}" {size}>{words}</figure>'


def swatch(colour: tuple[int, int, int]) -> str:
    """A small square of a colour: HTML."""
    return f'<span class="swatch" style="background:{hex_colour(colour)}"></span>'


def hex_colour(colour: tuple[int, int, int]) -> str:
    """An sRGB colour as CSS has it."""
    return "#{:02x}{:02x}{:02x}".format(*colour)


def png_data_uri(picture: npt.NDArray[np.uint8]) -> str:
    """A picture (H, W) grey or (H, W, 3) RGB, uint8, as a data URI."""
    return "data:image/png;base64," + base64.b64encode(png(picture)).decode("ascii")


def png(picture: npt.NDArray[np.uint8]) -> bytes:
    """A picture (H, W) or (H, W, 3) as a PNG file. The same bytes for the same picture."""
    file = BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()


def _cell(value: Cell | str | float | int | None) -> Cell:
    if isinstance(value, Cell):
        return value
    if value is None or value != value:
        return Cell("", None)
    return Cell(value) if isinstance(value, str) else Cell(f"{value:.6g}", value)


def _is_numeric(column: Sequence[Cell]) -> bool:
    numbers = [isinstance(cell.sort, (int, float)) for cell in column if cell.text or cell.html]
    return bool(numbers) and all(numbers)


def _kind(number: bool) -> str:
    return ' class="number"' if number else ""


def _written(tag: str, cell: Cell, number: bool) -> str:
    classes = " ".join(word for word in ("number" if number else "", cell.tone) if word)
    attributes = ' scope="row"' if tag == "th" else ""
    attributes += f' class="{classes}"' if classes else ""
    sort = "" if cell.sort is None or cell.sort != cell.sort else str(cell.sort)
    if sort or not (cell.text or cell.html):
        attributes += f' data-sort="{escape(sort)}"'
    return f"<{tag}{attributes}>{cell.html or escape(cell.text)}</{tag}>"
