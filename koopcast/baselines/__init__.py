"""Baselines: what a model must beat."""

from typing import Annotated, TypeAlias

from koopcast.baselines.base import BaselineSpec
from koopcast.baselines.climatology import ClimatologySpec
from koopcast.baselines.persistence import PersistenceSpec
from koopcast.spec import Family

AnyBaseline: TypeAlias = Annotated[ClimatologySpec | PersistenceSpec, Family("baselines")]

__all__ = ["AnyBaseline", "BaselineSpec", "ClimatologySpec", "PersistenceSpec"]
