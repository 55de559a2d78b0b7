"""Sites chosen by what the leading modes of earlier data say there."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from pydantic import Field, PositiveInt
from torch import Tensor

from koopcast.fields import FieldData
from koopcast.grids import FieldsInfo
from koopcast.layers.normaliser import Moments
from koopcast.numerics.pod import decompose
from koopcast.observations.base import LocationsSpec, enough_points, everywhere
from koopcast.rng import numpy_from
from koopcast.samplers import AnySampler
from koopcast.spec import Problem

FRAMES_AT_ONCE = 64


class SampledSpec(LocationsSpec):
    """Points chosen by a sampler from the rows of the leading modes (POD) of the part `train`.

    The window that is observed is not looked at; data without that part are looked at as a whole. All
    experiments have the same sites. A site that the sampler names twice is observed once.
    """

    kind: Literal["sampled"] = "sampled"
    sampler: AnySampler = Field(default="greedy", validate_default=True)
    """How points are chosen: a method that chooses rows of a table; `greedy` pivots a QR factorisation."""
    count: PositiveInt = 10
    """Number of sites."""
    modes: PositiveInt | None = None
    """Modes of which a point is a row, times the number of variables; default: `count`, or as many as the
    data have."""

    reference = "Manohar, Brunton, Kutz and Brunton 2018, Data-driven sparse sensor placement (greedy)"

    def draw(
        self, truth: FieldData, record: Int[Tensor, " time"], batch: int, generator: torch.Generator
    ) -> Int[Tensor, "batch time site"]:
        """Return the points that the sampler chose."""
        points = enough_points(truth, self.count)
        stream = numpy_from(generator)
        table = self._table(replace(truth, window=None).part_or_all("train"), points, stream)
        rows = self.sampler.rows(table, self.count, stream)
        return everywhere(points[torch.from_numpy(np.unique(rows.index))], (batch, len(record)))

    def _table(
        self, seen: FieldData, points: Int[Tensor, " point"], generator: np.random.Generator
    ) -> Float[np.ndarray, "point feature"]:
        """Return of each point its entries in the modes, one after the other for each variable.

        Each variable is divided by its standard deviation, so that units do not mix.
        """

        def frames() -> Iterator[Float[Tensor, "frame point channel"]]:
            for block in seen.blocks(FRAMES_AT_ONCE):
                yield seen.tensor(window=block, dtype=torch.float64)[0].flatten(1, -2)[:, points]

        spread = _spread(frames)
        limit = self.count if self.modes is None else self.modes
        modes = decompose(lambda: ((block / spread).flatten(1) for block in frames()), limit, generator)
        modes.refuse_fewer(self.modes)
        table = modes.directions.reshape(len(points), -1)
        # Columns of several variables may depend on one another; turned, the dependent ones are zero.
        _, sizes, turn = torch.linalg.svd(table, full_matrices=False)
        keep = sizes > sizes[0] * max(table.shape) * torch.finfo(table.dtype).eps
        result: np.ndarray = (table @ turn[keep].mT).numpy()
        return result

    def num_sites(self, fields: FieldsInfo) -> int:
        """Return `count`, which a sampler that repeats itself may not reach."""
        return self.count

    def check(self, fields: FieldsInfo) -> Iterator[Problem]:
        """Refuse a sampler that chooses no rows, and more sites than points."""
        if not self.sampler.chooses_rows:
            yield Problem(("sampler",), f"'{self.sampler.kind}' chooses no rows of a table; choose greedy")
        if self.count > fields.num_cells:
            yield Problem(("count",), f"{self.count} sites on a grid of {fields.num_cells} points; lower it")
            return
        features = None if self.modes is None else self.modes * fields.num_channels
        if (fault := self.sampler.faulty_count(self.count, features)) is not None:
            yield Problem(("count",), fault)


def _spread(frames: Callable[[], Iterator[Tensor]]) -> Float[Tensor, " channel"]:
    """Return the standard deviation of each variable over all frames and points; 1 where it is 0."""
    moments: Moments | None = None
    for block in frames():
        values = Moments.of(block, torch.ones(block.shape[:-1], dtype=torch.bool))
        moments = values if moments is None else moments.merged(values)
    assert moments is not None
    return moments.std.where(moments.std > 0, 1.0)
