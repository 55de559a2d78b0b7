"""Baselines: forecasts that know no dynamics, which a model must beat to be worth its name."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from koopcast.fields import FieldData
from koopcast.spec import MethodSpec


class BaselineSpec(MethodSpec):
    """Options of a baseline."""

    uses_start: ClassVar[bool]
    """Whether the forecast depends on the initial record; if not, it can stand beside an analysis too."""

    @abstractmethod
    def forecast(
        self, data: FieldData, starts: Sequence[int], leads: Sequence[int]
    ) -> Float[Tensor, "sample start lead *space channel"]:
        """Return what is expected `leads` records after each of `starts`, for the samples in the window.

        Args:
            data: The dataset, seen through the window that is verified; parameters come from `train` alone.
            starts: Absolute indices of the initial records.
            leads: Steps from the initial record to the verifying one; 0 is the initial record itself.
        """
