"""Positive coefficients of elliptic systems, drawn for each sample: the union is the registry."""

from abc import abstractmethod
from typing import Annotated, Literal, TypeAlias

import numpy as np
import torch
from jaxtyping import Float
from pydantic import PositiveFloat

from koopcast.random_fields import AnyRandomField
from koopcast.random_fields.bumps import BumpsSpec
from koopcast.random_fields.cosine_gaussian import CosineGaussianSpec
from koopcast.spec import Family, MethodSpec
from koopcast.systems.square import axes, drawn


class CoefficientSpec(MethodSpec):
    """Options of a positive coefficient on the unit square."""

    @abstractmethod
    def draw(self, points: int, generator: torch.Generator) -> Float[np.ndarray, "y x"]:
        """Draw the coefficient of one sample at all nodes."""

    def fault(self, points: int) -> str | None:
        """Return why the law has no meaning there, and what to do; None where it has."""
        return None


class ConstantCoefficientSpec(CoefficientSpec):
    """One positive value everywhere; nothing is drawn."""

    kind: Literal["constant"] = "constant"
    value: PositiveFloat = 1.0
    """The value."""

    reference = "The homogeneous medium"

    def draw(self, points: int, generator: torch.Generator) -> Float[np.ndarray, "y x"]:
        """Return the value at every node."""
        return np.full((points, points), self.value)


class FewParametersSpec(CoefficientSpec):
    """exp(amplitude (p₁ cos πx + p₂ cos πy + p₃ cos πx cos πy)) with p uniform on (-1, 1)."""

    kind: Literal["few_parameters"] = "few_parameters"
    amplitude: PositiveFloat = 1.0
    """Size of the logarithm's weights."""

    reference = "A smooth family of three numbers, whose members have near neighbours"

    def draw(self, points: int, generator: torch.Generator) -> Float[np.ndarray, "y x"]:
        """Draw the three numbers; they do not depend on the grid."""
        p = (
            torch.rand(3, generator=generator, device=generator.device, dtype=torch.float64) * 2 - 1
        ).tolist()
        wave = np.cos(np.pi * np.linspace(0, 1, points))
        x, y = wave[None, :], wave[:, None]
        return np.asarray(np.exp(self.amplitude * (p[0] * x + p[1] * y + p[2] * x * y)))


class FNOThresholdSpec(CoefficientSpec):
    """The first level where a random field is at least 0, the second elsewhere."""

    kind: Literal["fno_threshold"] = "fno_threshold"
    levels: tuple[PositiveFloat, PositiveFloat] = (12.0, 3.0)
    """Values where the field is at least 0, and where it is below; the public script has 12 and 4."""
    field: AnyRandomField = CosineGaussianSpec()
    """What is cut."""

    reference = "Darcy data of Li et al. 2021 (FNO)"

    def draw(self, points: int, generator: torch.Generator) -> Float[np.ndarray, "y x"]:
        """Draw and cut at 0."""
        return np.where(drawn(self.field, points, generator) >= 0, *self.levels)

    def fault(self, points: int) -> str | None:
        """Return the fault of the field."""
        return self.field.fault(axes(points))


class LognormalSpec(CoefficientSpec):
    """exp(amplitude g) with a random field g."""

    kind: Literal["lognormal"] = "lognormal"
    amplitude: PositiveFloat = 1.0
    """Factor of the field before the exponential."""
    field: AnyRandomField = CosineGaussianSpec()
    """The logarithm."""

    reference = "Darcy data of Li et al. 2021 (FNO), log-normal variant of the public script"

    def draw(self, points: int, generator: torch.Generator) -> Float[np.ndarray, "y x"]:
        """Draw and exponentiate."""
        return np.exp(self.amplitude * drawn(self.field, points, generator))

    def fault(self, points: int) -> str | None:
        """Return the fault of the field."""
        return self.field.fault(axes(points))


class PDEBenchSpec(CoefficientSpec):
    """The first level where a random field is above its mean over the nodes, the second elsewhere."""

    kind: Literal["pdebench"] = "pdebench"
    levels: tuple[PositiveFloat, PositiveFloat] = (1.0, 0.1)
    """Values above the mean, and not above."""
    field: AnyRandomField = BumpsSpec()
    """What is cut."""

    reference = (
        "Darcy data of Takamoto et al. 2022 (PDEBench), which cut at the mean over a whole batch; here every "
        "sample has its own mean"
    )

    def draw(self, points: int, generator: torch.Generator) -> Float[np.ndarray, "y x"]:
        """Draw and cut at the mean."""
        field = drawn(self.field, points, generator)
        return np.where(field > field.mean(), *self.levels)

    def fault(self, points: int) -> str | None:
        """Return the fault of the field."""
        return self.field.fault(axes(points))


AnyCoefficient: TypeAlias = Annotated[
    ConstantCoefficientSpec | FewParametersSpec | FNOThresholdSpec | LognormalSpec | PDEBenchSpec,
    Family("coefficients"),
]
