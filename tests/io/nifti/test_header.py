"""The header as a record, against nibabel's."""

import nibabel
import numpy as np
import pytest
from nibabel.quaternions import mat2quat, quat2mat

from abdoseg.image.volume import Geometry, Stored
from abdoseg.io.nifti.header import blank, byte_order, layout, parsed, rotation
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


def test_a_blank_header_is_a_single_files():
    assert [blank(size, "<")["magic"] for size in KINDS] == [b"n+1", b"n+2"]


def test_a_quaternion_turns_as_in_nibabel():
    rng = np.random.default_rng(0)
    for _ in range(20):
        unit = mat2quat(np.linalg.qr(rng.normal(size=(3, 3)))[0])
        unit /= np.linalg.norm(unit)
        np.testing.assert_allclose(rotation(*unit), quat2mat(unit), atol=1e-12)
