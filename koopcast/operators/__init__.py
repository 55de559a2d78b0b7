"""Neural operators: networks that map fields to fields, on any grid."""

from typing import Annotated, TypeAlias

from koopcast.operators.base import OperatorDynamics, OperatorSpec
from koopcast.operators.fno import FNOSpec
from koopcast.spec import Family

AnyOperator: TypeAlias = Annotated[FNOSpec, Family("operators")]

__all__ = ["AnyOperator", "FNOSpec", "OperatorDynamics", "OperatorSpec"]
