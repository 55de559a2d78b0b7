"""The local ensemble transform Kalman filter."""

from collections.abc import Iterator
from functools import partial
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from koopcast.assimilation.base import Analysis, Observed, Setting
from koopcast.assimilation.ensemble import EnsembleSpec, Finish, Transform, whitened
from koopcast.assimilation.etkf import symmetric
from koopcast.assimilation.localization import AnyLocalization, GaspariCohnSpec, Taper
from koopcast.grids import FieldsInfo
from koopcast.numerics.ensembles import inverse_and_root, split
from koopcast.spec import Problem

CHUNK_BYTES = 64 * 2**20
"""Memory of the local matrices that are worked on at once."""


class LETKFSpec(EnsembleSpec):
    """An ETKF of its own for every grid point, in which far observations have larger errors."""

    kind: Literal["letkf"] = "letkf"
    localization: AnyLocalization = Field(default=GaspariCohnSpec(), validate_default=True)
    """Taper on the weights of observations, one over their error variances."""

    reference = "Hunt, Kostelich and Szunyogh 2007; every grid point is a local domain"

    def transform(self, setting: Setting, finish: Finish) -> Transform:
        """Return the local transforms, or the ETKF where every weight is 1."""
        if self.localization.is_global():
            return partial(symmetric, finish=finish)
        return LocalTransform(Taper.of(self.localization, setting), setting.num_channels, finish)

    def needs_physical_state(self) -> bool:
        """Return whether weights fall with distance."""
        return not self.localization.is_global()

    def check(self, fields: FieldsInfo) -> Iterator[Problem]:
        """Yield what the taper finds wrong with the axes."""
        yield from (problem.below("localization") for problem in self.localization.check(fields))


class LocalTransform:
    """Transforms of all grid points at once.

    At point x with weights ρ_x: M_x = (N-1) I + C diag(ρ_x) Cᵀ, w_x = M_x⁻¹ C (ρ_x ∘ δ), T_x = √(N-1)
    M_x^{-1/2}.
    """

    def __init__(self, taper: Taper, num_channels: int, finish: Finish) -> None:
        self._taper, self._num_channels, self._finish = taper, num_channels, finish

    def __call__(
        self, ensemble: Float[Tensor, "batch member state"], observed: Observed, generator: torch.Generator
    ) -> Analysis:
        """Return the analysis, every grid point by its own transform."""
        assert observed.cell is not None, "localised filters are given the observed cells"
        batch, members, _ = ensemble.shape
        rho = self._taper.to_points(observed.cell)
        mean, A = split(ensemble)
        C, delta = whitened(observed)
        # Rows of `products` are the N² entries of c cᵀ for one observation, then the N of c δ: one product
        # with the weights gives every M_x and every right-hand side.
        pairs = (C[:, :, None] * C[:, None]).flatten(1, 2)
        products = torch.cat((pairs, C * delta[:, None]), dim=1).mT
        A = A.reshape(batch, members, -1, self._num_channels).transpose(1, 2)
        size = max(1, CHUNK_BYTES // (24 * batch * members * members))
        parts = [
            _local(rho[:, start : start + size] @ products, A[:, start : start + size])
            for start in range(0, A.shape[1], size)
        ]
        increment, anomalies = (torch.cat(part, dim=1) for part in zip(*parts, strict=True))
        anomalies = anomalies.transpose(1, 2).flatten(2)
        mean = mean + increment.flatten(1)[:, None]
        figures = _figures(anomalies, observed, C, delta)
        return Analysis(self._finish(mean, anomalies, ensemble, generator), figures)


def _figures(anomalies: Tensor, observed: Observed, C: Tensor, delta: Tensor) -> dict[str, Tensor]:
    """Return diagonal figures: (HK)_jj = σ_a² / r at the site, and d² / (σ_b² + r), summed over observations.

    A localised HPHᵀ has full rank where the sampled one has not, so its off-diagonal part is left out. Seen
    through an operator, σ_a is not known.
    """
    N1 = anomalies.shape[1] - 1
    assert observed.cell is not None
    chi_square = (delta.square() / (1 + C.square().sum(dim=1) / N1)).sum(dim=1)
    if not observed.is_of_cells:
        return {"chi_square": chi_square}
    index = observed.cell[:, None].expand(-1, anomalies.shape[1], -1)
    after = anomalies.gather(2, index) * observed.scale[:, None]
    return {
        "degrees_of_freedom": after.square().sum(dim=(1, 2)) / N1,
        "chi_square": chi_square,
    }


def _local(
    sums: Float[Tensor, "batch point _"], A: Float[Tensor, "batch point member channel"]
) -> tuple[Float[Tensor, "batch point channel"], Float[Tensor, "batch point member channel"]]:
    """Return the increments of the mean, and the new anomalies, of some grid points."""
    N = A.shape[2]
    M = sums[..., : N * N].unflatten(-1, (N, N)).contiguous()
    M.diagonal(dim1=-2, dim2=-1).add_(N - 1)
    inverse, T = inverse_and_root(M, float(N - 1))
    w = inverse @ sums[..., N * N :, None]
    return (w * A).sum(dim=2), T @ A
