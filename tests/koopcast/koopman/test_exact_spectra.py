"""Stochastic systems whose Koopman spectrum is known: Ornstein-Uhlenbeck, and the noisy logistic map."""

from collections.abc import Callable
from math import comb

import numpy as np
import pytest
import torch

from koopcast.fields import FieldData
from koopcast.koopman import EDMDSpec, KernelEDMDSpec, ResDMDSpec
from koopcast.koopman.base import KoopmanSpec

MakeFields = Callable[..., FieldData]
POWER = 20


def _values(spec: KoopmanSpec, fields: FieldData) -> np.ndarray:
    diagnostics = spec.fit(fields, torch.Generator().manual_seed(0)).diagnostics()
    return (diagnostics["eigenvalue_real"] + 1j * diagnostics["eigenvalue_imag"]).values


def test_ornstein_uhlenbeck_has_powers_of_one_decay(make_fields: MakeFields) -> None:
    # x(t + dt) = e^{-θ dt} x + noise: Hermite polynomials are eigenfunctions, with e^{-kθ dt}.
    rng = np.random.default_rng(0)
    decay = np.exp(-0.25)
    x = [rng.normal(size=40_000)]
    for _ in range(3):
        x.append(decay * x[-1] + np.sqrt(1 - decay**2) * rng.normal(size=40_000))
    fields = make_fields(np.stack(x, axis=1)[..., None])
    dictionary = {"kind": "polynomial", "degree": 3}
    found = np.sort(_values(EDMDSpec(coordinates="values", dictionary=dictionary, ridge=0.0), fields).real)
    # Standard errors of an eigenvalue: about √k! / √120000, 0.7 % at k = 3.
    assert np.allclose(found[::-1], decay ** np.arange(4), atol=0.02)


def _logistic_spectrum() -> np.ndarray:
    """Return the eigenvalues of x ← 4x(1 - x) + ξ mod 1 for noise of density ∝ cos²⁰(πξ).

    The transition density is a sum of 21 products α_i(y) α_i(F(x)), so that the operator is a matrix of size
    21: ∫ α_i(F(x)) α_j(x) dx.
    """
    nodes, weights = np.polynomial.legendre.leggauss(400)
    x, weights = (nodes + 1) / 2, weights / 2
    norm = (weights * np.cos(np.pi * x) ** POWER).sum()

    def alpha(y: np.ndarray) -> np.ndarray:
        i = np.arange(POWER + 1)[:, None]
        size = np.sqrt([comb(POWER, k) / norm for k in range(POWER + 1)])[:, None]
        return size * np.cos(np.pi * y) ** (POWER - i) * np.sin(np.pi * y) ** i

    values = np.linalg.eigvals((alpha(4 * x * (1 - x)) * weights) @ alpha(x).T)
    return values[np.argsort(-np.abs(values))]


def _logistic_pairs(starts: int = 90, draws: int = 200) -> np.ndarray:
    """Return pairs on the circle, where the map has no jump: equidistant starts with quantiles of noise."""
    t = np.linspace(-0.5, 0.5, 20_001)
    mass = np.cumsum(np.cos(np.pi * t) ** POWER)
    noise = np.interp((np.arange(draws) + 0.5) / draws, mass / mass[-1], t)
    x = np.repeat((np.arange(starts) + 0.5) / starts, draws)
    angle = 2 * np.pi * np.stack([x, 4 * x * (1 - x) + np.tile(noise, starts)], axis=1)
    return np.stack([np.cos(angle), np.sin(angle)], axis=-1)


CIRCLE = {"kind": "fourier", "waves": 30, "angles": "circles"}
SPECS = {
    "waves": EDMDSpec(coordinates="values", dictionary=CIRCLE, ridge=0.0),
    "residuals": ResDMDSpec(coordinates="values", dictionary=CIRCLE, modes="all"),
    "projected": KernelEDMDSpec(coordinates="values", functions=40, centers=150, landmarks="pivoted"),
    "reduced_rank": KernelEDMDSpec(
        coordinates="values", functions=20, centers=150, estimator="reduced_rank", regularisation=1e-10
    ),
}


@pytest.mark.parametrize("name", SPECS)
def test_the_spectrum_of_the_noisy_logistic_map_is_found(make_fields: MakeFields, name: str) -> None:
    exact = _logistic_spectrum()[:3]
    # The published values.
    assert exact[0] == pytest.approx(1)
    assert np.allclose([exact[1].real, abs(exact[1].imag)], [-0.193, 0.191], atol=2e-3)
    found = _values(SPECS[name], make_fields(_logistic_pairs()))
    assert max(np.abs(found - value).min() for value in exact) < 5e-3
