"""Neural operators as dynamics: a network that maps the last frames to the next one."""

from collections.abc import Iterator, Mapping
from typing import Literal

import torch
from jaxtyping import Bool, Float
from pydantic import PositiveInt
from torch import Tensor, nn

from koopcast.errors import ShapeMismatch
from koopcast.grids import FieldsInfo
from koopcast.layers.normaliser import FieldStatistics, Moments, Normaliser
from koopcast.models import NetworkModel, NetworkModelSpec
from koopcast.spec import Problem

Normalisation = Literal["channel", "none"]


class OperatorSpec(NetworkModelSpec):
    """Options that all operators share. Channels of the network's input: frames, oldest first, times
    variables.
    """

    history: PositiveInt = 1
    """Consecutive frames that the network sees. With more than one, covariances cannot be localised in
    space."""
    residual: bool = True
    """Predict the change from the last frame, in units of its own spread, instead of the next frame."""
    normalize_input: Normalisation = "channel"
    """`channel`: each variable has mean 0 and variance 1 over the training part; `none`: physical units."""
    normalize_output: Normalisation = "channel"
    """The same for what the network predicts."""

    def num_history(self) -> int:
        """Return the frames in a state."""
        return self.history

    def check(self, fields: FieldsInfo) -> Iterator[Problem]:
        """Refuse a history that leaves no next frame in the training part."""
        times = fields.narrowed("train").time.size if "train" in fields.parts else fields.time.size
        if times <= self.history:
            yield Problem(
                ("history",),
                f"{self.history} frames and the next one do not fit into {times} times; lower history",
            )

    def assemble(
        self, network: nn.Module, info: FieldsInfo, statistics: FieldStatistics
    ) -> "OperatorDynamics":
        """Return the network between normalisers of the fields and of what it predicts."""
        outputs = statistics.increments if self.residual else statistics.fields
        return OperatorDynamics(
            self,
            info,
            network,
            inputs=_normaliser(self.normalize_input, statistics.fields),
            outputs=_normaliser(self.normalize_output, outputs),
            valid=statistics.valid,
        )

    def restore(self, info: FieldsInfo, tensors: Mapping[str, Tensor]) -> "OperatorDynamics":
        """Return the model that `OperatorDynamics.tensors` described, bit for bit."""
        network = self.build(info, torch.Generator())
        stored = {
            name.removeprefix("network."): value
            for name, value in tensors.items()
            if name.startswith("network.")
        }
        expected = {name: value.shape for name, value in network.state_dict().items()}
        found = {name: value.shape for name, value in stored.items()}
        if expected != found:
            odd = sorted(
                name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)
            )
            raise ShapeMismatch(
                f"stored weights do not fit the options of the model: {', '.join(odd[:5])}", "train it again"
            )
        network.load_state_dict(stored)
        model = OperatorDynamics(
            self,
            info,
            network,
            inputs=Normaliser(tensors["inputs.mean"], tensors["inputs.std"]),
            outputs=Normaliser(tensors["outputs.mean"], tensors["outputs.std"]),
            valid=tensors["valid"],
        )
        return model.finished(tensors["error_std"], {})


class OperatorDynamics(NetworkModel):
    """A network that steps fields. Masked cells enter as 0, and are 0 in every frame it returns.

    The state is the `history` frames, oldest first, flattened; with one frame it is the field itself.
    """

    keeps_tensors = False

    def __init__(
        self,
        spec: OperatorSpec,
        info: FieldsInfo,
        network: nn.Module,
        *,
        inputs: Normaliser,
        outputs: Normaliser,
        valid: Bool[Tensor, "*space"],
    ) -> None:
        self.spec = spec
        self.info = info
        self.network = network
        self.inputs = inputs
        self.outputs = outputs
        self.valid = valid
        self.history = spec.history
        self.is_physical = spec.history == 1
        self.error_std: Tensor | None = None
        self.facts: dict[str, float | int | str] = {}
        self._is_masked = not bool(valid.all())

    def advance(
        self, frames: Float[Tensor, "batch history *space channel"]
    ) -> Float[Tensor, "batch *space channel"]:
        """Return last frame + change, or the next frame where the model is not residual."""
        features = self._masked(self.inputs.normalise(frames)).movedim(1, -2).flatten(-2)
        result = self.outputs.denormalise(self.network(features))
        return self._masked(frames[:, -1] + result if self.spec.residual else result)

    def step(self, state: Float[Tensor, "batch state"]) -> Float[Tensor, "batch state"]:
        """Advance by one record interval."""
        frames = state.reshape(len(state), self.history, *self.info.shape, self.info.num_channels)
        following = self.advance(frames)
        return torch.cat([frames[:, 1:], following[:, None]], dim=1).flatten(1)

    def encode(self, frames: Float[Tensor, "batch history *space channel"]) -> Float[Tensor, "batch state"]:
        """Return the frames as one vector."""
        return frames[:, -self.history :].flatten(1)

    def decode(self, state: Float[Tensor, "batch state"]) -> Float[Tensor, "batch *space channel"]:
        """Return the last frame."""
        return state.reshape(len(state), self.history, *self.info.shape, self.info.num_channels)[:, -1]

    def noise_std(self) -> Float[Tensor, " state"] | None:
        """Return the root mean square of the one-step error on validation data, in the cells of the last
        frame.
        """
        if self.error_std is None:
            return None
        last = self.error_std * self.valid[..., None]
        older = torch.zeros((self.history - 1) * last.numel(), dtype=last.dtype, device=last.device)
        return torch.cat([older, last.flatten()])

    def finished(
        self, error_std: Float[Tensor, " channel"], facts: Mapping[str, float | int | str]
    ) -> "OperatorDynamics":
        """Return the model for use: on the CPU, no gradient of the parameters, error and card known."""
        model = self.to(torch.device("cpu"))
        model.network.requires_grad_(False).eval()
        model.error_std, model.facts = error_std.to("cpu", self.dtype), dict(facts)
        return model

    def to(self, device: torch.device) -> "OperatorDynamics":
        """Return the model on `device`; the network is moved, not copied."""
        model = OperatorDynamics(
            self.spec,
            self.info,
            self.network.to(device),
            inputs=self.inputs.to(device),
            outputs=self.outputs.to(device),
            valid=self.valid.to(device),
        )
        model.error_std = None if self.error_std is None else self.error_std.to(device)
        model.facts = self.facts
        return model

    def tensors(self) -> dict[str, Tensor]:
        """Return weights, normalisers, mask and error."""
        channels = self.info.num_channels
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
        return {"parameters": sum(parameter.numel() for parameter in self.network.parameters()), **self.facts}

    def _masked(
        self, field: Float[Tensor, "*batch_and_space channel"]
    ) -> Float[Tensor, "*batch_and_space channel"]:
        return torch.where(self.valid[..., None], field, 0.0) if self._is_masked else field


def _normaliser(kind: Normalisation, moments: Moments) -> Normaliser:
    return (
        Normaliser(moments.mean, moments.std) if kind == "channel" else Normaliser.identity(len(moments.mean))
    )
