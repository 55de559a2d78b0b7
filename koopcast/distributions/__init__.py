"""Laws of single numbers; the union is the registry."""

from typing import Annotated, TypeAlias

from koopcast.distributions.base import DistributionSpec as DistributionSpec
from koopcast.distributions.base import Laws
from koopcast.distributions.beta import BetaSpec
from koopcast.distributions.choice import ChoiceSpec
from koopcast.distributions.log_uniform import LogUniformSpec
from koopcast.distributions.normal import NormalSpec
from koopcast.distributions.uniform import UniformSpec

AnyDistribution: TypeAlias = Annotated[
    BetaSpec | ChoiceSpec | LogUniformSpec | NormalSpec | UniformSpec, Laws("distributions")
]
