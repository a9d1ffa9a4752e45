"""Draws the pictures of the documentation, in man/pictures. No patient is in them.

    abdoseg demo -o demo && python tests/pictures.py demo    every export of the phantom, read back by another program
    python tests/pictures.py front demo                      what `abdoseg demo` found: two slices, and in 3-D
    python tests/pictures.py diseases                        the phantom's tissue map with each disease, synthesized

The page among the exports is shown by Chromium, which must be installed.
"""

import csv
import io
import shutil
import sys
import tempfile
from pathlib import Path

import imageio.v2 as imageio
import nibabel
import numpy as np
import pydicom
import SimpleITK as sitk
import torch
import trimesh
from browser import chromium
from phantom_dicom import write_series
from PIL import Image, ImageChops, ImageDraw, ImageOps

from abdoseg.anatomy.label_schemes import SCHEMES
from abdoseg.anatomy.organs import BY_NAME, title_of
from abdoseg.cli.export import export
from abdoseg.image.mesh import Surface
from abdoseg.io import read_scan
from abdoseg.phantom import phantom_tissues
from abdoseg.rendering import WINDOWS, SliceStyle
from abdoseg.rendering.captions import DIM, GROUND, INK, font
from abdoseg.rendering.rasterizer import make_scene, render
from abdoseg.rendering.slices import ACROSS, draw_slice, fit_view, windowed
from abdoseg.training.augment.diseases import DISEASES
from abdoseg.training.augment.patch_anatomy import Anatomy
from abdoseg.training.augment.rng import Rng
from abdoseg.training.augment.synthesis import synthesize_ct
from abdoseg.training.augment.tumours import add_tumours

PICTURES = Path(__file__).parents[1] / "man" / "pictures"
TILE, CAPTION_PX, GAP, COLUMNS = (344, 244), 26, 6, 3  # width, height
SPACE = (30, 33, 40)
IVORY = (214, 206, 190)
FROM_LPS = np.diag([-1.0, -1.0, 1.0])
FROM_GLTF = 1000 * np.array([[-1.0, 0, 0], [0, 0, 1], [0, 1, 0]])  # metres, Y up


def exports(demo):
    """man/pictures/exports.jpg, from the folder that `abdoseg demo` wrote."""
    scan, truth, prediction = (demo / f"demo{part}.nii.gz" for part in ("", "_truth", "_seg"))
    with tempfile.TemporaryDirectory() as temporary:
        out = Path(temporary)
        volume = read_scan(scan)
        write_as_dicom(volume, out / "ct")
        labels = out / "labels" / "demo_seg.nii.gz"
        labels.parent.mkdir()
        shutil.copyfile(truth, labels)
        still = "--nifti --nrrd --mha --stl --ply --obj --glb --csv --turntable --turntable-gif --sheet --report"
        run(labels, f"{still} --scan {scan} --fps 5 --seconds 4 -o {out}")
        run(labels, f"--dicom-seg --rtstruct --reference {out / 'ct'} -o {out}")
        run(labels, f"--gif --plane coronal --style fill --scan {scan} --fps 5 --seconds 4 -o {out}")
        run(prediction, f"--video --style contour --truth {truth} --scan {scan} --fps 5 --seconds 4 -o {out}")
        segments, uid = read_seg(out / "demo_seg.dcm", out / "ct")
        tiles = {
            "--nifti": slices(read_nifti(out / "demo_seg.nii.gz"), volume, "axial"),
            "--nrrd": slices(read_itk(out / "demo.seg.nrrd"), volume, "coronal"),
            "--mha": slices(read_itk(out / "demo_seg.mha"), volume, "sagittal"),
            "--stl": solids(read_meshes(out.glob("*.stl"), FROM_LPS), 0),
            "--ply": solids(read_meshes(out.glob("*.ply"), FROM_LPS), 40),
            "--obj": solids(read_meshes(out.glob("*.obj"), FROM_LPS), 320),
            "--glb": solids(read_meshes(out.glob("*.glb"), FROM_GLTF), 180),
            "--turntable": frame(out / "demo_turntable.mp4", 0.1),
            "--turntable-gif": frame(out / "demo_turntable.gif", 0.85),
            "--video --style contour --truth FILE": frame(out / "demo_slices.mp4", 0.5),
            "--gif --style fill --plane coronal": frame(out / "demo_slices.gif", 0.5),
            "--sheet": Image.open(out / "demo_sheet.png"),
            "--dicom-seg": segments,
            "--rtstruct": read_rtstruct(out / "demo_rtstruct.dcm", out / "ct", uid),
            "--csv": table(out / "demo_organs.csv"),
            "--report": page(out / "demo_report.html", out / "driver.log"),
        }
        save(compose(tiles, wide=("--video", "--sheet")), "exports.jpg")


