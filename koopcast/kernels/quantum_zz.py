"""The kernel of a quantum feature map, simulated: overlaps of states that a short circuit prepares."""

import hashlib
import math
from collections.abc import Iterator, Mapping
from itertools import combinations, pairwise
from typing import Annotated, Literal

import torch
from jaxtyping import Complex, Float
from pydantic import Field, NonNegativeInt, PositiveInt, model_validator
from torch import Tensor

from koopcast.errors import DataError
from koopcast.kernels.base import KernelSpec
from koopcast.rng import torch_generator
from koopcast.spec import Problem, Spec

CHUNK = 2**22
"""Numbers in the state vectors that are prepared together."""


class ScalingSpec(Spec):
    """How coordinates become angles."""

    type: Literal["minmax", "pca", "none"] = "minmax"
    """`minmax`: each coordinate fills the range over the training points; `pca`: each principal component
    does; `none`: the coordinates are the angles."""
    range: tuple[float, float] = (0.0, 2 * math.pi)
    """Angles of the smallest and the largest value."""

    @model_validator(mode="after")
    def _range_ascends(self) -> "ScalingSpec":
        if not self.range[0] < self.range[1]:
            raise ValueError(f"range: {list(self.range)} must ascend")
        return self


class QuantumZZSpec(KernelSpec):
    """|<Φ(x)|Φ(y)>|² with |Φ(x)> = (U(x) H)ᵈ |0>: Hadamard gates and phases of one and of two qubits.

    U(x) = exp(i Σ_S φ_S(x) Π_{i∈S} Z_i) with φ_i = x_i and φ_ij = (π - x_i)(π - x_j). The state vector of 2ᵐ
    amplitudes is simulated. On data that such a circuit made the kernel separates what others do not; on
    ordinary data a Gaussian usually does as well or better, and entries off the diagonal shrink like 2⁻ᵐ, so
    that above 8 qubits fewer than 4ᵐ shots measure noise.
    """

    kind: Literal["quantum_zz"] = "quantum_zz"
    qubits: Annotated[int, Field(ge=1, le=12)] = 2
    """Qubits m: one for each coordinate."""
    depth: Annotated[int, Field(ge=1, le=8)] = 2
    """Repetitions d of Hadamard gates and phases."""
    entanglement: Literal["full", "linear", "circular"] = "full"
    """Pairs of qubits with a common phase: all, neighbours, or neighbours on a ring."""
    scaling: ScalingSpec = ScalingSpec()
    """How coordinates become angles."""
    reduce: Literal["pca", "select"] | None = None
    """What to do with more coordinates than qubits: take the leading principal components, or the first
    coordinates. null: refuse."""
    shots: PositiveInt | None = None
    """Measurements per entry: counts over `shots`, symmetrised, made semi-definite. null: exact."""
    noise: float = Field(0.0, ge=0, lt=1)
    """Depolarising noise p: k becomes (1 - p)² k + (1 - (1 - p)²)/2ᵐ."""
    seed: NonNegativeInt = 0
    """Of the counts; the same points have the same counts."""

    reference = (
        "Havlíček et al. 2019, Supervised learning with quantum-enhanced feature spaces; the noise model is "
        "global depolarisation of both states"
    )

    def prepare(self, points: Float[Tensor, "point coordinate"]) -> dict[str, Tensor]:
        """Return the affine map from coordinates to angles, `(coordinate, qubit)` and `(qubit)`."""
        count = points.shape[1]
        for fault in self.faulty_dimension(count):
            raise DataError(fault.message)
        mean = points.mean(dim=0)
        projection = torch.eye(count, dtype=points.dtype)
        if self.reduce == "pca" or self.scaling.type == "pca":
            _, _, Vh = torch.linalg.svd(points - mean, full_matrices=False)
            largest = Vh.gather(1, Vh.abs().argmax(dim=1, keepdim=True))
            projection = (Vh * largest.sign()).mT
        projection = projection[:, : self.qubits]
        if projection.shape[1] < self.qubits:
            raise DataError(
                f"the points span {projection.shape[1]} directions, fewer than {self.qubits} qubits",
                "lower `qubits`",
            )
        projected = points @ projection
        if self.scaling.type == "none":
            return {"projection": projection.contiguous(), "shift": torch.zeros_like(projected[0])}
        low, high = projected.amin(dim=0), projected.amax(dim=0)
        start, stop = self.scaling.range
        gain = (stop - start) / torch.where(high > low, high - low, 1.0)
        return {"projection": (projection * gain).contiguous(), "shift": start - low * gain}

    def faulty_dimension(self, coordinates: int) -> Iterator[Problem]:
        """Refuse more qubits than coordinates, and more coordinates than qubits without a way to reduce."""
        if coordinates < self.qubits:
            yield Problem(
                ("qubits",), f"qubits: {self.qubits} are above {coordinates}, the coordinates; lower qubits"
            )
        elif coordinates > self.qubits and self.reduce is None:
            message = (
                f"qubits: {coordinates} coordinates are above {self.qubits}; set reduce to pca or select"
            )
            yield Problem(("qubits",), message)

    def exact(
        self,
        x: Float[Tensor, "row coordinate"],
        y: Float[Tensor, "column coordinate"],
        tensors: Mapping[str, Tensor],
    ) -> Float[Tensor, "row column"]:
        """Return the probabilities without counting them."""
        left = self.states(x @ tensors["projection"] + tensors["shift"])
        right = left if x is y else self.states(y @ tensors["projection"] + tensors["shift"])
        overlap = left.conj() @ right.mT
        kept = (1 - self.noise) ** 2
        probability: Tensor = kept * overlap.abs().square() + (1 - kept) / 2**self.qubits
        if x is y and self.noise == 0:
            probability.fill_diagonal_(1)
        return probability

    def gram(
        self,
        x: Float[Tensor, "row coordinate"],
        y: Float[Tensor, "column coordinate"],
        tensors: Mapping[str, Tensor],
    ) -> Float[Tensor, "row column"]:
        """Return counts over shots of each entry, or the exact values."""
        values = self.exact(x, y, tensors)
        return values if self.shots is None else self._counted(values, x, y)

    def square(
        self, x: Float[Tensor, "row coordinate"], tensors: Mapping[str, Tensor]
    ) -> Float[Tensor, "row row"]:
        """Return counts over shots above the diagonal, their mirror image, 1 on it; made semi-definite."""
        values = self.exact(x, x, tensors)
        if self.shots is None:
            return values
        above = torch.triu(self._counted(values, x, x), diagonal=1)
        eigenvalues, V = torch.linalg.eigh(above + above.mT + torch.eye(len(x), dtype=x.dtype))
        clipped: Tensor = (V * eigenvalues.clamp_min(0)) @ V.mT
        return clipped

    def is_measured(self) -> bool:
        """Return whether shots are given."""
        return self.shots is not None

    def states(self, angles: Float[Tensor, "point qubit"]) -> Complex[Tensor, "point amplitude"]:
        """Return |Φ(x)>, amplitudes in the order of bit strings, the first qubit leading."""
        return torch.cat([self._prepared(part) for part in angles.split(max(1, CHUNK >> self.qubits))])

    def _prepared(self, angles: Float[Tensor, "point qubit"]) -> Complex[Tensor, "point amplitude"]:
        signs = self._signs().to(angles.dtype)
        turned = math.pi - angles
        phase = angles @ signs.mT
        for i, j in self.entangled():
            phase = phase + (turned[:, i] * turned[:, j])[:, None] * (signs[:, i] * signs[:, j])
        turn = torch.polar(torch.ones_like(phase), phase)
        state = torch.zeros_like(turn)
        state[:, 0] = 1
        for _ in range(self.depth):
            state = turn * self._hadamard(state)
        return state

    def _signs(self) -> Float[Tensor, "amplitude qubit"]:
        """Return the eigenvalue ±1 of each Z on each basis state."""
        basis = torch.arange(2**self.qubits)[:, None]
        shifts = torch.arange(self.qubits - 1, -1, -1)
        signs: Tensor = 1.0 - 2.0 * ((basis >> shifts) & 1)
        return signs

    def _hadamard(self, state: Complex[Tensor, "point amplitude"]) -> Complex[Tensor, "point amplitude"]:
        """Return the state after a Hadamard gate on every qubit."""
        for qubit in range(self.qubits):
            pairs = state.reshape(len(state), 2**qubit, 2, -1)
            state = torch.stack([pairs.sum(dim=2), pairs[:, :, 0] - pairs[:, :, 1]], dim=2)
        return state.reshape(len(state), -1) / 2 ** (self.qubits / 2)

    def entangled(self) -> list[tuple[int, int]]:
        """Return the pairs of qubits that have a common phase."""
        if self.entanglement == "full":
            return list(combinations(range(self.qubits), 2))
        pairs = list(pairwise(range(self.qubits)))
        return (
            [*pairs, (0, self.qubits - 1)] if self.entanglement == "circular" and self.qubits > 2 else pairs
        )

    def _counted(
        self,
        values: Float[Tensor, "row column"],
        x: Float[Tensor, "row coordinate"],
        y: Float[Tensor, "column coordinate"],
    ) -> Float[Tensor, "row column"]:
        digest = hashlib.sha256(x.numpy().tobytes() + y.numpy().tobytes()).hexdigest()
        generator = torch_generator(self.seed, self.kind, digest)
        shots = torch.full_like(values, float(self.shots or 0))
        return torch.binomial(shots, values.clamp(0, 1), generator=generator) / shots
