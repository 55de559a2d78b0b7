"""Assimilation: the unions are the registry."""

from typing import Annotated, TypeAlias

from koopcast.assimilation.backgrounds import AnyBackground as AnyBackground
from koopcast.assimilation.base import AnalysisSpec as AnalysisSpec
from koopcast.assimilation.base import SmootherSpec as SmootherSpec
from koopcast.assimilation.blue import BLUESpec
from koopcast.assimilation.denkf import DEnKFSpec
from koopcast.assimilation.enkf import EnKFSpec
from koopcast.assimilation.enkf_n import EnKFNSpec
from koopcast.assimilation.ensrf import EnSRFSpec
from koopcast.assimilation.envar import EnVarSpec
from koopcast.assimilation.envar4d import EnVar4DSpec
from koopcast.assimilation.etkf import ETKFSpec
from koopcast.assimilation.extkf import ExtKFSpec
from koopcast.assimilation.free_run import FreeRunSpec
from koopcast.assimilation.ienks import IEnKSSpec
from koopcast.assimilation.inference_stack import InferenceStackSpec
from koopcast.assimilation.inflation import AnyInflation as AnyInflation
from koopcast.assimilation.initial import AnyInitial as AnyInitial
from koopcast.assimilation.kalman import KalmanSpec
from koopcast.assimilation.letkf import LETKFSpec
from koopcast.assimilation.localization import AnyLocalization as AnyLocalization
from koopcast.assimilation.noda import NODASpec
from koopcast.assimilation.nudging import NudgingSpec
from koopcast.assimilation.optimal_interpolation import OptimalInterpolationSpec
from koopcast.assimilation.particle import ParticleSpec
from koopcast.assimilation.var3d import Var3DSpec
from koopcast.assimilation.var4d import Var4DSpec
from koopcast.assimilation.var4d_weak import Var4DWeakSpec
from koopcast.assimilation.var_pnp import VarPnPSpec
from koopcast.spec import Family

AnyAnalysis: TypeAlias = Annotated[
    BLUESpec
    | DEnKFSpec
    | EnKFNSpec
    | EnKFSpec
    | EnSRFSpec
    | EnVar4DSpec
    | EnVarSpec
    | ETKFSpec
    | ExtKFSpec
    | FreeRunSpec
    | IEnKSSpec
    | InferenceStackSpec
    | KalmanSpec
    | LETKFSpec
    | NODASpec
    | NudgingSpec
    | OptimalInterpolationSpec
    | ParticleSpec
    | Var3DSpec
    | Var4DSpec
    | Var4DWeakSpec
    | VarPnPSpec,
    Family("assimilation"),
]
