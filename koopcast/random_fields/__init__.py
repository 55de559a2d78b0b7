"""Random fields: the union is the registry."""

from typing import Annotated, TypeAlias

from koopcast.random_fields.base import RandomFieldSpec as RandomFieldSpec
from koopcast.random_fields.bumps import BumpsSpec
from koopcast.random_fields.chebyshev_series import ChebyshevSeriesSpec
from koopcast.random_fields.constant import ConstantSpec
from koopcast.random_fields.cosine_gaussian import CosineGaussianSpec
from koopcast.random_fields.matern import MaternFieldSpec
from koopcast.random_fields.periodic import PeriodicGaussianSpec
from koopcast.random_fields.power_series import PowerSeriesSpec
from koopcast.random_fields.random_cosines import RandomCosinesSpec
from koopcast.random_fields.sine_series import GaussianSeriesSpec
from koopcast.random_fields.squared_exponential import SquaredExponentialSpec
from koopcast.random_fields.wave_sum import WaveSumSpec
from koopcast.random_fields.white import WhiteSpec
from koopcast.spec import Family

AnyRandomField: TypeAlias = Annotated[
    BumpsSpec
    | ChebyshevSeriesSpec
    | ConstantSpec
    | CosineGaussianSpec
    | GaussianSeriesSpec
    | MaternFieldSpec
    | PeriodicGaussianSpec
    | PowerSeriesSpec
    | RandomCosinesSpec
    | SquaredExponentialSpec
    | WaveSumSpec
    | WhiteSpec,
    Family("random_fields"),
]