def front(demo):
    """man/pictures/abdoseg.jpg, the README's picture: what `abdoseg demo` found, on slices and as surfaces."""
    volume, prediction = read_scan(demo / "demo.nii.gz"), demo / "demo_seg.nii.gz"
    with tempfile.TemporaryDirectory() as temporary:
        run(prediction, f"--glb -o {temporary}")
        surfaces = solids(read_meshes(Path(temporary).glob("*.glb"), FROM_GLTF), 20)
    found = read_nifti(prediction)
    tiles = {
        "axial": slices(found, volume, "axial"),
        "coronal": slices(found, volume, "coronal"),
        "surfaces (--glb)": surfaces,
    }
    save(compose(tiles, wide=()), "abdoseg.jpg")


# The seed of each that shows it well, and the plane.
SHOWN = {
    "atrophic kidney": (1, "coronal"), "hydronephrosis": (1, "coronal"), "large cysts": (1, "coronal"),
    "polycystic kidneys": (2, "coronal"), "cirrhosis": (1, "coronal"), "splenomegaly": (1, "coronal"),
    "nephrectomy": (1, "coronal"), "splenectomy": (1, "coronal"), "mass outside the liver": (8, "axial"),
    "mottled spleen": (1, "coronal"), "arterial heart": (1, "coronal"),
}  # fmt: skip


def diseases():
    """man/pictures/diseases.jpg: each disease of training.augment.diseases, and synthetic liver tumours."""
    tissues, labelmap = phantom_tissues(4, (176, 144, 112), (2.0, 2.0, 2.5))
    geometry = labelmap.geometry
    spacing_mm = geometry.spacing_mm.tolist()
    healthy = Anatomy(torch.from_numpy(tissues), torch.from_numpy(labelmap.labels), spacing_mm)
    tiles = {}
    for name, (seed, plane) in SHOWN.items():
        rng = Rng(seed)
        ill = DISEASES[name][1](healthy, rng)
        hu = synthesize_ct(ill.tissues, spacing_mm, rng, ill.phase or "portal")
        changed = (ill.tissues != healthy.tissues) | (ill.labels != healthy.labels)
        tiles[name] = contours(geometry, plane, hu, ill.labels, changed)
    rng = Rng(8)
    hu = synthesize_ct(healthy.tissues, spacing_mm, rng, "portal")
    hu, labels = add_tumours(hu, healthy.labels, spacing_mm, rng)
    tiles["liver tumours"] = contours(geometry, "axial", hu, labels, labels == BY_NAME["liver_tumour"].label)
    save(compose(tiles, wide=()), "diseases.jpg")


def contours(geometry, plane, hu, labels, changed):
    """The slice that shows most of what changed, with the borders of the labels."""
    across = [axis for axis in range(3) if axis != ACROSS[plane]]
    index = int(changed.sum(across).argmax())
    view = fit_view(geometry, plane, TILE[::-1])
    style = SliceStyle(overlay="contour")
    return Image.fromarray(draw_slice(view, index, hu.numpy(), labels.numpy(), SCHEMES["abdoseg"], style))


def save(picture, name):
    picture.save(PICTURES / name, quality=70, optimize=True, progressive=True)
    print(PICTURES / name, (PICTURES / name).stat().st_size)


