"""Metrics: how good a forecast or an analysis is."""

from typing import Annotated, TypeAlias

from koopcast.metrics.acc import ACCSpec
from koopcast.metrics.base import MetricSpec, Score, Verification
from koopcast.metrics.chi_square import ChiSquareSpec
from koopcast.metrics.crps import CRPSSpec
from koopcast.metrics.desroziers import DesroziersSpec
from koopcast.metrics.effective_dim import EffectiveDimSpec
from koopcast.metrics.energy_spectrum import EnergySpectrumSpec
from koopcast.metrics.info_nce import InfoNCESpec
from koopcast.metrics.koopman_certificate import KoopmanCertificateSpec
from koopcast.metrics.log_score import LogScoreSpec
from koopcast.metrics.mode_residual import ModeResidualSpec
from koopcast.metrics.nrmse import NRMSESpec
from koopcast.metrics.parameters import ParametersSpec
from koopcast.metrics.period_error import PeriodErrorSpec
from koopcast.metrics.rank_histogram import RankHistogramSpec
from koopcast.metrics.rel_l2 import RelativeL2Spec
from koopcast.metrics.relative_mse import RelativeMSESpec
from koopcast.metrics.rmse import RMSESpec
from koopcast.metrics.spread_skill import SpreadSkillSpec
from koopcast.spec import Family

AnyMetric: TypeAlias = Annotated[
    ACCSpec
    | ChiSquareSpec
    | CRPSSpec
    | DesroziersSpec
    | EffectiveDimSpec
    | EnergySpectrumSpec
    | InfoNCESpec
    | KoopmanCertificateSpec
    | LogScoreSpec
    | ModeResidualSpec
    | NRMSESpec
    | ParametersSpec
    | PeriodErrorSpec
    | RankHistogramSpec
    | RelativeL2Spec
    | RelativeMSESpec
    | RMSESpec
    | SpreadSkillSpec,
    Family("metrics"),
]

__all__ = [
    "ACCSpec",
    "AnyMetric",
    "CRPSSpec",
    "EnergySpectrumSpec",
    "KoopmanCertificateSpec",
    "MetricSpec",
    "ModeResidualSpec",
    "ParametersSpec",
    "PeriodErrorSpec",
    "RMSESpec",
    "RankHistogramSpec",
    "RelativeL2Spec",
    "RelativeMSESpec",
    "Score",
    "SpreadSkillSpec",
    "Verification",
]
