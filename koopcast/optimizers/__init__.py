"""Optimizers that train networks."""

from typing import Annotated, TypeAlias

from koopcast.optimizers.adamw import AdamWSpec
from koopcast.optimizers.base import OptimizerSpec
from koopcast.spec import Family

AnyOptimizer: TypeAlias = Annotated[AdamWSpec, Family("optimizers")]

__all__ = ["AdamWSpec", "AnyOptimizer", "OptimizerSpec"]