def run(labelmap, arguments):
    export.main([str(labelmap), *arguments.split()], standalone_mode=False)


def write_as_dicom(volume, folder):
    """Head first and supine: columns run to the left, rows to posterior."""
    affine = volume.geometry.affine @ np.diag([-1.0, -1.0, 1.0, 1.0])
    affine[:3, 3] = (volume.geometry.affine @ [volume.geometry.shape[0] - 1, volume.geometry.shape[1] - 1, 0, 1])[:3]
    write_series(folder, volume.voxels[::-1, ::-1], affine)


def read_nifti(path):
    """Labels, axes to right, anterior and superior, and what their numbers mean."""
    return np.asarray(nibabel.as_closest_canonical(nibabel.load(path)).dataobj), SCHEMES["abdoseg"]


def read_itk(path):
    """The same from NRRD and MetaImage; the organs are those that the file names, where it does."""
    image = sitk.ReadImage(str(path))
    keys = [key.removesuffix("_ID") for key in image.GetMetaDataKeys() if key.endswith("_ID")]
    named = {int(image.GetMetaData(f"{key}_LabelValue")): image.GetMetaData(f"{key}_ID") for key in keys}
    return sitk.GetArrayFromImage(sitk.DICOMOrient(image, "RAS")).T, named or SCHEMES["abdoseg"]


def slices(read, volume, plane):
    """The slice that shows most of most organs, over the scan."""
    labels, organs = read
    across = tuple(axis for axis in range(3) if axis != ACROSS[plane])
    counts = np.array([(labels == label).sum(axis=across) for label in organs])
    index = int(np.log1p(counts).sum(axis=0).argmax())
    view = fit_view(volume.geometry, plane, TILE[::-1])
    return Image.fromarray(draw_slice(view, index, volume.voxels, labels, organs, SliceStyle()))


def read_meshes(paths, to_ras):
    """Every mesh in the files, in RAS mm, and its own colour, or ivory."""
    for path in sorted(paths):
        for mesh in trimesh.load(path, process=False, force="scene").geometry.values():
            colour = IVORY
            if path.suffix == ".ply":
                colour = mesh.visual.vertex_colors[0, :3]
            elif path.suffix == ".glb":  # in linear light
                colour = 255 * (np.asarray(mesh.visual.material.baseColorFactor[:3]) / 255) ** (1 / 2.2)
            yield mesh.vertices @ to_ras, mesh.faces, tuple(int(channel) for channel in colour)


def solids(meshes, turn_degrees):
    """All of them in one picture, without the room that they would need to turn in."""
    made = [(Surface(points.astype("f4"), faces.astype("i4"), 0.0), colour, False) for points, faces, colour in meshes]
    picture = Image.fromarray(render(make_scene(made), turn_degrees, (2 * TILE[1], 2 * TILE[0])))
    shown = ImageChops.difference(picture, Image.new("RGB", picture.size, GROUND)).getbbox()
    return ImageOps.expand(picture.crop(shown), 30, GROUND)


def frame(path, fraction):
    """A frame of a video or GIF at a share of its length."""
    frames = imageio.mimread(path, memtest=False)
    return Image.fromarray(frames[int(fraction * len(frames))])


def read_slice(series, uid):
    """The header of a slice, and its picture."""
    header = next(dataset for dataset in map(pydicom.dcmread, series.iterdir()) if uid == dataset.SOPInstanceUID)
    hu = header.pixel_array * float(header.RescaleSlope) + float(header.RescaleIntercept)
    return header, ImageOps.contain(Image.fromarray(windowed(hu, WINDOWS["abdomen"])).convert("RGB"), TILE)


