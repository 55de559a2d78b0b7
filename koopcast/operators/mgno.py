"""Multigrid neural operator."""

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field, NonNegativeInt, PositiveInt

from koopcast.grids import Axis
from koopcast.layers.padded_convolution import Padding
from koopcast.mapping import Signature
from koopcast.operators.base import OperatorSpec
from koopcast.operators.grids import grid_faults
from koopcast.operators.mgno_network import Architecture, MgNO, level_shapes
from koopcast.spec import Problem

MAX_LEVELS = 6
"""Levels where `levels` is left open and the grid has room for as many."""
COARSEST = 4
"""Points that the coarsest level then has at least along each axis."""
FEWEST = 2
"""Points that it must have."""


class MgNOSpec(OperatorSpec):
    """Layers u ← gelu(W u + B u) in which W is a learned multigrid V-cycle and B pointwise; 1 to 3 space
    axes, on the grid of the training alone.
    """

    kind: Literal["mgno"] = "mgno"
    width: PositiveInt = 24
    """Channels inside. The cost grows with its square."""
    layers: Annotated[int, Field(ge=1, le=16)] = 4
    """V-cycles, one after the other."""
    levels: Annotated[int, Field(ge=1, le=12)] | None = None
    """Grids of a V-cycle, each with half the points of the one above it. Default: as many as `smoothing`
    lists; else as many as leave 4 points along each axis, at most 6."""
    smoothing: tuple[tuple[NonNegativeInt, NonNegativeInt], ...] | None = Field(None, min_length=1)
    """Smoothing steps of each level, finest first: on the way down, and on the way up. Default: [1, 0], on
    the coarsest level [2, 0]."""
    padding: Literal["from_boundary", "zeros", "circular", "reflect"] = "from_boundary"
    """What convolutions see beyond the ends of an axis: `zeros`, as a Dirichlet condition has it; the other
    end (`circular`); the mirror image (`reflect`), as for a Neumann condition. `from_boundary`: circular on
    periodic axes, zeros on others."""
    residual_restrict: bool = False
    """Hand the residual f - A u to the coarser level, as multigrid solvers do, instead of f."""
    out_skip: bool = False
    """Add the last frames of the input to the output, both normalised; inputs and outputs must be the same
    variables."""

    any_resolution: ClassVar[bool] = False
    reference = (
        "He, Liu and Xu 2024; where axes are periodic the prolongation is periodic too, which the authors' "
        "code leaves out, and there is no layer norm over the grid"
    )

    def faults(self, signature: Signature) -> Iterator[Problem]:
        """Refuse what is not a grid, levels that it has no room for, and a skip between different things."""
        yield from super().faults(signature)
        problems = [*grid_faults(self.kind, signature), *self._faulty_smoothing()]
        yield from problems
        if not problems:
            for axis, mode in zip(signature.axes, self.paddings(signature), strict=True):
                yield from self._faulty_levels(axis, mode, self.num_levels(signature))
        if self.out_skip:
            yield from self._faulty_skip(signature)

    def _faulty_smoothing(self) -> Iterator[Problem]:
        if self.smoothing is None:
            return
        if self.levels is not None and len(self.smoothing) != self.levels:
            yield Problem(
                ("smoothing",),
                f"{len(self.smoothing)} pairs for {self.levels} levels; give one a level, or remove levels",
            )
        if self.smoothing[0][0] == 0:
            yield Problem(
                ("smoothing", 0, 0), "0 steps before u has a value; the finest level takes 1 or more"
            )

    def _faulty_levels(self, axis: Axis, mode: Padding, levels: int) -> Iterator[Problem]:
        where = ("levels",) if self.smoothing is None else ("smoothing",)
        place = f"axis '{axis.name}' of {axis.size} points"
        left = level_shapes([axis.size], levels)[-1][0]
        if left < FEWEST:
            most = max(n for n in range(1, levels + 1) if n == 1 or _coarsest(axis.size, n) >= FEWEST)
            yield Problem(
                where,
                f"{levels} levels leave {left} point of {place}, fewer than {FEWEST}; at most {most} levels",
            )
        unit = 2 ** (levels - 1)
        if mode == "circular" and axis.size % unit:
            most = max(n for n in range(1, levels + 1) if axis.size % 2 ** (n - 1) == 0)
            lower = axis.size // unit * unit
            near = f"{lower + unit}" if lower == 0 else f"{lower} or {lower + unit}"
            yield Problem(
                where,
                f"{place} is padded in a circle and not divisible by {unit}, 2 to the power of levels - 1; "
                f"take {near} points, or at most {most} levels",
            )

    def _faulty_skip(self, signature: Signature) -> Iterator[Problem]:
        if signature.inputs != signature.outputs or signature.frames_out > signature.frames_in:
            yield Problem(
                ("out_skip",),
                f"input is {signature.frames_in} frames of {', '.join(signature.inputs)} and output "
                f"{signature.frames_out} of {', '.join(signature.outputs)}; they must be the same "
                "variables, and no more frames; remove out_skip",
            )
        elif signature.is_dynamics and self.residual:
            yield Problem(
                ("out_skip",),
                "a residual model adds the last frame already; set residual: false or remove out_skip",
            )

    def build(self, signature: Signature, generator: torch.Generator) -> MgNO:
        """Return the untrained network for fields like these."""
        return MgNO(
            Architecture(
                channels_in=signature.channels_in,
                channels_out=signature.channels_out,
                shape=signature.shape,
                padding=self.paddings(signature),
                smoothing=self.steps(signature),
                width=self.width,
                layers=self.layers,
                residual_restrict=self.residual_restrict,
                out_skip=self.out_skip,
            ),
            generator,
        )

    def paddings(self, signature: Signature) -> tuple[Padding, ...]:
        """Return the padding of each axis."""
        if self.padding == "from_boundary":
            return tuple("circular" if axis.periodic else "zeros" for axis in signature.axes)
        return (self.padding,) * len(signature.axes)

    def num_levels(self, signature: Signature) -> int:
        """Return the number of grids in a V-cycle."""
        if self.smoothing is not None:
            return len(self.smoothing)
        if self.levels is not None:
            return self.levels
        axes = list(zip(signature.shape, self.paddings(signature), strict=True))
        fitting = [
            levels
            for levels in range(1, MAX_LEVELS + 1)
            if all(
                _coarsest(size, levels) >= COARSEST and (mode != "circular" or size % 2 ** (levels - 1) == 0)
                for size, mode in axes
            )
        ]
        return max(fitting, default=1)

    def steps(self, signature: Signature) -> tuple[tuple[int, int], ...]:
        """Return the smoothing steps of each level."""
        if self.smoothing is not None:
            return self.smoothing
        return (*[(1, 0)] * (self.num_levels(signature) - 1), (2, 0))


def _coarsest(size: int, levels: int) -> int:
    return level_shapes([size], levels)[-1][0]
