"""Latent models that are trained by gradients: a network that encodes, steps and decodes."""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import torch
import xarray as xr
from jaxtyping import Bool, Complex, Float
from pydantic import PositiveInt
from torch import Tensor, nn

from koopcast.errors import ShapeMismatch
from koopcast.grids import Axis, FieldsInfo
from koopcast.layers.normaliser import FieldStatistics, Normaliser
from koopcast.mapping import MappingSpec, Signature
from koopcast.models import Compare, Context, Model, NetworkModel, NetworkModelSpec
from koopcast.spec import Problem


class LatentNetwork(nn.Module):
    """A network that carries a latent vector. Fields are normalised, channels-last, masked cells 0."""

    @abstractmethod
    def encode(self, frames: Float[Tensor, "batch frame *space channel"]) -> Float[Tensor, "batch latent"]:
        """Return the latent vector that `history` frames make."""

    @abstractmethod
    def step(self, z: Float[Tensor, "batch latent"]) -> Float[Tensor, "batch latent"]:
        """Return the latent vector one record later."""

    @abstractmethod
    def decode(self, z: Float[Tensor, "batch latent"]) -> Float[Tensor, "batch *space channel"]:
        """Return the last frame."""

    @abstractmethod
    def objective(
        self,
        run: Float[Tensor, "batch frame *space channel"],
        model: NetworkModel,
        compare: Compare,
        context: Context,
    ) -> Float[Tensor, ""]:
        """Return what is made small on a batch of runs in physical units."""

    def conclude(self, runs: Callable[[], Iterator[Tensor]]) -> None:
        """Set what is taken from the normalised runs of the training part once the weights are known."""

    def facts(self) -> dict[str, float | int | str]:
        """Return facts for the card."""
        return {}

    def diagnostics(self) -> xr.Dataset:
        """Return what a report draws."""
        return xr.Dataset()

    def eigenfunctions(self, z: Float[Tensor, "batch latent"]) -> Complex[Tensor, "batch mode"] | None:
        """Return the eigenfunctions of a linear step, in the order of `diagnostics`; None where it is not
        linear.
        """
        return None

    def noise(self) -> Float[Tensor, "latent rank"] | None:
        """Return a factor of the covariance of one step's error; None where it is not known."""
        return None

    def noise_std(self, frame: Float[Tensor, "*space channel"]) -> Float[Tensor, " latent"] | None:
        """Return the standard deviation of independent errors of one step, for that of a normalised frame;
        None where it is not known.
        """
        return None

    def forward(
        self, x: Float[Tensor, "batch frame *space channel"]
    ) -> Float[Tensor, "batch *space channel"]:
        """Return the frame after those given."""
        return self.decode(self.step(self.encode(x)))


