import math

import pytest
import torch

from koopcast.numerics import low_rank
from koopcast.numerics.low_rank import noise_threshold, optimal_rank, truncated_svd

SEED = torch.Generator().manual_seed(0)


def test_round_off_directions_are_dropped_and_signs_are_fixed() -> None:
    A = torch.randn(30, 3, generator=SEED, dtype=torch.float64) @ torch.randn(
        3, 20, generator=SEED, dtype=torch.float64
    )
    U, singular, V = truncated_svd(A, None, SEED)
    assert singular.shape == (3,)
    assert torch.allclose(U * singular @ V.mT, A, atol=1e-12)
    assert bool((V.gather(0, V.abs().argmax(0, keepdim=True)) > 0).all())


@pytest.mark.parametrize("shape", [(7, 40), (40, 7), (10, 12)], ids=["wide", "tall", "square"])
@pytest.mark.parametrize("rank", [None, 3])
def test_long_and_square_matrices_have_the_factors_of_lapack(
    shape: tuple[int, int], rank: int | None
) -> None:
    A = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    U, singular, V = truncated_svd(A, rank, SEED)
    U_all, all_singular, Vh_all = torch.linalg.svd(A, full_matrices=False)
    count = rank or min(shape)
    assert torch.allclose(singular, all_singular[:count], rtol=1e-13)
    signs = (V * Vh_all[:count].mT).sum(dim=0)
    assert torch.allclose(signs.abs(), torch.ones(count, dtype=torch.float64), atol=1e-12)
    assert torch.allclose(U, U_all[:, :count] * signs, atol=1e-12)
    assert bool((V.gather(0, V.abs().argmax(dim=0, keepdim=True)) > 0).all())


def test_random_sampling_finds_the_leading_directions(monkeypatch: pytest.MonkeyPatch) -> None:
    A = torch.randn(120, 90, generator=SEED, dtype=torch.float64) * 0.9 ** torch.arange(90)
    exact = truncated_svd(A, 8, SEED)
    monkeypatch.setattr(low_rank, "DENSE_LIMIT", 10)
    sampled = truncated_svd(A, 8, torch.Generator().manual_seed(1))
    for one, other in zip(exact, sampled, strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_the_optimal_threshold_has_the_published_values() -> None:
    # Gavish & Donoho 2014: 2.858 for a square matrix, and a cubic that is right to 0.02 for 0 < β ≤ 1.
    assert noise_threshold(1.0) == pytest.approx(2.858, abs=5e-4)
    for beta in (0.05, 0.2, 0.5, 0.8, 1.0):
        cubic = 0.56 * beta**3 - 0.95 * beta**2 + 1.82 * beta + 1.43
        assert noise_threshold(beta) == pytest.approx(cubic, abs=0.025)


def test_the_optimal_rank_separates_a_signal_from_noise_of_unknown_level() -> None:
    n = 200
    signal = sum(
        6
        * math.sqrt(n)
        * torch.outer(*torch.linalg.qr(torch.randn(n, 2, generator=SEED, dtype=torch.float64)).Q.T)
        for _ in range(3)
    )
    for level in (0.1, 1.0):
        A = level * (signal + torch.randn(n, n, generator=SEED, dtype=torch.float64))
        assert optimal_rank(torch.linalg.svdvals(A), (n, n)) == 3
