"""EDMD."""

from collections.abc import Mapping
from typing import Literal

import torch
from pydantic import PositiveInt
from torch import Tensor

from koopcast.errors import DataError
from koopcast.fields import FieldData
from koopcast.grids import FieldsInfo
from koopcast.models import FittedModelSpec, Model


class EDMDSpec(FittedModelSpec):
    """EDMD."""

    kind: Literal["edmd"] = "edmd"
    rank: PositiveInt | None = 8
    """Rank."""
    delays: PositiveInt = 1
    """Frames in the state."""
    ridge: float = 0.0
    """Ridge."""

    reference = "Schmid 2010"
    is_localizable = False

    def num_history(self) -> int:
        return self.delays

    def fit(self, data: FieldData, generator: torch.Generator) -> Model:
        raise DataError("under construction")

    def restore(self, info: FieldsInfo, tensors: Mapping[str, Tensor]) -> Model:
        raise DataError("under construction")
