"""The stochastic ensemble Kalman filter with perturbed observations."""

from collections.abc import Iterator
from functools import partial
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from koopcast.assimilation.base import Analysis, Observed, Setting
from koopcast.assimilation.ensemble import EnsembleSpec, Finish, Transform, whitened
from koopcast.assimilation.localization import AnyLocalization, Taper
from koopcast.grids import FieldsInfo
from koopcast.numerics.arrays import normal
from koopcast.numerics.ensembles import split
from koopcast.spec import Problem


class EnKFSpec(EnsembleSpec):
    """Each member is drawn to observations perturbed with their own error, centred over members."""

    kind: Literal["enkf"] = "enkf"
    members: int = Field(40, ge=2)
    """Size of the ensemble."""
    localization: AnyLocalization = Field(default="none", validate_default=True)
    """Taper on the sampled covariances, multiplied element by element."""

    runs_side_by_side = True
    reference = (
        "Evensen 1994; Burgers, van Leeuwen and Evensen 1998; localised as in Houtekamer and Mitchell 2001"
    )

    def transform(self, setting: Setting, finish: Finish) -> Transform:
        """Return the update with the sampled gain, or with the tapered one."""
        if self.localization.is_global():
            return partial(perturbed, finish=finish)
        return LocalizedGain(Taper.of(self.localization, setting), setting.num_channels, finish)

    def needs_physical_state(self) -> bool:
        """Return whether covariances are tapered."""
        return not self.localization.is_global()

    def check(self, fields: FieldsInfo) -> Iterator[Problem]:
        """Yield what the taper finds wrong with the axes."""
        yield from (problem.below("localization") for problem in self.localization.check(fields))


def _innovations(observed: Observed, generator: torch.Generator) -> Float[Tensor, "batch member obs"]:
    """Return whitened (y + D - Y) with D ~ N(0, R) centred over members."""
    shape = observed.predicted.shape
    noise = normal(*shape, generator=generator)
    present = (observed.scale > 0)[:, None]
    scale = observed.scale[:, None]
    return (observed.value[:, None] - observed.predicted) * scale + split(noise)[1] * present


def perturbed(
    ensemble: Float[Tensor, "batch member state"],
    observed: Observed,
    generator: torch.Generator,
    *,
    finish: Finish,
) -> Analysis:
    """Return E + (y + D - Y) Kᵀ with K = Aᵀ S (SᵀS + (N-1) R)⁻¹, solved in the smaller of two spaces."""
    N1, obs = ensemble.shape[1] - 1, observed.value.shape[1]
    A = split(ensemble)[1]
    C, delta = whitened(observed)
    innovations = _innovations(observed, generator)
    if obs < N1:
        increments, figures = _gain(A.mT @ C / N1, C.mT @ C / N1, innovations, delta)
    else:
        M = C @ C.mT
        M.diagonal(dim1=1, dim2=2).add_(N1)
        L = torch.linalg.cholesky(M)
        Z = torch.linalg.solve_triangular(L, C, upper=False)
        X = torch.linalg.solve_triangular(L, A, upper=False)
        increments, u = (innovations @ Z.mT) @ X, Z @ delta[..., None]
        figures = {
            "degrees_of_freedom": Z.square().sum(dim=(1, 2)),
            "chi_square": delta.square().sum(dim=1) - u.square().sum(dim=(1, 2)),
        }
    mean, anomalies = split(ensemble + increments)
    return Analysis(finish(mean, anomalies, ensemble, generator), figures)


class LocalizedGain:
    """The same with K = (ρ ∘ PHᵀ)(ρ ∘ HPHᵀ + R)⁻¹, solved in the space of observations."""

    def __init__(self, taper: Taper, num_channels: int, finish: Finish) -> None:
        self._taper, self._num_channels, self._finish = taper, num_channels, finish

    def __call__(
        self, ensemble: Float[Tensor, "batch member state"], observed: Observed, generator: torch.Generator
    ) -> Analysis:
        """Return the analysis of members drawn to perturbed observations."""
        assert observed.cell is not None, "localised filters are given the observed cells"
        N1 = ensemble.shape[1] - 1
        A = split(ensemble)[1]
        C, delta = whitened(observed)
        to_cells = self._taper.to_points(observed.cell).repeat_interleave(self._num_channels, dim=1)
        cross = to_cells * (A.mT @ C) / N1
        own = self._taper.to_obs(observed.cell) * (C.mT @ C) / N1
        increments, figures = _gain(cross, own, _innovations(observed, generator), delta)
        mean, anomalies = split(ensemble + increments)
        return Analysis(self._finish(mean, anomalies, ensemble, generator), figures)


def _gain(
    cross: Float[Tensor, "batch state obs"],
    own: Float[Tensor, "batch obs obs"],
    innovations: Float[Tensor, "batch member obs"],
    delta: Float[Tensor, "batch obs"],
) -> tuple[Float[Tensor, "batch member state"], dict[str, Float[Tensor, " batch"]]]:
    """Return increments and figures of the gain PHᵀ (HPHᵀ + I)⁻¹ of whitened observations."""
    L = torch.linalg.cholesky(own + torch.eye(own.shape[-1], dtype=own.dtype, device=own.device))
    weights = torch.cholesky_solve(innovations.mT, L)
    u = torch.linalg.solve_triangular(L, delta[..., None], upper=False)
    figures = {
        "degrees_of_freedom": torch.cholesky_solve(own, L).diagonal(dim1=1, dim2=2).sum(dim=-1),
        "chi_square": u.square().sum(dim=(1, 2)),
    }
    return weights.mT @ cross.mT, figures
