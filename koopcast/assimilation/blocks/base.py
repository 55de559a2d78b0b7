"""Blocks of inference: what they take and give, and the weighted population that they act on.

A population {(xᵢ, wᵢ)} of a program denotes the measure Σ wᵢ δ(xᵢ). A block is valid where the expectation of
the measure that it leaves is the measure that it should leave. A stack of valid blocks then gives unbiased
evidence, whatever the order, as long as the forms fit.
"""

import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from koopcast.numerics.arrays import normal
from koopcast.numerics.particles import effective_number, gathered, normalised
from koopcast.rng import torch_generator
from koopcast.spec import MethodSpec, Problem


class Form(Enum):
    """How a program is represented between two blocks."""

    SAMPLER = "a sampler of which nothing is drawn"
    START = "particles that have met no observation"
    FORECAST = "particles at an observation that is not scored"
    POSTERIOR = "weighted particles with every observation scored"
    SINGLE = "a single particle"


class Program(ABC):
    """A state-space model as a function of independent standard normal variables, batched over experiments.

    The variables of a particle, its trace, say all about it: `initial` of them make the first state, and
    `step` more are used on the way to each observation time.
    """

    num_times: int
    initial: int
    step: int

    @abstractmethod
    def begin(self, z: Float[Tensor, "batch member initial"]) -> Float[Tensor, "batch member state"]:
        """Return the first state."""

    @abstractmethod
    def advance(
        self, state: Float[Tensor, "batch member state"], noise: Float[Tensor, "batch member step"], time: int
    ) -> Float[Tensor, "batch member state"]:
        """Return the state at observation time number `time`, from that at the one before."""

    @abstractmethod
    def log_likelihood(
        self, state: Float[Tensor, "batch member state"], time: int
    ) -> Float[Tensor, "batch member"]:
        """Return log p(y | x) of what is observed at that time, constants included."""

    def rerun(
        self, trace: Float[Tensor, "batch member variable"], times: int
    ) -> tuple[Float[Tensor, "batch member state"], Float[Tensor, "batch member"]]:
        """Return the state at observation time number `times`, and the log-likelihood of all up to it."""
        state = self.begin(trace[..., : self.initial])
        total = trace.new_zeros(trace.shape[:2])
        for time in range(times):
            first = self.initial + time * self.step
            state = self.advance(state, trace[..., first : first + self.step], time)
            total = total + self.log_likelihood(state, time)
        return state, total


@dataclass(frozen=True)
class Population:
    """Weighted particles on their way through a program."""

    trace: Float[Tensor, "batch member variable"]
    state: Float[Tensor, "batch member state"]
    before: Float[Tensor, "batch member state"]
    """The state before the last `advance`."""
    log_weight: Float[Tensor, "batch member"]
    log_evidence: Float[Tensor, " batch"]
    """Of what was pushed outside of the weights."""
    time: int = 0
    """Observation times that were reached."""
    covariance: Float[Tensor, "batch variable variable"] | None = None
    """Of the traces as they were weighted before they were drawn again; None: as they are now."""

    @classmethod
    def equal(
        cls, trace: Float[Tensor, "batch member variable"], state: Float[Tensor, "batch member state"]
    ) -> "Population":
        """Return particles of weight 1/N."""
        weight = trace.new_full(trace.shape[:2], -math.log(trace.shape[1]))
        return cls(trace, state, state, weight, trace.new_zeros(trace.shape[0]))

    def evidence(self) -> Float[Tensor, " batch"]:
        """Return log Z: what was pushed outside, and what the weights hold."""
        return self.log_evidence + torch.logsumexp(self.log_weight, dim=1)

    def unique(self) -> Float[Tensor, " batch"]:
        """Return the number of different traces."""
        weights = torch.arange(1, self.trace.shape[2] + 1, dtype=self.trace.dtype, device=self.trace.device)
        key = (self.trace * weights.sqrt()).sum(dim=2).sort(dim=1).values
        return 1 + (key[:, 1:] != key[:, :-1]).sum(dim=1).double()

    def drawn(self, index: Tensor, chosen: Tensor) -> "Population":
        """Return copies of the particles `index` in the experiments `chosen`, weights as they are."""

        def pick(values: Tensor) -> Tensor:
            return torch.where(chosen[:, None, None], gathered(values, index), values)

        return replace(self, trace=pick(self.trace), state=pick(self.state), before=pick(self.before))


