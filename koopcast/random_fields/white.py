"""Independent normal numbers at the nodes: a law of vectors, without a limit as the grid is refined."""

from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field, PositiveFloat
from torch import Tensor

from koopcast.grids import Axis
from koopcast.numerics.arrays import normal
from koopcast.random_fields.base import RandomFieldSpec


class WhiteSpec(RandomFieldSpec):
    """Independent normal numbers at the nodes; each grid has its own."""

    kind: Literal["white"] = "white"
    std: PositiveFloat = 1.0
    """Standard deviation at a node."""
    bound: float | None = Field(None, ge=1)
    """Draw again until the root mean square over the drawn nodes is at most this many times `std`: 1 is the
    norm bound √n. Default: no bound."""
    ends: Literal["drawn", "zero"] = "drawn"
    """Whether nodes at the ends of axes that are not periodic are drawn too, or are 0."""

    reference = "Right-hand sides of Khodak et al. 2024 (Learning to Relax): `bound: 1`, `ends: zero`"

    def fault(self, axes: tuple[Axis, ...]) -> str | None:
        """Return why the law has no meaning on such axes."""
        if any(size < 1 for size in self._drawn_shape(axes)):
            return "ends: zero leaves no node of an axis of fewer than 3; raise the points or set `drawn`"
        return None

    def draw(
        self, axes: tuple[Axis, ...], count: int, generator: torch.Generator
    ) -> Float[Tensor, "count *space"]:
        """Draw sample after sample: one that breaks the bound takes more of the stream."""
        drawn = torch.stack([self._bounded(self._drawn_shape(axes), generator) for _ in range(count)])
        pads = [(0, 0) if axis.periodic or self.ends == "drawn" else (1, 1) for axis in reversed(axes)]
        padded = torch.nn.functional.pad(drawn, [size for pair in pads for size in pair])
        return self.std * padded

    def _drawn_shape(self, axes: tuple[Axis, ...]) -> tuple[int, ...]:
        return tuple(axis.size if axis.periodic or self.ends == "drawn" else axis.size - 2 for axis in axes)

    def _bounded(self, shape: tuple[int, ...], generator: torch.Generator) -> Float[Tensor, "*space"]:
        """Return one draw; half of them or more keep any bound of at least 1."""
        values = normal(*shape, generator=generator)
        while self.bound is not None and float(values.square().mean()) > self.bound**2:
            values = normal(*shape, generator=generator)
        return values
