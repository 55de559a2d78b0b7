"""Data loss plus the residual of the equation that the fields obey."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Literal, TypeAlias

import numpy as np
import scipy.sparse as sparse
import torch
from jaxtyping import Float
from pydantic import Field, NonNegativeFloat, PositiveFloat
from torch import Tensor

from koopcast.dynamics import Semilinear, Setting
from koopcast.errors import ShapeMismatch
from koopcast.grids import FieldsInfo
from koopcast.losses.base import LossSpec, Measure
from koopcast.losses.h1 import H1Spec
from koopcast.losses.mse import MeanSquaredErrorSpec
from koopcast.losses.rel_l2 import FLOOR, RelativeL2Spec, relative
from koopcast.losses.sobolev import SobolevSpec
from koopcast.losses.spectral import SpectralSpec
from koopcast.mapping import Signature
from koopcast.numerics.defects import Rule, defects
from koopcast.numerics.sobolev import Side, sides, square_norm
from koopcast.spec import Family, Problem
from koopcast.systems import AnySystem
from koopcast.systems.base import EvolvingSpec, StationarySpec, SystemSpec

AnyDataLoss: TypeAlias = Annotated[
    H1Spec | MeanSquaredErrorSpec | RelativeL2Spec | SobolevSpec | SpectralSpec, Family("losses")
]


class PhysicsResidualSpec(LossSpec):
    """data_weight · data loss + weight · ‖R(p)‖_s / ‖scale‖_s, the residual R of the equation at the
    prediction.

    For a stationary equation A x = b, R = b - A x over the interior nodes, in units of b. For an evolving one
    that is periodic, R is the defect of a one-step formula between the last given record and the first
    predicted one, and between predicted ones, in units of (u⁺ - u)/dt of the target. ‖R‖_s² = Σ (α + |k|²)^s
    |R̂(k)|².
    """

    kind: Literal["physics_residual"] = "physics_residual"
    system: AnySystem
    """The equation, on the grid of the data: `darcy` or another on the unit square, or a periodic system that
    evolves."""
    weight: PositiveFloat = 0.1
    """Weight of the residual."""
    data: AnyDataLoss = Field(default="rel_l2", validate_default=True)
    """Loss against the data."""
    data_weight: NonNegativeFloat = 1.0
    """Weight of the data loss; 0: learn from the equation alone."""
    order: float = Field(-1.0, ge=-2, le=2)
    """Order s of the norm: -1 judges a second-order equation as the energy norm judges its solution, 0 weighs
    the finest scales most."""
    alpha: PositiveFloat = 1.0
    """Weight α of the mean in the norm."""
    rule: Rule = "hermite_simpson"
    """Formula between two records: of order 4 or 2 in the time between them."""

    reference = (
        "Li et al. 2021 (PINO) for residual losses on grids; negative norms and Hermite-Simpson defects: Cao "
        "et al. 2025, corrected as the refiner says"
    )

    def check(self, fields: FieldsInfo) -> Iterator[Problem]:
        """Refuse what the data loss refuses, and systems without a residual."""
        for problem in self.data.check(fields):
            yield problem.below("data")
        yield from self._without_residual()
        yield from self._other_grid(fields.shape)

    def faults(self, signature: Signature) -> Iterator[Problem]:
        """Refuse what is given or asked for where it does not fix the residual."""
        system: SystemSpec = self.system
        names = tuple(system.describe().variables)
        needed = _Stationary.names(system) if isinstance(system, StationarySpec) else (names, names)
        for place, have, words in zip(needed, (signature.inputs, signature.outputs), _WORDS, strict=True):
            if missing := [name for name in place if name not in have]:
                yield Problem(
                    ("system",),
                    f"the residual of '{system.kind}' needs '{missing[0]}' among {words}; name it there",
                )
        if isinstance(system, StationarySpec):
            if signature.frames_in != 1 or signature.ahead:
                yield Problem(("system",), f"'{system.kind}' has no time; map fields of one record")
        elif not signature.ahead:
            yield Problem(("system",), f"'{system.kind}' evolves; predict records after those given")
        elif not isinstance(signature.time.step, (int, float)):
            yield Problem(("system",), "the records are not equally spaced in model time")

    def _without_residual(self) -> Iterator[Problem]:
        system: SystemSpec = self.system
        if isinstance(system, StationarySpec) and _Stationary.covers(system):
            return
        is_periodic = all(axis.periodic for axis in system.describe().axes)
        if isinstance(system, EvolvingSpec) and is_periodic and isinstance(system.problem(), Semilinear):
            return
        yield Problem(
            ("system",),
            f"no residual of '{system.kind}' is known: take one on the unit square, or a periodic system "
            "with a linear part of its own (burgers, kdv, kuramoto_sivashinsky, navier_stokes)",
        )

    def _other_grid(self, shape: tuple[int, ...]) -> Iterator[Problem]:
        own = self.system.describe().shape
        if own != shape:
            yield Problem(("system",), f"has a grid {own}, the data have {shape}; give it the same `points`")

    def measure(
        self,
        prediction: Float[Tensor, "batch *space channel"],
        target: Float[Tensor, "batch *space channel"],
        measure: Measure,
    ) -> Float[Tensor, ""]:
        """Return the weighted sum.

        Raises:
            ShapeMismatch: The measure does not say what the model was given.
        """
        signature, given = measure.signature, measure.given
        if signature is None or given is None:
            raise ShapeMismatch(
                "physics_residual needs what the model was given", "use a loss that compares fields alone"
            )
        system: SystemSpec = self.system
        if isinstance(system, StationarySpec):
            residual, scale = _Stationary(system, signature).residual(prediction, given)
            box: tuple[Side, ...] = tuple(Side(size, 1.0, "zero") for size in residual.shape[1:-1])
        else:
            assert isinstance(system, EvolvingSpec)
            residual, scale = _evolving(system, signature, self.rule, prediction, target, given)
            box = sides(measure.axes)
        floor = FLOOR * scale.square().mean().sqrt()
        by_equation = relative(
            square_norm(residual, box, self.order, self.alpha),
            square_norm(scale, box, self.order, self.alpha),
            floor.expand(scale.shape[-1]),
        )
        result = self.weight * by_equation.to(prediction.dtype)
        if self.data_weight > 0:
            result = result + self.data_weight * self.data.measure(prediction, target, measure)
        return result


_WORDS = ("what the model is given", "what it returns")


class _Stationary:
    """b - A x of an equation on the unit square whose unknowns are the interior nodes."""

    def __init__(self, system: StationarySpec, signature: Signature) -> None:
        self.system, self.signature = system, signature
        self.inputs, (self.output,) = self.names(system)

    @staticmethod
    def names(system: StationarySpec) -> tuple[tuple[str, ...], tuple[str]]:
        """Return the given variables and the unknown one, which `describe` lists last."""
        *given, unknown = system.describe().variables
        return tuple(given), (unknown,)

    @staticmethod
    def covers(system: StationarySpec) -> bool:
        """Return whether the unknowns are the interior nodes of all axes."""
        inner = tuple(axis.size - 2 for axis in system.describe().axes)
        return system.profile().grid == inner and system.mask() is None

    def residual(
        self,
        prediction: Float[Tensor, "batch *space channel"],
        given: Float[Tensor, "batch frame *space channel_in"],
    ) -> tuple[Float[Tensor, "batch *inner 1"], Float[Tensor, "batch *inner 1"]]:
        """Return b - A x and b, float64."""
        x = prediction[..., self.signature.outputs.index(self.output)].double()
        for dim in range(1, x.ndim):
            x = x.narrow(dim, 1, x.shape[dim] - 2)
        problems = [self.system.problem(fields, {}) for fields in self._fields(given)]
        rhs = torch.stack([torch.from_numpy(np.asarray(problem.rhs)) for problem in problems]).to(x)
        product = _products([problem.matrix for problem in problems], x.flatten(1))
        shape = (*x.shape, 1)
        return (rhs - product).reshape(shape), rhs.reshape(shape)

    def _fields(
        self, given: Float[Tensor, "batch frame *space channel_in"]
    ) -> Iterator[Mapping[str, Float[np.ndarray, "*space"]]]:
        values = given[:, 0].detach().cpu().double().numpy()
        for sample in values:
            yield {name: sample[..., self.signature.inputs.index(name)] for name in self.inputs}


def _products(
    matrices: Sequence[sparse.csr_array], x: Float[Tensor, "batch unknown"]
) -> Float[Tensor, "batch unknown"]:
    """Return A x for each member of a batch, its own A."""
    blocks = sparse.block_diag(matrices, format="coo")
    index = torch.from_numpy(np.stack([blocks.row, blocks.col]).astype(np.int64))
    values = torch.from_numpy(np.asarray(blocks.data))
    A = torch.sparse_coo_tensor(index, values, blocks.shape, check_invariants=False).to(x)
    result: Tensor = torch.sparse.mm(A, x.reshape(-1, 1))
    return result.reshape(x.shape)


def _evolving(
    system: EvolvingSpec,
    signature: Signature,
    rule: Rule,
    prediction: Float[Tensor, "batch *space channel"],
    target: Float[Tensor, "batch *space channel"],
    given: Float[Tensor, "batch frame *space channel_in"],
) -> tuple[
    Float[Tensor, "batch *space interval_channel"],
    Float[Tensor, "batch *space interval_channel"],
]:
    """Return the defects from the last given frame on, and the target's slopes, intervals as channels."""
    problem = system.problem(Setting(prediction.device, torch.float64))
    assert isinstance(problem, Semilinear)
    variables = tuple(system.describe().variables)
    inputs, outputs = (
        [names.index(name) for name in variables] for names in (signature.inputs, signature.outputs)
    )
    start = given[:, -1:][..., inputs].double()
    dt = float(signature.time.step)

    def from_start(
        field: Float[Tensor, "batch *space channel"],
    ) -> Float[Tensor, "batch frame *space variable"]:
        frames = field.unflatten(-1, (-1, len(signature.outputs))).movedim(-2, 1)
        return torch.cat([start, frames[..., outputs].double()], dim=1)

    residual = problem.to_physical(defects(problem, problem.to_spectral(from_start(prediction)), dt, rule))
    slopes = from_start(target).diff(dim=1) / dt
    return residual.movedim(1, -2).flatten(-2), slopes.movedim(1, -2).flatten(-2)
