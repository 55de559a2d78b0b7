"""Lanczos' method for inverse roots of many matrices: against eigenvectors, hard and degenerate cases."""

import torch

from koopcast.numerics.krylov import inverse_and_root_of


def matrices(spread, size=30, many=5):
    """Symmetric matrices with eigenvalues from 1 to 1 + spread, and columns."""
    g = torch.Generator().manual_seed(0)
    Q = torch.linalg.qr(torch.randn(many, size, size, generator=g, dtype=torch.float64))[0]
    eigenvalues = 1 + spread * torch.rand(many, size, generator=g, dtype=torch.float64) ** 4
    v = torch.randn(many, size, 2, generator=g, dtype=torch.float64)
    return (Q * eigenvalues[:, None]) @ Q.mT, v


def exact(M, v):
    eigenvalues, V = torch.linalg.eigh(M)
    return tuple(V @ (V.mT @ v * eigenvalues[..., None] ** power) for power in (-1.0, -0.5))


def test_functions_are_those_of_the_spectrum():
    for spread in (1e-9, 1.0, 100.0):
        M, v = matrices(spread)
        found = inverse_and_root_of(lambda x, M=M: M @ x, v, 1 + spread, tolerance=1e-10, steps=60)
        assert found.is_accurate.all()
        for ours, theirs in zip(found, exact(M, v), strict=False):
            assert torch.allclose(ours, theirs, atol=1e-9)


def test_the_residual_bounds_the_error_and_unfinished_columns_are_named():
    M, v = matrices(1e4)
    M[0] = torch.eye(30)
    applied = 0

    def apply(x):
        nonlocal applied
        applied += 1
        return M @ x

    found = inverse_and_root_of(apply, v, 1e4 + 1, tolerance=1e-6, steps=8)
    assert applied == 8
    assert found.is_accurate.tolist() == [True, False, False, False, False]
    size = v.norm(dim=1, keepdim=True)
    assert ((found.root[:1] - v[:1]) / size[:1]).abs().max() < 1e-10


def test_columns_of_zeros_and_invariant_spaces_are_harmless():
    # A column that is an eigenvector spans a Krylov space of one dimension; one of zeros spans none.
    M, v = matrices(50.0)
    eigenvalues, V = torch.linalg.eigh(M)
    v[:, :, 0], v[2] = V[:, :, -1], 0.0
    found = inverse_and_root_of(lambda x: M @ x, v, 51.0, tolerance=1e-10, steps=60)
    assert found.is_accurate.all()
    assert torch.allclose(
        found.root[[0, 1, 3, 4], :, 0], (V[:, :, -1] / eigenvalues[:, -1:].sqrt())[[0, 1, 3, 4]], atol=1e-9
    )
    assert torch.allclose(found.inverse[0, :, 1], exact(M, v)[0][0, :, 1], atol=1e-9)
    assert not found.root[2].any()
    assert not found.inverse[2].any()
