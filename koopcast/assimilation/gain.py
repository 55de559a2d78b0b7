"""Filters whose members are all moved by one gain: what they share."""

from abc import abstractmethod
from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from koopcast.assimilation.base import Analysis, Observed, Setting
from koopcast.assimilation.ensemble import Finish, LocalizedSpec, Transform, whitened
from koopcast.assimilation.localization import Taper
from koopcast.numerics.ensembles import split

Innovations = Callable[[Observed, torch.Generator], Float[Tensor, "batch member obs"]]


class GainSpec(LocalizedSpec):
    """Options of a filter E ← E + D Kᵀ that differs from others in the innovations D of its members."""

    @abstractmethod
    def innovations(
        self, observed: Observed, generator: torch.Generator
    ) -> Float[Tensor, "batch member obs"]:
        """Return the whitened innovation of each member; their mean is that of the ensemble."""

    def transform(self, setting: Setting, finish: Finish) -> Transform:
        """Return the update with the sampled gain, or with the tapered one."""
        if self.localization.is_global():
            return partial(moved, finish=finish, innovations=self.innovations)
        taper = Taper.of(self.localization, setting)
        return LocalizedGain(taper, setting.num_channels, finish, self.innovations)


def moved(
    ensemble: Float[Tensor, "batch member state"],
    observed: Observed,
    generator: torch.Generator,
    *,
    finish: Finish,
    innovations: Innovations,
) -> Analysis:
    """Return E + D Kᵀ with K = Aᵀ S (SᵀS + (N-1) R)⁻¹, solved in the smaller of two spaces."""
    N1, obs = ensemble.shape[1] - 1, observed.value.shape[1]
    A = split(ensemble)[1]
    C, delta = whitened(observed)
    D = innovations(observed, generator)
    if obs < N1:
        increments, figures = _gain(A.mT @ C / N1, C.mT @ C / N1, D, delta)
    else:
        M = C @ C.mT
        M.diagonal(dim1=1, dim2=2).add_(N1)
        L = torch.linalg.cholesky(M)
        Z = torch.linalg.solve_triangular(L, C, upper=False)
        X = torch.linalg.solve_triangular(L, A, upper=False)
        increments, u = (D @ Z.mT) @ X, Z @ delta[..., None]
        figures = {
            "degrees_of_freedom": Z.square().sum(dim=(1, 2)),
            "chi_square": delta.square().sum(dim=1) - u.square().sum(dim=(1, 2)),
        }
    mean, anomalies = split(ensemble + increments)
    return Analysis(finish(mean, anomalies, ensemble, generator), figures)


class LocalizedGain:
    """The same with K = (ρ ∘ PHᵀ)(ρ ∘ HPHᵀ + R)⁻¹, solved in the space of observations."""

    def __init__(self, taper: Taper, num_channels: int, finish: Finish, innovations: Innovations) -> None:
        self._taper, self._num_channels = taper, num_channels
        self._finish, self._innovations = finish, innovations

    def __call__(
        self, ensemble: Float[Tensor, "batch member state"], observed: Observed, generator: torch.Generator
    ) -> Analysis:
        """Return the analysis."""
        assert observed.cell is not None, "localised filters are given the observed cells"
        N1 = ensemble.shape[1] - 1
        A = split(ensemble)[1]
        C, delta = whitened(observed)
        to_cells = self._taper.to_points(observed.cell).repeat_interleave(self._num_channels, dim=1)
        cross = to_cells * (A.mT @ C) / N1
        own = self._taper.to_obs(observed.cell) * (C.mT @ C) / N1
        increments, figures = _gain(cross, own, self._innovations(observed, generator), delta)
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
