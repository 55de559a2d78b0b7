"""Attention as an integral: quadrature, convergence, rotation with the coordinates."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from koopcast.layers.attention import Asked, IntegralAttention
from koopcast.layers.positions import grid_positions
from koopcast.layers.rotary import rotated

FORMS = ("softmax", "galerkin")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def attention(form: str, periodic: tuple[bool, ...], *, rotary: bool = True) -> IntegralAttention:
    layer = IntegralAttention(3, 2, 8, periodic, form=form, rotary=rotary, generator=seeded()).double()
    layer.query.weight.data *= 3
    layer.key.weight.data *= 3
    return layer


def field(intervals: int, periodic: bool) -> Tensor:
    x = torch.arange(intervals + (not periodic), dtype=torch.float64) / intervals
    turn = (2 if periodic else 1.3) * math.pi * x
    return torch.stack([turn.sin(), turn.cos() + 0.5, torch.exp(turn.sin())], dim=-1)[None]


def test_softmax_is_the_weighted_mean_of_its_formula() -> None:
    layer = attention("softmax", (False,), rotary=False)
    x = torch.randn(1, 5, 3, dtype=torch.float64, generator=seeded(1))
    w = torch.tensor([0.125, 0.25, 0.25, 0.25, 0.125], dtype=torch.float64)
    q, k, v = (part(x)[0].reshape(5, 2, 8) for part in (layer.query, layer.key, layer.value))
    expected = torch.zeros(5, 2, 8, dtype=torch.float64)
    for head in range(2):
        for point in range(5):
            density = w * torch.exp(k[:, head] @ q[point, head] / math.sqrt(8))
            expected[point, head] = (density[:, None] * v[:, head]).sum(0) / density.sum()
    assert torch.allclose(layer(x), layer.out(expected.reshape(1, 5, 16)), atol=1e-12)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("periodic", [True, False])
def test_output_on_refined_grids_converges_to_the_integral(form: str, periodic: bool) -> None:
    layer = attention(form, (periodic,))
    limit = layer(field(2048, periodic))[:, :: 2048 // 16]
    errors = [
        (layer(field(size, periodic))[:, :: size // 16] - limit).abs().max().item()
        for size in (32, 64, 128, 256)
    ]
    # Second order on a closed axis, once the density is resolved; on a circle beyond all orders.
    for coarse, fine in itertools.pairwise(errors):
        assert fine < 0.35 * coarse + 1e-10


@pytest.mark.parametrize("form", FORMS)
def test_without_quadrature_weights_a_closed_axis_would_converge_at_first_order_alone(form: str) -> None:
    # The same points taken as a circle of equal weights: the ends count twice as much as they should.
    closed, equal = attention(form, (False,), rotary=False), attention(form, (True,), rotary=False)
    limit = closed(field(2048, False))[:, :: 2048 // 16]
    weighted, flat = (
        (layer(field(64, False))[:, ::4] - limit).abs().max().item() for layer in (closed, equal)
    )
    assert weighted < 0.1 * flat


@pytest.mark.parametrize("form", FORMS)
def test_it_commutes_with_shifts_of_periodic_grids(form: str) -> None:
    layer = attention(form, (True, True))
    x = torch.randn(2, 6, 5, 3, dtype=torch.float64, generator=seeded(1))
    assert torch.allclose(layer(x.roll((2, 3), (1, 2))), layer(x).roll((2, 3), (1, 2)), atol=1e-12)


@pytest.mark.parametrize("form", FORMS)
def test_without_rotation_it_commutes_with_permutations_of_the_points(form: str) -> None:
    layer = attention(form, (True,), rotary=False)
    x = torch.randn(2, 9, 3, dtype=torch.float64, generator=seeded(1))
    order = torch.randperm(9, generator=seeded(2))
    assert torch.allclose(layer(x[:, order]), layer(x)[:, order], atol=1e-12)
    turning = attention(form, (True,))
    assert not torch.allclose(turning(x[:, order]), turning(x)[:, order], atol=1e-3)


def test_the_linear_form_is_a_mean_of_products() -> None:
    layer = attention("galerkin", (True,), rotary=False)
    x = torch.randn(1, 7, 3, dtype=torch.float64, generator=seeded(1))
    q, k, v = layer.query(x), layer.norms[0](layer.key(x)), layer.norms[1](layer.value(x))
    heads = [(q[0, :, s] @ k[0, :, s].T / 7) @ v[0, :, s] for s in (slice(0, 8), slice(8, 16))]
    assert torch.allclose(layer(x), layer.out(torch.cat(heads, dim=-1))[None], atol=1e-12)


@pytest.mark.parametrize("periodic", [True, False])
def test_products_of_turned_vectors_depend_on_the_offset_alone(periodic: bool) -> None:
    q, k = torch.randn(2, 8, dtype=torch.float64, generator=seeded())
    shape = [12, 9]
    points = 12 * 9
    turned_q = rotated(q.expand(1, 1, points, 8), shape, [periodic] * 2)[0, 0].reshape(12, 9, 8)
    turned_k = rotated(k.expand(1, 1, points, 8), shape, [periodic] * 2)[0, 0].reshape(12, 9, 8)
    first = turned_q[2, 1] @ turned_k[5, 4]
    assert torch.allclose(first, turned_q[6, 3] @ turned_k[9, 6], atol=1e-12)
    assert torch.allclose(turned_q.norm(dim=-1), q.norm().expand(12, 9), atol=1e-12)
    assert not torch.allclose(first, turned_q[2, 1] @ turned_k[5, 5], atol=1e-3)


def test_channels_that_fill_no_pair_stay() -> None:
    x = torch.randn(1, 1, 12, 7, dtype=torch.float64, generator=seeded())
    # Two axes, seven channels: one pair an axis, three channels left.
    assert torch.equal(rotated(x, [3, 4], [True, True])[..., 4:], x[..., 4:])


def test_elsewhere_it_is_the_weighted_mean_of_its_formula() -> None:
    layer = attention("softmax", (False,), rotary=False)
    x = torch.randn(1, 5, 3, dtype=torch.float64, generator=seeded(1))
    asked = torch.randn(1, 2, 3, dtype=torch.float64, generator=seeded(2))
    places = torch.tensor([[0.3], [0.9]], dtype=torch.float64)
    w = torch.tensor([0.125, 0.25, 0.25, 0.25, 0.125], dtype=torch.float64)
    q = layer.query(asked)[0].reshape(2, 2, 8)
    k, v = (part(x)[0].reshape(5, 2, 8) for part in (layer.key, layer.value))
    density = w * torch.exp(torch.einsum("ahc,phc->ahp", q, k) / math.sqrt(8))
    expected = torch.einsum("ahp,phc->ahc", density / density.sum(-1, keepdim=True), v).reshape(1, 2, 16)
    assert torch.allclose(layer(x, Asked(asked, places)), layer.out(expected), atol=1e-12)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("periodic", [(True, False), (False, True)])
def test_asked_at_the_points_of_the_grid_it_is_the_integral_there(
    form: str, periodic: tuple[bool, bool]
) -> None:
    layer = attention(form, periodic)
    x = torch.randn(2, 5, 4, 3, dtype=torch.float64, generator=seeded(1))
    places = grid_positions([5, 4], periodic, dtype=x.dtype, device=x.device).flatten(0, 1)
    order = torch.randperm(20, generator=seeded(2))
    asked = Asked(x.flatten(1, 2)[:, order], places[order])
    assert torch.allclose(layer(x, asked), layer(x).flatten(1, 2)[:, order], atol=1e-12)
