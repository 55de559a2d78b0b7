"""Preconditioners of iterative solvers."""

from typing import Annotated, TypeAlias

from koopcast.solvers.preconditioners.amg import AMGSpec
from koopcast.solvers.preconditioners.fft import FFTSpec
from koopcast.solvers.preconditioners.ic import ICSpec
from koopcast.solvers.preconditioners.ilu import ILUSpec
from koopcast.solvers.preconditioners.jacobi import JacobiSpec
from koopcast.solvers.preconditioners.none import NoneSpec
from koopcast.solvers.preconditioners.ssor import SSORSpec
from koopcast.spec import Family

AnyPreconditioner: TypeAlias = Annotated[
    AMGSpec | FFTSpec | ICSpec | ILUSpec | JacobiSpec | NoneSpec | SSORSpec, Family("preconditioners")
]

__all__ = [
    "AMGSpec",
    "AnyPreconditioner",
    "FFTSpec",
    "ICSpec",
    "ILUSpec",
    "JacobiSpec",
    "NoneSpec",
    "SSORSpec",
]
