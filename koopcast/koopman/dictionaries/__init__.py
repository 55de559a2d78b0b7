"""Observables in which the dynamics may be linear."""

from typing import Annotated, TypeAlias

from koopcast.koopman.dictionaries.linear import LinearSpec
from koopcast.koopman.dictionaries.polynomial import PolynomialSpec
from koopcast.koopman.dictionaries.rbf import RBFSpec
from koopcast.spec import Family

AnyDictionary: TypeAlias = Annotated[LinearSpec | PolynomialSpec | RBFSpec, Family("dictionaries")]

__all__ = ["AnyDictionary", "LinearSpec", "PolynomialSpec", "RBFSpec"]
