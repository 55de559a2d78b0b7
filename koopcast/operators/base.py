"""What all neural operators share: history, residual form, normalisation."""

from collections.abc import Iterator, Mapping
from typing import ClassVar, Literal

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from koopcast.errors import ShapeMismatch
from koopcast.grids import FieldsInfo
from koopcast.layers.normaliser import FieldStatistics, Moments, Normaliser
from koopcast.layers.resampling import Interpolation
from koopcast.mapping import MappingSpec, Signature
from koopcast.models import NetworkModelSpec
from koopcast.operators.trained import OperatorDynamics, OperatorMap
from koopcast.spec import Problem

Normalisation = Literal["channel", "pixel", "none"]


class OperatorSpec(NetworkModelSpec):
    """Options that all operators share. Channels of the network's input: frames, oldest first, times
    variables.
    """

    history: PositiveInt = 1
    """Consecutive frames that dynamics see. With more than one, covariances cannot be localised in space."""
    residual: bool = True
    """Dynamics predict the change from the last frame, in units of its own spread, instead of the next
    frame."""
    normalize_input: Normalisation = "channel"
    """`channel`: each variable has mean 0 and variance 1 over the training part; `pixel`: each cell of it, on
    the training grid alone; `none`: physical units."""
    normalize_output: Normalisation = "channel"
    """The same for what the network predicts; the change from frame to frame has no `pixel` form."""

    resample_io: Literal["none", "bilinear", "fourier"] = "none"
    """On another grid than that of training: `none` the network acts there as it is; `bilinear`, `fourier`
    the input is interpolated to the training grid and the output back, linearly or by its waves (cosines on
    closed axes)."""

    any_resolution: ClassVar[bool] = True
    """Whether the same weights act on any grid."""
    transfer_hint: ClassVar[str] = "set resample_io, or choose a model that works on any grid"

    def num_history(self) -> int:
        """Return the frames in a state."""
        return self.history

    def transfers(self) -> bool:
        """Return whether the model works on other grids than that of its training."""
        return (self.any_resolution or self.resample_io != "none") and not self.needs_cells()

    def interpolation(self) -> Interpolation | None:
        """Return how fields travel to the training grid and back, where they do."""
        return None if self.resample_io == "none" else self.resample_io

    def needs_cells(self) -> bool:
        """Return whether a normaliser is `pixel`."""
        return "pixel" in (self.normalize_input, self.normalize_output)

    def faults(self, signature: Signature) -> Iterator[Problem]:
        """Refuse what has no meaning for a map, or for dynamics."""
        if signature.is_dynamics:
            if self.residual and self.normalize_output == "pixel":
                yield Problem(
                    ("normalize_output",), "a change has no `pixel` form; use channel, or residual: false"
                )
            return
        if self.history != 1:
            yield Problem(("history",), "a map is given what `mapping.given` says; remove history")

    def assemble(
        self, network: nn.Module, info: FieldsInfo, signature: Signature, statistics: FieldStatistics
    ) -> OperatorDynamics | OperatorMap:
        """Return the network between normalisers of what it is given and of what it predicts."""
        names = list(info.variables)
        given = statistics.of_channels([names.index(name) for name in signature.inputs])
        asked = statistics.of_channels([names.index(name) for name in signature.outputs])
        is_change = signature.is_dynamics and self.residual
        outputs = (
            _of(self.normalize_output, asked.increments, None)
            if is_change
            else _of(self.normalize_output, asked.fields, asked.cells)
        )
        inputs = _of(self.normalize_input, given.fields, given.cells)
        return self._model(signature)(
            self,
            info,
            signature,
            network,
            inputs=inputs,
            outputs=outputs,
            valid=statistics.valid,
            residual=is_change,
        )

    def restore(
        self, info: FieldsInfo, tensors: Mapping[str, Tensor], mapping: MappingSpec | None = None
    ) -> OperatorDynamics | OperatorMap:
        """Return the model that `OperatorModel.tensors` described, bit for bit."""
        signature = Signature.of_dynamics(info, self.history) if mapping is None else mapping.signature(info)
        network = self.build(signature, torch.Generator())
        _load(network, tensors)
        model = self._model(signature)(
            self,
            info,
            signature,
            network,
            inputs=Normaliser(tensors["inputs.mean"], tensors["inputs.std"]),
            outputs=Normaliser(tensors["outputs.mean"], tensors["outputs.std"]),
            valid=tensors["valid"],
            residual=signature.is_dynamics and self.residual,
        )
        return model.finished(tensors["error_std"], {})

    def _model(self, signature: Signature) -> type[OperatorDynamics] | type[OperatorMap]:
        return OperatorDynamics if signature.is_dynamics else OperatorMap


def _of(kind: Normalisation, moments: Moments, cells: Moments | None) -> Normaliser:
    if kind == "none":
        return Normaliser.identity(moments.mean.shape[-1])
    chosen = cells if kind == "pixel" and cells is not None else moments
    return Normaliser(chosen.mean, chosen.std)


def _load(network: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Give the network its stored state.

    Raises:
        ShapeMismatch: It is the state of another network.
    """
    stored = {
        name.removeprefix("network."): value for name, value in tensors.items() if name.startswith("network.")
    }
    expected = {name: value.shape for name, value in network.state_dict().items()}
    found = {name: value.shape for name, value in stored.items()}
    try:
        network.load_state_dict(stored)
    except RuntimeError as error:
        odd = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
        raise ShapeMismatch(
            f"stored weights do not fit the options of the model: {', '.join(odd[:5])}", "train it again"
        ) from error
