"""The header as a record, against nibabel's."""

import itertools

import nibabel
import numpy as np
import pytest
from nibabel.quaternions import mat2quat, quat2mat

from abdoseg.image.volume import Geometry, Stored
from abdoseg.io.nifti.header import blank, byte_order, layout, parsed, quaternion, rotation
from abdoseg.io.nifti.writer import nifti_header

KINDS = {348: nibabel.Nifti1Header, 540: nibabel.Nifti2Header}


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("size", KINDS)
def test_fields_lie_where_the_standard_has_them(size, order):
    assert layout(size, order) == KINDS[size].template_dtype.newbyteorder(order)
    assert layout(size).itemsize == size


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("size", KINDS)
def test_what_is_written_is_what_nibabel_would_write(size, order):
    affine = np.array([[-0.8, 0, 0, 10], [0, 0.6, -2.4, 20], [0, 0.45, 3.2, -30], [0, 0, 0, 1.0]])
    theirs = KINDS[size](endianness=order)
    theirs.set_data_shape((8, 7, 6))
    theirs.set_sform(affine, 1)
    theirs.set_qform(affine, 1)
    theirs.set_data_dtype(np.dtype(np.int16).newbyteorder(order))
    theirs["vox_offset"], theirs["scl_slope"], theirs["scl_inter"] = theirs.single_vox_offset, 1, 0
    ours = nifti_header(np.int16, Stored(Geometry((8, 7, 6), affine), parsed(theirs.binaryblock, size, order)))
    assert byte_order(ours) == order
    assert ours.tobytes() == theirs.binaryblock


@pytest.mark.parametrize("tilt", [0.0, 0.3, 2.0])
def test_a_new_header_is_what_nibabel_would_write_in_every_orientation(tilt):
    angle = np.radians(20 * tilt)
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    for order, signs in itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3)):
        affine = np.eye(4)
        affine[:3, :3] = turn @ np.eye(3)[:, order] * signs * (0.8, 0.9, 3)
        affine[:3, 3] = 10.5, -20.25, 30
        theirs = nibabel.Nifti1Header(endianness="<")
        theirs.set_data_shape((8, 7, 6))
        theirs.set_data_dtype(np.int16)
        theirs.set_xyzt_units("mm")
        theirs.set_sform(affine, 1)
        theirs.set_qform(affine, 1)
        theirs["vox_offset"], theirs["scl_slope"], theirs["scl_inter"] = theirs.single_vox_offset, 1, 0
        assert nifti_header(np.int16, Stored(Geometry((8, 7, 6), affine))).tobytes() == theirs.binaryblock


def test_a_sheared_grid_has_no_qform():
    affine = np.diag([0.8, 0.9, 3, 1])
    affine[1, 2] = 0.5
    header = nifti_header(np.int16, Stored(Geometry((8, 7, 6), affine)))
    assert (header["sform_code"], header["qform_code"]) == (1, 0)
    assert np.allclose(header["pixdim"][1:4], np.linalg.norm(affine[:3, :3], axis=0))


def test_a_blank_header_is_a_single_files():
    assert [blank(size, "<")["magic"] for size in KINDS] == [b"n+1", b"n+2"]


def test_a_quaternion_turns_as_in_nibabel():
    rng = np.random.default_rng(0)
    for _ in range(20):
        unit = mat2quat(np.linalg.qr(rng.normal(size=(3, 3)))[0])
        unit /= np.linalg.norm(unit)
        np.testing.assert_allclose(rotation(*unit), quat2mat(unit), atol=1e-12)
        np.testing.assert_allclose(np.abs(quaternion(rotation(*unit))), np.abs(unit), atol=1e-12)
        np.testing.assert_allclose(rotation(*quaternion(rotation(*unit))), rotation(*unit), atol=1e-12)
