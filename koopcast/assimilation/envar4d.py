"""Ensemble-variational analysis through a window."""

from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor

from koopcast.assimilation.backgrounds import AnyBackground
from koopcast.assimilation.base import Analysis, Setting, Smooth, SmootherSpec, Window
from koopcast.assimilation.ensemble import Finish
from koopcast.assimilation.envar import Changes, Perturbations, whitened_anomalies
from koopcast.assimilation.inflation import AnyInflation
from koopcast.assimilation.var3d import Observing
from koopcast.assimilation.variational import Misfit
from koopcast.assimilation.variational_options import VariationalSpec
from koopcast.numerics.ensembles import split


class EnVar4DSpec(VariationalSpec, SmootherSpec):
    """4DEnVar: the ensemble's own trajectories stand for tangent and adjoint models.

    A control makes the increment B_t^{1/2} v at every time t, with B_t the covariance of the ensemble
    there: localisation and a static part are the same at all times.
    """

    kind: Literal["envar4d"] = "envar4d"
    members: int = Field(20, ge=2)
    """Size of the ensemble."""
    background: AnyBackground = Field(default="ensemble", validate_default=True)
    """The covariance B, of the ensemble at each time."""
    anomalies: Perturbations = "perturbed"
    """`perturbed`: A + K (ε - HA) with centred errors ε drawn for each member; `half_gain`: A - K H A / 2."""
    inflation: AnyInflation = Field(default="none", validate_default=True)
    """How spread is kept up, at the start of the window."""
    rotation: bool = False
    """Rotate the anomalies of each analysis at random, keeping mean and covariance."""

    reference = "Liu, Xiao and Wang 2008; Desroziers, Camino and Berre 2014"

    @model_validator(mode="after")
    def _has_members_to_rotate(self) -> "EnVar4DSpec":
        if self.rotation and self.members < 3:
            raise ValueError(f"rotation: needs at least 3 members, not {self.members}")
        return self

    def num_members(self) -> int:
        """Return `members`."""
        return self.members

    def build(self, setting: Setting) -> Smooth:
        """Return the analysis of a window."""
        background = self.background.build(setting)
        finish = Finish.of(self.inflation, self.rotation, setting)

        def smooth(
            ensemble: Float[Tensor, "batch member state"], window: Window, generator: torch.Generator
        ) -> Analysis:
            states = list(window.trajectory(ensemble))
            observed = [window.observe(state, place) for place, state in enumerate(states)]
            misfits = [
                Observing(split(state)[0], background(state), seen)
                for state, seen in zip(states, observed, strict=True)
            ]
            anomalies = torch.cat([whitened_anomalies(seen) for seen in observed], dim=2)
            scale = torch.cat([seen.scale for seen in observed], dim=1)
            changes = Changes(background(ensemble), SideBySide(misfits), anomalies, scale)
            mean, A, figures = changes.of(ensemble, self.minimiser, self.anomalies, generator)
            return Analysis(finish(mean, A, ensemble, generator), figures)

        return smooth


class SideBySide(Misfit):
    """The misfits of several times, all of one control."""

    def __init__(self, parts: list[Observing]) -> None:
        self._parts = parts
        self.rank = parts[0].rank

    def __call__(self, v: Float[Tensor, "batch member rank"]) -> Float[Tensor, "batch member obs"]:
        """Return the misfits side by side."""
        return torch.cat([part(v) for part in self._parts], dim=2)

    def linearised(
        self, v: Float[Tensor, "batch 1 rank"]
    ) -> tuple[Float[Tensor, "batch obs"], Float[Tensor, "batch rank obs"]]:
        """Return d(v) and L, time by time."""
        d, L = zip(*(part.linearised(v) for part in self._parts), strict=True)
        batch = max(len(part) for part in L)
        return torch.cat(d, dim=1), torch.cat([part.expand(batch, -1, -1) for part in L], dim=2)
