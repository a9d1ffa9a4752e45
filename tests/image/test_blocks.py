"""Blocks of voxels against their definition, voxel by voxel."""

import numpy as np
import pytest

from abdoseg.image.blocks import block_means, filled_blocks, touched_blocks


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("n", [2, 3])
def test_blocks_are_those_of_slices_and_an_incomplete_end_is_left_out(n, order):
    rng = np.random.default_rng(0)
    image = np.asarray(rng.normal(0, 50, (9, 8, 7)), np.float32, order=order)
    mask = rng.random(image.shape) < 0.9
    means, filled, touched = block_means(image, n), filled_blocks(mask, n), touched_blocks(~mask, n)
    assert means.shape == filled.shape == touched.shape == tuple(size // n for size in image.shape)
    for i, j, k in np.ndindex(means.shape):
        block = tuple(slice(n * at, n * at + n) for at in (i, j, k))
        assert means[i, j, k] == pytest.approx(image[block].mean(), abs=1e-4)
        assert filled[i, j, k] == mask[block].all()
        assert touched[i, j, k] == (~mask[block]).any()


def test_less_than_a_block_is_none():
    assert block_means(np.zeros((2, 9, 9), np.float32), 3).shape == (0, 3, 3)
