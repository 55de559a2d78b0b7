"""Spectral convolution: exact on band-limited fields, on any grid, by both backends."""

import math

import pytest
import torch
from torch import Tensor

from koopcast.layers import fourier
from koopcast.layers.spectral_convolution import SpectralConvolution

BACKENDS = ("dft", "fft")


def identity(axes: int, modes: int, channels: int, backend: str) -> SpectralConvolution:
    layer = SpectralConvolution(channels, channels, [modes] * axes, backend=backend)
    layer.weight.data.zero_()
    layer.weight.data[0] = torch.eye(channels)
    layer.bias.data.zero_()
    return layer


def band_limited(
    size: int, axes: int, highest: int, channels: int = 2, dtype: torch.dtype = torch.float64
) -> Tensor:
    """Random waves up to `highest` on every axis: the same field for every grid size."""
    generator = torch.Generator().manual_seed(3)
    place = torch.arange(size, dtype=torch.float64) / size
    waves = 2 * math.pi * torch.outer(torch.arange(highest + 1), place)
    lines = torch.cat([waves.cos(), waves.sin()])
    field = torch.randn(1, *[len(lines)] * axes, channels, generator=generator, dtype=torch.float64)
    for _ in range(axes):
        field = torch.tensordot(field, lines, dims=([1], [0])).movedim(-1, axes).contiguous()
    return field.to(dtype)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("size", [16, 17, 33, 64])
@pytest.mark.parametrize("axes", [1, 2])
def test_unit_multipliers_leave_band_limited_fields_alone(axes: int, size: int, backend: str) -> None:
    field = band_limited(size, axes, highest=3)
    layer = identity(axes, 8, 2, backend)
    assert torch.allclose(layer.double()(field), field, atol=1e-12)
    assert torch.allclose(layer.float()(field.float()), field.float(), atol=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("size", "other"), [(16, 32), (32, 16), (17, 34), (33, 17), (16, 24), (21, 64)])
@pytest.mark.parametrize("axes", [1, 2])
def test_output_on_another_grid_is_the_same_field_there(
    axes: int, size: int, other: int, backend: str
) -> None:
    layer = identity(axes, 8, 2, backend).double()
    result = layer(band_limited(size, axes, highest=3), [other] * axes)
    assert torch.allclose(result, band_limited(other, axes, highest=3), atol=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("axes", [1, 2])
@pytest.mark.parametrize("size", [16, 17, 33, 64])
def test_twice_and_half_the_points_show_the_same_field_in_single_precision(
    size: int, axes: int, backend: str
) -> None:
    layer = identity(axes, 8, 2, backend)
    field = band_limited(size, axes, highest=3, dtype=torch.float32)
    for other in (2 * size, size // 2):
        expected = band_limited(other, axes, highest=3, dtype=torch.float32)
        assert torch.allclose(layer(field, [other] * axes), expected, atol=1e-5 * expected.abs().max().item())


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("modes", [4, 5])
def test_both_backends_agree_for_random_weights_and_gradients(axes: int, modes: int) -> None:
    generator = torch.Generator().manual_seed(0)
    dft = SpectralConvolution(2, 3, [modes] * axes, backend="dft", generator=generator).double()
    fft = SpectralConvolution(2, 3, [modes] * axes, backend="fft").double()
    fft.load_state_dict(dft.state_dict())
    for size in (9, 8, 4, 3):
        x = torch.randn(2, *[size] * axes, 2, generator=generator, dtype=torch.float64, requires_grad=True)
        for shape in (None, [7] * axes, [2 * size] * axes):
            first, second = dft(x, shape), fft(x, shape)
            assert torch.allclose(first, second, atol=1e-12)
            slopes = torch.randn(first.shape, generator=generator, dtype=torch.float64)
            left = torch.autograd.grad(first, [x, *dft.parameters()], slopes)
            right = torch.autograd.grad(second, [x, *fft.parameters()], slopes)
            assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip(left, right, strict=True))


def test_agrees_with_the_textbook_sum() -> None:
    # y(n) = Re Σ_k1 Σ_k2≥0 w x̂(k) R(k) e^{iθ}, with k1 in {0, 1, -2, -1}, k2 in {0, 1, 2}, w = 1, 2, 2.
    layer = SpectralConvolution(1, 1, [4, 4]).double()
    x = torch.randn(1, 7, 6, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    spectrum = torch.fft.fft2(x[0, :, :, 0], norm="forward")
    n1, n2 = torch.arange(7, dtype=torch.float64)[:, None], torch.arange(6, dtype=torch.float64)
    expected = torch.zeros(7, 6, dtype=torch.float64)
    for i, k1 in enumerate((0, 1, -2, -1)):
        for k2, weight in enumerate((1, 2, 2)):
            factor = torch.complex(layer.weight[0, i, k2, 0, 0], layer.weight[1, i, k2, 0, 0])
            wave = torch.exp(2j * math.pi * (k1 * n1 / 7 + k2 * n2 / 6))
            expected = expected + weight * (spectrum[k1, k2] * factor * wave).real
    assert torch.allclose(layer(x)[0, :, :, 0], expected + layer.bias, atol=1e-13)


def test_commutes_with_shifts() -> None:
    layer = SpectralConvolution(3, 3, [6, 5]).double()
    x = torch.randn(1, 12, 15, 3, dtype=torch.float64)
    shifted = layer(x.roll((3, 4), (1, 2)))
    assert torch.allclose(shifted, layer(x).roll((3, 4), (1, 2)), atol=1e-12)


def test_the_bias_is_added_once_at_every_point() -> None:
    layer = SpectralConvolution(2, 2, [4, 4])
    layer.bias.data = torch.tensor([1.5, -2.0])
    result = layer(torch.zeros(1, 8, 9, 2))
    assert torch.allclose(result, layer.bias.expand_as(result), atol=1e-6)


def test_matrices_cached_in_inference_mode_serve_training_later() -> None:
    layer = SpectralConvolution(1, 1, [6])
    x = torch.randn(1, 13, 1)
    with torch.inference_mode():
        layer(x)
    layer(x.requires_grad_()).sum().backward()
    assert x.grad is not None


@pytest.mark.parametrize(("size", "modes", "small"), [(64, 16, True), (64, 64, False), (1024, 16, False)])
def test_auto_takes_matrices_for_few_modes_on_short_axes(size: int, modes: int, small: bool) -> None:
    layer = SpectralConvolution(1, 1, [modes])
    assert layer._is_small(size, [size]) is small


def test_kept_waves_stand_in_fft_order() -> None:
    full, half = fourier.bands([5, 5])
    assert full.waves(torch.device("cpu")).tolist() == [0, 1, 2, -2, -1]
    assert half.waves(torch.device("cpu")).tolist() == [0, 1, 2]
    assert full.within(3).waves(torch.device("cpu")).tolist() == [0, 1, -1]
