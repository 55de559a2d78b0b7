"""Kernels: the union is the registry."""

from typing import Annotated, TypeAlias

from koopcast.kernels.arc_cosine import ArcCosineSpec
from koopcast.kernels.base import KernelSpec as KernelSpec
from koopcast.kernels.gaussian import GaussianSpec
from koopcast.kernels.laplacian import LaplacianSpec
from koopcast.kernels.linear import LinearKernelSpec
from koopcast.kernels.lorentzian import LorentzianSpec
from koopcast.kernels.matern import MaternSpec
from koopcast.kernels.polynomial import PolynomialKernelSpec
from koopcast.kernels.quantum_zz import QuantumZZSpec
from koopcast.spec import Family

AnyKernel: TypeAlias = Annotated[
    ArcCosineSpec
    | GaussianSpec
    | LaplacianSpec
    | LinearKernelSpec
    | LorentzianSpec
    | MaternSpec
    | PolynomialKernelSpec
    | QuantumZZSpec,
    Family("kernels"),
]
