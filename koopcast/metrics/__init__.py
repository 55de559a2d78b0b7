"""Metrics: how good a forecast or an analysis is."""

from typing import Annotated, TypeAlias

from koopcast.metrics.acc import ACCSpec
from koopcast.metrics.base import MetricSpec, Score, Verification
from koopcast.metrics.crps import CRPSSpec
from koopcast.metrics.energy_spectrum import EnergySpectrumSpec
from koopcast.metrics.rank_histogram import RankHistogramSpec
from koopcast.metrics.rmse import RMSESpec
from koopcast.metrics.spread_skill import SpreadSkillSpec
from koopcast.spec import Family

AnyMetric: TypeAlias = Annotated[
    ACCSpec | CRPSSpec | EnergySpectrumSpec | RankHistogramSpec | RMSESpec | SpreadSkillSpec,
    Family("metrics"),
]

__all__ = [
    "ACCSpec",
    "AnyMetric",
    "CRPSSpec",
    "EnergySpectrumSpec",
    "MetricSpec",
    "RMSESpec",
    "RankHistogramSpec",
    "Score",
    "SpreadSkillSpec",
    "Verification",
]
