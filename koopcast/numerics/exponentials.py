"""Sums of exponentials fitted to signals, by variable projection."""

from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

MAX_ITERATIONS = 200
TOLERANCE = 1e-13
FIRST_DAMPING, LEAST_DAMPING, MOST_DAMPING = 1e-3, 1e-14, 1e12


@dataclass(frozen=True)
class Exponentials:
    """Σ_j φ_j(t) b_j ≈ the signals, φ_j a multiple of exp(α_j t) whose largest modulus is 1."""

    rates: Complex[Tensor, " exponential"]
    """α, with its conjugate for each that is not real."""
    amplitudes: Complex[Tensor, "exponential signal"]
    waves: Complex[Tensor, "time exponential"]
    """φ, at the times of the signals."""
    error: float
    """Norm of what is left, relative to that of the signals."""
    iterations: int


def fit_exponentials(
    signals: Float[Tensor, "time signal"],
    times: Float[Tensor, " time"],
    start: Complex[Tensor, " exponential"],
    *,
    is_stable: bool = False,
) -> Exponentials:
    """Return the rates that leave the least squared residual ‖H - Φ(α) Φ(α)⁺ H‖.

    Levenberg-Marquardt on the rates alone; the amplitudes B = Φ⁺ H follow. With P = I - Φ Φ⁺ the Jacobian is
    Kaufman's: column j is -(P t φ_j) b_jᵀ, so that the normal matrix is a product of two Gram matrices, entry
    by entry. A step that raises the residual is refused and damped more.

    Args:
        signals: H, real.
        times: Of the rows, increasing, any spacing.
        start: Initial rates, each that is not real with its conjugate; one without keeps its frequency (a
            change of sign at every equal step is its own conjugate).
        is_stable: Whether rates are kept at a real part of 0 or less.
    """
    # Only H Hᵀ matters for the rates: many signals shrink to as many as there are times.
    H = signals if signals.shape[1] <= len(signals) else torch.linalg.qr(signals.mT).R.mT
    unit = (times[-1] - times[0]) / (len(times) - 1)
    t = (times - times[0]) / unit
    admitted = partial(
        _admitted, partners=conjugates(start), frequencies=start.imag * unit, is_stable=is_stable
    )
    point = _Point(admitted(start * unit), t, H)
    damping, iterations = FIRST_DAMPING, 0
    while iterations < MAX_ITERATIONS and damping < MOST_DAMPING:
        iterations += 1
        rates = admitted(point.rates + point.step(damping, is_stable))
        moved = float((rates - point.rates).abs().max())
        trial = _Point(rates, t, H)
        is_better = trial.error < point.error
        point, damping = (trial, max(damping / 10, LEAST_DAMPING)) if is_better else (point, damping * 10)
        if moved <= TOLERANCE * (1 + float(point.rates.abs().max())):
            break
    amplitudes = point.solve(signals.to(point.rates.dtype))
    return Exponentials(
        point.rates / unit, amplitudes, point.waves, float(point.error / signals.norm()), iterations
    )


class _Point:
    """Rates, and what belongs to them."""

    def __init__(
        self,
        rates: Complex[Tensor, " exponential"],
        t: Float[Tensor, " time"],
        H: Float[Tensor, "time signal"],
    ) -> None:
        self.rates, self._t = rates, t.to(rates.dtype)
        exponents = torch.outer(self._t, rates)
        self.waves = torch.exp(exponents - exponents.real.amax(dim=0))
        self._U, singular, Vh = torch.linalg.svd(self.waves, full_matrices=False)
        # Rates that meet leave directions of round-off.
        is_kept = singular > singular[0] * max(self.waves.shape) * torch.finfo(singular.dtype).eps
        self._U, self._inverse = self._U[:, is_kept], Vh[is_kept].mH / singular[is_kept]
        self._B = self.solve(H.to(rates.dtype))
        self._residual = self._without(H.to(rates.dtype))
        self.error = self._residual.norm()

    def solve(self, H: Complex[Tensor, "time signal"]) -> Complex[Tensor, "exponential signal"]:
        """Return Φ⁺ H."""
        B: Tensor = self._inverse @ (self._U.mH @ H)
        return B

    def step(self, damping: float, is_stable: bool) -> Complex[Tensor, " exponential"]:
        """Return the step of the rates that lowers the residual of the linear model, damped.

        Where growth is ruled out, a rate that neither grows nor decays and would grow keeps its real part.
        """
        D = self._without(self._t[:, None] * self.waves)
        N = (D.mH @ D) * (self._B.conj() @ self._B.mT)
        g = ((D.mH @ self._residual) * self._B.conj()).sum(dim=1)
        # Real and imaginary parts are unknowns of their own.
        normal = torch.cat([torch.cat([N.real, -N.imag], dim=1), torch.cat([N.imag, N.real], dim=1)])
        gradient = torch.cat([g.real, g.imag])
        is_free = torch.ones(len(gradient), dtype=torch.bool)
        if is_stable:
            is_free[: len(g)] = (self.rates.real < 0) | (g.real <= 0)
        normal = normal[is_free][:, is_free]
        scale = normal.diagonal()
        scale = scale.clamp_min(1e-14 * float(scale.max()) + torch.finfo(scale.dtype).tiny)
        step = torch.zeros_like(gradient)
        step[is_free] = torch.linalg.solve(normal + torch.diag(damping * scale), gradient[is_free])
        return torch.complex(*step.chunk(2))

    def _without(self, X: Complex[Tensor, "time column"]) -> Complex[Tensor, "time column"]:
        """Return P X."""
        rest: Tensor = X - self._U @ (self._U.mH @ X)
        return rest


def conjugates(rates: Complex[Tensor, " exponential"]) -> Int[Tensor, " exponential"]:
    """Return the place of the conjugate of each rate: its own for a real one, -1 where there is none."""
    apart = (rates[:, None] - rates.conj()).abs()
    nearest = apart.argmin(dim=1)
    is_found = apart.amin(dim=1) <= 1e-9 * (1 + rates.abs())
    return torch.where(is_found & (nearest[nearest] == torch.arange(len(rates))), nearest, -1)


def _admitted(
    rates: Complex[Tensor, " exponential"],
    partners: Int[Tensor, " exponential"],
    frequencies: Float[Tensor, " exponential"],
    is_stable: bool,
) -> Complex[Tensor, " exponential"]:
    """Return rates in exact pairs, the frequency of those without a partner, and no growth where that is
    asked for.
    """
    decay = (rates.real + rates.real[partners]) / 2
    imag = torch.where(partners >= 0, (rates.imag - rates.imag[partners]) / 2, frequencies)
    decay = torch.where(partners >= 0, decay, rates.real)
    return torch.complex(decay.clamp_max(0.0) if is_stable else decay, imag)
