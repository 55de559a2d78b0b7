"""Sequences of linear systems, drawn from a stationary system."""

from collections.abc import Collection, Mapping
from typing import Annotated, TypeAlias

from pydantic import StringConstraints

from koopcast.distributions import AnyDistribution, DistributionSpec
from koopcast.linear import LinearProblem
from koopcast.rng import numpy_generator, torch_generator
from koopcast.systems.base import StationarySpec, SystemSpec

Name: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[A-Za-z]\w*$")]
"""Of a subject: what a condition on scores can say."""
Parameters: TypeAlias = dict[str, AnyDistribution]
"""Varied option of a system -> law of its values, each drawn independently."""


def stationary(system: SystemSpec) -> StationarySpec:
    """Return a system that poses linear systems.

    Raises:
        ValueError: It poses none; for validators.
    """
    if not isinstance(system, StationarySpec):
        raise ValueError(
            f"system: {system.kind} poses no linear systems; take a stationary one, like poisson"
        )
    return system


def refuse_unvaried(system: SystemSpec, parameters: Collection[str]) -> None:
    """Refuse parameters that may not differ from sample to sample.

    Raises:
        ValueError: For validators.
    """
    known = ", ".join(system.varied) or "none"
    for name in parameters:
        if name not in system.varied:
            raise ValueError(f"parameters: {system.kind} cannot vary '{name}'; what it can vary: {known}")


def draw_problems(
    system: StationarySpec,
    parameters: Mapping[str, DistributionSpec],
    count: int,
    seed: int,
    *names: str | int,
) -> list[LinearProblem]:
    """Return the first `count` systems of the sequence of `names`; a longer one begins with the same."""
    values = {
        name: law.quantile(1.0 - numpy_generator(seed, *names, "parameters", name).random(count))
        for name, law in parameters.items()
    }
    problems = []
    for sample in range(count):
        own = {name: float(drawn[sample]) for name, drawn in values.items()}
        given = system.draw(torch_generator(seed, *names, "fields", sample), own)
        problems.append(system.problem(given, own))
    return problems
