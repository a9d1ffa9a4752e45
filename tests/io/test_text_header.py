"""MetaImage and NRRD: what SimpleITK writes is read, and damage never reaches it."""

import numpy as np
import pytest
import SimpleITK as sitk
from phantom_dicom import body

from abdoseg.errors import ScanError
from abdoseg.io import read_scan

HU = body((8, 7, 6))
SUFFIXES = [".mha", ".mhd", ".nrrd", ".nhdr"]


def save(path, compress=False, array=HU):
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.T))
    image.SetSpacing((0.8, 0.9, 3.0))
    image.SetOrigin((10.0, -20.0, 30.0))
    image.SetDirection((0, 0, 1, 1, 0, 0, 0, 1, 0))  # sagittal: columns to posterior, rows to superior
    sitk.WriteImage(image, str(path), compress)
    return path


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("compress", [False, True])
def test_hu_and_places_are_as_simpleitk_wrote_them(tmp_path, suffix, compress):
    volume = read_scan(save(tmp_path / f"a{suffix}", compress))
    assert np.array_equal(volume.stored.from_canonical(volume.voxels), HU)
    # LPS to RAS: the first two coordinates change sign
    assert np.allclose(
        volume.stored.geometry.affine, [[0, 0, -3, -10], [-0.8, 0, 0, 20], [0, 0.9, 0, 30], [0, 0, 0, 1]]
    )
    assert volume.stored.geometry.axes == "PSL"


@pytest.mark.parametrize("suffix", [".mha", ".nrrd"])
def test_the_suffix_does_not_matter(tmp_path, suffix):
    path = save(tmp_path / f"a{suffix}").rename(tmp_path / "scan")
    assert np.array_equal(np.sort(read_scan(path).voxels.ravel()), np.sort(HU.ravel()))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_truncated_voxels_are_refused(tmp_path, suffix):
    path = save(tmp_path / f"a{suffix}")
    data = next((p for p in tmp_path.iterdir() if p.suffix in (".raw", ".gz")), path)
    data.write_bytes(data.read_bytes()[:-100])
    with pytest.raises(ScanError, match="truncated"):
        read_scan(path)


@pytest.mark.parametrize("suffix", [".mhd", ".nhdr"])
def test_voxels_that_lie_elsewhere_or_nowhere_are_refused(tmp_path, suffix):
    path = save(tmp_path / f"a{suffix}")
    (data,) = [p for p in tmp_path.iterdir() if p != path]
    text = path.read_bytes()
    path.write_bytes(text.replace(data.name.encode(), b"/etc/passwd"))
    with pytest.raises(ScanError, match="in another folder"):
        read_scan(path)
    path.write_bytes(text.replace(data.name.encode(), b"LIST"))
    with pytest.raises(ScanError, match="several files"):
        read_scan(path)
    path.write_bytes(text.replace(data.name.encode(), b"./" + data.name.encode()))
    assert read_scan(path).voxels.size == HU.size
    path.write_bytes(text)
    data.unlink()
    with pytest.raises(ScanError, match="are missing; keep both files together, in a folder and no zip"):
        read_scan(path)


@pytest.mark.parametrize(
    ("suffix", "old", "new", "words"),
    [
        (".mha", b"DimSize = 8 7 6", b"DimSize = 90000 90000 90000", "promises 90000 x 90000 x 90000"),
        (".mha", b"DimSize = 8 7 6", b"DimSize = 8 7 -6", "the size is"),
        (".mha", b"DimSize = 8 7 6", b"DimSize = 8 42 1", "only one slice"),
        (".mha", b"MET_SHORT", b"MET_SHORT_ARRAY", "not one number each"),
        (".mha", b"ElementDataFile", b"ElementDateFile", "no ElementDataFile"),
        (".nrrd", b"sizes: 8 7 6", b"sizes: 90000 90000 90000", "promises 90000 x 90000 x 90000"),
        (".nrrd", b"sizes: 8 7 6", b"sizes: 2 4 7 6", "4-D"),
        (".nrrd", b"type: short", b"type: block", "not one number each"),
        (".nrrd", b"encoding: raw", b"encoding: hex", "encoding 'hex' is not read"),
        (".nrrd", b"space directions", b"space-directions", "does not say where its axes point"),
        (".nrrd", b"space: left-posterior-superior", b"space dimension: 3", "does not say where its axes point"),
        (".nrrd", b"space origin: (10", b"space origin: (ten", "where 3 numbers should be"),
        (".nrrd", b"encoding: raw", b"encoding: raw\nbyte skip: -1", "start '-1' bytes into"),
        (".mha", b"BinaryData = True", b"BinaryData = False", "written as text"),
        (".mha", b"ElementSpacing = 0.8", b"ElementSpacing = 0.0", "impossible"),
        (".mha", b"Offset = 10", b"Offset = nan", "impossible"),
    ],
)
def test_a_header_that_cannot_be_true_is_described(tmp_path, suffix, old, new, words):
    path = save(tmp_path / f"a{suffix}")
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new))
    with pytest.raises(ScanError, match=words):
        read_scan(path)


def test_several_numbers_a_voxel_are_refused(tmp_path):
    image = sitk.Compose(sitk.GetImageFromArray(HU.T), sitk.GetImageFromArray(HU.T))
    sitk.WriteImage(image, str(tmp_path / "a.mha"))
    with pytest.raises(ScanError, match="not one number each"):
        read_scan(tmp_path / "a.mha")


def test_big_endian_numbers_and_ras_space_are_read(tmp_path):
    header = (
        "NRRD0004\n# a comment\nkey:=value\ntype: short\ndimension: 3\nsizes: 8 7 6\nencoding: raw\nendian: big\n"
        "space: right-anterior-superior\nspace directions: (0.8,0,0) (0,0.9,0) (0,0,3)\nspace origin: (1,2,3)\n\n"
    )
    path = tmp_path / "a.nrrd"
    path.write_bytes(header.encode() + HU.astype(">i2").tobytes(order="F"))
    volume = read_scan(path)
    assert np.array_equal(volume.voxels, HU)
    assert np.allclose(volume.geometry.affine, [[0.8, 0, 0, 1], [0, 0.9, 0, 2], [0, 0, 3, 3], [0, 0, 0, 1]])


def test_a_damaged_deflate_stream_is_refused(tmp_path):
    path = save(tmp_path / "a.mha", compress=True)
    data = bytearray(path.read_bytes())
    data[-300:-200] = bytes(100)
    path.write_bytes(bytes(data))
    with pytest.raises(ScanError, match="damaged"):
        read_scan(path)
