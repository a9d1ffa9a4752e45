"""Filters by blocks against the whole matrices that they are blocks of."""

import numpy as np
import pytest

from abdoseg.image import separable as banded
from abdoseg.image.separable import band, blocks_using, filter_image, span


def matrix(new, old):
    """(new, old) weights of linear interpolation, or of a triangle where it shrinks: nothing but a narrow band."""
    centres = (np.arange(new) + 0.5) * old / new - 0.5
    width = max(1.0, old / new)
    weights = np.maximum(0, 1 - np.abs(np.arange(old) - centres[:, None]) / width)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("new", [(9, 11, 13), (40, 41, 67), (9, 41, 13), (40, 11, 67), (20, 30, 35), (1, 1, 1)])
@pytest.mark.parametrize("dtype", [np.int16, np.float16, np.float32])
def test_shrinking_and_growing_axes_are_filtered_as_whole_matrices_would(monkeypatch, new, dtype):
    monkeypatch.setattr(banded, "STACK", 2 * 30 * 35)  # so that there are several stacks, and parts of different length
    monkeypatch.setattr(banded, "SINGLE_THREAD", 2000)
    planes = np.random.default_rng(0).integers(-99, 99, (20, 30, 35)).astype(dtype)
    up, along, across = matrices = [matrix(n, o) for n, o in zip(new, planes.shape, strict=True)]
    out = np.empty(new, np.float32)
    filter_image(planes, [band(weights, axis) for axis, weights in enumerate(matrices)], out)
    truth = np.einsum("kz,jy,ix,zyx->kji", up, along, across, planes.astype(np.float64), optimize=True)
    np.testing.assert_allclose(out, truth, atol=1e-3)


def test_blocks_that_need_a_part_give_what_the_whole_gives_there():
    weights = matrix(120, 50)
    values = np.zeros((1, 1, 50), np.float32)
    values[..., 20:24] = 1
    some, rows, columns = blocks_using(band(weights, 2), span(values[0], axis=0))
    whole = values[0, 0] @ weights.T
    assert rows.stop - rows.start < 60
    assert columns.start > 0
    assert not whole[: rows.start].any()
    assert not whole[rows.stop :].any()
    part = np.empty((1, 1, rows.stop - rows.start), np.float32)
    filter_image(values[..., columns], [band(np.ones((1, 1), np.float32), a) for a in (0, 1)] + [some], part)
    np.testing.assert_allclose(part[0, 0], whole[rows], atol=1e-6)
