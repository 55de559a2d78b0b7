"""Neural operators: networks that map fields to fields."""

from typing import Annotated, TypeAlias

from koopcast.operators.base import OperatorSpec
from koopcast.operators.fno import FNOSpec
from koopcast.operators.lsm import LSMSpec
from koopcast.operators.mgno import MgNOSpec
from koopcast.operators.noda import NODASpec
from koopcast.operators.trained import OperatorDynamics, OperatorMap
from koopcast.spec import Family

AnyOperator: TypeAlias = Annotated[FNOSpec | LSMSpec | MgNOSpec | NODASpec, Family("operators")]

__all__ = ["AnyOperator", "FNOSpec", "LSMSpec", "MgNOSpec", "OperatorDynamics", "OperatorMap", "OperatorSpec"]
