"""Integrators: the union is the registry."""

from typing import Annotated, TypeAlias

from koopcast.integrators.base import IntegratorSpec as IntegratorSpec
from koopcast.integrators.etdrk4 import ETDRK4Spec
from koopcast.integrators.rk4 import RK4Spec
from koopcast.spec import Family

AnyIntegrator: TypeAlias = Annotated[ETDRK4Spec | RK4Spec, Family("integrators")]
