"""Ensemble-variational analysis, at one observation time."""

from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from koopcast.assimilation.backgrounds import AnyBackground
from koopcast.assimilation.backgrounds.base import Covariance
from koopcast.assimilation.base import Analysis, Observed, Setting
from koopcast.assimilation.ensemble import EnsembleSpec, Finish, Transform
from koopcast.assimilation.var3d import Observing
from koopcast.assimilation.variational import Minimiser, Misfit, minimise
from koopcast.assimilation.variational_options import VariationalSpec
from koopcast.numerics.ensembles import centred_errors, split

Perturbations = Literal["perturbed", "half_gain"]


class EnVarSpec(VariationalSpec, EnsembleSpec):
    """3D-Var of the mean with the covariance of the ensemble, localised or mixed with a static one.

    Anomalies follow by the same gain K: with perturbed observations, or by half of it without.
    """

    kind: Literal["envar"] = "envar"
    background: AnyBackground = Field(default="ensemble", validate_default=True)
    """The covariance B of the error of a forecast."""
    anomalies: Perturbations = "perturbed"
    """`perturbed`: A + K (ε - HA) with centred errors ε drawn for each member; `half_gain`: A - K H A / 2."""

    reference = "Lorenc 2003; Buehner 2005; the half gain as in Sakov and Oke 2008"

    def transform(self, setting: Setting, finish: Finish) -> Transform:
        """Return the analysis of mean and anomalies."""
        background = self.background.build(setting)

        def analyse(
            ensemble: Float[Tensor, "batch member state"], observed: Observed, generator: torch.Generator
        ) -> Analysis:
            covariance = background(ensemble)
            misfit = Observing(split(ensemble)[0], covariance, observed)
            seen = whitened_anomalies(observed)
            changes = Changes(covariance, misfit, seen, observed.scale)
            mean, anomalies, figures = changes.of(ensemble, self.minimiser, self.anomalies, generator)
            return Analysis(finish(mean, anomalies, ensemble, generator), figures)

        return analyse


def whitened_anomalies(observed: Observed) -> Float[Tensor, "batch member obs"]:
    """Return anomalies of the predicted observations, over the observation error."""
    return split(observed.predicted)[1] * observed.scale[:, None]


class Changes:
    """What observations change of an ensemble.

    Args:
        covariance: B where the analysis is.
        misfit: Of controls, as seen from the mean.
        seen: Whitened anomalies of the predicted observations.
        scale: 0 where an observation is missing.
    """

    def __init__(
        self,
        covariance: Covariance,
        misfit: Misfit,
        seen: Float[Tensor, "batch member obs"],
        scale: Float[Tensor, "batch obs"],
    ) -> None:
        self._covariance, self._misfit, self._seen, self._scale = covariance, misfit, seen, scale

    def of(
        self,
        ensemble: Float[Tensor, "batch member state"],
        minimiser: Minimiser,
        how: Perturbations,
        generator: torch.Generator,
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Return mean and anomalies of the analysis, and its figures."""
        mean, A = split(ensemble)
        found = minimise(self._misfit, mean, minimiser)
        if how == "half_gain":
            departures = -self._seen / 2
        else:
            errors = centred_errors(*self._seen.shape, generator=generator)
            departures = errors * (self._scale > 0)[:, None] - self._seen
        increments = self._covariance.root(torch.cat([found.v[:, None], found.gain(departures)], dim=1))
        return mean + increments[:, :1], A + increments[:, 1:], found.figures
