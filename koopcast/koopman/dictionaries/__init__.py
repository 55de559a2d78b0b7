"""Observables in which the dynamics may be linear."""

from typing import Annotated, TypeAlias

from koopcast.koopman.dictionaries.combined import CombinedSpec
from koopcast.koopman.dictionaries.fourier import FourierSpec
from koopcast.koopman.dictionaries.indicator import IndicatorSpec
from koopcast.koopman.dictionaries.linear import LinearSpec
from koopcast.koopman.dictionaries.polynomial import PolynomialSpec
from koopcast.koopman.dictionaries.random_fourier import RandomFourierSpec
from koopcast.koopman.dictionaries.rbf import RBFSpec
from koopcast.spec import Family

AnyDictionary: TypeAlias = Annotated[
    CombinedSpec | FourierSpec | IndicatorSpec | LinearSpec | PolynomialSpec | RandomFourierSpec | RBFSpec,
    Family("dictionaries"),
]

__all__ = [
    "AnyDictionary",
    "CombinedSpec",
    "FourierSpec",
    "IndicatorSpec",
    "LinearSpec",
    "PolynomialSpec",
    "RBFSpec",
    "RandomFourierSpec",
]
