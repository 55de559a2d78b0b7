"""Integrators: the union is the registry."""

from typing import Annotated, TypeAlias

from koopcast.integrators.base import IntegratorSpec as IntegratorSpec
from koopcast.integrators.bdf import BDFSpec
from koopcast.integrators.crank_nicolson import CrankNicolsonSpec
from koopcast.integrators.dopri5 import Dopri5Spec
from koopcast.integrators.etdrk4 import ETDRK4Spec
from koopcast.integrators.exact import ExactSpec
from koopcast.integrators.ifrk4 import IFRK4Spec
from koopcast.integrators.imex_heun import IMEXHeunSpec
from koopcast.integrators.rk4 import RK4Spec
from koopcast.integrators.ssprk3 import SSPRK3Spec
from koopcast.spec import Family

AnyIntegrator: TypeAlias = Annotated[
    BDFSpec
    | CrankNicolsonSpec
    | Dopri5Spec
    | ETDRK4Spec
    | ExactSpec
    | IFRK4Spec
    | IMEXHeunSpec
    | RK4Spec
    | SSPRK3Spec,
    Family("integrators"),
]
