"""Learning to relax: learners pick ω for a sequence of linear systems and see only iteration counts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from pydantic import Field, PositiveInt, model_validator

from koopcast.distributions.beta import BetaSpec
from koopcast.linear import LinearProblem
from koopcast.random_fields.white import WhiteSpec
from koopcast.rng import numpy_generator
from koopcast.solvers.learners import AnyLearner, LearnerSpec
from koopcast.solvers.learners.base import ContextualSpec
from koopcast.solvers.learners.chebcb import ChebCBSpec
from koopcast.solvers.learners.fixed import FixedSpec
from koopcast.solvers.learners.tsallis_inf import TsallisINFSpec
from koopcast.solvers.learners.tsallis_inf_cb import TsallisINFCBSpec
from koopcast.solvers.sor import SORSpec
from koopcast.studies.base import Findings, StudySpec
from koopcast.studies.many_systems import Base, iteration_counts, side_by_side
from koopcast.studies.sequences import Name, Parameters, draw_problems, refuse_unvaried, stationary
from koopcast.systems import AnySystem
from koopcast.systems.poisson import PoissonSpec

BEST, OPTIMAL = "best_fixed", "instance_optimal"
LAST = 0.3
"""Share of the rounds, at the end, over which `last` is averaged."""
REACTION = (-18.15, 54.45)
"""121 (-0.15 + 0.6 β) for β in (0, 1): 121 = 1/h² for ten points between two boundaries."""
DIGITS = 12
"""To which two values of ω are the same action."""


def _learners() -> dict[str, AnyLearner]:
    context = {"context": "reaction", "context_range": REACTION}
    return {
        "gauss_seidel": FixedSpec(omega=1.0),
        "tsallis_inf": TsallisINFSpec(),
        "tsallis_inf_cb": TsallisINFCBSpec.model_validate(context),
        "chebcb": ChebCBSpec.model_validate(context),
    }


class RelaxationSpec(StudySpec):
    """Learners pick ω for a sequence of systems, beside the best fixed ω in hindsight and the best ω of each
    system.
    """

    kind: Literal["relaxation"] = "relaxation"
    base: Base = "sor"
    """What is relaxed: `sor`, or `ssor`, conjugate gradients preconditioned by it."""
    system: AnySystem = PoissonSpec(points=12, boundary=None, source=WhiteSpec(bound=1.0, ends="zero"))
    """Stationary system, symmetric positive definite, that poses the linear systems."""
    parameters: Parameters = Field(
        {"reaction": BetaSpec(a=0.5, b=1.5, low=REACTION[0], high=REACTION[1])}, validate_default=True
    )
    """Options of the system that differ from sample to sample, and their laws."""
    learners: dict[Name, AnyLearner] = Field(default_factory=_learners, min_length=1)
    """Names -> learners; all values of ω that any of them may choose are compared."""
    samples: int = Field(1000, ge=8)
    """Systems in a sequence, T. Scores are taken after a quarter, a half and all of them."""
    trials: PositiveInt = 1
    """Sequences, over which scores are averaged."""
    tolerance: float = Field(1e-8, gt=0, lt=1)
    """Relative residual at which a system counts as solved."""
    max_iterations: PositiveInt = 10_000
    """Cost of a system that takes longer."""

    reference = (
        "Khodak, Chow, Balcan and Talwalkar 2024, Learning to Relax, ICLR; all values of ω are run on all "
        "systems, so that learners play on a table of true costs and regret is exact"
    )

    @model_validator(mode="after")
    def _suits_relaxation(self) -> "RelaxationSpec":
        system = stationary(self.system)
        refuse_unvaried(system, self.parameters)
        refusal = SORSpec().refusal(system.profile(tuple(self.parameters)))
        if refusal is not None:
            raise ValueError(f"system: {refusal}")
        return self

    @model_validator(mode="after")
    def _contexts_hold_the_laws(self) -> "RelaxationSpec":
        for name, learner in self.learners.items():
            if not isinstance(learner, ContextualSpec) or learner.context not in self.parameters:
                continue
            (low, high), (least, greatest) = learner.context_range, self.parameters[learner.context].bounds()
            if least < low or greatest > high:
                raise ValueError(
                    f"learners: the context_range [{low:g}, {high:g}] of '{name}' does not hold the law of "
                    f"{learner.context}, [{least:g}, {greatest:g}]; widen it"
                )
        return self

    @model_validator(mode="after")
    def _names_are_free(self) -> "RelaxationSpec":
        taken = sorted({BEST, OPTIMAL} & set(self.learners))
        if taken:
            raise ValueError(f"learners: '{taken[0]}' names a comparison of the study itself; choose another")
        return self

    def metrics(self) -> Mapping[str, str]:
        """Return mean iterations a system, over all and over the last 30 %, and the summed regret."""
        return {"iterations": "1", "last": "1", "regret": "1"}

    def subjects(self) -> Mapping[str, Sequence[int]]:
        """Return the learners, the best fixed ω in hindsight and the best ω of each system; both are among
        the values that some learner may choose.
        """
        return dict.fromkeys([*self.learners, BEST, OPTIMAL], self._sizes())

    def _sizes(self) -> tuple[int, ...]:
        return self.samples // 4, self.samples // 2, self.samples

    def actions(self) -> Float[np.ndarray, " action"]:
        """Return all values of ω that a learner may choose, ascending."""
        return np.unique(np.round(np.concatenate([one.actions() for one in self.learners.values()]), DIGITS))

    def run(self, seed: int) -> Findings:
        """Count iterations of every ω on every system, let the learners play, and average over trials."""
        trials = [self._trial(seed, trial) for trial in range(self.trials)]
        scores: dict[str, dict[str, dict[str, float]]] = {
            metric: {subject: {} for subject in self.subjects()} for metric in self.metrics()
        }
        for size in self._sizes():
            for subject in self.subjects():
                found = [trial.scores(subject, size) for trial in trials]
                for metric in self.metrics():
                    scores[metric][subject][str(size)] = float(np.mean([one[metric] for one in found]))
        return Findings(scores, {"fixed": _fixed_table(trials), "rounds": _rounds_table(trials)})

    def _trial(self, seed: int, trial: int) -> "Trial":
        names = (self.kind, trial)
        problems = draw_problems(stationary(self.system), self.parameters, self.samples, seed, *names)
        actions = self.actions()
        counts = iteration_counts(
            self.base, side_by_side(problems), actions, self.tolerance, self.max_iterations
        )
        played = {
            name: play(learner, problems, actions, counts, numpy_generator(seed, *names, name))
            for name, learner in self.learners.items()
        }
        return Trial(actions, counts, played)


@dataclass(frozen=True)
class Trial:
    """One sequence: what every ω cost on every system, and which ones the learners chose."""

    omegas: Float[np.ndarray, " action"]
    counts: Int[np.ndarray, "system action"]
    played: Mapping[str, Int[np.ndarray, " system"]]

    def scores(self, subject: str, size: int) -> dict[str, float]:
        """Return the scores of a subject on the first `size` systems."""
        counts = self.counts[:size]
        costs = self._costs(subject, counts)
        last = costs[-max(1, round(LAST * size)) :]
        regret = costs.sum() - counts.sum(axis=0).min()
        return {"iterations": float(costs.mean()), "last": float(last.mean()), "regret": float(regret)}

    def _costs(self, subject: str, counts: Int[np.ndarray, "system action"]) -> Int[np.ndarray, " system"]:
        if subject == OPTIMAL:
            return np.asarray(counts.min(axis=1))
        if subject == BEST:
            return np.asarray(counts[:, counts.sum(axis=0).argmin()])
        return np.asarray(counts[np.arange(len(counts)), self.played[subject][: len(counts)]])


def play(
    learner: LearnerSpec,
    problems: Sequence[LinearProblem],
    omegas: Float[np.ndarray, " action"],
    counts: Int[np.ndarray, "system action"],
    generator: np.random.Generator,
) -> Int[np.ndarray, " system"]:
    """Return the places of the ω that a learner chooses when it sees the cost of its own choices alone."""
    player = learner.build(generator)
    place = {omega: index for index, omega in enumerate(omegas.tolist())}
    chosen = np.empty(len(problems), dtype=np.int64)
    for system, problem in enumerate(problems):
        chosen[system] = place[round(player.choose(problem.context), DIGITS)]
        player.learn(float(counts[system, chosen[system]]))
    return chosen


def _fixed_table(trials: Sequence[Trial]) -> pd.DataFrame:
    """Return mean iterations of every fixed ω, one row a trial and ω."""
    rows = [
        (trial, omega, cost)
        for trial, one in enumerate(trials)
        for omega, cost in zip(one.omegas.tolist(), one.counts.mean(axis=0).tolist(), strict=True)
    ]
    return pd.DataFrame(rows, columns=["trial", "omega", "iterations"])


def _rounds_table(trials: Sequence[Trial]) -> pd.DataFrame:
    """Return what every learner chose and paid, one row a trial, learner and system."""
    frames = [
        pd.DataFrame(
            {
                "trial": trial,
                "learner": name,
                "system": np.arange(len(chosen)),
                "omega": one.omegas[chosen],
                "iterations": one.counts[np.arange(len(chosen)), chosen],
            }
        )
        for trial, one in enumerate(trials)
        for name, chosen in one.played.items()
    ]
    return pd.concat(frames, ignore_index=True)
