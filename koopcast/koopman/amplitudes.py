"""States that are the amplitudes of modes with known rates."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from koopcast.koopman.projection import Fit, Projection, described
from koopcast.numerics.exponentials import conjugates


@dataclass(frozen=True)
class Modes:
    """z(t) = Σ_j a_j exp(α_j t) w_j, with t in steps; each mode that oscillates comes with its conjugate."""

    rates: Complex[Tensor, " mode"]
    patterns: Complex[Tensor, "direction mode"]
    """w, of norm 1."""
    strengths: Float[Tensor, " mode"]
    """Root mean square of a_j exp(α_j t) in training."""
    noise: Float[Tensor, ""]
    """Root mean square of what the modes leave of an entry of z."""


@dataclass(frozen=True)
class Amplitudes:
    """Real coordinates x of modes: those that do not oscillate, and real and imaginary parts of one of each
    pair.
    """

    rates: Complex[Tensor, " kept"]
    """Of the modes without a partner, then of one of each pair."""
    num_single: int
    patterns: Float[Tensor, "direction state"]
    """R, with z ≈ R x."""
    gain: Float[Tensor, "state direction"]
    """From z to x."""

    @classmethod
    def of(cls, modes: Modes) -> "Amplitudes":
        """Return the coordinates, with the gain of least squares that knows how strong modes and noise are.

        Of all x that may have made z the likeliest, S Rᵀ (R S Rᵀ + σ²)⁻¹ z, with S the diagonal of squared
        strengths: modes that look alike share a state by their strength, and do not cancel.
        """
        partners = conjugates(modes.rates)
        places = torch.arange(len(partners))
        single, pair = (partners < 0) | (partners == places), partners > places
        w, own = modes.patterns[:, pair], _turned_real(modes.patterns[:, single])
        R = torch.cat([own, 2 * w.real, -2 * w.imag], dim=1)
        strengths = torch.cat([modes.strengths[single], *[modes.strengths[pair]] * 2])
        U, singular, Vh = torch.linalg.svd(R * strengths, full_matrices=False)
        is_kept = singular > singular[0] * max(R.shape) * torch.finfo(singular.dtype).eps
        shrunk = torch.where(is_kept, singular / (singular.square() + modes.noise.square()), 0.0)
        gain = strengths[:, None] * ((Vh.mT * shrunk) @ U.mT)
        rates = torch.cat([modes.rates[single], modes.rates[pair]])
        return cls(rates, int(single.sum()), R, gain)

    def advance(
        self, x: Float[Tensor, "*batch state"], steps: Float[Tensor, "*#batch 1"]
    ) -> Float[Tensor, "*batch state"]:
        """Return x after so many steps, whole or not."""
        single, real, imag = x.split([self.num_single, *[len(self.rates) - self.num_single] * 2], dim=-1)
        a = torch.cat([single.to(self.rates.dtype), torch.complex(real, imag)], dim=-1)
        a = a * torch.exp(steps * self.rates)
        return torch.cat([a.real, a.imag[..., self.num_single :]], dim=-1)

    def operator(self) -> Float[Tensor, "state state"]:
        """Return the map of one step."""
        unit = torch.eye(self.patterns.shape[1], dtype=torch.float64)
        return self.advance(unit, torch.ones(1, 1, dtype=torch.float64)).mT.contiguous()

    def tensors(
        self,
        projection: Projection,
        pairs: Callable[[Projection], tuple[Tensor, Tensor]],
    ) -> dict[str, Tensor]:
        """Return all that defines a model whose state is x.

        Args:
            projection: Of the training window; its states are z.
            pairs: What makes pairs of states, one step apart, of a projection on x.
        """
        modal = {
            "basis": projection.tensors["basis"] @ self.patterns,
            "directions": projection.tensors["directions"] @ self.gain.mT,
        }
        own = replace(projection, states=projection.states @ self.gain.mT, tensors=projection.tensors | modal)
        fit = Fit(self.operator(), *pairs(own), float(projection.rank))
        return own.tensors | described(own, fit)


def _turned_real(patterns: Complex[Tensor, "direction mode"]) -> Float[Tensor, "direction mode"]:
    """Return patterns that are real but for a phase, without it."""
    largest = patterns.gather(0, patterns.abs().argmax(dim=0, keepdim=True))
    return (patterns * (largest.conj() / largest.abs().clamp_min(1e-300))).real
