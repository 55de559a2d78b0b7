"""Residuals, pseudospectra and constrained maps of Galerkin matrices with known answers."""

import math

import pytest
import torch

from koopcast.numerics.galerkin import Galerkin
from koopcast.studies.doubling_spectrum import doubling_galerkin

RNG = torch.Generator().manual_seed(5)


def _noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=RNG, dtype=torch.float64)


def test_residuals_are_those_of_the_data() -> None:
    before, after = _noise(60, 5), _noise(60, 5)
    weights = torch.rand(60, generator=RNG, dtype=torch.float64)
    galerkin = Galerkin.of(before, after, weights)
    pairs = galerkin.pairs()
    g = galerkin.transform.to(torch.complex128) @ pairs.vectors
    root = weights.sqrt()[:, None]
    left = (root * (after.to(g.dtype) @ g - pairs.values * (before.to(g.dtype) @ g))).norm(dim=0)
    assert torch.allclose(pairs.residuals, left / (root * (before.to(g.dtype) @ g)).norm(dim=0), rtol=1e-10)
    # EDMD's own matrix has the same eigenvalues.
    G, A = (before.mT @ (weights[:, None] * u) for u in (before, after))
    edmd = torch.linalg.eigvals(torch.linalg.solve(G, A))
    assert torch.allclose(edmd.abs().sort().values, pairs.values.abs().sort().values, rtol=1e-9)
    assert bool((pairs.residuals.diff() >= -1e-9).all())


def test_tau_is_the_least_residual_of_any_function() -> None:
    before, after = _noise(40, 4), _noise(40, 4)
    galerkin = Galerkin.of(before, after)
    z = torch.tensor([0.3 + 0.4j], dtype=torch.complex128)
    tau = galerkin.tau(z)
    # As the root of the least eigenvalue of L - z A* - z̄ A + |z|² G in terms of G.
    G, A, L = (u.mT @ v / 40 for u, v in ((before, before), (before, after), (after, after)))
    root = torch.linalg.inv(torch.linalg.cholesky(G)).to(z.dtype)
    H = L - z[0] * A.mT - z[0].conj() * A + z[0].abs() ** 2 * G
    assert torch.allclose(torch.linalg.eigvalsh(root @ H @ root.mH)[0].sqrt(), tau[0], rtol=1e-9)
    drawn = torch.complex(_noise(4, 500), _noise(4, 500))
    assert bool((galerkin.residuals(z.expand(500), drawn) >= tau).all())


@pytest.mark.parametrize("n", [3, 8, 20])
def test_every_false_eigenvalue_of_the_doubling_map_has_residual_one(n: int) -> None:
    pairs = doubling_galerkin(n).pairs()
    assert len(pairs.values) == 2 * n + 1
    assert abs(complex(pairs.values[0]) - 1) < 1e-12
    assert float(pairs.residuals[0]) < 1e-12
    # An isometry has res² = 1 - |λ|², and the exact Galerkin matrix is nilpotent off the constant.
    assert float(pairs.residuals[1:].min()) > 0.999


def test_tau_of_the_doubling_map_follows_its_chains_of_wavenumbers() -> None:
    # 1, 2, 4, .., 2^{m-1} ≤ n is a shift cut after m functions: τ = 2 sin(π / (2(m + 1))) on the circle.
    for n, chain in ((8, 4), (32, 6)):
        tau = doubling_galerkin(n).tau(torch.tensor([-1, 1j], dtype=torch.complex128))
        assert torch.allclose(
            tau, torch.full((2,), 2 * math.sin(math.pi / (2 * (chain + 1))), dtype=tau.dtype)
        )
    inside = torch.tensor([0, 0.5, -0.3 + 0.6j], dtype=torch.complex128)
    assert bool((doubling_galerkin(8).tau(inside) >= 1 - inside.abs() - 1e-12).all())


def test_the_unitary_matrix_is_the_best_of_all_and_so_is_the_contraction() -> None:
    before = _noise(200, 4)
    Q = torch.linalg.qr(before).Q * 200**0.5
    galerkin = Galerkin.of(Q, Q @ (1.5 * torch.diag(torch.tensor([0.9, 0.5, 1.0, 0.2]).double())))
    U, C = galerkin.unitary(), galerkin.contraction()
    assert torch.allclose(U @ U.mT, torch.eye(4, dtype=U.dtype), atol=1e-12)
    assert float(torch.linalg.matrix_norm(C, 2)) <= 1 + 1e-12
    assert torch.allclose(torch.linalg.svdvals(C).sort().values, torch.tensor([0.3, 0.75, 1, 1]).double())
    for _ in range(50):
        other = torch.linalg.qr(U + 0.1 * _noise(4, 4)).Q
        assert (galerkin.K - U).norm() <= (galerkin.K - other).norm() + 1e-12


def test_dependent_functions_are_dropped() -> None:
    before, after = _noise(50, 3), _noise(50, 3)
    doubled = Galerkin.of(torch.cat([before, before], dim=1), torch.cat([after, after], dim=1))
    assert len(doubled.K) == 3
    same = Galerkin.of(before, after)
    assert torch.allclose(doubled.pairs().residuals, same.pairs().residuals, rtol=1e-8)
    assert len(Galerkin.of(before, after, most=2).K) == 2
