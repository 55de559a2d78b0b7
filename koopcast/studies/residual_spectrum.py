"""Residuals of all eigenvalues that dictionaries find in a system that keeps a measure."""

from collections.abc import Mapping, Sequence
from typing import Literal

import pandas as pd
import torch
from jaxtyping import Float
from pydantic import Field, PositiveFloat, PositiveInt, model_validator
from torch import Tensor

from koopcast.dynamics import form_of
from koopcast.generation.evolving import Run, SystemDynamics
from koopcast.integrators import AnyIntegrator
from koopcast.integrators.rk4 import RK4Spec
from koopcast.koopman.dictionaries import AnyDictionary
from koopcast.koopman.dictionaries.rbf import RBFSpec
from koopcast.numerics.galerkin import Galerkin
from koopcast.progress import report
from koopcast.rng import torch_generator
from koopcast.studies.base import ALL, Findings, StudySpec
from koopcast.studies.sequences import Name
from koopcast.systems import AnySystem
from koopcast.systems.base import EvolvingSpec
from koopcast.systems.duffing import DuffingSpec

METRICS = ("pairs", "doubtful", "tau_one", "isometry_defect")


def _default_dictionaries() -> dict[Name, AnyDictionary]:
    return {"exponential": RBFSpec(centers=100, kernel="exponential", unit="spread")}


class ResidualSpectrumSpec(StudySpec):
    """EDMD with many observables, and the residual of every eigenvalue that it returns.

    A Koopman operator that keeps the measure of the samples is an isometry: a pair of its Galerkin matrix has
    res² = 1 - |λ|² then, and small eigenvalues are all false. The constant and the coordinates are left out
    of dictionaries, so that nothing is exact by construction.
    """

    kind: Literal["residual_spectrum"] = "residual_spectrum"
    system: AnySystem = DuffingSpec()
    """What evolves."""
    integrator: AnyIntegrator = RK4Spec()
    """What advances it; `exact` for maps."""
    samples: PositiveInt = 1000
    """Starts, drawn by the system."""
    steps: int = Field(50, ge=1)
    """Steps of each trajectory."""
    record_every: PositiveInt = 5
    """Integration steps between records."""
    dt: PositiveFloat | None = None
    """Integration step; null: the system's own."""
    doubt: PositiveFloat = 0.3
    """Residual above which an eigenvalue is called doubtful."""
    dictionaries: dict[Name, AnyDictionary] = Field(default_factory=_default_dictionaries, min_length=1)
    """Names -> dictionaries."""

    reference = "Colbrook, Mezić & Stepanenko 2024; set-up of Colbrook & Townsend 2024 (Duffing)"

    @model_validator(mode="after")
    def _system_evolves(self) -> "ResidualSpectrumSpec":
        if not isinstance(self.system, EvolvingSpec):
            raise ValueError(f"system: {self.system.kind} does not evolve; take one that does, like duffing")
        if not self.integrator.takes(form_of(self.system.problem())):
            raise ValueError(
                f"integrator: {self.integrator.kind} does not take {self.system.kind}; "
                f"use {self.system.default_integrator()}"
            )
        for name, dictionary in self.dictionaries.items():
            if dictionary.num_observables(1) < 2:
                raise ValueError(
                    f"dictionaries: '{name}' ({dictionary.kind}) holds the coordinates alone; take rbf or "
                    "polynomial"
                )
        return self

    def metrics(self) -> Mapping[str, str]:
        """Return how many eigenvalues there are, how many are doubtful, τ(1), and the greatest |res² - (1 -
        |λ|²)|.
        """
        return dict.fromkeys(METRICS, "1")

    def subjects(self) -> Mapping[str, Sequence[int]]:
        """Return the dictionaries, with one score each."""
        return dict.fromkeys(self.dictionaries, ())

    def run(self, seed: int) -> Findings:
        """Integrate once, and decompose with each dictionary."""
        states = trajectories(self._run(), torch_generator(seed, self.kind, "initial"))
        before, after = states[:, :-1].flatten(0, 1), states[:, 1:].flatten(0, 1)
        scores: dict[str, dict[str, dict[str, float]]] = {metric: {} for metric in METRICS}
        tables = []
        for done, (name, dictionary) in enumerate(self.dictionaries.items()):
            chosen = dictionary.prepare(before, torch_generator(seed, self.kind, name))
            galerkin = Galerkin.of(*(dictionary.lift(u, chosen)[:, 1:] for u in (before, after)))
            pairs = galerkin.pairs()
            modulus = pairs.values.abs()
            values = (
                len(modulus),
                int((pairs.residuals > self.doubt).sum()),
                float(galerkin.tau(torch.ones(1, dtype=torch.complex128))[0]),
                float((pairs.residuals.square() - (1 - modulus.square())).abs().max()),
            )
            for metric, value in zip(METRICS, values, strict=True):
                scores[metric][name] = {ALL: float(value)}
            table = {"re": pairs.values.real, "im": pairs.values.imag, "residual": pairs.residuals}
            tables.append(
                pd.DataFrame({key: column.numpy() for key, column in table.items()}).assign(dictionary=name)
            )
            report("dictionary", done + 1, len(self.dictionaries))
        return Findings(scores, {"pairs": pd.concat(tables, ignore_index=True)})

    def _run(self) -> Run:
        assert isinstance(self.system, EvolvingSpec)
        return Run(self.system, self.integrator, self.samples, self.steps + 1, self.dt, self.record_every)


def trajectories(run: Run, generator: torch.Generator) -> Float[Tensor, "sample time state"]:
    """Return the records of a run from initial fields that its system draws."""
    dynamics = SystemDynamics(run)
    states = [run.system.initial(run.samples, generator).flatten(1)]
    for _ in range(run.steps - 1):
        states.append(dynamics.step(states[-1]))
    return torch.stack(states, dim=1)
