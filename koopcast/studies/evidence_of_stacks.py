"""Evidence that stacks of blocks find, beside that of the Kalman filter."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import pandas as pd
import torch
from jaxtyping import Float
from pydantic import Field, PositiveFloat, PositiveInt, model_validator
from torch import Tensor

from koopcast.assimilation.blocks import AnyBlock, Form, Population, Program, Session, order_faults, run_stack
from koopcast.assimilation.blocks.advance import AdvanceSpec
from koopcast.assimilation.blocks.base import BlockSpec
from koopcast.assimilation.blocks.hoist import HoistSpec, InnerBlock
from koopcast.assimilation.blocks.mh import MHSpec
from koopcast.assimilation.blocks.push_evidence import PushEvidenceSpec
from koopcast.assimilation.blocks.resample import ResampleSpec
from koopcast.assimilation.blocks.score import ScoreSpec
from koopcast.assimilation.blocks.spawn import SpawnSpec
from koopcast.numerics.arrays import normal
from koopcast.progress import report
from koopcast.rng import derived_seed, torch_generator
from koopcast.studies.base import Findings, StudySpec

WRONG = "forgetful"
"""The subject whose block is wrong on purpose."""
METRICS = ("ratio", "deviation", "log_variance")


def _smc(*rest: InnerBlock) -> tuple[AnyBlock, ...]:
    return (SpawnSpec(), HoistSpec(steps=(AdvanceSpec(), ScoreSpec(), *rest)))


def _stacks() -> dict[str, tuple[AnyBlock, ...]]:
    halfway = ResampleSpec(threshold=0.5)
    return {
        "systematic": _smc(ResampleSpec()),
        "stratified": _smc(ResampleSpec(scheme="stratified")),
        "residual": _smc(ResampleSpec(scheme="residual")),
        "multinomial": _smc(ResampleSpec(scheme="multinomial")),
        "adaptive": _smc(halfway, PushEvidenceSpec()),
        "moved": _smc(halfway, MHSpec(target="window")),
        "moved_whole": _smc(halfway, MHSpec(kernel="pcn", moves=2)),
    }


class EvidenceOfStacksSpec(StudySpec):
    """x ← a x + N(0, q), y = x + N(0, r): a valid stack is right about p(y) on average, whatever its blocks.

    One sequence is observed; each run draws its own particles. The subject `forgetful` draws particles again
    but forgets their mean weight: it must fail where the others do not.
    """

    kind: Literal["evidence_of_stacks"] = "evidence_of_stacks"
    stacks: dict[str, tuple[AnyBlock, ...]] = Field(default_factory=_stacks, min_length=1)
    """Name -> blocks; each starts with `spawn`."""
    sizes: tuple[PositiveInt, ...] = Field((10, 50), min_length=1)
    """Particles."""
    runs: int = Field(3000, ge=2)
    """Runs of each stack at each size."""
    times: PositiveInt = 20
    """Observation times."""
    factor: float = Field(0.9, gt=-1, lt=1)
    """a."""
    model_variance: PositiveFloat = 0.3
    """q."""
    error_variance: PositiveFloat = 0.5
    """r."""

    reference = "Ścibior et al. 2018, Denotational validation of higher-order Bayesian inference"

    @model_validator(mode="after")
    def _orders_are_valid(self) -> "EvidenceOfStacksSpec":
        for name, blocks in self.stacks.items():
            if name == WRONG:
                raise ValueError(f"stacks.{name}: this name is taken by the wrong stack; choose another")
            for problem in order_faults(blocks, Form.SAMPLER, self.times):
                place = ".".join(str(part) for part in ("stacks", name, *problem.path))
                raise ValueError(f"{place}: {problem.message}")
        return self

    def metrics(self) -> Mapping[str, str]:
        """Return the mean of Z / p(y), its distance from 1 in standard errors, and the variance of log Z."""
        return dict.fromkeys(METRICS, "1")

    def subjects(self) -> Mapping[str, Sequence[int]]:
        """Return the stacks, at all sizes."""
        return dict.fromkeys((*self.stacks, WRONG), sorted(set(self.sizes)))

    def run(self, seed: int) -> Findings:
        """Run stack after stack."""
        program = self.program(torch_generator(seed, "observations"))
        exact = float(program.evidence())
        forgetful: tuple[BlockSpec, ...] = (SpawnSpec(), *(ForgetfulRound(),) * self.times)
        whole: dict[str, tuple[BlockSpec, ...]] = {**self.stacks, WRONG: forgetful}
        scores: dict[str, dict[str, dict[str, float]]] = {
            metric: {name: {} for name in whole} for metric in METRICS
        }
        rows = []
        for done, (name, blocks) in enumerate(whole.items()):
            for size in sorted(set(self.sizes)):
                session = Session(program, size, self.runs, derived_seed(seed, name, size))
                log_ratio = run_stack(blocks, session).evidence() - exact
                ratio = log_ratio.exp()
                error = float(ratio.std()) / math.sqrt(self.runs)
                mean = float(ratio.mean())
                values = (mean, abs(mean - 1) / error, float(log_ratio.var()))
                for metric, value in zip(METRICS, values, strict=True):
                    scores[metric][name][str(size)] = value
                rows.append({"stack": name, "n": size, "ratio": mean, "standard_error": error})
            report("stack", done + 1, len(whole))
        return Findings(scores, {"evidence": pd.DataFrame(rows)})

    def program(self, generator: torch.Generator) -> "LinearGaussian":
        """Return the model with observations drawn from it."""
        program = LinearGaussian(
            self.factor, self.model_variance, self.error_variance, torch.zeros(self.times)
        )
        x = program.begin(normal(1, 1, 1, generator=generator))
        values = []
        for time in range(self.times):
            x = program.advance(x, normal(1, 1, 1, generator=generator), time)
            values.append(x[0, 0, 0] + math.sqrt(self.error_variance) * normal(1, generator=generator)[0])
        program.value = torch.stack(values)
        return program


class LinearGaussian(Program):
    """x ← a x + √q e from the stationary distribution, y = x + √r v."""

    initial = step = 1

    def __init__(self, a: float, q: float, r: float, value: Float[Tensor, " time"]) -> None:
        self.a, self.q, self.r, self.value, self.num_times = a, q, r, value, len(value)

    def begin(self, z: Float[Tensor, "batch member 1"]) -> Float[Tensor, "batch member 1"]:
        """Return a draw from N(0, q / (1 - a²))."""
        return z * math.sqrt(self.q / (1 - self.a**2))

    def advance(
        self, state: Float[Tensor, "batch member 1"], noise: Float[Tensor, "batch member 1"], time: int
    ) -> Float[Tensor, "batch member 1"]:
        """Return a x + √q e."""
        return self.a * state + math.sqrt(self.q) * noise

    def log_likelihood(
        self, state: Float[Tensor, "batch member 1"], time: int
    ) -> Float[Tensor, "batch member"]:
        """Return log N(y; x, r)."""
        departure = self.value[time] - state[..., 0]
        return -0.5 * (departure.square() / self.r + math.log(2 * math.pi * self.r))

    def evidence(self) -> Float[Tensor, ""]:
        """Return log p(y) by the Kalman filter."""
        mean, variance, total = torch.zeros(()).double(), self.q / (1 - self.a**2), torch.zeros(()).double()
        for y in self.value:
            mean, variance = self.a * mean, self.a**2 * variance + self.q
            S = variance + self.r
            total = total - 0.5 * ((y - mean).square() / S + math.log(2 * math.pi * S))
            mean, variance = mean + variance / S * (y - mean), variance * self.r / S
        return total


class ForgetfulRound(BlockSpec):
    """One observation time: where particles are drawn again, they get the weight 1/N instead of Z/N."""

    kind: Literal["forgetful_round"] = "forgetful_round"

    takes = frozenset({Form.START, Form.POSTERIOR})
    reference = "none: it is wrong"

    def gives(self, form: Form) -> Form:
        """Return what a right block would leave."""
        return Form.POSTERIOR

    def apply(self, population: Population | None, session: Session, name: str) -> Population:
        """Return the particles with what was known of Z lost."""
        for block in (AdvanceSpec(), ScoreSpec()):
            population = block.apply(population, session, block.kind)
        assert population is not None
        after = ResampleSpec(threshold=0.5).apply(population, session, "resample")
        is_drawn = (after.log_weight != population.log_weight).any(dim=1, keepdim=True)
        equal = -math.log(session.members)
        return replace(after, log_weight=torch.where(is_drawn, equal, after.log_weight))
