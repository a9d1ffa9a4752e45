"""Blurs and interpolations as products of matrices, beside PyTorch's and SciPy's own."""

import pytest
import torch
from scipy import ndimage
from torch.nn import functional as F

from abdoseg.training.augment.tensor_filters import block_means, gaussian_blur, thick_slices, upsample_linear


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def test_a_blur_keeps_constants_to_the_edge():
    torch.testing.assert_close(gaussian_blur(torch.full((6, 7, 8), 7.0), (1.0, 2.0, 0.5)), torch.full((6, 7, 8), 7.0))


@pytest.mark.parametrize("sigma", [(0.6, 1.3, 2.0), (0.0, 0.7, 0.1), (3.5, 0.5, 0.3)])
def test_a_blur_is_scipys(sigma):
    image = noise(20, 12, 9)
    sizes = [s if s >= 0.2 else 0 for s in sigma]
    radii = [-int(-2.5 * s // 1) for s in sizes]
    expected = ndimage.gaussian_filter(image.numpy(), sizes, mode="nearest", radius=radii)
    torch.testing.assert_close(gaussian_blur(image, sigma), torch.from_numpy(expected), atol=1e-5, rtol=0)


def test_an_axis_shorter_than_the_bell_is_left_alone():
    image = noise(20, 2, 9)
    torch.testing.assert_close(gaussian_blur(image, (0.0, 1.0, 0.0)), image)


@pytest.mark.parametrize("shape", [(2, 3, 4), (5, 9, 2)])
def test_a_lattice_is_interpolated_as_pytorch_does(shape):
    lattice = noise(*shape)
    expected = F.interpolate(lattice[None, None], size=(16, 9, 8), mode="trilinear", align_corners=True)[0, 0]
    torch.testing.assert_close(upsample_linear(lattice, (16, 9, 8)), expected, atol=1e-6, rtol=0)


def test_blocks_are_averaged_as_pytorch_does():
    image = noise(20, 12, 9)
    expected = F.interpolate(image[None, None], size=(7, 4, 9), mode="area")[0, 0]
    torch.testing.assert_close(block_means(image, (7, 4, 9)), expected, atol=1e-6, rtol=0)


def test_thick_slices_are_means_of_thin_ones_interpolated_back():
    image = torch.tensor([0.0, 2.0, 4.0, 10.0]).expand(3, 2, 4)  # two slices of twice the thickness: 1 and 7
    torch.testing.assert_close(thick_slices(image, 2), torch.tensor([1.0, 2.5, 5.5, 7.0]).expand(3, 2, 4))
