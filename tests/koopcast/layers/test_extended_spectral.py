"""Spectral convolution on closed axes: one period in the domain on every grid."""

import math

import torch
from torch import Tensor

from koopcast.layers.extended_spectral import ExtendedSpectral
from koopcast.layers.spectral_convolution import SpectralConvolution


def layer(periodic: tuple[bool, ...]) -> ExtendedSpectral:
    generator = torch.Generator().manual_seed(0)
    return ExtendedSpectral(2, [6] * len(periodic), periodic, generator=generator).double()


def test_a_periodic_axis_is_left_as_it_is() -> None:
    x = torch.randn(2, 12, 10, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    built = layer((True, True))
    assert torch.equal(built(x), built.spectral(x))


def test_on_nested_closed_grids_it_converges_where_the_bare_layer_keeps_another_period() -> None:
    def at_nodes(built: ExtendedSpectral | SpectralConvolution, intervals: int) -> Tensor:
        # A bump that is 0 at both ends: the zeros behind them continue it smoothly.
        place = torch.arange(intervals + 1, dtype=torch.float64) / intervals
        bump = (math.pi * place).sin().pow(4)[None, :, None].expand(1, -1, 2)
        return built(bump)[:, :: intervals // 16]

    built = layer((False,))
    for chosen, most in ((built, 1e-4), (built.spectral, None)):
        change = (at_nodes(chosen, 16) - at_nodes(chosen, 32)).abs().max().item()
        size = at_nodes(chosen, 16).abs().max().item()
        assert (change > 0.02 * size) if most is None else (change < most * size)


def test_the_output_has_the_shape_of_the_input() -> None:
    assert layer((False, True))(torch.zeros(2, 9, 8, 2, dtype=torch.float64)).shape == (2, 9, 8, 2)
