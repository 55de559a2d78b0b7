"""Resampling between grids of one domain: exact where it can be, nested, and stable."""

import math

import pytest
import torch
from torch import Tensor

from koopcast.layers.resampling import ResampledNetwork, resample

SIZES = [(16, 32), (32, 16), (17, 34), (33, 17), (16, 24), (24, 17), (21, 64), (15, 16)]


def place(size: int, periodic: bool) -> Tensor:
    return torch.arange(size, dtype=torch.float64) / (size if periodic else size - 1)


def smooth(size: int, periodic: bool) -> Tensor:
    """Waves up to the fifth: sines and cosines on a circle, cosines of half turns on a closed axis."""
    x = place(size, periodic)
    generator = torch.Generator().manual_seed(0)
    field = torch.zeros(size, dtype=torch.float64)
    for wave in range(6):
        a, b = torch.randn(2, generator=generator, dtype=torch.float64)
        turn = (2 if periodic else 1) * math.pi * wave * x
        field = field + a * turn.cos() + (b * turn.sin() if periodic else 0)
    return field


@pytest.mark.parametrize("periodic", [True, False])
@pytest.mark.parametrize(("old", "new"), SIZES)
def test_fourier_is_exact_for_band_limited_fields(old: int, new: int, periodic: bool) -> None:
    result = resample(smooth(old, periodic)[None, :, None], [new], [periodic], "fourier")
    assert torch.allclose(result[0, :, 0], smooth(new, periodic), atol=1e-12)


@pytest.mark.parametrize(("old", "new"), SIZES)
def test_fourier_in_two_dimensions_treats_each_axis_by_its_own_kind(old: int, new: int) -> None:
    field = smooth(old, True)[:, None] * smooth(new, False)
    result = resample(field[None, ..., None], [new, old], [True, False], "fourier")
    expected = smooth(new, True)[:, None] * smooth(old, False)
    assert torch.allclose(result[0, ..., 0], expected, atol=1e-11)


@pytest.mark.parametrize("mode", ["bilinear", "fourier"])
@pytest.mark.parametrize(
    ("periodic", "old", "new"), [(True, 8, 24), (True, 9, 18), (False, 9, 25), (False, 6, 11)]
)
def test_values_at_nodes_that_both_grids_share_stay(mode: str, periodic: bool, old: int, new: int) -> None:
    field = torch.randn(2, old, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    ends = 0 if periodic else 1
    stride = (new - ends) // (old - ends)
    fine = resample(field, [new], [periodic], mode)
    assert torch.allclose(fine[:, ::stride], field, atol=1e-12)
    if mode == "bilinear":
        assert torch.equal(resample(fine, [old], [periodic], mode), fine[:, ::stride])


@pytest.mark.parametrize("mode", ["bilinear", "fourier", "average"])
@pytest.mark.parametrize("periodic", [True, False])
@pytest.mark.parametrize(("old", "new"), SIZES)
def test_constants_stay(old: int, new: int, periodic: bool, mode: str) -> None:
    field = torch.full((1, old, new, 1), 2.5, dtype=torch.float64)
    result = resample(field, [new, old], [periodic, periodic], mode)
    assert torch.allclose(result, torch.full_like(result, 2.5), atol=1e-12)


def test_a_straight_line_is_read_exactly_on_a_closed_axis() -> None:
    line = place(11, False)[None, :, None]
    assert torch.allclose(resample(line, [17], [False], "bilinear")[0, :, 0], place(17, False), atol=1e-14)


def test_linear_interpolation_goes_around_the_circle() -> None:
    field = torch.tensor([0.0, 1.0, 2.0, 6.0])[None, :, None]
    assert resample(field, [8], [True], "bilinear").flatten().tolist() == [0, 0.5, 1, 1.5, 2, 4, 6, 3]


def test_means_under_hats_are_full_weighting_on_grids_twice_as_fine() -> None:
    field = torch.tensor([4.0, 0.0, 8.0, 0.0, 0.0])[None, :, None]
    # Inside 1/4, 1/2, 1/4; at a wall the half hat 1/2, 1/2 by the trapezoidal rule: (4/2 + 0/2) / 1.
    assert resample(field, [3], [False], "average").flatten().tolist() == pytest.approx([2.0, 4.0, 0.0])


@pytest.mark.parametrize("periodic", [True, False])
def test_means_under_hats_converge_as_the_finer_grid_is_refined(periodic: bool) -> None:
    ends = 0 if periodic else 1

    def coarse(intervals: int) -> Tensor:
        field = torch.exp(torch.sin(2 * math.pi * place(intervals + ends, periodic)))
        return resample(field[None, :, None], [8 + ends], [periodic], "average")

    limit = coarse(4096)
    errors = [(coarse(size) - limit).abs().max().item() for size in (16, 32, 64)]
    assert errors[1] < 0.3 * errors[0]
    assert errors[2] < 0.3 * errors[1]


@pytest.mark.parametrize("mode", ["bilinear", "fourier"])
def test_a_resampled_network_is_the_network_on_its_own_grid_and_near_it_on_others(mode: str) -> None:
    network = torch.nn.Linear(1, 2).double()
    resampled = ResampledNetwork(network, [32], [True], mode)
    field = smooth(32, True)[None, :, None]
    assert torch.equal(resampled(field), network(field))
    fine = smooth(64, True)[None, :, None]
    tolerance = 1e-10 if mode == "fourier" else 0.3
    assert torch.allclose(resampled(fine), network(fine), atol=tolerance)
    assert resampled.state_dict().keys() == {"network.weight", "network.bias"}
