"""Inflation: ways to keep the spread of an ensemble from shrinking below its error."""

from abc import abstractmethod
from typing import Annotated, Literal, TypeAlias

import torch
from jaxtyping import Float
from pydantic import Field, NonNegativeFloat, PositiveFloat
from torch import Tensor

from koopcast.assimilation.base import Setting
from koopcast.numerics.arrays import normal
from koopcast.numerics.ensembles import split
from koopcast.spec import Family, MethodSpec

Factor: TypeAlias = float | Float[Tensor, "batch 1 1"]
"""One for all experiments, or one for each."""


def is_plainly(factor: Factor, number: float) -> bool:
    """Return whether a factor is this number in every experiment, so that its arithmetic can be left out."""
    return not isinstance(factor, Tensor) and factor == number


class InflationSpec(MethodSpec):
    """Options of an inflation of anomalies; the mean of the analysis never changes."""

    def within(self, setting: Setting) -> "InflationSpec":
        """Return the options; their `factor` is `(batch, 1, 1)` where the setting varies it."""
        factor = setting.varied.get("inflation.factor")
        return self if factor is None else self.model_copy(update={"factor": factor[:, None, None]})

    def prior_factor(self) -> Factor:
        """Return the factor on anomalies of the background, 1 for none."""
        return 1.0

    @abstractmethod
    def posterior_factor(self) -> Factor | None:
        """Return the factor on anomalies of the analysis where `relax` does no more than that, else None."""

    @abstractmethod
    def relax(
        self,
        anomalies: Float[Tensor, "batch member state"],
        background: Float[Tensor, "batch member state"],
        generator: torch.Generator,
    ) -> Float[Tensor, "batch member state"]:
        """Return the inflated anomalies of an analysis, given the background ensemble."""


class NoInflationSpec(InflationSpec):
    """The ensemble as it is."""

    kind: Literal["none"] = "none"

    reference = "Evensen 1994"

    def posterior_factor(self) -> Factor | None:
        """Return 1."""
        return 1.0

    def relax(
        self,
        anomalies: Float[Tensor, "batch member state"],
        background: Float[Tensor, "batch member state"],
        generator: torch.Generator,
    ) -> Float[Tensor, "batch member state"]:
        """Return the anomalies."""
        return anomalies


class MultiplicativeSpec(InflationSpec):
    """A ← f A."""

    kind: Literal["multiplicative"] = "multiplicative"
    factor: PositiveFloat = 1.02
    """Factor f on anomalies (their variance grows by f²)."""
    when: Literal["posterior", "prior"] = "posterior"
    """After the analysis or before it; the tuned factor differs."""

    reference = "Anderson and Anderson 1999"

    def prior_factor(self) -> Factor:
        """Return f, or 1 where it acts on the analysis."""
        return self.factor if self.when == "prior" else 1.0

    def posterior_factor(self) -> Factor:
        """Return f, or 1 where it acts on the background."""
        return self.factor if self.when == "posterior" else 1.0

    def relax(
        self,
        anomalies: Float[Tensor, "batch member state"],
        background: Float[Tensor, "batch member state"],
        generator: torch.Generator,
    ) -> Float[Tensor, "batch member state"]:
        """Return f A."""
        factor = self.posterior_factor()
        return anomalies if is_plainly(factor, 1.0) else anomalies * factor


class RTPSSpec(InflationSpec):
    """Relaxation to prior spread: A ← A (1 + α (σ_b - σ_a) / σ_a), component by component."""

    kind: Literal["rtps"] = "rtps"
    factor: float = Field(0.5, ge=0, le=1)
    """Relaxation α: 0 none, 1 back to the spread of the background."""

    reference = "Whitaker and Hamill 2012"

    def posterior_factor(self) -> Factor | None:
        """Return 1 where nothing is done."""
        return 1.0 if is_plainly(self.factor, 0.0) else None

    def relax(
        self,
        anomalies: Float[Tensor, "batch member state"],
        background: Float[Tensor, "batch member state"],
        generator: torch.Generator,
    ) -> Float[Tensor, "batch member state"]:
        """Return A (1 + α (σ_b - σ_a) / σ_a)."""
        if is_plainly(self.factor, 0.0):
            return anomalies
        prior, posterior = _sum_of_squares(split(background)[1]), _sum_of_squares(anomalies)
        # A component without spread (a masked cell) stays as it is.
        ratio = torch.where(posterior > 0, prior / posterior, 1.0).sqrt()
        return anomalies * (1 + self.factor * (ratio - 1))


class RTPPSpec(InflationSpec):
    """Relaxation to prior perturbations: A ← (1 - α) A + α A_b."""

    kind: Literal["rtpp"] = "rtpp"
    factor: float = Field(0.5, ge=0, le=1)
    """Relaxation α: 0 none, 1 the perturbations of the background."""

    reference = "Zhang, Snyder and Sun 2004"

    def posterior_factor(self) -> Factor | None:
        """Return 1 where nothing is done."""
        return 1.0 if is_plainly(self.factor, 0.0) else None

    def relax(
        self,
        anomalies: Float[Tensor, "batch member state"],
        background: Float[Tensor, "batch member state"],
        generator: torch.Generator,
    ) -> Float[Tensor, "batch member state"]:
        """Return (1 - α) A + α A_b."""
        if is_plainly(self.factor, 0.0):
            return anomalies
        return torch.lerp(anomalies, split(background)[1], self.factor)


class AdditiveSpec(InflationSpec):
    """A ← A + ξ with independent ξ ~ N(0, std²), centred over members."""

    kind: Literal["additive"] = "additive"
    std: NonNegativeFloat = 0.1
    """Standard deviation, in the units of the state."""

    reference = "Mitchell and Houtekamer 2000"

    def posterior_factor(self) -> Factor | None:
        """Return 1 where nothing is done."""
        return 1.0 if self.std == 0 else None

    def relax(
        self,
        anomalies: Float[Tensor, "batch member state"],
        background: Float[Tensor, "batch member state"],
        generator: torch.Generator,
    ) -> Float[Tensor, "batch member state"]:
        """Return A + ξ."""
        if self.std == 0:
            return anomalies
        noise = normal(*anomalies.shape, generator=generator)
        # A component that never varies (a masked cell) gets no noise.
        varies = _sum_of_squares(anomalies) > 0
        return anomalies + self.std * split(noise)[1] * varies


def _sum_of_squares(anomalies: Float[Tensor, "batch member state"]) -> Float[Tensor, "batch 1 state"]:
    return anomalies.square().sum(dim=1, keepdim=True)


AnyInflation: TypeAlias = Annotated[
    AdditiveSpec | MultiplicativeSpec | NoInflationSpec | RTPPSpec | RTPSSpec, Family("inflation")
]
