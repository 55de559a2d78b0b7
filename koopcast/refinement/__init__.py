"""Refinement of predictions by the equation they should obey; the union is the registry."""

from typing import Annotated, TypeAlias

from koopcast.refinement.base import Equation as Equation
from koopcast.refinement.base import Prediction as Prediction
from koopcast.refinement.base import Refined as Refined
from koopcast.refinement.base import RefinementSpec as RefinementSpec
from koopcast.refinement.spectral_refiner import SpectralRefinerSpec
from koopcast.spec import Family

AnyRefinement: TypeAlias = Annotated[SpectralRefinerSpec, Family("refinement")]
