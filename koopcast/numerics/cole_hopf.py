"""The exact solution of Burgers' equation on a periodic interval."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

REFINEMENT = 4
"""Points of the transform to one of the grid: e^{-U/2ν} has more modes than u."""
RANGE = 16.0
"""Largest range of U/2ν: beyond, round-off relative to the largest value hides the smallest ones."""


def cole_hopf(
    initial: Float[Tensor, "batch points"], time: float, viscosity: float
) -> Float[Tensor, "batch points"] | None:
    """Return u(time) on (0, 1) for u_t + (u²/2)_x = ν u_xx; None where the transform has too large a range.

    With the mean m apart and U' = u - m, φ = e^{-U/2ν} obeys the heat equation in a frame of speed m, and
    u = m - 2ν φ_x/φ.
    """
    points, fine = initial.shape[-1], REFINEMENT * initial.shape[-1]
    k = 2 * math.pi * torch.arange(fine // 2 + 1, dtype=torch.float64, device=initial.device)
    v = torch.fft.rfft(initial.double(), norm="forward")
    mean = v[:, :1].real
    integral = torch.zeros(len(v), fine // 2 + 1, dtype=v.dtype, device=v.device)
    integral[:, 1 : points // 2] = v[:, 1 : points // 2] / (1j * k[1 : points // 2])
    U = torch.fft.irfft(integral, n=fine, norm="forward") / (2 * viscosity)
    if float((U.amax(dim=1) - U.amin(dim=1)).max()) > RANGE:
        return None
    phi = torch.fft.rfft(torch.exp(U.amin(dim=1, keepdim=True) - U), norm="forward")
    moved = phi * torch.exp(-viscosity * k**2 * time - 1j * k * mean * time)
    value = torch.fft.irfft(moved, n=fine, norm="forward")
    slope = torch.fft.irfft(1j * k * moved, n=fine, norm="forward")
    fields: Tensor = mean - 2 * viscosity * slope / value
    return fields[:, ::REFINEMENT]
