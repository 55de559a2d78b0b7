"""Metropolis-Hastings moves of each particle."""

from dataclasses import replace
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import NonNegativeInt, PositiveFloat, model_validator
from torch import Tensor

from koopcast.assimilation.blocks.base import BlockSpec, Form, Population, Program, Session
from koopcast.assimilation.blocks.kernels import PROPOSALS, Kernel, Move
from koopcast.numerics.particles import normalised, weighted_split


class MHSpec(BlockSpec):
    """Metropolis-Hastings moves of the variables of each particle; they leave the posterior, and the weights,
    as they are.

    Proposals of `rwm` and `mala` are shaped by the covariance of the particles before they were drawn again.
    """

    kind: Literal["mh"] = "mh"
    kernel: Kernel = "rwm"
    """`rwm` random walk; `pcn` random walk that leaves the prior as it is; `mala` the same with a drift along
    the gradient; `trace` one variable at a time, drawn from its prior."""
    moves: NonNegativeInt = 1
    """Proposals to each particle."""
    scale: PositiveFloat | None = None
    """Size of a proposal. `rwm` and `mala`: relative to their best one for a Gaussian, default 1; `pcn`: b in
    √(1 - b²) x + b ξ, default 0.5; `trace` takes none."""
    target: Literal["full", "window"] = "full"
    """Which variables move: all since the start, or those of the last `advance`, the state before held. Of a
    model that draws nothing on its way they are those of its start."""

    takes = frozenset({Form.POSTERIOR})
    reference = "Gilks and Berzuini 2001; Wingate et al. 2011 (trace); Cotter et al. 2013 (pcn)"

    @model_validator(mode="after")
    def _has_a_scale_of_its_kernel(self) -> "MHSpec":
        if self.kernel == "trace" and self.scale is not None:
            raise ValueError("scale: the kernel `trace` draws from the prior and takes none; remove it")
        if self.kernel == "pcn" and (self.scale or 0.5) > 1:
            raise ValueError(f"scale: {self.scale:g} is above 1, the largest step of `pcn`; lower it")
        return self

    def apply(self, population: Population | None, session: Session, name: str) -> Population:
        """Return the particles after their moves."""
        assert population is not None, "the form was checked"
        if not self.moves:
            return population
        target = _Target(session.program, population, is_full=self.target == "full")
        position = target.position(population.trace)
        move = Move.of(
            self._covariance(population)[:, target.first :, target.first :], self.kernel, self.scale
        )
        value, state = target(position)
        draws = session.draws(name)
        for _ in range(self.moves):
            proposal, log_ratio = PROPOSALS[self.kernel](position, target.log_likelihood, move, draws)
            new_value, new_state = target(proposal)
            log_ratio = log_ratio + new_value - value
            accepted = draws.uniform(position.shape[1]).log() < log_ratio
            session.accepted.append(accepted.double().mean(dim=1))
            value = torch.where(accepted, new_value, value)
            position = torch.where(accepted[..., None], proposal, position)
            state = torch.where(accepted[..., None], new_state, state)
        trace = torch.cat((population.trace[..., : target.first], position), dim=2)
        return replace(population, trace=trace, state=state)

    def _covariance(self, population: Population) -> Float[Tensor, "batch variable variable"]:
        if population.covariance is not None:
            return population.covariance
        weight = normalised(population.log_weight)[0]
        anomalies = weighted_split(population.trace, weight)[1]
        return anomalies.mT @ anomalies


class _Target:
    """What moves, from variable number `first` on, and how likely the observations are that depend on it."""

    def __init__(self, program: Program, population: Population, *, is_full: bool) -> None:
        self._program, self._population = program, population
        self._is_full = is_full or program.step == 0 or population.time == 1
        self.first = 0 if self._is_full else population.trace.shape[2] - program.step

    def position(self, trace: Float[Tensor, "batch member variable"]) -> Float[Tensor, "batch member moved"]:
        """Return what moves."""
        return trace[..., self.first :]

    def log_likelihood(self, position: Float[Tensor, "batch member moved"]) -> Float[Tensor, "batch member"]:
        """Return the logarithm of the likelihood."""
        return self(position)[0]

    def __call__(
        self, position: Float[Tensor, "batch member moved"]
    ) -> tuple[Float[Tensor, "batch member"], Float[Tensor, "batch member state"]]:
        """Return the logarithm of the likelihood, and the state at the last observation time."""
        program, time = self._program, self._population.time
        if self._is_full:
            state, total = program.rerun(position, time)
            return total, state
        state = program.advance(self._population.before, position, time - 1)
        return program.log_likelihood(state, time - 1), state
