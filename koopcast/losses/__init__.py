"""Losses that networks are trained on."""

from typing import Annotated, TypeAlias

from koopcast.losses.base import LossSpec, Measure
from koopcast.losses.h1 import H1Spec
from koopcast.losses.mse import MeanSquaredErrorSpec
from koopcast.losses.physics_residual import PhysicsResidualSpec
from koopcast.losses.rel_l2 import RelativeL2Spec
from koopcast.losses.sobolev import SobolevSpec
from koopcast.losses.spectral import SpectralSpec
from koopcast.spec import Family

AnyLoss: TypeAlias = Annotated[
    H1Spec | MeanSquaredErrorSpec | PhysicsResidualSpec | RelativeL2Spec | SobolevSpec | SpectralSpec,
    Family("losses"),
]

__all__ = [
    "AnyLoss",
    "H1Spec",
    "LossSpec",
    "MeanSquaredErrorSpec",
    "Measure",
    "PhysicsResidualSpec",
    "RelativeL2Spec",
    "SobolevSpec",
    "SpectralSpec",
]
