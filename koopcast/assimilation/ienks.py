"""The iterative ensemble Kalman smoother."""

from functools import partial
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from pydantic import Field, PositiveFloat, PositiveInt, model_validator
from torch import Tensor

from koopcast.assimilation.base import Analysis, Setting, Smooth, SmootherSpec, Window
from koopcast.assimilation.ensemble import Finish, whitened
from koopcast.assimilation.inflation import AnyInflation
from koopcast.numerics.ensembles import inverse_and_root, split

BUNDLE = 1e-4
"""Size of the ensemble that stands for derivatives in the variant `bundle`."""


class IEnKSSpec(SmootherSpec):
    """Gauss-Newton iterations in the space of the ensemble for the start of a window, through the model."""

    kind: Literal["ienks"] = "ienks"
    members: int = Field(20, ge=2)
    """Size of the ensemble."""
    inflation: AnyInflation = Field(default="none", validate_default=True)
    """How spread is kept up, at the start of the window."""
    rotation: bool = False
    """Rotate the anomalies of each analysis at random, keeping mean and covariance."""
    iterations: PositiveInt = 10
    """Gauss-Newton iterations at most; each runs the ensemble through the window."""
    variant: Literal["transform", "bundle"] = "transform"
    """Derivatives from the ensemble of the iterate itself, or from one a ten-thousandth as large."""
    tolerance: PositiveFloat = 1e-4
    """Stop where the mean square step of the weights is below this."""

    reference = "Bocquet and Sakov 2014, with the state of one window start and each observation used once"

    @model_validator(mode="after")
    def _has_members_to_rotate(self) -> "IEnKSSpec":
        if self.rotation and self.members < 3:
            raise ValueError(f"rotation: needs at least 3 members, not {self.members}")
        return self

    @model_validator(mode="after")
    def _inflates_what_it_makes(self) -> "IEnKSSpec":
        if self.inflation.acts_before():
            raise ValueError(
                f"inflation: '{self.inflation.kind}' acts on a background at observation times, which "
                "windows have not; choose one that acts on the analysis"
            )
        return self

    def needs_climatology(self) -> bool:
        """Return whether inflation draws from the training data."""
        return self.inflation.needs_climatology()

    def num_members(self) -> int:
        """Return `members`."""
        return self.members

    def build(self, setting: Setting) -> Smooth:
        """Return the iteration."""
        return partial(smoothed, spec=self, finish=Finish.of(self.inflation, self.rotation, setting))


class Observed(NamedTuple):
    """A window in the space of the ensemble: whitened anomalies over all its times, and innovations."""

    anomalies: Float[Tensor, "batch member obs"]
    innovation: Float[Tensor, "batch obs"]


def smoothed(
    ensemble: Float[Tensor, "batch member state"],
    window: Window,
    generator: torch.Generator,
    *,
    spec: IEnKSSpec,
    finish: Finish,
) -> Analysis:
    """Return the analysis at the start of the window.

    The cost (N-1) wᵀw + Σ |y - H M(x + wᵀX)|² in units of the observation error is minimised over the
    weights w of the first anomalies X. Each iteration takes derivatives C from an ensemble of root T (or a
    small one), M = (N-1) I + C Cᵀ, w ← w + M⁻¹ (C δ - (N-1) w) and T = √(N-1) M^{-1/2}.
    """
    batch, members, _ = ensemble.shape
    N1 = members - 1
    mean, X = split(ensemble)
    w = torch.zeros(batch, members, 1, dtype=ensemble.dtype, device=ensemble.device)
    identity = torch.eye(members, dtype=ensemble.dtype, device=ensemble.device).expand(batch, -1, -1)
    root, figures = identity, dict[str, Tensor]()
    for _ in range(spec.iterations):
        scaled = root if spec.variant == "transform" else BUNDLE * identity
        seen = _observed(mean + w.mT @ X + scaled @ X, window)
        C = torch.linalg.solve(scaled, seen.anomalies)
        M = C @ C.mT
        M.diagonal(dim1=1, dim2=2).add_(N1)
        inverse, root = inverse_and_root(M, float(N1))
        step = inverse @ (C @ seen.innovation[..., None] - N1 * w)
        if not figures:
            figures = _figures(C, seen.innovation, inverse)
        w = w + step
        if float(step.square().mean(dim=(1, 2)).max()) < spec.tolerance:
            break
    return Analysis(finish(mean + w.mT @ X, root @ X, ensemble, generator), figures)


def _observed(ensemble: Float[Tensor, "batch member state"], window: Window) -> Observed:
    """Run an ensemble through the window, and lay its observation times side by side."""
    seen = [whitened(window.observe(state, place)) for place, state in enumerate(window.trajectory(ensemble))]
    return Observed(*(torch.cat(part, dim=-1) for part in zip(*seen, strict=True)))


def _figures(C: Tensor, delta: Tensor, inverse: Tensor) -> dict[str, Tensor]:
    """Return the figures of the first iteration, whose background is the forecast."""
    N1 = C.shape[1] - 1
    g = C @ delta[..., None]
    return {
        "degrees_of_freedom": N1 + 1 - N1 * inverse.diagonal(dim1=1, dim2=2).sum(dim=-1),
        "chi_square": delta.square().sum(dim=1) - (g * (inverse @ g)).sum(dim=(1, 2)),
    }
