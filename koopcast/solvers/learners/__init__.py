"""Learners of ω: the union is the registry."""

from typing import Annotated, Any, TypeAlias

from pydantic import BeforeValidator, Field

from koopcast.solvers.learners.base import Learner as Learner
from koopcast.solvers.learners.base import LearnerSpec as LearnerSpec
from koopcast.solvers.learners.chebcb import ChebCBSpec
from koopcast.solvers.learners.fixed import FixedSpec
from koopcast.solvers.learners.tsallis_inf import TsallisINFSpec
from koopcast.solvers.learners.tsallis_inf_cb import TsallisINFCBSpec
from koopcast.spec import Family

AnyLearner: TypeAlias = Annotated[
    ChebCBSpec | FixedSpec | TsallisINFSpec | TsallisINFCBSpec, Family("learners")
]


def _number_is_fixed(value: Any) -> Any:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return {"kind": "fixed", "omega": value} if is_number else value


_Written: TypeAlias = Annotated[float, Field(gt=0, lt=2)] | AnyLearner
AnyOmega: TypeAlias = Annotated[
    AnyLearner, BeforeValidator(_number_is_fixed, json_schema_input_type=_Written)
]
"""A number, which stays, or a learner."""
