"""The residual of predicted frames, and its norms: estimates of their error that need no truth."""

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from koopcast.numerics.defects import defects
from koopcast.numerics.sobolev import sides, square_wave_numbers
from koopcast.refinement.base import Equation

ALPHA = 10**-1.5
"""Weight of the mean beside squares of wave numbers."""
DUAL = -1.0
"""Order of the norm that is dual to that of the gradient."""


class Residual:
    """R between each frame and the next by the Hermite-Simpson rule, and √(mean over intervals of ‖R‖_s²).

    ‖R‖_s² = Σ_k (α + 4π²|k|²/D²)^s |R̂(k)|² over all waves. Frames are Fourier coefficients of the equation's
    own, `(case, frame, *wave)`: the last axis holds the waves 0 up, which stand for their conjugates too.
    """

    def __init__(self, equation: Equation, alpha: float = ALPHA) -> None:
        self.equation, self.alpha = equation, alpha
        problem, shape = equation.problem, [axis.size for axis in equation.axes]
        impulse = torch.zeros(1, *shape, 1, dtype=torch.float64)
        impulse.view(-1)[0] = 1
        # All waves of an impulse have the same size: those that are 0 are not among the unknowns.
        self.is_kept = problem.to_spectral(impulse)[0].abs() > 0
        kept = self.is_kept.shape[-1]
        squares = square_wave_numbers(sides(equation.axes), torch.device("cpu"))
        self.square_waves: Float[Tensor, "*wave"] = squares[..., :kept]
        self.multiplicity = torch.full((kept,), 2.0, dtype=torch.float64)
        self.multiplicity[0] = 1

    def coefficients(
        self, start: Float[Tensor, "case *space channel"], frames: Float[Tensor, "case frame *space channel"]
    ) -> Complex[Tensor, "case all *wave"]:
        """Return start and frames as coefficients."""
        both = torch.cat([start[:, None], frames], dim=1)
        result: Tensor = self.equation.problem.to_spectral(both.double())
        return result

    def of(self, v: Complex[Tensor, "case all *wave"]) -> Complex[Tensor, "case interval *wave"]:
        """Return R of frames one after the other."""
        return defects(self.equation.problem, v, self.equation.time_step)

    def square_norm(self, r: Complex[Tensor, "case time *wave"], order: float) -> Float[Tensor, " case"]:
        """Return the mean over time of ‖r‖_s²."""
        base = self.alpha + self.square_waves
        weight = base**order * self.multiplicity
        power = torch.view_as_real(r).square().sum(-1) * weight
        result: Tensor = power.flatten(2).sum(2).mean(1)
        return result

    def norms(self, v: Complex[Tensor, "case all *wave"], order: float) -> Float[Tensor, " case"]:
        """Return √(mean over intervals of ‖R‖_s²) of frames one after the other."""
        result: Tensor = self.square_norm(self.of(v), order)
        return result.sqrt()

    def real(self, v: Complex[Tensor, "*many"]) -> Complex[Tensor, "*many"]:
        """Return coefficients of real fields near v: waves without last component are conjugate in pairs."""
        others = list(range(1 - self.is_kept.ndim, 0))
        edge = turned = v[..., 0]
        if others:
            turned = edge.flip(others).roll([1] * len(others), others)
        edge = (edge + turned.conj()) / 2
        return torch.cat([edge[..., None], v[..., 1:]], dim=-1)


def relative_errors(
    frames: Float[Tensor, "case frame *space channel"], truth: Float[Tensor, "case frame *space channel"]
) -> Float[Tensor, " case"]:
    """Return ‖frames - truth‖ / ‖truth‖ of each case, over space and time."""
    error, size = ((frames - truth).flatten(1).square().sum(1), truth.flatten(1).square().sum(1))
    return (error / size).sqrt()
