"""Convolutions as operators: what they tend to, what they keep, what they commute with."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from koopcast.errors import ShapeMismatch
from koopcast.layers.base_grid import BaseGrid
from koopcast.layers.convolution import Convolution
from koopcast.layers.convolutions import ConvolutionChoice, ResidualBlock
from koopcast.layers.finite_difference import FiniteDifference
from koopcast.layers.interpolated_convolution import InterpolatedConvolution, resampled_kernel
from koopcast.layers.local_integral import LocalIntegral, _basis, is_resolved, num_basis_functions
from koopcast.layers.resampling import resample

KINDS = ("plain", "kernel_interp", "disco", "finite_diff")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def base(*sizes: int, periodic: bool = True) -> BaseGrid:
    return BaseGrid(sizes, (periodic,) * len(sizes), (1.0,) * len(sizes))


def place(size: int, *, periodic: bool = True) -> Tensor:
    return torch.arange(size, dtype=torch.float64) / (size if periodic else size - 1)


def built(kind: str, grid: BaseGrid, channels: int = 2) -> torch.nn.Module:
    choice = ConvolutionChoice(kind, kernel=5, radius=0.3)
    return choice.build(channels, channels, grid, seeded()).double()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sizes", [(16,), (12, 15)])
def test_every_convolution_commutes_with_shifts_of_periodic_grids(kind: str, sizes: tuple[int, ...]) -> None:
    layer = built(kind, base(*sizes))
    x = torch.randn(2, *sizes, 2, dtype=torch.float64, generator=seeded(1))
    shift, dims = (5, 2)[: len(sizes)], (1, 2)[: len(sizes)]
    assert torch.allclose(layer(x.roll(shift, dims)), layer(x).roll(shift, dims), atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("periodic", [True, False])
def test_a_line_is_a_plane_that_does_not_vary_across(kind: str, periodic: bool) -> None:
    # On a plane of one column, whose columns to either side are itself (periodic), each row of taps adds up.
    grid = BaseGrid((16, 1), (periodic, True), (1.0, 1.0))
    if kind == "disco":
        return
    plane = ConvolutionChoice(kind, 3, 0.3).build(2, 3, grid, seeded()).double()
    line = ConvolutionChoice(kind, 3, 0.3).build(2, 3, base(16, periodic=periodic), seeded()).double()
    weights = {
        name: value.sum(-1) if value.ndim == 4 else value for name, value in plane.state_dict().items()
    }
    line.load_state_dict(weights)
    x = torch.randn(2, 16, 2, dtype=torch.float64, generator=seeded(1))
    assert torch.allclose(plane(x[:, :, None])[:, :, 0], line(x), atol=1e-12)


@pytest.mark.parametrize("periodic", [True, False])
@pytest.mark.parametrize("sizes", [(16,), (12, 15)])
def test_on_its_base_grid_an_interpolated_kernel_is_the_plain_one_to_the_bit(
    sizes: tuple[int, ...], periodic: bool
) -> None:
    grid = base(*sizes, periodic=periodic)
    plain = Convolution(2, 3, 5, grid, generator=seeded())
    converted = InterpolatedConvolution(2, 3, 5, grid, generator=seeded())
    x = torch.randn(2, *sizes, 2, generator=seeded(1))
    assert torch.equal(plain(x), converted(x))


def test_a_closed_axis_sees_zeros_beyond_its_ends() -> None:
    layer = Convolution(1, 1, 3, base(4, periodic=False), has_bias=False)
    layer.weight.data[:] = torch.tensor([1.0, 10.0, 100.0])
    # y_n = x_{n-1} + 10 x_n + 100 x_{n+1}
    result = layer(torch.tensor([1.0, 2.0, 3.0, 4.0])[None, :, None])
    assert result.flatten().tolist() == [210.0, 321.0, 432.0, 43.0]


def test_interpolated_taps_read_the_line_through_the_learned_ones() -> None:
    weight = torch.tensor([1.0, 4.0, 2.0])[None, None]
    # Twice as fine: half of 0.5, 1, 2.5, 4, 3, 2, 1. Half as fine: the outer taps lie between two points.
    fine = pytest.approx([0.25, 0.5, 1.25, 2, 1.5, 1, 0.5])
    assert resampled_kernel(weight, base(8), (16,)).flatten().tolist() == fine
    assert resampled_kernel(weight, base(8), (4,)).flatten().tolist() == pytest.approx([0.5, 5.5, 1])
    # On a closed axis 9 points are the half spacings of 5.
    assert resampled_kernel(weight, base(5, periodic=False), (9,)).flatten().tolist() == fine


def test_every_kernel_keeps_its_sum_on_any_grid() -> None:
    weight = torch.randn(1, 1, 5, 5, dtype=torch.float64, generator=seeded())
    for shape in ((32, 32), (24, 40), (20, 17), (16, 8), (5, 6)):
        kernel = resampled_kernel(weight, base(16, 16), shape)
        assert torch.allclose(kernel.sum(), weight.sum(), atol=1e-12)


def test_a_finer_grid_with_an_interpolated_kernel_is_the_base_grid_with_means_under_hats() -> None:
    layer = InterpolatedConvolution(2, 3, 5, base(16), generator=seeded()).double()
    fine = torch.randn(2, 64, 2, dtype=torch.float64, generator=seeded(1))
    coarse = resample(fine, [16], [True], "average")
    assert torch.allclose(layer(fine)[:, ::4], layer(coarse), atol=1e-12)


def _change(layer: torch.nn.Module, coarse: int, axes: int) -> float:
    """Return the largest change of the output for sin(2πx) from a grid to the nested one twice as fine."""

    def output(size: int) -> Tensor:
        wave = (2 * math.pi * place(size)).sin()
        field = wave if axes == 1 else wave[:, None] * wave
        return layer(field[None, ..., None])

    fine = output(2 * coarse)[(slice(None), *[slice(None, None, 2)] * axes)]
    return (fine - output(coarse)).abs().max().item()


def _smooth_kernel(axes: int) -> Tensor:
    line = (-((torch.arange(7, dtype=torch.float64) - 3) ** 2) / 3).exp()
    line = line * (1 + torch.arange(7) / 7)
    return line if axes == 1 else line[:, None] * line


@pytest.mark.parametrize("axes", [1, 2])
@pytest.mark.parametrize("kind", ["kernel_interp", "disco", "finite_diff"])
def test_output_of_a_converted_convolution_changes_by_the_order_of_the_spacing(kind: str, axes: int) -> None:
    sizes = (32, 64, 128) if axes == 1 else (12, 24, 48)
    grid = base(*[sizes[0]] * axes)
    layer = ConvolutionChoice(kind, kernel=7, radius=0.3).build(1, 1, grid, seeded()).double()
    for value in layer.parameters():
        if value.ndim == 2 + axes and kind != "disco":
            value.data[:] = _smooth_kernel(axes)
    changes = [_change(layer, size, axes) for size in sizes]
    # O(1/N): N times the change stays bounded.
    assert 2 * changes[1] <= 1.4 * changes[0]
    assert 4 * changes[2] <= 1.4 * changes[0]


def test_a_plain_convolution_tends_to_a_pointwise_factor() -> None:
    layer = Convolution(1, 1, 7, base(32), has_bias=False).double()
    layer.weight.data[:] = _smooth_kernel(1)
    wave = (2 * math.pi * place(2048)).sin()[None, :, None]
    assert torch.allclose(layer(wave), layer.weight.sum() * wave, atol=0.005)
    coarse = (2 * math.pi * place(32)).sin()[None, :, None]
    assert not torch.allclose(layer(coarse), layer.weight.sum() * coarse, atol=0.1)


@pytest.mark.parametrize(("sizes", "shape"), [((16,), (3, 2)), ((16, 16), (2, 4)), ((16, 20), (3, 5))])
def test_basis_functions_of_a_disc_have_quadrature_sum_one(
    sizes: tuple[int, ...], shape: tuple[int, int]
) -> None:
    grid = base(*sizes)
    for factor in (1, 2, 4):
        spacings = grid.spacings([factor * size for size in sizes])
        basis = _basis(spacings, 0.25, shape, torch.float64, torch.device("cpu"))
        assert len(basis) == num_basis_functions(shape, len(sizes))
        assert torch.allclose(basis.flatten(1).sum(1), torch.ones(len(basis), dtype=torch.float64))
        assert (basis >= 0).all()


def test_default_shape_of_a_disc_has_five_functions() -> None:
    assert num_basis_functions((2, 4), 2) == 5


@pytest.mark.parametrize("sizes", [(24,), (24, 24)])
def test_a_local_integral_maps_constants_to_constants_the_same_on_every_grid(sizes: tuple[int, ...]) -> None:
    layer = LocalIntegral(2, 3, base(*sizes), radius=0.2, generator=seeded()).double()
    value = torch.tensor([1.5, -2.0], dtype=torch.float64)
    expected = layer.weight.sum(-1) @ value
    for factor in (1, 2, 3):
        result = layer(value.expand(1, *[factor * size for size in sizes], 2))
        assert torch.allclose(result, expected.expand_as(result), atol=1e-12)


def test_a_local_integral_is_the_integral_against_its_hats() -> None:
    # One dimension, rings 1: y = ∫ hat(z - x) u(z) dz with a hat of radius r and integral 1. On e^{iωx} the
    # factor is (sin(ωr/2) / (ωr/2))², the transform of the hat.
    layer = LocalIntegral(1, 1, base(32), radius=0.25, shape=(1, 1), has_bias=False).double()
    layer.weight.data.fill_(1)
    errors = []
    for size in (32, 64, 128):
        wave = (2 * math.pi * place(size)).cos()[None, :, None]
        half = 2 * math.pi * 0.25 / 2
        errors.append((layer(wave) - (math.sin(half) / half) ** 2 * wave).abs().max().item())
    assert errors[0] < 5e-3
    # The hat's kink makes the trapezoidal rule second order.
    assert errors[1] < 0.3 * errors[0]
    assert errors[2] < 0.3 * errors[1]


def test_sectors_of_a_disc_point_along_the_axes() -> None:
    # θ picks the sector at angle 0, which is up the last axis: the integral reads u further along it.
    layer = LocalIntegral(1, 1, base(32, 32), radius=0.2, has_bias=False).double()
    layer.weight.data.zero_()
    layer.weight.data[..., 1] = 1
    x = torch.zeros(1, 32, 32, 1, dtype=torch.float64)
    x[0, 16, 16] = 1
    seen = (layer(x)[0, ..., 0] > 1e-9).nonzero()
    assert (seen[:, 1] < 16).all()
    assert (seen[:, 0] - 16).abs().max() < 0.2 * 32


def test_a_grid_too_coarse_for_a_disc_is_refused() -> None:
    layer = LocalIntegral(1, 1, base(32, 32), radius=0.1)
    with pytest.raises(ShapeMismatch, match="too coarse for kernels"):
        layer(torch.zeros(1, 8, 8, 1))
    assert is_resolved(base(32, 32).spacings((32, 32)), 0.1, (2, 4))
    assert not is_resolved(base(32, 32).spacings((8, 8)), 0.1, (2, 4))


def test_discs_are_round_on_oblong_domains() -> None:
    # The domain is twice as long in x; with equal spacings the kernel is that of the square.
    oblong = BaseGrid((16, 32), (True, True), (1.0, 2.0))
    assert oblong.spacings((16, 32)) == base(16, 16).spacings((16, 16))
    wide = LocalIntegral(1, 1, oblong, radius=0.2, generator=seeded()).double()
    square = LocalIntegral(1, 1, base(16, 16), radius=0.2, generator=seeded()).double()
    x = torch.zeros(1, 16, 32, 1, dtype=torch.float64)
    x[0, 8, 8] = 1
    assert torch.allclose(wide(x)[:, :, :16], square(x[:, :, :16]), atol=1e-12)


@pytest.mark.parametrize("periodic", [True, False])
def test_a_finite_difference_converges_to_the_derivative_at_first_order_or_better(periodic: bool) -> None:
    grid = base(33 if not periodic else 32, periodic=periodic)
    layer = FiniteDifference(1, 1, 3, grid, generator=seeded(3)).double()
    # Σ_j K_j j / h₀, h₀ the base spacing: the slope along the axis.
    taps = layer.weight.flatten()
    factor = ((taps[2] - taps[0]) / 32).item()
    errors = []
    for intervals in (32, 64, 128, 256):
        x = place(intervals if periodic else intervals + 1, periodic=periodic)
        slope = 2 * math.pi * (2 * math.pi * x).cos()
        result = layer((2 * math.pi * x).sin()[None, :, None])[0, :, 0]
        errors.append((result - factor * slope).abs().max().item())
    rates = [math.log2(first / second) for first, second in itertools.pairwise(errors)]
    assert min(rates) > 0.9


def test_antisymmetric_taps_make_a_central_difference_of_second_order() -> None:
    layer = FiniteDifference(1, 1, 3, base(32, 32)).double()
    layer.weight.data.zero_()
    layer.weight.data[0, 0, 1, 0], layer.weight.data[0, 0, 1, 2] = -0.5, 0.5
    errors = []
    for size in (32, 64):
        x = place(size)
        field = (2 * math.pi * x[:, None]).cos() * (2 * math.pi * x).sin()
        slope = (2 * math.pi * x[:, None]).cos() * 2 * math.pi * (2 * math.pi * x).cos() / 32
        errors.append((layer(field[None, ..., None])[0, ..., 0] - slope).abs().max().item())
    assert errors[1] == pytest.approx(errors[0] / 4, rel=0.02)


def test_a_finite_difference_of_a_constant_is_zero_and_of_a_ramp_the_same_at_the_walls() -> None:
    layer = FiniteDifference(1, 1, 3, base(9, 9, periodic=False), generator=seeded()).double()
    ramp = place(9, periodic=False)[:, None].expand(9, 9) + 3.0
    result = layer(ramp[None, ..., None])
    assert torch.allclose(result, result[:, :1, :1].expand_as(result), atol=1e-12)
    ones = torch.ones(1, 9, 9, 1, dtype=torch.float64)
    assert torch.allclose(layer(ones), torch.zeros_like(ones), atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_a_residual_block_with_silent_second_convolution_is_its_skip(kind: str) -> None:
    grid = base(10, 12, periodic=False)
    choice = ConvolutionChoice(kind, 3, 0.3)
    convolutions = (choice.build(2, 2, grid, seeded()), choice.build(2, 2, grid, seeded()))
    for value in convolutions[1].parameters():
        value.data.zero_()
    block = ResidualBlock(2, 2, convolutions, norm="group", periodic=grid.periodic, generator=None)
    x = torch.randn(2, 10, 12, 2, generator=seeded(1))
    assert torch.equal(block(x), x)


def test_base_grid_counts_intervals_by_period() -> None:
    grid = BaseGrid((17, 16), (False, True), (1.0, 2.0))
    assert grid.refinement((33, 48)) == (2.0, 3.0)
    assert grid.spacings((17, 16)) == (1 / 16, 1 / 8)
    assert grid.coarsened(2).shape == (9, 8)
    assert grid.coarsened(16).shape == (2, 2)
