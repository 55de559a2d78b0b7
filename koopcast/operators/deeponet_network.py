"""The deep operator network: sums of functions of the input times functions of the place."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from koopcast.errors import DataError, ShapeMismatch
from koopcast.layers.convolution import convolve
from koopcast.layers.perceptron import Activation, Perceptron, Perceptrons, activation, glorot
from koopcast.layers.queried import QueriedNetwork
from koopcast.layers.sensors import CoordinateFeatures, Queries, Sensors
from koopcast.numerics.pod import decompose
from koopcast.rng import numpy_generator

Basis = Literal["trunk", "pod"]
KERNEL = 3
"""Taps of a convolution along each axis."""


@dataclass(frozen=True)
class Architecture:
    """Sizes and choices of a deep operator network; `shape`, `periodic` and `sensors` have one entry a space
    axis.
    """

    shape: tuple[int, ...]
    periodic: tuple[bool, ...]
    sensors: tuple[int, ...]
    channels_in: int
    frames: int
    variables: int
    branch: tuple[int, ...] = (40,)
    trunk: tuple[int, ...] = (40,)
    p: int = 40
    activation: Activation = "relu"
    stacked: bool = False
    output_bias: bool = True
    branch_encoder: Literal["mlp", "cnn"] = "mlp"
    basis: Basis = "trunk"
    trunk_features: CoordinateFeatures = "none"
    frequencies: int = 4


class DeepONet(QueriedNetwork):
    """G(u)(y) = Σ_k b_k(u(x_1), ..., u(x_m)) t_k(y) / √p + b_0, with branch b and trunk t.

    Every output variable has a branch output of its own; the trunk is the same for all.
    """

    def __init__(self, chosen: Architecture, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.architecture = chosen
        self.sensors = Sensors(chosen.shape, chosen.periodic, chosen.sensors)
        self.branch = _branch(chosen, generator)
        self.queries = Queries(chosen.periodic, chosen.frames, chosen.trunk_features, chosen.frequencies)
        self.basis = Trunk(chosen, self.queries.size, generator) if chosen.basis == "trunk" else Modes(chosen)
        self.output_bias = nn.Parameter(torch.zeros(chosen.variables)) if chosen.output_bias else None

    def on_grid(
        self, x: Float[Tensor, "batch *space channel_in"]
    ) -> Float[Tensor, "batch time point variable"]:
        """Return the output at the points of the grid of `x`, which is that of the sensors."""
        if isinstance(self.basis, Modes):
            return self._shifted(self.basis.combined(self.coefficients(x)))
        return super().on_grid(x)

    def answer(
        self,
        x: Float[Tensor, "batch *space channel_in"],
        queries: Float[Tensor, "time point feature"],
    ) -> Float[Tensor, "batch time point variable"]:
        """Return the output where the features of place and time are these."""
        if isinstance(self.basis, Modes):
            raise ShapeMismatch(
                "the modes of the training outputs are known on the training grid alone",
                "choose `basis: trunk` for outputs at any place",
            )
        return self._shifted(self.basis.combined(self.coefficients(x), queries))

    def coefficients(self, x: Float[Tensor, "batch *space channel_in"]) -> Float[Tensor, "batch variable p"]:
        """Return what the branch makes of the values at the sensors."""
        result: Tensor = self.branch(self.sensors(x)).unflatten(
            -1, (self.architecture.variables, self.architecture.p)
        )
        return result

    def _shifted(
        self, values: Float[Tensor, "batch time point variable"]
    ) -> Float[Tensor, "batch time point variable"]:
        return values if self.output_bias is None else values + self.output_bias


class Trunk(nn.Module):
    """Functions of the place, found in training; the last layer is activated too."""

    def __init__(self, chosen: Architecture, features: int, generator: torch.Generator | None) -> None:
        super().__init__()
        sizes = (features, *chosen.trunk, chosen.p)
        self.network = Perceptron(sizes, chosen.activation, is_activated_last=True, generator=generator)

    def combined(
        self, coefficients: Float[Tensor, "batch variable p"], queries: Float[Tensor, "time point feature"]
    ) -> Float[Tensor, "batch time point variable"]:
        """Return Σ_k b_k t_k / √p: one product of two small matrices for all inputs and all places."""
        t = self.network(queries.flatten(0, 1))
        b = coefficients / math.sqrt(t.shape[-1])
        values: Tensor = (b.flatten(0, 1) @ t.mT).unflatten(0, coefficients.shape[:2])
        result: Tensor = values.unflatten(-1, queries.shape[:2]).movedim(1, -1)
        return result


class Modes(nn.Module):
    """Leading modes of the training outputs, each scaled by the spread of its coefficient, and their mean."""

    mean: Float[Tensor, "variable cell"]
    functions: Float[Tensor, "variable p cell"]

    def __init__(self, chosen: Architecture) -> None:
        super().__init__()
        self.frames, self.p = chosen.frames, chosen.p
        cells = chosen.frames * math.prod(chosen.shape)
        self.register_buffer("mean", torch.zeros(chosen.variables, cells))
        self.register_buffer("functions", torch.zeros(chosen.variables, chosen.p, cells))

    def combined(
        self, coefficients: Float[Tensor, "batch variable p"]
    ) -> Float[Tensor, "batch time point variable"]:
        """Return φ_0 + Σ_k b_k φ_k."""
        values = torch.einsum("bvp,vpc->bcv", coefficients, self.functions) + self.mean.T
        result: Tensor = values.unflatten(1, (self.frames, -1))
        return result

    def fit(self, outputs: Callable[[], Iterable[Float[Tensor, "batch *space channel_out"]]]) -> None:
        """Take the modes of outputs, variable by variable.

        Args:
            outputs: Reads all of them, batch by batch, as often as it is called.

        Raises:
            DataError: The outputs vary in fewer directions than there are modes.
        """
        variables = len(self.mean)
        count = sum(len(batch) for batch in outputs())
        for variable in range(variables):

            def frames(variable: int = variable) -> Iterable[Float[Tensor, "frame value"]]:
                return (_of_variable(batch, variable, variables) for batch in outputs())

            found = decompose(frames, self.p, numpy_generator(0, "pod", variable))
            if len(found.singular) < self.p:
                raise DataError(
                    f"the basis shall have {self.p} modes, but the training outputs vary in "
                    f"{len(found.singular)} directions",
                    f"lower p to {len(found.singular)}",
                )
            self.mean[variable] = found.mean
            self.functions[variable] = (found.directions * (found.singular / math.sqrt(count))).T


def _of_variable(
    batch: Float[Tensor, "batch *space channel_out"], variable: int, variables: int
) -> Float[Tensor, "batch cell"]:
    """Return one variable with the frames before the points, as the queries run."""
    fields: Tensor = batch.unflatten(-1, (-1, variables))
    return fields[..., variable].movedim(-1, 1).flatten(1).cpu()


def _branch(chosen: Architecture, generator: torch.Generator | None) -> nn.Module:
    values, outputs = math.prod(chosen.sensors) * chosen.channels_in, chosen.variables * chosen.p
    if chosen.branch_encoder == "cnn":
        return ConvolutionalBranch(chosen, outputs, generator)
    if chosen.stacked:
        nets: nn.Module = Perceptrons(
            outputs, (values, *chosen.branch), chosen.activation, generator=generator
        )
    else:
        nets = Perceptron((values, *chosen.branch, outputs), chosen.activation, generator=generator)
    return nn.Sequential(nn.Flatten(), nets)


class ConvolutionalBranch(nn.Module):
    """Convolutions over the sensors, each of which halves their number along every axis, and a linear map."""

    def __init__(self, chosen: Architecture, outputs: int, generator: torch.Generator | None) -> None:
        super().__init__()
        taps, sizes = [KERNEL] * len(chosen.sensors), chosen.sensors
        channels = (chosen.channels_in, *chosen.branch)
        self.periodic, self._activation = chosen.periodic, activation(chosen.activation)
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for n, m in pairwise(channels):
            weight = torch.empty(m, n, *taps)
            self.weights.append(nn.Parameter(nn.init.xavier_normal_(weight, generator=generator)))
            self.biases.append(nn.Parameter(torch.zeros(m)))
            sizes = tuple(-(-size // 2) for size in sizes)
        self.last = glorot(math.prod(sizes) * channels[-1], outputs, generator)

    def forward(self, x: Float[Tensor, "batch *sensor channel"]) -> Float[Tensor, "batch output"]:
        """Return the outputs."""
        for weight, bias in zip(self.weights, self.biases, strict=True):
            x = self._activation(convolve(x, weight, bias, self.periodic))
            for dim in range(1, x.dim() - 1):
                x = x[(slice(None),) * dim + (slice(None, None, 2),)]
        result: Tensor = self.last(x.flatten(1))
        return result