class Draws:
    """Random numbers of one block: every experiment has a stream of its own."""

    def __init__(self, generators: Sequence[torch.Generator]) -> None:
        self._generators = generators

    def normal(self, *shape: int) -> Float[Tensor, "batch *shape"]:
        """Draw independent standard normal numbers."""
        return torch.stack([normal(*shape, generator=generator) for generator in self._generators])

    def uniform(self, *shape: int) -> Float[Tensor, "batch *shape"]:
        """Draw numbers from [0, 1)."""
        return torch.stack(
            [
                torch.rand(shape, generator=generator, device=generator.device, dtype=torch.float64)
                for generator in self._generators
            ]
        )


@dataclass
class Session:
    """One run of a stack: the program, the size of the population, random streams, and what is counted."""

    program: Program
    members: int
    batch: int
    seed: int
    device: str = "cpu"
    streams: dict[str, Draws] = field(default_factory=dict)
    accepted: list[Float[Tensor, " batch"]] = field(default_factory=list)
    """Share of accepted proposals, move by move."""
    effective: list[Float[Tensor, " batch"]] = field(default_factory=list)
    """Effective number after each observation."""

    def draws(self, name: str) -> Draws:
        """Return the stream of a block: a further block has one of its own, and shifts no other."""
        if name not in self.streams:
            numbers = range(self.batch)
            self.streams[name] = Draws(
                [torch_generator(self.seed, number, name, device=self.device) for number in numbers]
            )
        return self.streams[name]

    def scored(self, population: Population) -> Population:
        """Take note of the effective number of particles."""
        self.effective.append(effective_number(normalised(population.log_weight)[0]))
        return population


class BlockSpec(MethodSpec):
    """Options of a block."""

    takes: ClassVar[frozenset[Form]]
    """Forms that it may be given."""

    def gives(self, form: Form) -> Form:
        """Return the form that it leaves; the one that it was given, unless it says otherwise."""
        return form

    def faults(self, form: Form) -> Iterator[Problem]:
        """Yield why it may not follow what gives `form`."""
        if form not in self.takes:
            wanted = " or ".join(sorted(one.value for one in self.takes))
            yield Problem((), f"`{self.kind}` takes {wanted}, and is given {form.value}")

    def advances(self) -> int | None:
        """Return the observation times that it goes on by; None for all that are left."""
        return 0

    @abstractmethod
    def apply(self, population: Population | None, session: Session, name: str) -> Population:
        """Return the population after the block; `name` is that of its random stream."""


def names(blocks: Sequence[BlockSpec], prefix: str = "") -> Iterator[tuple[BlockSpec, str]]:
    """Yield each block with its name: its kind, and its number among its like."""
    seen: Counter[str] = Counter()
    for block in blocks:
        yield block, f"{prefix}{block.kind}-{seen[block.kind]}"
        seen[block.kind] += 1


def through(blocks: Sequence[BlockSpec], form: Form) -> tuple[Form, list[Problem]]:
    """Return the form that a sequence leaves, and what is wrong with its order: the first fault alone."""
    for place, block in enumerate(blocks):
        found = [problem.below(place) for problem in block.faults(form)]
        if found:
            return form, found
        form = block.gives(form)
    return form, []


def order_faults(blocks: Sequence[BlockSpec], start: Form, times: int | None = None) -> Iterator[Problem]:
    """Yield why a sequence is no valid inference for a program.

    Args:
        blocks: The sequence.
        start: What it is given.
        times: Observation times of the program, all of which must be reached; None: only known later.
    """
    form, found = through(blocks, start)
    yield from found
    if found:
        return
    if form not in (Form.POSTERIOR, Form.SINGLE):
        yield Problem(
            (len(blocks) - 1,), f"the last block leaves {form.value}; add what is missing, `score` say"
        )
        return
    steps = [block.advances() for block in blocks]
    reached = sum(step for step in steps if step is not None)
    everything = None in steps
    if times is not None and (reached > times or (reached < times and not everything)):
        yield Problem(
            (), f"the blocks reach {reached} of {times} observation times; put those of one time into `hoist`"
        )
