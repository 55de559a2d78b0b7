"""Observing systems: the union is the registry."""

from typing import Annotated, TypeAlias

from koopcast.observations.base import ObservationSet as ObservationSet
from koopcast.observations.base import ObservationsSpec as ObservationsSpec
from koopcast.observations.combined import CombinedSpec
from koopcast.observations.locations import AnyLocations as AnyLocations
from koopcast.observations.operators import AnyOperator as AnyOperator
from koopcast.observations.synthetic import SyntheticSpec
from koopcast.spec import Family

AnyObservations: TypeAlias = Annotated[CombinedSpec | SyntheticSpec, Family("observations")]
