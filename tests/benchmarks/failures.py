"""Patients that the bundled weights get wrong, made up so that they may be shown: a table, and a picture of each.

    python tests/benchmarks/failures.py [--model FILE] [--picture man/pictures/failures.jpg]

They are phantoms, changed to what is known to mislead the network. The picture has the prediction filled, the true
borders white; the table Dice, or where the patient lacks the organ, how much of it was found.
"""

import argparse
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from scipy import ndimage

from abdoseg.anatomy.organs import BY_NAME, MAIN, MIRRORED, title_of
from abdoseg.anatomy.tissues import LUMEN_TIERS, Tissue
from abdoseg.image.volume import Geometry, Labelmap, Stored, Volume
from abdoseg.metrics import dice
from abdoseg.model.weights import load_model
from abdoseg.phantom import phantom, phantom_tissues
from abdoseg.rendering import SliceStyle
from abdoseg.rendering.captions import DIM, GROUND, font
from abdoseg.rendering.slices import ACROSS, draw_outline, draw_slice, fit_view
from abdoseg.segmentation import segment

Labels = npt.NDArray[np.uint8]
TILE, CAPTION_PX, GAP = (330, 440), 26, 6  # height, width
SEED = 12
ORGANS = {BY_NAME[organ].label: organ for organ in MAIN}


@dataclasses.dataclass(frozen=True, eq=False)
class Patient:
    """plane: which shows the failure best, through the most of `organ`'s errors."""

    name: str
    scan: Volume
    truth: Labels
    plane: str = "axial"


def patients() -> Iterator[Patient]:
    """The phantom as it is, then each change."""
    scan, labelmap = phantom(SEED)
    yield Patient("as it is", scan, labelmap.labels, "coronal")
    yield _bright_bowel(scan, labelmap)
    yield from (_without(scan, labelmap, organ) for organ in ("kidney_left", "spleen"))
    yield _cut(scan, labelmap)
    yield _mirrored(scan, labelmap)


def _bright_bowel(scan: Volume, labelmap: Labelmap) -> Patient:
    """Colon and small bowel full of contrast medium, as bright as the kidneys."""
    tissues, _ = phantom_tissues(SEED)
    lumen = sum((tissues >= first) & (tissues < first + LUMEN_TIERS)
                for first in (Tissue.COLON_LUMEN, Tissue.SMALL_BOWEL_LUMEN))  # fmt: skip
    fraction = ndimage.gaussian_filter(lumen.astype(np.float32), 0.5)
    kidneys = np.isin(labelmap.labels, (2, 3))
    content = np.random.default_rng(SEED).normal(scan.voxels[kidneys].mean(), 12.0, fraction.shape)
    return Patient("bowel as bright as kidney", _with(scan, scan.voxels + fraction * (content - scan.voxels)),
                   labelmap.labels)  # fmt: skip


def _without(scan: Volume, labelmap: Labelmap, organ: str) -> Patient:
    """Fat where an organ was."""
    here = labelmap.labels == BY_NAME[organ].label
    gone = ndimage.binary_dilation(here, iterations=2) & (here | (labelmap.labels == 0))
    fat = np.random.default_rng(SEED).normal(-100.0, 12.0, gone.shape)
    return Patient(f"no {title_of(organ)}", _with(scan, np.where(gone, fat, scan.voxels)),
                   np.where(here, 0, labelmap.labels).astype(np.uint8), "coronal")  # fmt: skip


def _cut(scan: Volume, labelmap: Labelmap) -> Patient:
    """The scan begins where a remnant of the spleen is left: 15 slices of it."""
    top = int(np.flatnonzero((labelmap.labels == BY_NAME["spleen"].label).any(axis=(0, 1)))[0]) + 15
    shape = (*scan.geometry.shape[:2], top)
    geometry = Geometry(shape, scan.geometry.affine)
    return Patient("cut through the spleen", Volume(scan.voxels[:, :, :top], geometry, Stored(geometry)),
                   labelmap.labels[:, :, :top], "coronal")  # fmt: skip


def _mirrored(scan: Volume, labelmap: Labelmap) -> Patient:
    """Situs inversus: the liver lies on the left. A kidney's side is that of the body."""
    sides = np.arange(256, dtype=np.uint8)
    for organ, twin in MIRRORED.items():
        sides[BY_NAME[organ].label] = BY_NAME[twin].label
    return Patient("the liver on the left", _with(scan, scan.voxels[::-1]), sides[labelmap.labels[::-1]], "coronal")


def _with(scan: Volume, hu: npt.NDArray[np.floating]) -> Volume:
    return dataclasses.replace(scan, voxels=np.asfortranarray(np.rint(hu).astype(np.int16)))


def row(patient: Patient, found: Labels) -> str:
    """A line of the table."""
    voxel_ml = patient.scan.geometry.voxel_ml
    cells = [
        f"{dice(found == label, patient.truth == label):.3f}" if (patient.truth == label).any()
        else f"{(found == label).sum() * voxel_ml:.0f} ml" for label in ORGANS
    ]  # fmt: skip
    return f"| {patient.name} | {' | '.join(cells)} |"


def tile(patient: Patient, found: Labels) -> Image.Image:
    """The slice with the most errors."""
    across = tuple(axis for axis in range(3) if axis != ACROSS[patient.plane])
    index = int((found != patient.truth).sum(axis=across).argmax())
    view = fit_view(patient.scan.geometry, patient.plane, TILE)
    picture = draw_slice(view, index, patient.scan.voxels, found, ORGANS, SliceStyle())
    framed = Image.new("RGB", (TILE[1], TILE[0] + CAPTION_PX), GROUND)
    drawn = Image.fromarray(draw_outline(view, index, patient.truth, picture, (255, 255, 255)))
    framed.paste(drawn, ((TILE[1] - drawn.width) // 2, CAPTION_PX + (TILE[0] - drawn.height) // 2))
    ImageDraw.Draw(framed).text((TILE[1] // 2, CAPTION_PX // 2), patient.name, DIM, font(14), anchor="mm")
    return framed


def together(tiles: list[Image.Image], columns: int = 3) -> Image.Image:
    """Rows of tiles."""
    width, height = tiles[0].width + GAP, tiles[0].height + GAP
    sheet = Image.new("RGB", (columns * width - GAP, -(-len(tiles) // columns) * height - GAP), (30, 33, 40))
    for n, one in enumerate(tiles):
        sheet.paste(one, (n % columns * width, n // columns * height))
    return sheet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="weights (default: the bundled ones)")
    parser.add_argument("--picture", type=Path)
    arguments = parser.parse_args()
    model = load_model(arguments.model, "cpu")
    print(f"| phantom | {' | '.join(MAIN)} |\n|---|{'---|' * len(MAIN)}")
    tiles = []
    for patient in patients():
        result = segment(patient.scan, model)
        print(row(patient, result.labelmap.labels), *result.warnings, sep="\n    ")
        tiles.append(tile(patient, result.labelmap.labels))
    if arguments.picture:
        together(tiles).save(arguments.picture, quality=70, optimize=True, progressive=True)


if __name__ == "__main__":
    main()
