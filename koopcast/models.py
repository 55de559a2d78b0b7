"""What every learned model promises, whether it is fitted in closed form or trained by gradients."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import torch
import xarray as xr
from jaxtyping import Complex, Float
from torch import Tensor, nn

from koopcast.dynamics import Dynamics
from koopcast.fields import FieldData
from koopcast.grids import Axis, FieldsInfo
from koopcast.layers.normaliser import FieldStatistics
from koopcast.layers.resampling import Interpolation
from koopcast.mapping import MappingSpec, Signature
from koopcast.spec import MethodSpec, Problem
from koopcast.subsets import SubsetSpec


class Learned(ABC):
    """What was learned and can be stored as named tensors; no pickle."""

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


class Model(Learned, Dynamics):
    """A `Dynamics` that was learned."""

    def eigenfunctions(
        self, frames: Float[Tensor, "batch history *space channel"]
    ) -> Complex[Tensor, "batch mode"] | None:
        """Return φ_j of the state that `history` frames make, in the order of the eigenvalues λ_j that
        `diagnostics` holds, with φ_j(next state) = λ_j φ_j(state) as the model has it; None where it has
        none.
        """
        return None


class MapModel(Learned):
    """A map from fields to fields that was learned."""

    info: FieldsInfo
    """Of the data that it was learned from."""
    signature: Signature

    @abstractmethod
    def predict(
        self, given: Float[Tensor, "batch frame *space channel_in"], predicted: int | None = None
    ) -> Float[Tensor, "batch predicted *space channel_out"]:
        """Return the output fields, physical units, on the grid of `given`.

        Args:
            given: The input fields.
            predicted: Frames to return, where the model can be asked for another number than it learned.

        Raises:
            ShapeMismatch: The model does not work on this grid, or for this number of frames.
        """


@runtime_checkable
class Compare(Protocol):
    """The training loss of a batch of fields, the mean over its members, as `training.loss` measures it."""

    def __call__(
        self,
        prediction: Float[Tensor, "batch *space channel"],
        target: Float[Tensor, "batch *space channel"],
        given: Float[Tensor, "batch frame *space channel_in"] | None = None,
    ) -> Float[Tensor, ""]:
        """Return it; `given` is what the model was given, for losses that ask for it."""


@dataclass(frozen=True)
class Context:
    """Where a training stands when a loss is asked for."""

    rollout: int
    """Steps to make from each start."""
    push_forward: bool
    """Whether gradients flow through the last of these steps alone."""
    progress: float
    """Share of the training that is done, 0 to 1."""
    generator: torch.Generator
    """Of what the loss draws; on the CPU. A step that is made again draws the same."""
    is_training: bool
    """Whether gradients will be asked for; else it is the judgement on the `valid` part."""


class NetworkModel(Learned):
    """A model whose parameters are those of a network; `koopcast.training` moves them."""

    info: FieldsInfo
    signature: Signature
    network: nn.Module
    """Its parameters are trained; it is in evaluation mode, without gradients, once training is over."""

    @abstractmethod
    def loss(
        self, run: Float[Tensor, "batch frame *space channel"], compare: Compare, context: Context
    ) -> Float[Tensor, ""]:
        """Return what is made small on a batch of runs, physical units, differentiable in the parameters."""

    @abstractmethod
    def error(
        self, run: Float[Tensor, "batch frame *space channel"]
    ) -> Float[Tensor, "batch *space channel"]:
        """Return prediction - truth of one step, or of the outputs, frames folded into the batch."""

    @abstractmethod
    def finished(
        self, error_std: Float[Tensor, " channel"], facts: Mapping[str, float | int | str]
    ) -> "NetworkModel":
        """Return the model for use on the CPU, with the root mean square of its error and facts for its
        card.
        """

    @abstractmethod
    def to(self, device: torch.device) -> "NetworkModel":
        """Return the model on `device`."""

    @abstractmethod
    def normalised(
        self,
        given: Float[Tensor, "batch frame *space channel_in"],
        target: Float[Tensor, "batch predicted *space channel_out"],
    ) -> tuple[Float[Tensor, "batch *space features_in"], Float[Tensor, "batch *space features_out"]]:
        """Return what the network is given and should return for fields in physical units."""

    @abstractmethod
    def on(self, axes: tuple[Axis, ...]) -> "NetworkModel":
        """Return the model on another grid of the same domain, sharing its weights.

        Raises:
            ShapeMismatch: It works on its own grid alone.
        """


@runtime_checkable
class HasObjective(Protocol):
    """A network with an objective of its own: no labels, windows of observations, stages of training."""

    def objective(
        self,
        run: Float[Tensor, "batch frame *space channel"],
        model: NetworkModel,
        compare: Compare,
        context: Context,
    ) -> Float[Tensor, ""]:
        """Return what is made small on a batch of runs in physical units; `model` holds the normalisers."""


@runtime_checkable
class HasFacts(Protocol):
    """A network that knows of itself what a model card and a report should hold."""

    def facts(self) -> dict[str, float | int | str]:
        """Return facts for the card."""

    def diagnostics(self) -> xr.Dataset:
        """Return what a report draws."""


@runtime_checkable
class HasCorrection(Protocol):
    """A network that learned to draw a forecast to measurements, all normalised."""

    def correct(
        self,
        x: Float[Tensor, "batch *space channel"],
        value: Float[Tensor, "batch *space channel"],
        mask: Float[Tensor, "batch *space channel"],
    ) -> Float[Tensor, "batch *space channel"]:
        """Return the analysis; `mask` is 1 where there is a measurement. A member without any comes back as
        it is.
        """


Pairs = Callable[[], Iterator[tuple[Tensor, Tensor]]]
"""Batches of what a network is given and should return, normalised, channels-last; the training part."""


class ModelSpec(MethodSpec):
    """Options of a model that learns from fields: dynamics, or a map."""

    is_trained_by_gradient: ClassVar[bool]
    """Whether the step's `training` block applies."""
    is_localizable: ClassVar[bool] = True
    """Whether the model's state is the field itself, so that covariances can be localised in space."""
    learns_maps: ClassVar[bool] = True
    """Whether it takes a step's `mapping`."""
    learns_dynamics: ClassVar[bool] = True
    """Whether it learns what follows what, without a `mapping`."""
    rolls_out: ClassVar[bool] = True
    """Whether `training.rollout` and what belongs to it say how it is trained; else its own options do."""
    takes_subset: ClassVar[bool] = True
    """Whether it can learn from some of the training pairs alone."""
    has_correction: ClassVar[bool] = False
    """Whether the model holds a learned gain, for the assimilation methods that use it."""

    @abstractmethod
    def restore(
        self, info: FieldsInfo, tensors: Mapping[str, Tensor], mapping: MappingSpec | None = None
    ) -> Learned:
        """Return the model that `Learned.tensors` described; a `MapModel` where it learned a `mapping`."""

    transfer_hint: ClassVar[str] = "use fields on that grid, or choose a model that works on any grid"
    """What to do where the model is asked for a grid that is not its own."""

    def num_history(self) -> int:
        """Return the number of consecutive frames that make one state."""
        return 1

    def faults(self, signature: Signature) -> Iterator[Problem]:
        """Yield the rules that the options break on what is to be learned."""
        yield from ()

    def takes_frames(self) -> bool:
        """Return whether a map takes and returns other numbers of frames than it learned."""
        return False

    def transfers(self) -> bool:
        """Return whether the model works on other grids than its own."""
        return False