def read_seg(path, series):
    """The slice that shows most of most segments, with them, and its UID."""
    dataset = pydicom.dcmread(path)
    colours = {title_of(name): organ.colour for name, organ in BY_NAME.items()}
    names = {segment.SegmentNumber: segment.SegmentLabel for segment in dataset.SegmentSequence}
    found = {}
    for mask, groups in zip(dataset.pixel_array, dataset.PerFrameFunctionalGroupsSequence, strict=True):
        uid = groups.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        number = groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        found.setdefault(uid, []).append((colours[names[number]], mask))
    uid = max(found, key=lambda one: sum(np.log1p(mask.sum()) for _, mask in found[one]))
    _, picture = read_slice(series, uid)
    for colour, mask in found[uid]:
        opacity = Image.fromarray((mask * 150).astype(np.uint8)).resize(picture.size, Image.Resampling.BICUBIC)
        picture.paste(Image.new("RGB", picture.size, colour), mask=opacity)
    return picture, uid


def read_rtstruct(path, series, uid):
    """The contours on a slice, in the file's own colours."""
    header, picture = read_slice(series, uid)
    corner, spacing = np.array(header.ImagePositionPatient, float), np.array(header.PixelSpacing, float)[::-1]
    zoom, draw = picture.width / header.Columns, ImageDraw.Draw(picture)
    for roi in pydicom.dcmread(path).ROIContourSequence:
        for contour in roi.ContourSequence:
            if contour.ContourImageSequence[0].ReferencedSOPInstanceUID == uid:
                places = np.array(contour.ContourData, float).reshape(-1, 3) - corner
                points = [tuple(point) for point in (places[:, :2] / spacing + 0.5) * zoom]
                draw.line([*points, points[0]], tuple(map(int, roi.ROIDisplayColor)), width=2, joint="curve")
    return picture


def table(path):
    """Some of its columns, as they stand in the file."""
    picture = Image.new("RGB", TILE, GROUND)
    draw = ImageDraw.Draw(picture)
    shown = {"organ": 12, "volume_ml": 182, "mean_hu": 250, "sd_hu": 330}
    rows = list(csv.DictReader(path.read_text().splitlines()))
    for line, row in enumerate([{name: name for name in shown}, *rows]):
        for name, x in shown.items():
            place, anchor = (x, 40 + 36 * line), "lm" if name == "organ" else "rm"
            draw.text(place, row[name], INK if line else DIM, font(14), anchor=anchor)
    return picture


def page(path, log):
    """The page's slices beside the organs in 3-D."""
    with chromium(log, TILE[0] * 3, TILE[1] * 3 + 280) as browser:
        browser.open(path)
        browser.wait_for("return document.getElementById('slices').dataset.ready === 'yes'", frames=3)
        browser.run("document.getElementById('slices').scrollIntoView()")
        browser.wait_for("return true", frames=3)
        return Image.open(io.BytesIO(browser.screenshot()))


def compose(tiles, wide):
    """All tiles under their captions, row by row; those whose captions begin with one of `wide` over two columns."""
    places, cell = {}, 0
    for caption in tiles:
        columns = 2 if caption.startswith(wide) else 1
        places[caption] = cell, columns
        cell += columns
    step, drop = TILE[0] + GAP, TILE[1] + CAPTION_PX + GAP
    whole = Image.new("RGB", (COLUMNS * step + GAP, -(-cell // COLUMNS) * drop + GAP), SPACE)
    draw = ImageDraw.Draw(whole)
    for caption, (cell, columns) in places.items():
        x, y = GAP + cell % COLUMNS * step, GAP + cell // COLUMNS * drop
        width, height = columns * step - GAP, TILE[1]
        draw.rectangle([x, y, x + width - 1, y + CAPTION_PX + height - 1], GROUND)
        draw.text((x + 10, y + CAPTION_PX // 2), caption, INK, font(15), anchor="lm")
        picture = ImageOps.contain(tiles[caption].convert("RGB"), (width, height), Image.Resampling.LANCZOS)
        whole.paste(picture, (x + (width - picture.width) // 2, y + CAPTION_PX + (height - picture.height) // 2))
    return whole


if __name__ == "__main__":
    what, *folder = sys.argv[1:]
    diseases() if what == "diseases" else front(Path(*folder)) if what == "front" else exports(Path(what))
