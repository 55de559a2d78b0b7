"""What every learned model promises, whether it is fitted in closed form or trained by gradients."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import torch
import xarray as xr
from torch import Tensor, nn

from koopcast.dynamics import Dynamics
from koopcast.fields import FieldData
from koopcast.grids import FieldsInfo
from koopcast.spec import MethodSpec


class Model(Dynamics):
    """A `Dynamics` that was learned and can be stored as named tensors; no pickle."""

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """Return everything that `ModelSpec.restore` needs beside the spec and the contract of the fields."""

    def card(self) -> dict[str, float | int | str]:
        """Return facts for the model card: number of parameters, rank, training error."""
        return {}

    def diagnostics(self) -> xr.Dataset:
        """Return what a report draws: `eigenvalue_real/imag (mode)`, `mode_field (mode, *space)`, and the like."""
        return xr.Dataset()


class ModelSpec(MethodSpec):
    """Options of a model that learns dynamics from fields."""

    is_trained_by_gradient: ClassVar[bool]
    """Whether the step's `training` block applies."""
    is_localizable: ClassVar[bool] = True
    """Whether the model's state is the field itself, so that covariances can be localised in space."""

    @abstractmethod
    def restore(self, info: FieldsInfo, tensors: Mapping[str, Tensor]) -> Model:
        """Return the model that `Model.tensors` described."""

    def num_history(self) -> int:
        """Return the number of consecutive frames that make one state."""
        return 1


class FittedModelSpec(ModelSpec):
    """A model found in closed form."""

    is_trained_by_gradient = False

    @abstractmethod
    def fit(self, data: FieldData, generator: torch.Generator) -> Model:
        """Return the model of the fields in the window of `data`; no pair crosses a sample's boundary."""


class NetworkModelSpec(ModelSpec):
    """A model trained by `koopcast.training`."""

    is_trained_by_gradient = True

    @abstractmethod
    def build(self, info: FieldsInfo, generator: torch.Generator) -> nn.Module:
        """Return the untrained network: normalised `(batch, *space, channel_in)` -> `(batch, *space, channel_out)`."""