class FittedModelSpec(ModelSpec):
    """A model found in closed form."""

    is_trained_by_gradient = False
    learns_maps = False

    @abstractmethod
    def fit(self, data: FieldData, generator: torch.Generator, subset: SubsetSpec | None = None) -> Model:
        """Return the model of the fields in the window of `data`; no pair crosses a sample's boundary.

        Args:
            data: Fields to learn from.
            generator: Of whatever is drawn.
            subset: Which pairs the regression uses; None: all. Projections see all frames.
        """


class NetworkModelSpec(ModelSpec):
    """A network between normalisers, trained by `koopcast.training`."""

    is_trained_by_gradient = True

    @abstractmethod
    def build(self, signature: Signature, generator: torch.Generator) -> nn.Module:
        """Return the untrained network: normalised `(batch, *space, channels_in)` -> `(batch, *space,
        channels_out)`.
        """

    @abstractmethod
    def assemble(
        self, network: nn.Module, info: FieldsInfo, signature: Signature, statistics: FieldStatistics
    ) -> NetworkModel:
        """Return the model that the network makes with normalisers fitted to the training data."""

    def calibrate(self, network: nn.Module, pairs: Pairs) -> None:
        """Set what the network takes from the data before the first step (modes of the outputs); nothing
        here. What it sets stands in the network's state.
        """

    def conclude(self, model: NetworkModel, runs: Callable[[], Iterator[Tensor]]) -> None:
        """Set what the trained network takes from the data after the last step (the linear operator of its
        latent space); nothing here. What it sets stands in the network's state.

        Args:
            model: With the weights that are kept.
            runs: Yields the runs of the training part in batches, physical units, as `loss` gets them.
        """

    def num_frames(self, signature: Signature, rollout: int) -> int:
        """Return the consecutive records that one run of training needs."""
        return signature.frames_in + rollout if signature.is_dynamics else signature.num_frames

    def interpolation(self) -> Interpolation | None:
        """Return how fields travel to the training grid and back where the model is used on another one;
        None: the network acts there as it is.
        """
        return None

    def needs_cells(self) -> bool:
        """Return whether the normalisers ask for the moments of each cell."""
        return False
