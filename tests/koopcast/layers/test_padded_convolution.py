"""Convolutions and prolongations at the ends of axes."""

import pytest
import torch

from koopcast.layers.padded_convolution import PaddedConvolution, Prolongation


def line(*values: float) -> torch.Tensor:
    return torch.tensor([[values]])


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


# The kernel takes the left neighbour: the first point shows what lies beyond the end of the axis.
@pytest.mark.parametrize(("padding", "beyond"), [("zeros", 0.0), ("circular", 4.0), ("reflect", 2.0)])
def test_beyond_the_end_lies_what_the_padding_says(padding: str, beyond: float) -> None:
    layer = PaddedConvolution(1, 1, [padding])
    layer.weight.data = line(1.0, 0.0, 0.0)
    assert layer(line(1.0, 2.0, 3.0, 4.0)).tolist() == [[[beyond, 1.0, 2.0, 3.0]]]


def test_zeros_count_the_neighbours_that_lie_on_the_grid() -> None:
    layer = PaddedConvolution(1, 1, ["zeros", "zeros"])
    layer.weight.data.fill_(1.0)
    expected = [[4.0, 6.0, 4.0], [6.0, 9.0, 6.0], [4.0, 6.0, 4.0]]
    assert layer(torch.ones(1, 1, 3, 3))[0, 0].tolist() == expected


def test_each_axis_has_its_own_ends() -> None:
    layer = PaddedConvolution(1, 1, ["circular", "zeros", "reflect"])
    layer.weight.data.zero_()
    layer.weight.data[0, 0, 0, 1, 1] = 1
    layer.weight.data[0, 0, 1, 0, 1] = 10
    layer.weight.data[0, 0, 1, 1, 0] = 100
    x = torch.randn(1, 1, 4, 5, 6)
    beyond = x[0, 0, 3, 0, 0] + 100 * x[0, 0, 0, 0, 1]
    assert torch.isclose(layer(x)[0, 0, 0, 0, 0], beyond)


@pytest.mark.parametrize(("size", "coarse"), [(8, 4), (9, 5), (5, 3), (2, 1)])
def test_stride_2_takes_every_other_point_from_the_first_on(size: int, coarse: int) -> None:
    layer = PaddedConvolution(1, 1, ["zeros"], stride=2)
    layer.weight.data = line(0.0, 1.0, 0.0)
    x = torch.arange(float(size))[None, None]
    assert torch.equal(layer(x), x[..., ::2])
    assert layer(x).shape[-1] == coarse


# Linear interpolation: what lies beyond the last coarse point decides the last fine point of an even grid.
@pytest.mark.parametrize(("padding", "last"), [("zeros", 2.0), ("circular", 3.0), ("reflect", 3.0)])
def test_prolongation_to_an_even_grid_interpolates_up_to_the_end(padding: str, last: float) -> None:
    layer = Prolongation(1, [padding], [4])
    layer.weight.data = line(0.5, 1.0, 0.5, 0.0)
    assert layer(line(2.0, 4.0)).tolist() == [[[2.0, 3.0, 4.0, last]]]


@pytest.mark.parametrize("padding", ["zeros", "reflect"])
def test_prolongation_to_an_odd_grid_interpolates_between_its_ends(padding: str) -> None:
    layer = Prolongation(1, [padding], [5])
    layer.weight.data = line(0.5, 1.0, 0.5)
    assert layer(line(2.0, 4.0, 8.0)).tolist() == [[[2.0, 3.0, 4.0, 6.0, 8.0]]]


@pytest.mark.parametrize("size", [8, 9])
def test_prolongation_is_the_transpose_of_the_convolution_with_its_weights(size: int) -> None:
    layer = Prolongation(3, ["zeros", "zeros"], [size, size], generator=generator()).double()
    coarse = torch.randn(2, 3, -(-size // 2), -(-size // 2), dtype=torch.float64, generator=generator())
    fine = torch.randn(2, 3, size, size, dtype=torch.float64, generator=generator())
    restricted = torch.nn.functional.conv2d(fine, layer.weight, stride=2, padding=1)
    assert torch.isclose((layer(coarse) * fine).sum(), (coarse * restricted).sum())


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_a_shifted_periodic_coarse_field_is_prolonged_to_the_shifted_fine_field(dims: int) -> None:
    layer = Prolongation(2, ["circular"] * dims, [8] * dims, generator=generator()).double()
    coarse = torch.randn(1, 2, *[4] * dims, dtype=torch.float64, generator=generator())
    space = tuple(range(2, 2 + dims))
    shifted = layer(coarse.roll((1,) * dims, space))
    assert torch.allclose(shifted, layer(coarse).roll((2,) * dims, space), atol=1e-14)


def test_weights_come_from_the_generator_alone() -> None:
    first, second = (
        PaddedConvolution(4, 5, ["zeros", "zeros"], bias=True, generator=generator()) for _ in range(2)
    )
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert first.weight.abs().max() <= 1 / 6
    assert first.weight.abs().max() > 0.9 / 6
