"""Trained operators: a network between normalisers, as a map from fields to fields or as dynamics."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar

import torch
import xarray as xr
from jaxtyping import Bool, Float
from torch import Tensor, nn

from koopcast.dynamics import Correction
from koopcast.errors import ShapeMismatch
from koopcast.grids import Axis, FieldsInfo
from koopcast.layers.normaliser import Normaliser
from koopcast.layers.resampling import ResampledNetwork
from koopcast.mapping import Signature
from koopcast.models import (
    Compare,
    Context,
    HasCorrection,
    HasFacts,
    HasObjective,
    MapModel,
    Model,
    NetworkModel,
    NetworkModelSpec,
)

Own = TypeVar("Own", bound="OperatorModel")


class OperatorModel(NetworkModel):
    """A network between normalisers. Masked cells enter as 0, and are 0 in every frame it returns."""

    def __init__(
        self,
        spec: NetworkModelSpec,
        info: FieldsInfo,
        signature: Signature,
        network: nn.Module,
        *,
        inputs: Normaliser,
        outputs: Normaliser,
        valid: Bool[Tensor, "*space"],
        residual: bool,
    ) -> None:
        self.spec = spec
        self.info = info
        self.signature = signature
        self.network = network
        self.inputs = inputs
        self.outputs = outputs
        self.valid = valid
        self.residual = residual
        self.error_std: Tensor | None = None
        self.facts: dict[str, float | int | str] = {}
        self._is_masked = not bool(valid.all())

    @abstractmethod
    def supervised(
        self, run: Float[Tensor, "batch frame *space channel"], compare: Compare, context: Context
    ) -> Float[Tensor, ""]:
        """Return the loss of predictions against the records of the runs."""

    def loss(
        self, run: Float[Tensor, "batch frame *space channel"], compare: Compare, context: Context
    ) -> Float[Tensor, ""]:
        """Return the loss of predictions against the records, or what the network itself makes small."""
        if isinstance(self.network, HasObjective):
            return self.network.objective(run, self, compare, context)
        return self.supervised(run, compare, context)

    def features(
        self, frames: Float[Tensor, "batch frame *space channel_in"]
    ) -> Float[Tensor, "batch *space features"]:
        """Return what the network is given: normalised frames as channels."""
        return self.masked(self.inputs.normalise(frames)).movedim(1, -2).flatten(-2)

    def fields(
        self, result: Float[Tensor, "batch *space features"]
    ) -> Float[Tensor, "batch frame *space channel_out"]:
        """Return what the network says as frames in physical units; masked cells are not yet 0."""
        frames = result.unflatten(-1, (-1, len(self.signature.outputs))).movedim(-2, 1)
        return self.outputs.denormalise(frames)

    def normalised(
        self,
        given: Float[Tensor, "batch frame *space channel_in"],
        target: Float[Tensor, "batch predicted *space channel_out"],
    ) -> tuple[Float[Tensor, "batch *space features_in"], Float[Tensor, "batch *space features_out"]]:
        """Return what the network is given and should return for fields in physical units."""
        asked = target - given[:, -1:] if self.residual else target
        return self.features(given), _flat(self.masked(self.outputs.normalise(asked)))

    def masked(
        self, field: Float[Tensor, "*batch_and_space channel"]
    ) -> Float[Tensor, "*batch_and_space channel"]:
        """Return the field with masked cells 0."""
        return torch.where(self.valid[..., None], field, 0.0) if self._is_masked else field

    def finished(
        self: Own, error_std: Float[Tensor, " channel"], facts: Mapping[str, float | int | str]
    ) -> Own:
        """Return the model for use: on the CPU, no gradient of the parameters, error and card known."""
        model = self.to(torch.device("cpu"))
        model.network.requires_grad_(False).eval()
        model.error_std, model.facts = error_std.to("cpu", torch.float32), dict(facts)
        return model

    def to(self: Own, device: torch.device) -> Own:
        """Return the model on `device`; the network is moved, not copied."""
        return self._with(
            network=self.network.to(device),
            inputs=self.inputs.to(device),
            outputs=self.outputs.to(device),
            valid=self.valid.to(device),
        )

    def on(self: Own, axes: tuple[Axis, ...]) -> Own:
        """Return the model on another grid of the same domain, sharing its weights.

        Raises:
            ShapeMismatch: Its weights, its normalisers or its mask belong to one grid.
        """
        shape = tuple(axis.size for axis in axes)
        if shape == self.info.shape:
            return self
        if not self.spec.transfers() or self._is_masked:
            reason = "mask" if self.spec.transfers() else "weights or normalisers"
            raise ShapeMismatch(
                f"'{self.spec.kind}' was trained on a grid {self.info.shape} and is asked for {shape}; its "
                f"{reason} belong to that grid",
                self.spec.transfer_hint,
            )
        signature, mode = self.signature.on(axes), self.spec.interpolation()
        moved: dict[str, Any] = {"info": replace(self.info, axes=axes), "signature": signature}
        moved["valid"] = torch.ones(shape, dtype=torch.bool, device=self.valid.device)
        if mode is not None:
            periodic = tuple(axis.periodic for axis in axes)
            inner = ResampledNetwork(self.network, self.info.shape, periodic, mode)
            return self._with(network=inner, **moved)
        if faults := list(self.spec.faults(signature)):
            raise ShapeMismatch(
                f"'{self.spec.kind}' does not work on a grid {shape}: {faults[0].message}", "use another grid"
            )
        return self._with(**moved)

    def _with(self: Own, **changes: Any) -> Own:
        """Return the same model, some of its parts other ones."""
        names = ("spec", "info", "signature", "network", "inputs", "outputs", "valid", "residual")
        parts = {**{name: getattr(self, name) for name in names}, **changes}
        places = [parts.pop(name) for name in names[:4]]
        model = type(self)(*places, **parts)
        device = model.valid.device
        model.error_std = None if self.error_std is None else self.error_std.to(device)
        model.facts = self.facts
        return model

    def tensors(self) -> dict[str, Tensor]:
        """Return weights, normalisers, mask and error."""
        channels = len(self.signature.outputs)
        named = {
            **{f"network.{name}": value for name, value in self.network.state_dict().items()},
            **{f"inputs.{name}": value for name, value in self.inputs.state_dict().items()},
            **{f"outputs.{name}": value for name, value in self.outputs.state_dict().items()},
            "valid": self.valid,
            "error_std": torch.zeros(channels) if self.error_std is None else self.error_std,
        }
        return {name: value.detach().cpu().contiguous() for name, value in named.items()}

    def card(self) -> dict[str, float | int | str]:
        """Return the number of real parameters and what training left."""
        own = self.network.facts() if isinstance(self.network, HasFacts) else {}
        return {"parameters": num_parameters(self.network), **own, **self.facts}

    def diagnostics(self) -> xr.Dataset:
        """Return what the network has to show of itself."""
        return self.network.diagnostics() if isinstance(self.network, HasFacts) else xr.Dataset()


class OperatorMap(OperatorModel, MapModel):
    """A network that maps fields to fields."""

    def predict(
        self, given: Float[Tensor, "batch frame *space channel_in"], predicted: int | None = None
    ) -> Float[Tensor, "batch predicted *space channel_out"]:
        """Return the output fields, physical units, on the grid of `given`.

        Raises:
            ShapeMismatch: The model does not work on this grid, or for this number of frames.
        """
        shape = tuple(given.shape[2:-1])
        model = self.on(tuple(replace(a, size=n) for a, n in zip(self.info.axes, shape, strict=True)))
        asked = predicted or self.signature.frames_out
        usual = (self.signature.frames_in, self.signature.frames_out)
        features = model.features(given)
        if (given.shape[1], asked) == usual:
            return model.masked(model.fields(model.network(features)))
        if not self.spec.takes_frames():
            raise ShapeMismatch(
                f"'{self.spec.kind}' maps {usual[0]} frames to {usual[1]}, and is asked for "
                f"{given.shape[1]} to {asked}",
                "give and ask for as many as it learned, or train a model such as sfno",
            )
        return model.masked(model.fields(model.network(features, asked)))

    def supervised(
        self, run: Float[Tensor, "batch frame *space channel"], compare: Compare, context: Context
    ) -> Float[Tensor, ""]:
        """Return the loss of the outputs, all of their frames together."""
        names = tuple(self.info.variables)
        given, target = self.signature.given(run, names), self.signature.target(run, names)
        prediction = self.predict(given)
        return compare(_flat(prediction), _flat(target), given)

    def error(
        self, run: Float[Tensor, "batch frame *space channel"]
    ) -> Float[Tensor, "batch_and_frame *space channel_out"]:
        """Return prediction - truth of the outputs."""
        names = tuple(self.info.variables)
        error = self.predict(self.signature.given(run, names)) - self.signature.target(run, names)
        return error.flatten(0, 1)


class OperatorDynamics(OperatorModel, Model):
    """A network that steps fields.

    The state is the `history` frames, oldest first, flattened; with one frame it is the field itself.
    """

    keeps_tensors = False

    def __init__(
        self,
        spec: NetworkModelSpec,
        info: FieldsInfo,
        signature: Signature,
        network: nn.Module,
        **parts: Any,
    ) -> None:
        super().__init__(spec, info, signature, network, **parts)
        self.history = signature.frames_in
        self.is_physical = self.history == 1

    def advance(
        self, frames: Float[Tensor, "batch history *space channel"]
    ) -> Float[Tensor, "batch *space channel"]:
        """Return the next frame, physical units: last frame + change, or the network's own."""
        result = self.fields(self.network(self.features(frames)))[:, 0]
        return self.masked(frames[:, -1] + result if self.residual else result)

    def supervised(
        self, run: Float[Tensor, "batch frame *space channel"], compare: Compare, context: Context
    ) -> Float[Tensor, ""]:
        """Return the mean loss over `rollout` steps from the first frames on, its own frames as input.

        Under `push_forward` earlier steps are made without gradients and the last one alone counts.
        """
        known = run[:, : self.history]
        losses = []
        for step in range(context.rollout):
            is_last = step == context.rollout - 1
            with torch.set_grad_enabled(torch.is_grad_enabled() and (is_last or not context.push_forward)):
                following = self.advance(known)
            if is_last or not context.push_forward:
                losses.append(compare(following, run[:, self.history + step], known))
            known = torch.cat([known[:, 1:], following[:, None]], dim=1)
        return torch.stack(losses).mean()

    def error(
        self, run: Float[Tensor, "batch frame *space channel"]
    ) -> Float[Tensor, "batch *space channel"]:
        """Return prediction - truth of one step."""
        return self.advance(run[:, : self.history]) - run[:, self.history]

    def step(self, state: Float[Tensor, "batch state"]) -> Float[Tensor, "batch state"]:
        """Advance by one record interval."""
        frames = state.reshape(state.shape[0], self.history, *self.info.shape, self.info.num_channels)
        following = self.advance(frames)
        return torch.cat([frames[:, 1:], following[:, None]], dim=1).flatten(1)

    def encode(self, frames: Float[Tensor, "batch history *space channel"]) -> Float[Tensor, "batch state"]:
        """Return the frames as one vector."""
        return frames[:, -self.history :].flatten(1)

    def decode(self, state: Float[Tensor, "batch state"]) -> Float[Tensor, "batch *space channel"]:
        """Return the last frame."""
        return state.reshape(state.shape[0], self.history, *self.info.shape, self.info.num_channels)[:, -1]

    def correction(self) -> Correction | None:
        """Return the correction of a network that has one: state, measurements and mask as flat fields."""
        network = self.network
        if not isinstance(network, HasCorrection) or self.history != 1:
            return None
        shape = (*self.info.shape, self.info.num_channels)

        def corrected(state: Tensor, value: Tensor, mask: Tensor) -> Tensor:
            fields = (part.to(self.dtype).reshape(-1, *shape) for part in (state, value))
            field, measured = (self.inputs.normalise(part) for part in fields)
            seen = mask.to(self.dtype).reshape(field.shape)
            analysis = self.inputs.denormalise(network.correct(self.masked(field), measured, seen))
            return self.masked(analysis).flatten(1).to(state.dtype)

        return corrected

    def noise_std(self) -> Float[Tensor, " state"] | None:
        """Return the root mean square of the one-step error on validation data, in the cells of the last
        frame.
        """
        if self.error_std is None:
            return None
        last = self.error_std * self.valid[..., None]
        older = torch.zeros((self.history - 1) * last.numel(), dtype=last.dtype, device=last.device)
        return torch.cat([older, last.flatten()])


def num_parameters(network: nn.Module) -> int:
    """Return the number of real parameters; a complex one counts as two."""
    return sum(p.numel() * (2 if p.is_complex() else 1) for p in network.parameters())


def _flat(
    frames: Float[Tensor, "batch frame *space channel"],
) -> Float[Tensor, "batch *space features"]:
    """Return frames as channels."""
    return frames.movedim(1, -2).flatten(-2)
