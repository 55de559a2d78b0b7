"""Metropolis-Hastings moves of draws from a target with two humps: they stay draws from it."""

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import pandas as pd
import torch
from jaxtyping import Float
from pydantic import Field, PositiveFloat, PositiveInt
from scipy.stats import ks_2samp
from torch import Tensor

from koopcast.assimilation.blocks import Population, Program, Session
from koopcast.assimilation.blocks.mh import MHSpec
from koopcast.numerics.arrays import normal
from koopcast.progress import report
from koopcast.rng import derived_seed, torch_generator
from koopcast.studies.base import ALL, Findings, StudySpec

METRICS = ("distance", "acceptance")


def _moves() -> dict[str, MHSpec]:
    return {
        "rwm": MHSpec(moves=20),
        "pcn": MHSpec(kernel="pcn", moves=20),
        "mala": MHSpec(kernel="mala", moves=20, scale=0.3),
        "trace": MHSpec(kernel="trace", moves=20),
    }


class InvariantMovesSpec(StudySpec):
    """Draws from ½ N(-c, s²) + ½ N(c, s²) before and after moves that have it as their target."""

    kind: Literal["invariant_moves"] = "invariant_moves"
    moves: dict[str, MHSpec] = Field(default_factory=_moves, min_length=1)
    """Name -> moves."""
    draws: PositiveInt = 20_000
    """Particles."""
    centre: PositiveFloat = 1.5
    """c."""
    std: PositiveFloat = 0.5
    """s."""

    reference = "Ścibior et al. 2018, the Metropolis-Hastings-Green theorem"

    def metrics(self) -> Mapping[str, str]:
        """Return the Kolmogorov-Smirnov distance of before and after, and the share of accepted proposals."""
        return dict.fromkeys(METRICS, "1")

    def subjects(self) -> Mapping[str, Sequence[int]]:
        """Return the moves."""
        return dict.fromkeys(self.moves, ())

    def run(self, seed: int) -> Findings:
        """Move the same draws with each kernel."""
        generator = torch_generator(seed, "draws")
        side = torch.rand(self.draws, generator=generator, dtype=torch.float64) < 0.5
        before = torch.where(side, self.centre, -self.centre) + self.std * normal(
            self.draws, generator=generator
        )
        program = TwoHumps(self.centre, self.std)
        scores: dict[str, dict[str, dict[str, float]]] = {metric: {} for metric in METRICS}
        for done, (name, moves) in enumerate(self.moves.items()):
            x = before[None, :, None]
            session = Session(program, self.draws, 1, derived_seed(seed, name))
            reached = Population(
                x, x, x, torch.zeros(1, self.draws).double(), torch.zeros(1).double(), time=1
            )
            after = moves.apply(reached, session, "mh")
            distance = ks_2samp(before.numpy(), after.trace[0, :, 0].numpy()).statistic
            accepted = float(torch.stack(session.accepted).mean()) if session.accepted else 0.0
            scores["distance"][name], scores["acceptance"][name] = {ALL: float(distance)}, {ALL: accepted}
            report("kernel", done + 1, len(self.moves))
        table = pd.DataFrame(
            {metric: {n: v[ALL] for n, v in column.items()} for metric, column in scores.items()}
        )
        return Findings(scores, {"moves": table.rename_axis("moves").reset_index()})


class TwoHumps(Program):
    """A standard normal variable, weighted so that its posterior is the mixture."""

    num_times, initial, step = 1, 1, 0

    def __init__(self, centre: float, std: float) -> None:
        self._centre, self._std = centre, std

    def begin(self, z: Float[Tensor, "batch member 1"]) -> Float[Tensor, "batch member 1"]:
        """Return the variable."""
        return z

    def advance(
        self, state: Float[Tensor, "batch member 1"], noise: Float[Tensor, "batch member 0"], time: int
    ) -> Float[Tensor, "batch member 1"]:
        """Return the variable."""
        return state

    def log_likelihood(
        self, state: Float[Tensor, "batch member 1"], time: int
    ) -> Float[Tensor, "batch member"]:
        """Return the logarithm of the mixture over the standard normal density."""
        x = state[..., 0]
        humps = torch.stack([-0.5 * ((x - c) / self._std).square() for c in (-self._centre, self._centre)])
        mixture: Tensor = torch.logsumexp(humps, dim=0) - math.log(2 * self._std)
        return mixture + 0.5 * x.square()
