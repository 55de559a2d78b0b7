"""Particle inference that is composed of blocks."""

import math
from collections.abc import Iterator
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor

from koopcast.assimilation.base import Analysis, Setting, Smooth, SmootherSpec, Weighing, Window
from koopcast.assimilation.blocks import (
    AnyBlock,
    Form,
    Population,
    Program,
    Session,
    order_faults,
    run_stack,
)
from koopcast.assimilation.blocks.advance import AdvanceSpec
from koopcast.assimilation.blocks.hoist import HoistSpec
from koopcast.assimilation.blocks.mh import MHSpec
from koopcast.assimilation.blocks.resample import ResampleSpec
from koopcast.assimilation.blocks.score import ScoreSpec
from koopcast.assimilation.blocks.spawn import SpawnSpec
from koopcast.grids import FieldsInfo
from koopcast.numerics.particles import covariance_root, normalised, weighted_split
from koopcast.spec import Problem

LARGEST_SEED = 2**63 - 1
SMALLEST_SPREAD = 1e-12
"""Of particles, relative to their mean, that counts."""


class InferenceStackSpec(SmootherSpec):
    """A particle filter or smoother as a sequence of blocks, each valid by itself; orders that are not are
    refused.

    The program is a window: the state at its start, then forecasts without noise to its observation times.
    Moves act on that state; its density is taken to be the Gaussian with the moments of the particles.
    """

    kind: Literal["inference_stack"] = "inference_stack"
    members: int = Field(200, ge=2)
    """Particles."""
    steps: tuple[AnyBlock, ...] = Field(
        (AdvanceSpec(), ScoreSpec(), ResampleSpec(threshold=0.5), MHSpec(kernel="pcn", moves=5)),
        min_length=1,
    )
    """The blocks, in their order. They start from the particles that were carried on; those of every
    observation time of a longer window stand in `hoist`."""

    reference = "Ścibior et al. 2018, Denotational validation of higher-order Bayesian inference"

    @model_validator(mode="after")
    def _order_is_valid(self) -> "InferenceStackSpec":
        for problem in order_faults(self.steps, Form.START, self.shift):
            place = ".".join(str(part) for part in ("steps", *problem.path))
            raise ValueError(f"{place}: {problem.message}")
        if any(step.kind == "collapse" for step in self.steps):
            raise ValueError(
                "steps: `collapse` leaves one particle, and the next window needs all; remove it"
            )
        return self

    def num_members(self) -> int:
        """Return `members`."""
        return self.members

    def needs_density(self) -> bool:
        """Return whether a block asks for the density of the state at the start of a window."""
        inner = [step for block in self.steps if isinstance(block, HoistSpec) for step in block.steps]
        return any(isinstance(step, (MHSpec, SpawnSpec)) for step in (*self.steps, *inner))

    def check(self, fields: FieldsInfo) -> Iterator[Problem]:
        """Refuse fewer particles than a density of the state needs."""
        size = fields.num_cells * fields.num_channels
        if self.needs_density() and self.members <= size:
            yield Problem(
                ("members",),
                f"{self.members} particles have no density in {size} dimensions, and `mh` and `spawn` "
                f"need one; give more than {size}, or remove these blocks",
            )

    def build(self, setting: Setting) -> Smooth:
        """Return the stack."""
        return InferenceStack(self)


class InferenceStack(Weighing):
    """Runs the blocks on one window after another."""

    def __init__(self, spec: InferenceStackSpec) -> None:
        self._spec, self._has_density = spec, spec.needs_density()
        self.memory = {}

    def __call__(
        self, ensemble: Float[Tensor, "batch member state"], window: Window, generator: torch.Generator
    ) -> Analysis:
        """Return the particles at the start of the window, weighted by all that is observed in it."""
        before = self.log_weight(ensemble)
        program = WindowProgram(window, ensemble, before.exp() if self._has_density else None)
        outside = ensemble.new_zeros(ensemble.shape[0])
        population = Population(program.trace(ensemble), ensemble, ensemble, before, outside)
        # One number of the cycle's stream a window, however many blocks there are.
        seed = torch.randint(LARGEST_SEED, (), generator=generator, device=generator.device)
        session = Session(program, ensemble.shape[1], ensemble.shape[0], int(seed), str(generator.device))
        after = run_stack(self._spec.steps, session, population)
        weight, total = normalised(after.log_weight)
        self.keep(after.log_weight - total[:, None])
        figures = {
            "log_evidence": after.evidence(),
            "n_eff": torch.stack(session.effective).amin(dim=0),
            "unique": after.unique(),
        }
        if session.accepted:
            figures["acceptance"] = torch.stack(session.accepted).mean(dim=0)
        start = program.begin(after.trace[..., : program.initial])
        return Analysis(start, figures, weights=weight, background_weights=before.exp())


class WindowProgram(Program):
    """A window as a program of the state at its start: x = μ + z F with the moments of weighted particles.

    Without weights the variables are the state itself.
    """

    step = 0

    def __init__(
        self,
        window: Window,
        ensemble: Float[Tensor, "batch member state"],
        weight: Float[Tensor, "batch member"] | None,
    ) -> None:
        self._window, self.num_times, self.initial = window, len(window.steps), ensemble.shape[2]
        self._mean, self._root = ensemble.new_zeros(ensemble.shape[0], 1, self.initial), None
        if weight is not None:
            self._mean, anomalies = weighted_split(ensemble, weight)
            self._root = _invertible(covariance_root(anomalies), self._mean)

    def trace(self, state: Float[Tensor, "batch member state"]) -> Float[Tensor, "batch member variable"]:
        """Return the variables of first states."""
        if self._root is None:
            return state
        z: Tensor = torch.linalg.solve_triangular(self._root, state - self._mean, upper=True, left=False)
        return z

    def begin(self, z: Float[Tensor, "batch member initial"]) -> Float[Tensor, "batch member state"]:
        """Return μ + z F."""
        return z if self._root is None else self._mean + z @ self._root

    def advance(
        self, state: Float[Tensor, "batch member state"], noise: Float[Tensor, "batch member step"], time: int
    ) -> Float[Tensor, "batch member state"]:
        """Return the forecast from one observation time to the next."""
        steps = self._window.steps
        for _ in range(steps[time] - (steps[time - 1] if time else 0)):
            state = self._window.step(state)
        return state

    def log_likelihood(
        self, state: Float[Tensor, "batch member state"], time: int
    ) -> Float[Tensor, "batch member"]:
        """Return the logarithm of the density of independent Gaussian errors."""
        observed = self._window.observe(state, time)
        departure = (observed.value[:, None] - observed.predicted) * observed.scale[:, None]
        present = observed.scale > 0
        constant = torch.where(present, observed.scale.log() - 0.5 * math.log(2 * math.pi), 0.0)
        return constant.sum(dim=1)[:, None] - 0.5 * departure.square().sum(dim=2)


def _invertible(
    root: Float[Tensor, "batch state state"], mean: Float[Tensor, "batch 1 state"]
) -> Float[Tensor, "batch state state"]:
    """Return a triangular root whose diagonal is not 0 where particles coincide."""
    diagonal = root.diagonal(dim1=1, dim2=2)
    floor = SMALLEST_SPREAD * (1 + mean[:, 0].abs())
    return root + torch.diag_embed(torch.where(diagonal.abs() < floor, floor - diagonal, 0.0))
