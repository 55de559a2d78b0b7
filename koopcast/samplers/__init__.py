"""Samplers; the union is the registry."""

from typing import Annotated, TypeAlias

from koopcast.samplers.base import Points as Points
from koopcast.samplers.base import Rows as Rows
from koopcast.samplers.base import SamplerSpec as SamplerSpec
from koopcast.samplers.christoffel import ChristoffelSpec
from koopcast.samplers.dpp import DPPSpec
from koopcast.samplers.greedy import GreedySpec
from koopcast.samplers.iid import IIDSpec
from koopcast.samplers.latin_hypercube import LatinHypercubeSpec
from koopcast.samplers.lp import LpSpec
from koopcast.samplers.repeated_dpp import RepeatedDPPSpec
from koopcast.samplers.sobol import SobolSpec
from koopcast.samplers.volume import VolumeSpec
from koopcast.spec import Family

AnySampler: TypeAlias = Annotated[
    ChristoffelSpec
    | DPPSpec
    | GreedySpec
    | IIDSpec
    | LatinHypercubeSpec
    | LpSpec
    | RepeatedDPPSpec
    | SobolSpec
    | VolumeSpec,
    Family("samplers"),
]
