"""Laws of single numbers: parameters that differ from sample to sample."""

from abc import abstractmethod
from typing import Any

import numpy as np
from jaxtyping import Float
from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from koopcast.spec import Family, MethodSpec


class DistributionSpec(MethodSpec):
    """Options of a law."""

    @abstractmethod
    def quantile(self, u: Float[np.ndarray, "*any"]) -> Float[np.ndarray, "*any"]:
        """Return the values below which a share `u` in (0, 1) of the law lies."""

    @abstractmethod
    def bounds(self) -> tuple[float, float]:
        """Return the least and greatest value; infinite where there is none."""


class Laws(Family):
    """A family that also takes a bare pair: `[0.1, 1.0]` is the uniform law between the two numbers."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Return the schema of the family, and a pair of numbers beside it."""
        family = super().__get_pydantic_core_schema__(source, handler)
        pair = core_schema.list_schema(core_schema.float_schema(), min_length=2, max_length=2)
        return core_schema.no_info_before_validator_function(
            _expand_pair, family, json_schema_input_schema=core_schema.union_schema([family, pair])
        )


def _expand_pair(value: Any) -> Any:
    if not isinstance(value, (list, tuple)):
        return value
    if len(value) != 2:
        raise PydanticCustomError("pair", "expected a pair [low, high] or the options of a law")
    return {"kind": "uniform", "low": value[0], "high": value[1]}


def faulty_order(low: float, high: float) -> str | None:
    """Return why two bounds are none; None where `low` lies below `high`."""
    return None if low < high else f"high: {high:g} is not above low = {low:g}; swap the two or raise `high`"
