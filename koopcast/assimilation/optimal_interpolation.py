"""Optimal interpolation between climatology and the observations of the moment."""

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from koopcast.assimilation.base import Analyse, Analysis, Climatology, FilterSpec, Observed, Setting
from koopcast.errors import EmptySelection


class OptimalInterpolationSpec(FilterSpec):
    """x_a = μ + K (y - Hμ) with mean and covariance of the training data; nothing is remembered from cycle to
    cycle.
    """

    kind: Literal["optimal_interpolation"] = "optimal_interpolation"

    reference = "Gandin 1963; the background is the climatology, as in the DAPPER benchmark suite"

    def build(self, setting: Setting) -> Analyse:
        """Return the update with the climatological gain."""
        if setting.climatology is None:
            raise EmptySelection(
                "optimal interpolation needs training data for its climatology",
                "split the dataset so that it has a `train` part",
            )
        return ClimatologicalGain(setting.climatology)

    def num_members(self) -> int:
        """Return 1."""
        return 1

    def needs_cells(self) -> bool:
        """Return True: the climatology is of cells."""
        return True

    def needs_climatology(self) -> bool:
        """Return True."""
        return True


class ClimatologicalGain:
    """K = PHᵀ (HPHᵀ + R)⁻¹ with the sampled covariance P of training records; products are kept while sites
    stay.
    """

    def __init__(self, climatology: Climatology) -> None:
        states, cells = climatology.states, climatology.cells
        self._mean, self._cell_mean = states.mean(dim=0), cells.mean(dim=0)
        root = max(1, states.shape[0] - 1) ** 0.5
        self._states, self._cells = (states - self._mean) / root, (cells - self._cell_mean) / root
        self._variance = self._cells.square().sum(dim=0)
        self._index: Tensor | None = None

    def __call__(
        self, ensemble: Float[Tensor, "batch member state"], observed: Observed, generator: torch.Generator
    ) -> Analysis:
        """Return the analysis, the same whatever the background is, and the standard deviation that it
        states.
        """
        assert observed.cell is not None, "the observed cells are given"
        self._refresh(observed.cell)
        scale = observed.scale
        delta = (observed.value - self._cell_mean[observed.cell]) * scale
        own = scale[:, :, None] * self._HPH * scale[:, None]
        L = torch.linalg.cholesky(own + torch.eye(own.shape[-1], dtype=own.dtype, device=own.device))
        u = torch.linalg.solve_triangular(L, delta[..., None], upper=False)
        gain = torch.linalg.solve_triangular(L, scale[:, :, None] * self._HP, upper=False)
        gain, reduction = gain.split([self._mean.shape[0], self._cell_mean.shape[0]], dim=2)
        std = (self._variance - reduction.square().sum(dim=1)).clamp_min(0).sqrt()
        figures = {
            "degrees_of_freedom": torch.cholesky_solve(own, L).diagonal(dim1=-2, dim2=-1).sum(dim=-1),
            "chi_square": u.square().sum(dim=(1, 2)),
        }
        mean = self._mean + u.mT @ gain
        return Analysis(mean.expand(ensemble.shape), figures, std)

    def _refresh(self, index: Int[Tensor, "batch obs"]) -> None:
        """Form HP and HPHᵀ for new sites; one matrix where experiments share them."""
        if index is self._index:
            return
        rows = index[:1] if bool((index == index[:1]).all()) else index
        H = self._cells.T[rows]
        # Covariances of the observed cells with the components of the state, and with all cells for the
        # spread.
        self._HP = H @ torch.cat((self._states, self._cells), dim=1)
        self._index, self._HPH = index, H @ H.mT
