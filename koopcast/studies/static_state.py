"""A state that does not change, with and without moves of the particles."""

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import pandas as pd
import torch
from jaxtyping import Float
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor

from koopcast.assimilation.blocks import Program, Session, run_stack
from koopcast.assimilation.blocks.advance import AdvanceSpec
from koopcast.assimilation.blocks.hoist import HoistSpec
from koopcast.assimilation.blocks.mh import MHSpec
from koopcast.assimilation.blocks.resample import ResampleSpec
from koopcast.assimilation.blocks.score import ScoreSpec
from koopcast.assimilation.blocks.spawn import SpawnSpec
from koopcast.numerics.arrays import normal
from koopcast.numerics.particles import normalised
from koopcast.progress import report
from koopcast.rng import derived_seed, torch_generator
from koopcast.studies.base import ALL, Findings, StudySpec

METRICS = ("error", "std_ratio", "unique")
GRID, WIDTH = 40_001, 6.0
"""Points and half-width, in deviations of the prior, of the quadrature that gives the exact posterior."""


class StaticStateSpec(StudySpec):
    """y_t = sin(t x) + noise for t = 1, 2, ...: particles that are drawn again and again become copies of a
    few; one move a time keeps them apart.
    """

    kind: Literal["static_state"] = "static_state"
    moves: dict[str, MHSpec] = Field(
        default_factory=lambda: {"still": MHSpec(moves=0), "moved": MHSpec()}, min_length=1
    )
    """Name -> moves after each observation."""
    members: PositiveInt = 100
    """Particles."""
    runs: int = Field(200, ge=2)
    """Runs, each with a state and noise of its own."""
    times: PositiveInt = 25
    """Observations."""
    noise: PositiveFloat = 0.1
    """Standard deviation of their errors."""
    mean: float = 0.5
    """Of the prior, a Gaussian."""
    std: PositiveFloat = 0.25
    """Of the prior."""
    threshold: float = Field(0.5, ge=0, le=1)
    """Particles are drawn again where the effective number is at most this share."""

    reference = "Gilks and Berzuini 2001; Ścibior et al. 2018"

    def metrics(self) -> Mapping[str, str]:
        """Return the root mean square error of the posterior mean in posterior deviations, the mean ratio of
        deviations, and the mean number of different particles.
        """
        return dict.fromkeys(METRICS, "1")

    def subjects(self) -> Mapping[str, Sequence[int]]:
        """Return the moves."""
        return dict.fromkeys(self.moves, ())

    def run(self, seed: int) -> Findings:
        """Filter all runs as one batch, and compare with quadrature."""
        generator = torch_generator(seed, "truth")
        truth = self.mean + self.std * normal(self.runs, generator=generator)
        number = torch.arange(1, self.times + 1, dtype=torch.float64)
        value = (truth[:, None] * number).sin() + self.noise * normal(
            self.runs, self.times, generator=generator
        )
        program = StaticState(value, self.noise, self.mean, self.std)
        exact_mean, exact_std = program.posterior()
        rows = []
        for done, (name, moves) in enumerate(self.moves.items()):
            inner = (AdvanceSpec(), ScoreSpec(), ResampleSpec(threshold=self.threshold), moves)
            session = Session(program, self.members, self.runs, derived_seed(seed, "particles"))
            after = run_stack((SpawnSpec(), HoistSpec(steps=inner)), session)
            weight = normalised(after.log_weight)[0]
            x = after.state[..., 0]
            mean = (weight * x).sum(dim=1)
            std = (weight * (x - mean[:, None]).square()).sum(dim=1).sqrt()
            columns = {
                "error": (mean - exact_mean) / exact_std,
                "std_ratio": std / exact_std,
                "unique": after.unique(),
            }
            rows.append(
                pd.DataFrame({key: column.numpy() for key, column in columns.items()}).assign(moves=name)
            )
            report("subject", done + 1, len(self.moves))
        table = pd.concat(rows, ignore_index=True)
        by_moves = table.groupby("moves", sort=False)
        columns_of = {
            "error": by_moves["error"].apply(lambda error: math.sqrt(error.pow(2).mean())),
            "std_ratio": by_moves["std_ratio"].mean(),
            "unique": by_moves["unique"].mean(),
        }
        scores = {
            metric: {str(name): {ALL: float(value)} for name, value in column.items()}
            for metric, column in columns_of.items()
        }
        return Findings(scores, {"runs": table})


class StaticState(Program):
    """x ~ N(μ, σ²), y_t = sin(t x) + noise."""

    initial, step = 1, 0

    def __init__(self, value: Float[Tensor, "batch time"], noise: float, mean: float, std: float) -> None:
        self._value, self._noise, self._mean, self._std = value, noise, mean, std
        self.num_times = value.shape[1]

    def begin(self, z: Float[Tensor, "batch member 1"]) -> Float[Tensor, "batch member 1"]:
        """Return μ + σ z."""
        return self._mean + self._std * z

    def advance(
        self, state: Float[Tensor, "batch member 1"], noise: Float[Tensor, "batch member 0"], time: int
    ) -> Float[Tensor, "batch member 1"]:
        """Return the same state."""
        return state

    def log_likelihood(
        self, state: Float[Tensor, "batch member 1"], time: int
    ) -> Float[Tensor, "batch member"]:
        """Return log N(y; sin(t x), noise²)."""
        departure = (self._value[:, time, None] - (state[..., 0] * (time + 1)).sin()) / self._noise
        return -0.5 * departure.square() - math.log(self._noise * math.sqrt(2 * math.pi))

    def posterior(self) -> tuple[Float[Tensor, " batch"], Float[Tensor, " batch"]]:
        """Return mean and standard deviation given all observations, by quadrature."""
        z = torch.linspace(-WIDTH, WIDTH, GRID, dtype=torch.float64)[None, :, None]
        log_density = -0.5 * z[..., 0].square().repeat(self._value.shape[0], 1)
        for time in range(self.num_times):
            log_density = log_density + self.log_likelihood(self.begin(z), time)
        weight, x = torch.softmax(log_density, dim=1), self.begin(z)[..., 0]
        mean = (weight * x).sum(dim=1)
        return mean, (weight * (x - mean[:, None]).square()).sum(dim=1).sqrt()
