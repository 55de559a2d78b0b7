"""What every learned model promises, whether it is fitted in closed form or trained by gradients."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor, nn

from koopcast.dynamics import Dynamics
from koopcast.fields import FieldData
from koopcast.grids import FieldsInfo
from koopcast.layers.normaliser import FieldStatistics
from koopcast.spec import MethodSpec
from koopcast.subsets import SubsetSpec


class Model(Dynamics):
    """A `Dynamics` that was learned and can be stored as named tensors; no pickle."""

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """Return everything that `ModelSpec.restore` needs beside the spec and the contract of the fields."""

    def card(self) -> dict[str, float | int | str]:
        """Return facts for the model card: number of parameters, rank, training error."""
        return {}

    def diagnostics(self) -> xr.Dataset:
        """Return what a report draws: `eigenvalue_real/imag (mode)`, `mode_field (mode, *space)`, and the
        like.
        """
        return xr.Dataset()


class NetworkModel(Model):
    """A model whose parameters are those of a network; `koopcast.training` moves them."""

    network: nn.Module
    """Its parameters are trained; it is in evaluation mode, without gradients, once training is over."""

    @abstractmethod
    def advance(
        self, frames: Float[Tensor, "batch history *space channel"]
    ) -> Float[Tensor, "batch *space channel"]:
        """Return the next frame, physical units, differentiable in the parameters and in the frames."""

    @abstractmethod
    def finished(self, error_std: Float[Tensor, " channel"], facts: Mapping[str, float | int | str]) -> Model:
        """Return the model for use on the CPU, with the root mean square of its one-step error and facts for
        its card.
        """

    @abstractmethod
    def to(self, device: torch.device) -> "NetworkModel":
        """Return the model on `device`."""


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
    def fit(self, data: FieldData, generator: torch.Generator, subset: SubsetSpec | None = None) -> Model:
        """Return the model of the fields in the window of `data`; no pair crosses a sample's boundary.

        Args:
            data: Fields to learn from.
            generator: Of whatever is drawn.
            subset: Which pairs the regression uses; None: all. Projections see all frames.
        """


class NetworkModelSpec(ModelSpec):
    """A model trained by `koopcast.training`."""

    is_trained_by_gradient = True

    @abstractmethod
    def build(self, info: FieldsInfo, generator: torch.Generator) -> nn.Module:
        """Return the untrained network: normalised `(batch, *space, channel_in)` -> `(batch, *space,
        channel_out)`.
        """

    @abstractmethod
    def assemble(self, network: nn.Module, info: FieldsInfo, statistics: FieldStatistics) -> NetworkModel:
        """Return the model that the network makes with normalisers fitted to the training data."""
