"""Background error covariances: the union is the registry."""

from typing import Annotated, TypeAlias

from koopcast.assimilation.backgrounds.base import BackgroundSpec as BackgroundSpec
from koopcast.assimilation.backgrounds.climatological import ClimatologicalSpec
from koopcast.assimilation.backgrounds.diagonal import DiagonalSpec
from koopcast.assimilation.backgrounds.diffusion import DiffusionSpec
from koopcast.assimilation.backgrounds.ensemble import EnsembleBackgroundSpec
from koopcast.assimilation.backgrounds.hybrid import HybridSpec
from koopcast.assimilation.backgrounds.nmc import NMCSpec
from koopcast.spec import Family

AnyBackground: TypeAlias = Annotated[
    ClimatologicalSpec | DiagonalSpec | DiffusionSpec | EnsembleBackgroundSpec | HybridSpec | NMCSpec,
    Family("backgrounds"),
]
