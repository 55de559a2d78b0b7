"""Factorised spectral weights: what a product holds, how many numbers it takes, how it is applied."""

import math

import pytest
import torch

from koopcast.layers.factorised_weights import Compression, FactorisedWeights, fitted_ranks
from koopcast.layers.spectral_convolution import SpectralConvolution

KINDS = ("cp", "tucker", "tt")
SHAPES = [(9, 6, 5), (6, 5, 6, 5), (4, 4, 3, 6, 5)]


def weights(shape: tuple[int, ...], kind: str, rank: float = 0.3, **options: object) -> FactorisedWeights:
    return FactorisedWeights(
        shape, Compression(kind, rank, **options), 0.3, torch.Generator().manual_seed(0)
    ).double()


def test_each_form_is_its_textbook_sum() -> None:
    cp, tucker, train = (weights((4, 3, 5), kind) for kind in KINDS)
    value = {item: [torch.view_as_complex(factor) for factor in item.factors] for item in (cp, tucker, train)}
    strength, A, B, C = value[cp]
    expected = sum(
        strength[r] * A[:, None, None, r] * B[None, :, None, r] * C[None, None, :, r]
        for r in range(len(strength))
    )
    assert torch.allclose(cp.tensor(), expected, atol=1e-14)
    core, A, B, C = value[tucker]
    expected = torch.einsum("pqr,ap,bq,cr->abc", core, A, B, C)
    assert torch.allclose(tucker.tensor(), expected, atol=1e-14)
    A, B, C = value[train]
    entry = (A[1][None] @ B[:, 2] @ C[:, [3]])[0, 0]
    assert torch.allclose(train.tensor()[1, 2, 3], entry, atol=1e-14)


def test_tucker_of_rank_1_holds_any_weight_by_its_singular_vectors() -> None:
    shape = (5, 4, 3)
    W = torch.randn(*shape, dtype=torch.complex128, generator=torch.Generator().manual_seed(1))
    product = weights(shape, "tucker", rank=1.0)
    assert product.ranks == shape
    core = W
    with torch.no_grad():
        for axis in range(3):
            U = torch.linalg.svd(W.movedim(axis, 0).flatten(1)).U
            product.factors[axis + 1].copy_(torch.view_as_real(U))
            core = torch.tensordot(core, U.conj(), dims=([0], [0]))
        product.factors[0].copy_(torch.view_as_real(core.resolve_conj()))
    assert torch.allclose(product.tensor(), W, atol=1e-12)


def test_a_train_of_rank_1_has_full_ranks() -> None:
    assert fitted_ranks("tt", (4, 3, 6, 5), 1.0) == (4, 12, 5)


@pytest.mark.parametrize("fraction", [0.05, 0.1, 0.5])
@pytest.mark.parametrize("kind", KINDS)
def test_the_number_of_reals_is_the_wanted_share_of_dense_ones(kind: str, fraction: float) -> None:
    shape = (16, 9, 32, 32)
    product = weights(shape, kind, fraction)
    share = sum(factor.numel() for factor in product.factors) / (2 * math.prod(shape))
    # One more in every rank would be too many; that is at most a fifth here.
    assert 0.8 * fraction <= share <= fraction


@pytest.mark.parametrize("kind", KINDS)
def test_a_tiny_share_leaves_rank_1(kind: str) -> None:
    assert set(fitted_ranks(kind, (5, 4, 3), 1e-6)) == {1}


@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", KINDS)
def test_contracting_factors_is_multiplying_by_their_product(
    kind: str, shape: tuple[int, ...], joint: bool
) -> None:
    full = (3, *shape) if joint else shape
    layer = 1 if joint else None
    first, second = (
        weights(full, kind, joint=joint, implementation=how) for how in ("reconstructed", "factorized")
    )
    x = torch.randn(2, *shape[:-1], dtype=torch.complex128, generator=torch.Generator().manual_seed(2))
    rows = [torch.tensor([0, 1, size - 1]) if place else None for place, size in enumerate(shape[:-2])]
    for place, chosen in enumerate(rows, start=1):
        x = x if chosen is None else x.index_select(place, chosen)
    one, other = first(x, rows, layer), second(x, rows, layer)
    W = first.tensor(rows) if not joint else first.tensor(rows)[1]
    assert torch.allclose(one, other, atol=1e-12)
    assert torch.allclose(one, (x[..., None, :] @ W)[..., 0, :], atol=1e-12)


@pytest.mark.parametrize("kind", ["dense", *KINDS])
def test_entries_start_with_the_spread_of_dense_ones(kind: str) -> None:
    draws = [
        FactorisedWeights((6, 5, 8, 8), Compression(kind), 0.4, torch.Generator().manual_seed(seed)).tensor()
        for seed in range(60)
    ]
    # 60 draws: their mean square, of heavy tails, is known to some 15 %.
    assert torch.stack(draws).abs().square().mean().sqrt().item() == pytest.approx(0.4, rel=0.15)


@pytest.mark.parametrize("options", [{"factorization": "tt"}, {"separable": True}, {"factorization": "cp"}])
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_factorised_layers_see_the_same_field_on_every_grid(axes: int, options: dict[str, object]) -> None:
    layer = SpectralConvolution(
        2, 2, [4] * axes, compression=Compression(**options), generator=torch.Generator().manual_seed(0)
    ).double()

    def field(size: int) -> torch.Tensor:
        place = 2 * math.pi * torch.arange(size, dtype=torch.float64) / size
        grids = torch.meshgrid(*[place] * axes, indexing="ij")
        return torch.stack([sum(grids).cos(), sum(grid.sin() for grid in grids)], dim=-1)[None]

    steps = (slice(None), *[slice(None, None, 2)] * axes)
    assert torch.allclose(layer(field(16))[steps], layer(field(8)), atol=1e-12)


def test_separable_weights_multiply_each_channel_by_itself() -> None:
    layer = SpectralConvolution(2, 2, [4], compression=Compression(separable=True)).double()
    x = torch.randn(1, 8, 2, dtype=torch.float64)
    touched = x.clone()
    touched[..., 0] += 1
    change = layer(touched) - layer(x)
    assert change[..., 1].abs().max() < 1e-14 < change[..., 0].abs().max()
