"""Policies of gradients through time: the union is the registry."""

from typing import Annotated, TypeAlias

from koopcast.gradients.auto import AutoSpec
from koopcast.gradients.base import Chain as Chain
from koopcast.gradients.base import Gradient as Gradient
from koopcast.gradients.base import GradientSpec as GradientSpec
from koopcast.gradients.checkpoint import CheckpointSpec
from koopcast.gradients.recompute import RecomputeSpec
from koopcast.gradients.revolve import RevolveSpec
from koopcast.gradients.store import StoreSpec
from koopcast.spec import Family

AnyGradient: TypeAlias = Annotated[
    AutoSpec | CheckpointSpec | RecomputeSpec | RevolveSpec | StoreSpec, Family("gradients")
]
