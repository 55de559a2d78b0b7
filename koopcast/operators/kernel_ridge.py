"""Kernel ridge regression of whole output fields on whole input fields."""

import math
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from koopcast.errors import DataError
from koopcast.kernels import AnyKernel, KernelSpec
from koopcast.mapping import Signature
from koopcast.numerics.kernel_ridge import kernel_ridge
from koopcast.numerics.random_features import RIDGES
from koopcast.operators.fitted import Examples, FittedOperatorSpec
from koopcast.operators.random_features import Ridge
from koopcast.spec import Problem

MOST_PAIRS = 8000
"""Their Gram matrix has 512 MB in double precision."""
KERNEL = "kernel_"
"""Begins the names of what the kernel took from the data."""


class KernelRidgeSpec(FittedOperatorSpec):
    """u(a) = c + Σ_i k(a, a_i) c_i with a_i the inputs of all training pairs.

    Any kernel serves; one that is measured (`quantum_zz` with `shots`) is counted in the fit and in use.
    """

    kind: Literal["kernel_ridge"] = "kernel_ridge"
    kernel: AnyKernel = Field(default="gaussian", validate_default=True)
    """k, of all values of the input fields."""
    ridge: Ridge = "auto"
    """Penalty in units of the mean of k(a, a); `auto`: the one of 10⁻¹⁰, ..., 1 with the smallest error on
    the `valid` part, or where there is none on each pair left out in turn."""

    any_resolution = False
    reference = (
        "Saunders, Gammerman and Vovk 1998; for operators Batlle et al. 2024, Kernel methods are competitive "
        "for operator learning, J. Comput. Phys. 496"
    )

    def faults(self, signature: Signature) -> Iterator[Problem]:
        """Refuse inputs of a size that the kernel does not take."""
        yield from super().faults(signature)
        values = math.prod(signature.shape) * signature.channels_in
        yield from (problem.below("kernel") for problem in self.kernel.faulty_dimension(values))

    def build(self, signature: Signature, generator: torch.Generator) -> "KernelNetwork":
        """Return the map before it is fitted."""
        return KernelNetwork(self.kernel, (*signature.shape, signature.channels_out))

    def fit_network(
        self, network: nn.Module, train: Examples, valid: Examples | None, generator: torch.Generator
    ) -> Mapping[str, float | int | str]:
        """Solve for the coefficients."""
        assert isinstance(network, KernelNetwork)
        x, Y = (part.flatten(1).to(torch.float64) for part in (train.inputs, train.outputs))
        if len(x) > MOST_PAIRS:
            raise DataError(
                f"{len(x)} training pairs are above {MOST_PAIRS}, whose Gram matrix fits into memory",
                "train on a `subset`, or take random_features",
            )
        chosen = self.kernel.prepare(x)
        weights = torch.ones(len(x), dtype=x.dtype) if train.weights is None else train.weights.to(x)
        level = (weights @ Y) / weights.sum()
        judges = None
        if valid is not None:
            z, U = (part.flatten(1).to(torch.float64) for part in (valid.inputs, valid.outputs))
            judges = self.kernel.gram(z, x, chosen), U - level
        ridges = RIDGES if self.ridge == "auto" else (self.ridge,)
        square = self.kernel.square(x, chosen)
        found = kernel_ridge(square, Y - level, ridges, weights=weights, judges=judges)
        network.take({"points": x, "coefficients": found.coefficients, "offset": level}, chosen)
        error = {"validation_error": float(found.errors.min())} if len(ridges) > 1 else {}
        return {"ridge": found.ridge, **error}


class KernelNetwork(nn.Module):
    """The sum over training points. Tensors: `points`, `coefficients`, `offset`, and what the kernel took."""

    points: Tensor
    coefficients: Tensor
    offset: Tensor

    def __init__(self, kernel: KernelSpec, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.kernel, self.shape = kernel, shape

    def take(self, own: Mapping[str, Tensor], chosen: Mapping[str, Tensor]) -> None:
        """Keep the tensors of a fit, and what the kernel took from the data."""
        for name, value in {**own, **{KERNEL + name: value for name, value in chosen.items()}}.items():
            self.register_buffer(name, value.contiguous())

    def forward(
        self, x: Float[Tensor, "batch *space channel_in"]
    ) -> Float[Tensor, "batch *space channel_out"]:
        """Return the output fields, on the grid of the training."""
        chosen = {n.removeprefix(KERNEL): value for n, value in self.named_buffers() if n.startswith(KERNEL)}
        similar = self.kernel.gram(x.flatten(1).to(torch.float64), self.points, chosen)
        values = similar @ self.coefficients + self.offset
        return values.reshape(len(x), *self.shape).to(x.dtype)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Make room for as many points as are stored."""
        stored = {n.removeprefix(prefix): value for n, value in state_dict.items() if n.startswith(prefix)}
        self.take({name: torch.zeros_like(value) for name, value in stored.items()}, {})
        super()._load_from_state_dict(state_dict, prefix, *args)