class LatentSpec(NetworkModelSpec):
    """Options that trained latent models share."""

    history: PositiveInt = 1
    """Consecutive frames that make one latent vector."""
    normalize_input: Literal["channel", "none"] = "channel"
    """`channel`: each variable has mean 0 and variance 1 over the training part; `none`: physical units."""

    is_localizable = False
    learns_maps = False
    rolls_out = False

    @abstractmethod
    def build(self, signature: Signature, generator: torch.Generator) -> LatentNetwork:
        """Return the untrained network."""

    def blank(self, signature: Signature, tensors: Mapping[str, Tensor]) -> LatentNetwork:
        """Return a network into which the tensors of a model fit."""
        return self.build(signature, torch.Generator())

    def num_history(self) -> int:
        """Return the frames of a latent vector."""
        return self.history

    def assemble(
        self, network: nn.Module, info: FieldsInfo, signature: Signature, statistics: FieldStatistics
    ) -> "LatentModel":
        """Return the network behind a normaliser."""
        assert isinstance(network, LatentNetwork)
        moments = statistics.fields
        normaliser = Normaliser.identity(info.num_channels)
        if self.normalize_input == "channel":
            normaliser = Normaliser(moments.mean, moments.std)
        return LatentModel(info, signature, network, normaliser, statistics.valid)

    def conclude(self, model: NetworkModel, runs: Callable[[], Iterator[Tensor]]) -> None:
        """Let the network take what it needs from the normalised training runs."""
        assert isinstance(model, LatentModel)
        network, normalise = model.network, model.features
        network.conclude(lambda: (normalise(run) for run in runs()))

    def restore(
        self, info: FieldsInfo, tensors: Mapping[str, Tensor], mapping: MappingSpec | None = None
    ) -> "LatentModel":
        """Return the model that `LatentModel.tensors` described, bit for bit."""
        signature = Signature.of_dynamics(info, self.history)
        network = self.blank(signature, tensors)
        prefix = "network."
        network.load_state_dict(
            {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
        )
        normaliser = Normaliser(tensors["normaliser.mean"], tensors["normaliser.std"])
        model = LatentModel(info, signature, network, normaliser, tensors["valid"])
        return model.finished(tensors["error_std"], {})

    def faults(self, signature: Signature) -> Iterator[Problem]:
        """Refuse records at unequal intervals."""
        if signature.time.step == "" and signature.time.size > 1:
            yield Problem((), "the records are unequally spaced; latent steps need a fixed interval")


class LatentModel(NetworkModel, Model):
    """Dynamics whose state is the latent vector of a network."""

    is_physical = False
    keeps_tensors = False
    network: LatentNetwork

    def __init__(
        self,
        info: FieldsInfo,
        signature: Signature,
        network: LatentNetwork,
        normaliser: Normaliser,
        valid: Bool[Tensor, "*space"],
    ) -> None:
        self.info, self.signature, self.network = info, signature, network
        self.normaliser, self.valid = normaliser, valid
        self.history = signature.frames_in
        self.error_std: Tensor | None = None
        self.facts: dict[str, float | int | str] = {}

    def features(
        self, frames: Float[Tensor, "batch frame *space channel"]
    ) -> Float[Tensor, "batch frame *space channel"]:
        """Return normalised frames, masked cells 0."""
        return self.masked(self.normaliser.normalise(frames))

    def fields(self, values: Float[Tensor, "*batch channel"]) -> Float[Tensor, "*batch channel"]:
        """Return frames in physical units, masked cells 0."""
        return self.masked(self.normaliser.denormalise(values))

    def masked(self, field: Float[Tensor, "*batch channel"]) -> Float[Tensor, "*batch channel"]:
        """Return the field with masked cells 0."""
        return torch.where(self.valid[..., None], field, 0.0)

    def loss(
        self, run: Float[Tensor, "batch frame *space channel"], compare: Compare, context: Context
    ) -> Float[Tensor, ""]:
        """Return what the network makes small."""
        return self.network.objective(run, self, compare, context)

    def error(
        self, run: Float[Tensor, "batch frame *space channel"]
    ) -> Float[Tensor, "batch *space channel"]:
        """Return prediction - truth of one step."""
        return self.decode(self.step(self.encode(run[:, : self.history]))) - run[:, self.history]

    def encode(self, frames: Float[Tensor, "batch history *space channel"]) -> Float[Tensor, "batch state"]:
        """Return the latent vector."""
        return self.network.encode(self.features(frames[:, -self.history :]))

    def step(self, state: Float[Tensor, "batch state"]) -> Float[Tensor, "batch state"]:
        """Return the latent vector one record later."""
        return self.network.step(state)

    def decode(self, state: Float[Tensor, "batch state"]) -> Float[Tensor, "batch *space channel"]:
        """Return the last frame in physical units."""
        return self.fields(self.network.decode(state))

    def eigenfunctions(
        self, frames: Float[Tensor, "batch history *space channel"]
    ) -> Complex[Tensor, "batch mode"] | None:
        """Return the eigenfunctions of the network's step, where it is linear."""
        return self.network.eigenfunctions(self.encode(frames))

    def noise_factor(self) -> Float[Tensor, "state rank"] | None:
        """Return the factor of the covariance of a latent step's error in training."""
        return self.network.noise()

    def noise_std(self) -> Float[Tensor, " state"] | None:
        """Return the standard deviation of independent errors of one step, from the error on the `valid`
        part, where the network says nothing more precise.
        """
        if self.error_std is None:
            return None
        unit = self.normaliser.std.where(self.normaliser.std > 0, 1.0)
        return self.network.noise_std(self.masked((self.error_std / unit).expand(*self.info.shape, -1)))

    def normalised(
        self,
        given: Float[Tensor, "batch frame *space channel_in"],
        target: Float[Tensor, "batch predicted *space channel_out"],
    ) -> tuple[Float[Tensor, "batch *space features_in"], Float[Tensor, "batch *space features_out"]]:
        """Return normalised frames as channels."""
        flat = [self.features(frames).movedim(1, -2).flatten(-2) for frames in (given, target)]
        return flat[0], flat[1]

    def finished(
        self, error_std: Float[Tensor, " channel"], facts: Mapping[str, float | int | str]
    ) -> "LatentModel":
        """Return the model for use: on the CPU, no gradient of the parameters, error and card known."""
        model = self.to(torch.device("cpu"))
        model.network.requires_grad_(False).eval()
        model.error_std, model.facts = error_std.to("cpu", torch.float32), dict(facts)
        return model

    def to(self, device: torch.device) -> "LatentModel":
        """Return the model on `device`; the network is moved, not copied."""
        parts: list[Any] = [part.to(device) for part in (self.network, self.normaliser, self.valid)]
        return LatentModel(self.info, self.signature, *parts)

    def on(self, axes: tuple[Axis, ...]) -> "LatentModel":
        """Return the model itself.

        Raises:
            ShapeMismatch: The grid is another one.
        """
        if (shape := tuple(axis.size for axis in axes)) != self.info.shape:
            raise ShapeMismatch(
                f"a latent model was trained on a grid {self.info.shape} and is asked for {shape}",
                "use fields on its grid",
            )
        return self

    def tensors(self) -> dict[str, Tensor]:
        """Return weights, normaliser, mask and error."""
        error = torch.zeros(self.info.num_channels) if self.error_std is None else self.error_std
        named = {
            **{f"network.{name}": value for name, value in self.network.state_dict().items()},
            **{f"normaliser.{name}": value for name, value in self.normaliser.state_dict().items()},
            "valid": self.valid,
            "error_std": error,
        }
        return {name: value.detach().cpu().contiguous() for name, value in named.items()}

    def card(self) -> dict[str, float | int | str]:
        """Return the number of real parameters, what the network knows, and what training left."""
        count = sum(p.numel() * (2 if p.is_complex() else 1) for p in self.network.parameters())
        return {"parameters": count, **self.network.facts(), **self.facts}

    def diagnostics(self) -> xr.Dataset:
        """Return what the network has to show of itself."""
        return self.network.diagnostics()
