"""Inflation: ways to keep the spread of an ensemble from shrinking below its error."""

import math
from abc import abstractmethod
from collections.abc import Callable
from typing import Annotated, Literal, TypeAlias

import torch
from jaxtyping import Float
from pydantic import Field, NonNegativeFloat, PositiveFloat, model_validator
from torch import Tensor

from koopcast.assimilation.base import Setting
from koopcast.errors import EmptySelection
from koopcast.numerics.arrays import normal
from koopcast.numerics.ensembles import split
from koopcast.spec import Family, MethodSpec

Relax = Callable[[Tensor, Tensor, torch.Generator], Tensor]
"""(anomalies of an analysis, background ensemble, generator) -> inflated anomalies."""

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

    def needs_climatology(self) -> bool:
        """Return whether the training data are drawn from."""
        return False

    def acts_before(self) -> bool:
        """Return whether it acts on the background, before the analysis."""
        return not is_plainly(self.prior_factor(), 1.0)

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

    def build(self, setting: Setting) -> Relax:
        """Return `relax`, with what it draws from.

        Raises:
            EmptySelection: It needs a climatology that the setting does not hold.
        """
        return self.relax


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


class AdaptiveSpec(InflationSpec):
    """The background is inflated by √λ, variable by variable, with λ estimated from the innovations.

    Each variable has a law of its own for λ, which the observations correlated with it make more certain.
    """

    kind: Literal["adaptive"] = "adaptive"
    prior: Literal["inverse_gamma", "normal"] = "inverse_gamma"
    """Law of λ before an analysis, with the mode and the standard deviation that are remembered."""
    std: PositiveFloat = 0.6
    """Standard deviation of λ at the start, and never more."""
    least_std: PositiveFloat = 0.6
    """Lower bound of it, so that λ may still change; where it equals `std` the deviation stays."""
    damping: float = Field(0.9, ge=0, le=1)
    """Before each analysis λ ← 1 + damping (λ - 1)."""
    bounds: tuple[PositiveFloat, PositiveFloat] = (0.9, 20.0)
    """Bounds of λ, a factor on variances."""

    reference = (
        "Anderson 2009 (normal); El Gharamti 2018 (inverse gamma); all observations of a time at once: the "
        "most likely λ, and the curvature there"
    )

    @model_validator(mode="after")
    def _bounds_are_in_order(self) -> "AdaptiveSpec":
        if not self.bounds[0] < self.bounds[1]:
            raise ValueError(f"bounds: {list(self.bounds)} are not in increasing order")
        if self.least_std > self.std:
            raise ValueError(f"least_std: {self.least_std} is above std {self.std}")
        return self

    def acts_before(self) -> bool:
        """Return True."""
        return True

    def posterior_factor(self) -> float | None:
        """Return 1: nothing follows the analysis."""
        return 1.0

    def relax(
        self,
        anomalies: Float[Tensor, "batch member state"],
        background: Float[Tensor, "batch member state"],
        generator: torch.Generator,
    ) -> Float[Tensor, "batch member state"]:
        """Return the anomalies."""
        return anomalies


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


class ArchiveSpec(InflationSpec):
    """A ← A + f ξ with ξ the difference of two records of the training data over √2, centred over members.

    Such noise has the covariance of the climatology, and with it the balance of the model.
    """

    kind: Literal["archive"] = "archive"
    factor: NonNegativeFloat = 0.05
    """Factor f: the standard deviation of the noise in units of that of the climatology."""

    reference = "Whitaker, Hamill, Wei, Song and Toth 2008, with pairs drawn from the whole archive"

    def needs_climatology(self) -> bool:
        """Return whether anything is drawn."""
        return self.factor > 0

    def posterior_factor(self) -> float | None:
        """Return 1 where nothing is done."""
        return 1.0 if self.factor == 0 else None

    def relax(
        self,
        anomalies: Float[Tensor, "batch member state"],
        background: Float[Tensor, "batch member state"],
        generator: torch.Generator,
    ) -> Float[Tensor, "batch member state"]:
        """Return A: without an archive there is nothing to add."""
        return anomalies

    def build(self, setting: Setting) -> Relax:
        """Return A + f ξ with draws from the climatology."""
        if self.factor == 0:
            return self.relax
        if setting.climatology is None:
            raise EmptySelection(
                "inflation from an archive needs a climatology, and the setting holds none",
                "give the training data, or choose `additive`",
            )
        archive = setting.climatology.states

        def relax(anomalies: Tensor, background: Tensor, generator: torch.Generator) -> Tensor:
            size = (2, *anomalies.shape[:2])
            drawn = torch.randint(len(archive), size, generator=generator, device=generator.device)
            first, second = archive[drawn]
            return anomalies + self.factor * split((first - second) / math.sqrt(2))[1]

        return relax


def _sum_of_squares(anomalies: Float[Tensor, "batch member state"]) -> Float[Tensor, "batch 1 state"]:
    return anomalies.square().sum(dim=1, keepdim=True)


AnyInflation: TypeAlias = Annotated[
    AdaptiveSpec | AdditiveSpec | ArchiveSpec | MultiplicativeSpec | NoInflationSpec | RTPPSpec | RTPSSpec,
    Family("inflation"),
]
