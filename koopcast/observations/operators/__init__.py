"""Observation operators: the union is the registry."""

from typing import Annotated, TypeAlias

from koopcast.observations.operators.identity import IdentitySpec
from koopcast.observations.operators.index import IndexSpec
from koopcast.observations.operators.interpolate import InterpolateSpec
from koopcast.observations.operators.linear import LinearSpec
from koopcast.observations.operators.nonlinear import NonlinearSpec
from koopcast.observations.operators.spectral import SpectralSpec
from koopcast.spec import Family

AnyOperator: TypeAlias = Annotated[
    IdentitySpec | IndexSpec | InterpolateSpec | LinearSpec | NonlinearSpec | SpectralSpec,
    Family("observation_operators"),
]
