"""Normalisation over the domain, and the quadrature under it."""

import math

import pytest
import torch
from torch import Tensor

from koopcast.layers.domain_normalisation import DomainNormalisation
from koopcast.layers.normalisation import FeatureNormalisation
from koopcast.layers.quadrature import quadrature


def weights(shape: list[int], periodic: list[bool]) -> Tensor:
    return quadrature(shape, periodic, dtype=torch.float64, device=torch.device("cpu"))


def test_weights_are_those_of_the_trapezoidal_rule_with_sum_one() -> None:
    assert weights([5], [False]).tolist() == pytest.approx([1 / 8, 1 / 4, 1 / 4, 1 / 4, 1 / 8])
    assert weights([4], [True]).tolist() == pytest.approx([1 / 4] * 4)
    plane = weights([5, 4], [False, True])
    assert plane.sum().item() == pytest.approx(1)
    assert plane[0, 0].item() == pytest.approx(1 / 32)


def test_straight_lines_are_integrated_exactly_on_closed_axes() -> None:
    x = torch.linspace(0, 1, 7, dtype=torch.float64)
    assert (weights([7], [False]) @ (3 * x + 1)).item() == pytest.approx(2.5)


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_features_have_mean_zero_and_variance_one_over_domain_and_group(groups: int) -> None:
    layer = DomainNormalisation(4, groups, [False, True]).double()
    x = 3 + 2 * torch.randn(2, 9, 8, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    w = weights([9, 8], [False, True]).flatten()
    result = layer(x).flatten(1, 2)
    mean = (w @ result).unflatten(1, (groups, -1)).mean(-1)
    square = (w @ result.square()).unflatten(1, (groups, -1)).mean(-1)
    assert torch.allclose(mean, torch.zeros(2, groups, dtype=torch.float64), atol=1e-12)
    assert torch.allclose(square, torch.ones(2, groups, dtype=torch.float64), atol=1e-4)


@pytest.mark.parametrize(("over", "groups"), [("instance", 3), ("group", 1)])
def test_on_periodic_grids_it_is_the_plain_mean_and_variance(over: str, groups: int) -> None:
    x = torch.randn(2, 6, 5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    plain = FeatureNormalisation(3, over).double()
    assert torch.allclose(DomainNormalisation(3, groups, [True, True]).double()(x), plain(x), atol=1e-12)


@pytest.mark.parametrize("periodic", [True, False])
def test_statistics_converge_with_the_grid(periodic: bool) -> None:
    layer = DomainNormalisation(1, 1, [periodic]).double()
    ends = 0 if periodic else 1

    def at_nodes(intervals: int) -> Tensor:
        x = torch.arange(intervals + ends, dtype=torch.float64) / intervals
        field = torch.exp(torch.sin(2 * math.pi * x)) if periodic else torch.exp(3 * x)
        return layer(field[None, :, None])[:, :: intervals // 8]

    limit = at_nodes(8192)
    errors = [(at_nodes(size) - limit).abs().max().item() for size in (16, 32, 64)]
    # The trapezoidal rule is of second order, and beyond all orders on a circle.
    assert errors[1] < 0.3 * errors[0] + 1e-12
    assert errors[2] < 0.3 * errors[1] + 1e-12


def test_scale_and_shift_belong_to_channels() -> None:
    layer = DomainNormalisation(2, 2, [True])
    layer.scale.data, layer.shift.data = torch.tensor([2.0, 3.0]), torch.tensor([0.5, -1.0])
    x = torch.tensor([[[-1.0, -1.0], [1.0, 1.0]]])
    assert torch.allclose(layer(x), torch.tensor([[[-1.5, -4.0], [2.5, 2.0]]]), atol=1e-4)
