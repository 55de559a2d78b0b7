"""Which runs of frames a model learns from, chosen by what they look like, and how much each counts."""

from collections.abc import Iterator
from typing import Literal

import numpy as np
from jaxtyping import Float
from pydantic import Field, PositiveInt
from torch import Tensor

from koopcast.batches import Runs
from koopcast.grids import FieldsInfo
from koopcast.layers.normaliser import FieldStatistics
from koopcast.numerics.pod import Blocks, decompose
from koopcast.samplers import AnySampler, Rows
from koopcast.spec import Problem, Spec

DEFAULT_MODES = 10


class SubsetSpec(Spec):
    """Options of a choice of training pairs, or of longer runs where a model takes several frames.

    A run is chosen by the coefficients of the last frame that the model is given. The sampler's weights
    enter the fit, so that its sums stand for those over all runs.
    """

    sampler: AnySampler = Field(default="iid", validate_default=True)
    """How runs are chosen: a method that chooses rows of a table."""
    count: PositiveInt
    """Runs to choose, at most as many as the training part has."""
    features: Literal["pod"] = "pod"
    """What describes a frame: its coefficients in the leading modes (POD) of the training part."""
    modes: PositiveInt | None = None
    """Modes; default: 10, or as many as the frames have."""

    def faults(self, train: FieldsInfo, length: int) -> Iterator[Problem]:
        """Yield what is wrong with the choice from runs of `length` frames of a training part."""
        runs = train.samples * max(0, train.time.size - length + 1)
        values = train.num_cells * train.num_channels
        if not self.sampler.chooses_rows:
            yield Problem(
                ("sampler",),
                f"'{self.sampler.kind}' lays out points of a cube and chooses no rows; choose iid",
            )
        if self.count > runs:
            yield Problem(
                ("count",),
                f"{self.count} is above {runs}, the runs of {length} frames to learn from; lower count",
            )
        elif self.modes is not None and self.modes > min(values, runs):
            yield Problem(
                ("modes",), f"{self.modes} is above {min(values, runs)}, what the frames have; lower modes"
            )
        elif (fault := self.sampler.faulty_count(self.count, self._modes(values, runs))) is not None:
            yield Problem(("count",), fault)

    def choose(self, frames: Blocks, generator: np.random.Generator) -> Rows:
        """Choose among runs, each given by one normalised frame.

        Raises:
            DataError: The frames vary in fewer directions than `modes`, or the sampler finds fault with them.
            InvalidInput: The sampler cannot choose so many rows.
        """
        modes = decompose(frames, self.modes or DEFAULT_MODES, generator)
        modes.refuse_fewer(self.modes)
        features = np.concatenate([modes.coefficients(block).numpy() for block in frames()])
        return self.sampler.rows(features, self.count, generator)

    def limit(self, runs: Runs, history: int, scale: FieldStatistics, generator: np.random.Generator) -> None:
        """Leave the chosen runs alone; `history` frames of each are given to the model.

        Frames are read block by block, over the cells of `scale` and in units of its standard deviations.
        """
        spread = scale.fields.std.where(scale.fields.std > 0, 1.0)

        def frames() -> Iterator[Float[Tensor, "run value"]]:
            for block in runs.blocks:
                values = runs.data.tensor(window=block)[:, history - 1 :]
                starts = values[:, : block.num_times - runs.length + 1]
                yield (starts[:, :, scale.valid] / spread).flatten(2).flatten(0, 1)

        rows = self.choose(frames, generator)
        runs.keep(rows.index, rows.weight)

    def _modes(self, values: int, candidates: int) -> int:
        return min(DEFAULT_MODES, values, candidates) if self.modes is None else self.modes
