"""Schedules of the learning rate."""

from typing import Annotated, TypeAlias

from koopcast.schedules.base import ScheduleSpec
from koopcast.schedules.constant import ConstantSpec
from koopcast.schedules.cosine import CosineSpec
from koopcast.schedules.one_cycle import OneCycleSpec
from koopcast.spec import Family

AnySchedule: TypeAlias = Annotated[ConstantSpec | CosineSpec | OneCycleSpec, Family("schedules")]

__all__ = ["AnySchedule", "ConstantSpec", "CosineSpec", "OneCycleSpec", "ScheduleSpec"]
