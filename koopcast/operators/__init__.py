"""Neural operators: networks that map fields to fields."""

from typing import Annotated, TypeAlias

from koopcast.operators.base import OperatorSpec
from koopcast.operators.cnn_no import CNNSpec
from koopcast.operators.deeponet import DeepONetSpec
from koopcast.operators.dgno import DGNOSpec
from koopcast.operators.fnn import FNNSpec
from koopcast.operators.fno import FNOSpec
from koopcast.operators.kernel_ridge import KernelRidgeSpec
from koopcast.operators.linear_map import LinearMapSpec
from koopcast.operators.local_fno import LocalFNOSpec
from koopcast.operators.lsm import LSMSpec
from koopcast.operators.mg_tfno import MGTFNOSpec
from koopcast.operators.mgno import MgNOSpec
from koopcast.operators.multionet import MultiONetSpec
from koopcast.operators.noda import NODASpec
from koopcast.operators.oformer import OFormerSpec
from koopcast.operators.random_features import RandomFeaturesSpec
from koopcast.operators.sfno import SFNOSpec
from koopcast.operators.tfno import TFNOSpec
from koopcast.operators.trained import OperatorDynamics, OperatorMap
from koopcast.operators.unet_no import UNetSpec
from koopcast.operators.vit_no import ViTSpec
from koopcast.spec import Family

AnyOperator: TypeAlias = Annotated[
    CNNSpec
    | DeepONetSpec
    | DGNOSpec
    | FNNSpec
    | FNOSpec
    | KernelRidgeSpec
    | LinearMapSpec
    | LocalFNOSpec
    | LSMSpec
    | MgNOSpec
    | MGTFNOSpec
    | MultiONetSpec
    | NODASpec
    | OFormerSpec
    | RandomFeaturesSpec
    | SFNOSpec
    | TFNOSpec
    | UNetSpec
    | ViTSpec,
    Family("operators"),
]

__all__ = ["AnyOperator", "FNOSpec", "LSMSpec", "MgNOSpec", "OperatorDynamics", "OperatorMap", "OperatorSpec"]
