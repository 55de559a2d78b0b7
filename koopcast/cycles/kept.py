"""What is kept of the observation times of a window: fields before and after, and the figures of a window."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from koopcast.assimilation.base import Analysis
from koopcast.assimilation.chains import cells_of
from koopcast.dynamics import Dynamics
from koopcast.numerics.particles import weighted_split
from koopcast.observations.base import ObservationSet


@dataclass(frozen=True)
class Kept:
    """Background and analysis of one observation time, over the cells."""

    background: Float[Tensor, " cell"]
    background_spread: Float[Tensor, " cell"]
    analysis: Float[Tensor, " cell"]
    spread: Float[Tensor, " cell"]
    figures: dict[str, float]
    flag: Int[np.ndarray, " obs"]
    """What the checks say of each observation."""
    seen: Float[Tensor, "3 place"]
    """What the observations see: of the background its mean and its spread, of the analysis its mean."""

    def fields(self, shape: tuple[int, ...]) -> dict[str, Float[Tensor, "1 1 *space channel"]]:
        """Return each as a field of one sample and one time."""
        names = ("background", "background_spread", "analysis", "spread")
        return {name: getattr(self, name).float().reshape(1, 1, *shape, -1) for name in names}


class Keeper:
    """Takes in the cycles of one window."""

    is_full = False

    def __init__(self, dynamics: Dynamics, observations: ObservationSet) -> None:
        self._dynamics, self._observations = dynamics, observations
        self.kept: list[Kept] = []

    def add(
        self,
        background: Float[Tensor, "batch member state"],
        analysis: Analysis,
        flag: Int[Tensor, "batch obs"] | None = None,
        predicted: Float[Tensor, "batch member obs"] | None = None,
    ) -> None:
        """Take in one observation time."""
        cells = cells_of(self._dynamics, background)
        before = moments(cells, analysis.background_weights)
        after = moments(cells_of(self._dynamics, analysis.ensemble), analysis.weights)
        stated = after[1] if analysis.std is None else analysis.std[0]
        figures = {name: float(figure[0]) for name, figure in analysis.figures.items()}
        found = np.zeros(0, dtype=np.int8) if flag is None else flag[0].numpy()
        seen = self._seen(cells, analysis.background_weights, (*before, after[0]))
        self.kept.append(Kept(*before, after[0], stated, figures, found, seen))

    def _seen(
        self,
        background: Float[Tensor, "1 member cell"],
        weights: Float[Tensor, "1 member"] | None,
        fields: tuple[Tensor, Tensor, Tensor],
    ) -> Float[Tensor, "3 place"]:
        observations, number = self._observations, len(self.kept)
        seen = observations.seen(torch.stack(fields)[None], number)[0]
        if observations.operator is not None:
            seen[1] = moments(observations.seen(background, number), weights)[1]
        return seen


def moments(
    cells: Float[Tensor, "1 member cell"], weights: Float[Tensor, "1 member"] | None = None
) -> tuple[Float[Tensor, " cell"], Float[Tensor, " cell"]]:
    """Return mean and standard deviation over members, weighted where they have weights; no deviation of a
    single one.
    """
    if weights is not None:
        center, anomalies = weighted_split(cells, weights)
        return center[0, 0], anomalies[0].square().sum(dim=0).sqrt()
    mean = cells[0].mean(dim=0)
    spread = cells[0].std(dim=0) if cells.shape[1] > 1 else torch.zeros_like(mean)
    return mean, spread


def monitors(feedback: pd.DataFrame, kept: list[Kept]) -> dict[str, float | None]:
    """Return the figures of a window; None where nothing was used."""
    used = feedback[feedback["used"]]
    total, count = len(feedback), len(used)
    figures: dict[str, float | None] = {
        "rejection_rate": None if total == 0 else (total - count) / total,
        "spread": _rms(kept[-1].spread.numpy()),
        "background_spread": _rms(kept[-1].background_spread.numpy()),
        "increment_rms": _rms((kept[-1].analysis - kept[-1].background).numpy()),
    }
    for name in ("ob", "oa"):
        values = used[name].to_numpy()
        figures[f"{name}_mean"] = float(values.mean()) if count else None
        figures[f"{name}_rms"] = _rms(values) if count else None
    for name in ("chi_square", "degrees_of_freedom"):
        known = [at.figures[name] for at in kept if name in at.figures]
        figures[f"{name}_per_observation"] = sum(known) / count if known and count else None
    return figures


def _rms(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(np.sqrt(np.mean(np.square(known)))) if known.size else 0.0
