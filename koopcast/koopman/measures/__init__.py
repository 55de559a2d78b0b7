"""Spectral measures."""

from typing import Annotated, TypeAlias

from koopcast.koopman.measures.moments import MomentsSpec
from koopcast.koopman.measures.rational import RationalSpec
from koopcast.spec import Family

AnyMeasure: TypeAlias = Annotated[MomentsSpec | RationalSpec, Family("measures")]

__all__ = ["AnyMeasure", "MomentsSpec", "RationalSpec"]
