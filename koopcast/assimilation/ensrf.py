"""The serial ensemble square-root filter: one observation after the other."""

from typing import Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor

from koopcast.assimilation.base import Analysis, Observed, Setting
from koopcast.assimilation.ensemble import Finish, LocalizedSpec, Transform, diagonal_figures, whitened
from koopcast.assimilation.localization import AnyLocalization, Taper
from koopcast.numerics.ensembles import split

BLOCK = 64
"""Observations that one triangular factor takes in, in their order."""


class EnSRFSpec(LocalizedSpec):
    """Observations enter one by one, each with a scalar gain for the mean and a reduced one for anomalies.

    It is the ensemble adjustment filter as well: the same ensemble by regression on one observed quantity.
    """

    kind: Literal["ensrf"] = "ensrf"
    localization: AnyLocalization = Field(default="none", validate_default=True)
    """Taper on the gains: from an observation to cells, and to the observations after it."""
    order: Literal["random", "given"] = "random"
    """Order of the observations: drawn anew for each analysis, or as they come. With localisation the result
    depends on it, without it the mean and the covariance do not."""

    reference = "Whitaker and Hamill 2002; Anderson 2001, 2003; triangular form of Andrews 1968"

    def transform(self, setting: Setting, finish: Finish) -> Transform:
        """Return the loop over observations."""
        if self.localization.is_global():
            return Serial(finish, self.order)
        return LocalSerial(Taper.of(self.localization, setting), setting.num_channels, finish, self.order)


def _ordered(order: str, count: int, generator: torch.Generator) -> Int[Tensor, " obs"]:
    if order == "given":
        return torch.arange(count, device=generator.device)
    return torch.randperm(count, generator=generator, device=generator.device)


class Serial:
    """Without localisation the loop has a closed form, taken for blocks of observations.

    With whitened anomalies C in the order of the observations and L Lᵀ = I + CᵀC / (N-1), L lower triangular,
    the squares of L's diagonal are the innovation variances that the loop meets, and its product of rank-one
    updates is A ← A - C (L + I)⁻ᵀ X, mean ← mean + (L⁻¹ δ)ᵀ X with X = L⁻¹ CᵀA / (N-1).
    """

    def __init__(self, finish: Finish, order: str) -> None:
        self._finish, self._order = finish, order

    def __call__(
        self, ensemble: Float[Tensor, "batch member state"], observed: Observed, generator: torch.Generator
    ) -> Analysis:
        """Return the analysis."""
        states = ensemble.shape[2]
        mean, A = split(ensemble)
        C, delta = whitened(observed)
        order = _ordered(self._order, C.shape[2], generator)
        C, delta = C[..., order], delta[:, order]
        # What is observed moves like further entries of the state; its mean is -δ.
        mean, Z = torch.cat((mean, -delta[:, None]), dim=2), torch.cat((A, C), dim=2)
        chi_square = torch.zeros_like(delta[:, 0])
        for start in range(states, Z.shape[2], BLOCK):
            mean, Z, chi = _block(mean, Z, slice(start, start + BLOCK))
            chi_square = chi_square + chi
        figures = {
            # (HK)_jj is the variance after the analysis over that of the error.
            "degrees_of_freedom": Z[..., states:].square().sum(dim=(1, 2)) / (Z.shape[1] - 1),
            "chi_square": chi_square,
        }
        return Analysis(self._finish(mean[..., :states], Z[..., :states], ensemble, generator), figures)


def _block(
    mean: Float[Tensor, "batch 1 entry"], Z: Float[Tensor, "batch member entry"], block: slice
) -> tuple[Tensor, Tensor, Float[Tensor, " batch"]]:
    """Return mean and anomalies after the observations that stand at `block`, and their χ²."""
    C, N1 = Z[..., block], Z.shape[1] - 1
    B = C.mT @ C / N1
    B.diagonal(dim1=1, dim2=2).add_(1)
    L = torch.linalg.cholesky(B)
    X = torch.linalg.solve_triangular(L, C.mT @ Z / N1, upper=False)
    u = torch.linalg.solve_triangular(L, -mean[:, 0, block, None], upper=False)
    L.diagonal(dim1=1, dim2=2).add_(1)
    reduced = torch.linalg.solve_triangular(L, C.mT, upper=False)
    return mean + u.mT @ X, Z - reduced.mT @ X, u.square().sum(dim=(1, 2))


class LocalSerial:
    """The loop itself, with tapered gains: K = ρ ∘ (sᵀ Z) / (sᵀs + N-1) for one with anomalies s.

    The mean moves by K δ, anomalies by -α s K with α = 1 / (1 + √((N-1) / (sᵀs + N-1))).
    """

    def __init__(self, taper: Taper, num_channels: int, finish: Finish, order: str) -> None:
        self._taper, self._num_channels = taper, num_channels
        self._finish, self._order = finish, order

    def __call__(
        self, ensemble: Float[Tensor, "batch member state"], observed: Observed, generator: torch.Generator
    ) -> Analysis:
        """Return the analysis."""
        assert observed.cell is not None, "localised filters are given the observed cells"
        batch, members, states = ensemble.shape
        N1 = members - 1
        mean, A = split(ensemble)
        C, delta = whitened(observed)
        to_cells = self._taper.to_points(observed.cell).repeat_interleave(self._num_channels, dim=1)
        rho = torch.cat((to_cells, self._taper.to_obs(observed.cell)), dim=1)
        # The last row is the mean, with -δ for what is observed: it moves like an anomaly with α = 1.
        Z = torch.cat((torch.cat((A, C), dim=2), torch.cat((mean, -delta[:, None]), dim=2)), dim=1)
        share = torch.ones(batch, members + 1, 1, dtype=Z.dtype, device=Z.device)
        for number in _ordered(self._order, C.shape[2], generator).tolist():
            column = Z[:, :, states + number, None]
            s = column[:, :members]
            total = (s.mT @ s) + N1
            K = (s.mT @ Z[:, :members]) * (rho[:, None, :, number] / total)
            share[:, :members] = 1 / (1 + (N1 / total).sqrt())
            Z = torch.baddbmm(Z, share * column, K, alpha=-1)
        analysed, after = Z[:, :members, :states], Z[:, members:, :states]
        figures = diagonal_figures(analysed, observed, C, delta)
        return Analysis(self._finish(after, analysed, ensemble, generator), figures)
