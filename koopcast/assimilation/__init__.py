"""Assimilation: the unions are the registry."""

from typing import Annotated, TypeAlias

from koopcast.assimilation.base import AnalysisSpec as AnalysisSpec
from koopcast.assimilation.enkf import EnKFSpec
from koopcast.assimilation.etkf import ETKFSpec
from koopcast.assimilation.free_run import FreeRunSpec
from koopcast.assimilation.ienks import IEnKSSpec
from koopcast.assimilation.inference_stack import InferenceStackSpec
from koopcast.assimilation.inflation import AnyInflation as AnyInflation
from koopcast.assimilation.initial import AnyInitial as AnyInitial
from koopcast.assimilation.letkf import LETKFSpec
from koopcast.assimilation.localization import AnyLocalization as AnyLocalization
from koopcast.assimilation.noda import NODASpec
from koopcast.assimilation.nudging import NudgingSpec
from koopcast.assimilation.optimal_interpolation import OptimalInterpolationSpec
from koopcast.assimilation.particle import ParticleSpec
from koopcast.assimilation.var_pnp import VarPnPSpec
from koopcast.spec import Family

AnyAnalysis: TypeAlias = Annotated[
    EnKFSpec
    | ETKFSpec
    | FreeRunSpec
    | IEnKSSpec
    | InferenceStackSpec
    | LETKFSpec
    | NODASpec
    | NudgingSpec
    | OptimalInterpolationSpec
    | ParticleSpec
    | VarPnPSpec,
    Family("assimilation"),
]
