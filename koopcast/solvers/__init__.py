"""Solvers of linear systems: the union is the registry."""

from typing import Annotated, TypeAlias

from koopcast.solvers.amg import AMGSpec
from koopcast.solvers.auto import AutoSpec
from koopcast.solvers.cg import CGSpec
from koopcast.solvers.direct import DirectSpec
from koopcast.solvers.fft import FFTSpec
from koopcast.solvers.gcro_dr import GCRODRSpec
from koopcast.solvers.gmres import GMRESSpec
from koopcast.solvers.minres import MINRESSpec
from koopcast.solvers.skr import SKRSpec
from koopcast.solvers.sor import SORSpec
from koopcast.solvers.ssor import SSORSpec
from koopcast.spec import Family

AnySolver: TypeAlias = Annotated[
    AMGSpec
    | AutoSpec
    | CGSpec
    | DirectSpec
    | FFTSpec
    | GCRODRSpec
    | GMRESSpec
    | MINRESSpec
    | SKRSpec
    | SORSpec
    | SSORSpec,
    Family("solvers"),
]
