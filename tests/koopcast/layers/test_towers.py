"""Towers of equal width and their products: the sum by hand, the start at zero, slopes."""

import pytest
import torch

from koopcast.layers.towers import LayeredProduct, Tower, TowerSizes, activation_slope, tower_activation

NAMES = ("tanh_sin", "silu_sin", "silu_id", "silu", "tanh", "gelu")


def product_of(outputs: int = 1, copies: int = 1, **sizes: object) -> LayeredProduct:
    chosen = TowerSizes(width=6, layers=4, sum_layers=3, **sizes)
    generator = torch.Generator().manual_seed(0)
    product = LayeredProduct(5, 2, chosen, outputs=outputs, copies=copies, generator=generator).double()
    product.weight.data.normal_(generator=generator)
    product.bias.data.normal_(generator=generator)
    return product


@pytest.mark.parametrize("name", NAMES)
def test_the_slope_of_an_activation_is_its_derivative(name: str) -> None:
    x = torch.linspace(-3, 3, 41, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(tower_activation(name)(x).sum(), x)
    assert torch.allclose(activation_slope(name, x), slope, atol=1e-12)


def test_a_tower_gives_its_last_layers_and_feeds_each_into_the_next() -> None:
    tower = Tower(3, TowerSizes(4, 3, 2), "tanh", generator=torch.Generator().manual_seed(0))
    x = torch.randn(7, 3)
    first, second, third = tower.layers
    h = second(first(x).tanh()).tanh()
    assert torch.allclose(tower(x)[:, 0], torch.stack([h, third(h).tanh()], dim=1))


def test_the_value_is_the_weighted_mean_of_inner_products_of_layers() -> None:
    product = product_of()
    beta, places = torch.randn(3, 5).double(), torch.randn(8, 2).double()
    a, x = product.branch(beta)[:, 0], product.trunk(places)[:, 0]
    # One inner product a layer, times w_i, over the three layers.
    by_hand = sum(product.weight[i] * a[:, i] @ x[:, i].T for i in range(3)) / 3 + product.bias
    assert torch.allclose(product(beta, places)[..., 0], by_hand, atol=1e-12)


def test_outputs_mix_one_inner_product_for_each_copy_of_the_branch() -> None:
    product = product_of(outputs=3, copies=2)
    beta, places = torch.randn(4, 5).double(), torch.randn(8, 2).double()
    a, x = product.branch(beta), product.trunk(places)[:, 0]
    each = torch.einsum("i,bmiw,piw->bpm", product.weight, a, x) / 3
    assert torch.allclose(product(beta, places), each @ product.mixing + product.bias, atol=1e-12)


def test_at_the_start_all_outputs_are_zero_and_the_weights_of_the_layers_move() -> None:
    product = LayeredProduct(5, 2, TowerSizes(6, 4, 3), generator=torch.Generator().manual_seed(0))
    value = product(torch.randn(3, 5), torch.randn(8, 2))
    (value - 1).square().sum().backward()
    assert torch.equal(value, torch.zeros_like(value))
    assert product.weight.grad.abs().min() > 0
    assert product.bias.grad.abs().min() > 0


@pytest.mark.parametrize("trunk", NAMES)
def test_slopes_are_the_derivatives_in_the_place(trunk: str) -> None:
    product = product_of(outputs=2, copies=2, trunk=trunk)
    beta, places = torch.randn(3, 5).double(), torch.randn(8, 2).double()
    steps = torch.eye(2).double()[:, None].expand(2, 8, 2)
    value, slopes = product.with_slopes(beta, places, steps)
    h = 1e-6
    for axis in range(2):
        move = h * torch.eye(2).double()[axis]
        change = (product(beta, places + move) - product(beta, places - move)) / (2 * h)
        assert torch.allclose(slopes[:, axis], change, atol=1e-6)
    assert torch.allclose(value, product(beta, places))


def test_the_branch_that_adds_its_input_keeps_what_differs_from_input_to_input() -> None:
    def spread(name: str) -> float:
        sizes = TowerSizes(64, 5, 1, branch=name)
        tower = Tower(16, sizes, sizes.branch, generator=torch.Generator().manual_seed(0))
        small = 0.1 * torch.randn(200, 16, generator=torch.Generator().manual_seed(1))
        return tower(small)[:, 0, 0].std(0).mean().item()

    # Five layers that halve small inputs each leave 1/32 of what 3/2 each would multiply.
    assert spread("silu_id") > 30 * spread("silu")
