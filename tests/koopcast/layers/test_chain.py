"""Chains of linear maps with GELUs between them: the same values and slopes however they are cut."""

import pytest
import torch
from torch import Tensor

from koopcast.layers import chain as module
from koopcast.layers.chain import Link, chain

ROWS = 24
MATRIX = torch.tensor([[1.0, 2.0, -1.0], [0.5, 0.0, 3.0]], dtype=torch.float64)
"""Makes two rows of three."""


@pytest.fixture
def blocks_of_few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five wide pairs of rows fill the cache, so that twelve are three blocks, the last one short."""
    monkeypatch.setattr(module, "CACHED_VALUES", 10 * 7)


def inputs(dtype: torch.dtype = torch.float64) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = [(ROWS, 3), (3, 4), (4,), (ROWS, 4), (4, 2), (2,), (2, 3), (3,), (3, 3), (3,)]
    shapes.append((ROWS // 2, 3, 3))
    return [
        torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
        for shape in shapes
    ]


def long_chain(*given: Tensor) -> Tensor:
    x, W, b, a, V, c, U, f, T, d, r = given
    last = Link(T, d, r, matrix=MATRIX.to(x.dtype))
    return chain(x, [Link(W, b, a), Link(V, c), Link(U, None, x, f), last], activated=True)


def by_hand(*given: Tensor) -> Tensor:
    def gelu(z: Tensor) -> Tensor:
        return z * (1 + torch.erf(z / 2**0.5)) / 2

    x, W, b, a, V, c, U, f, T, d, r = given
    spread = torch.einsum("ik,gkc->gic", MATRIX.to(x.dtype), r).reshape(ROWS, 3)
    return gelu(gelu(gelu(gelu(x @ W + b + a) @ V + c) @ U + x * f) @ T + d + spread)


@pytest.mark.usefixtures("blocks_of_few_rows")
def test_first_and_second_derivatives_are_those_of_finite_differences() -> None:
    assert torch.autograd.gradcheck(long_chain, inputs())
    assert torch.autograd.gradgradcheck(long_chain, inputs())


@pytest.mark.usefixtures("blocks_of_few_rows")
def test_blocks_give_the_values_and_slopes_of_the_formula() -> None:
    mine, theirs = inputs(torch.float32), inputs(torch.float32)
    first, second = long_chain(*mine), by_hand(*theirs)
    assert first.grad_fn is not None
    assert "InBlocks" in first.grad_fn.next_functions[0][0].name()
    assert torch.allclose(first, second, atol=1e-5)
    slopes = torch.randn(first.shape, generator=torch.Generator().manual_seed(1))
    for one, other in zip(
        torch.autograd.grad(first, mine, slopes), torch.autograd.grad(second, theirs, slopes), strict=True
    ):
        assert torch.allclose(one, other, atol=1e-5)


@pytest.mark.usefixtures("blocks_of_few_rows")
@pytest.mark.parametrize("activated", [True, False])
@pytest.mark.parametrize("trained", [[0], [1], [2, 3], [1, 4]])
def test_only_the_slopes_that_are_asked_for_are_made(activated: bool, trained: list[int]) -> None:
    given = inputs()
    for place, tensor in enumerate(given):
        tensor.requires_grad_(place in trained)
    x, W, b, a, V, *_ = given
    result = chain(x, [Link(W, b, a), Link(V)], activated=activated)
    plain = torch.nn.functional.gelu(x @ W + b + a) @ V
    plain = torch.nn.functional.gelu(plain) if activated else plain
    wanted = [given[place] for place in trained]
    for one, other in zip(
        torch.autograd.grad(result.sum(), wanted), torch.autograd.grad(plain.sum(), wanted), strict=True
    ):
        assert torch.allclose(one, other, atol=1e-12)


@pytest.mark.usefixtures("blocks_of_few_rows")
def test_without_gradients_the_values_are_the_same() -> None:
    given = inputs()
    with torch.no_grad():
        silent = long_chain(*given)
    assert torch.allclose(silent, long_chain(*given), atol=1e-14)
