"""Policies of gradients through time: what each computes again and what it keeps, for one result."""

import time
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor

from koopcast.generation import Run, SystemDynamics
from koopcast.gradients import AnyGradient, Chain
from koopcast.gradients.checkpoint import CheckpointSpec
from koopcast.gradients.recompute import RecomputeSpec
from koopcast.gradients.revolve import RevolveSpec
from koopcast.gradients.store import StoreSpec
from koopcast.integrators.rk4 import RK4Spec
from koopcast.progress import report
from koopcast.rng import torch_generator
from koopcast.studies.base import Findings, StudySpec
from koopcast.studies.sequences import Name
from koopcast.systems.lorenz96 import Lorenz96Spec

METRICS = ("forward_steps", "pulled_steps", "peak_states", "mismatch", "exponent")
AUTOGRAD = "autograd"
ALONG = 5
"""Time steps that are observed lie so far apart."""


def _default_policies() -> dict[Name, AnyGradient]:
    return {
        "store": StoreSpec(),
        "stages": StoreSpec(residual="stages"),
        "disk": StoreSpec(storage="disk"),
        "recompute": RecomputeSpec(),
        "checkpoint": CheckpointSpec(),
        "checkpoint_8": CheckpointSpec(segment=8),
        "revolve": RevolveSpec(),
    }


class OpticsSpec(StudySpec):
    """The gradient of half the squared distance to targets along a trajectory of Lorenz-96, by each policy.

    `autograd` differentiates the whole rollout at once: its `peak_states` are all numbers that its graph
    keeps, in units of a state.
    """

    kind: Literal["optics"] = "optics"
    lengths: tuple[PositiveInt, ...] = Field((32, 64, 128, 256), min_length=2)
    """Steps n of the trajectories."""
    points: int = Field(40, ge=4)
    """Cells of a state."""
    dt: PositiveFloat = 0.01
    """Length of a step."""
    policies: dict[Name, AnyGradient] = Field(default_factory=_default_policies, min_length=1)
    """Names -> policies."""

    reference = "Gavranovic 2022, Space-time tradeoffs of lenses and optics via higher category theory"

    def metrics(self) -> Mapping[str, str]:
        """Return counts, the largest difference to autograd's gradient over its largest entry, and the slope
        of the logarithm of all steps (forward and pulled) against log n over all lengths.
        """
        return dict.fromkeys(METRICS, "1")

    def subjects(self) -> Mapping[str, Sequence[int]]:
        """Return the policies and autograd, each at all lengths."""
        return dict.fromkeys([*self.policies, AUTOGRAD], self.lengths)

    def run(self, seed: int) -> Findings:
        """Differentiate at every length by every policy."""
        rows: list[tuple[str | int | float, ...]] = []
        for done, count in enumerate(self.lengths):
            trial = Trial(self, count, torch_generator(seed, self.kind, count))
            expected, row = trial.whole()
            rows.append(row)
            if done == 0:
                # The first calls of a process take longer: they are not timed.
                for policy in self.policies.values():
                    policy.gradient(trial.chain, trial.start)
            for name, policy in self.policies.items():
                start = time.perf_counter()
                found = policy.gradient(trial.chain, trial.start)
                seconds = time.perf_counter() - start
                mismatch = float((found.value - expected).abs().max() / expected.abs().max())
                counts = found.forward_steps, found.pulled_steps, found.peak_states
                rows.append((name, count, *counts, mismatch, seconds))
            report("length", done + 1, len(self.lengths))
        table = pd.DataFrame(rows, columns=["policy", "n", *METRICS[:-1], "seconds"])
        return Findings(self._scores(table), {"costs": table, "exponents": _exponents(table)})

    def _scores(self, table: pd.DataFrame) -> dict[str, dict[str, dict[str, float]]]:
        slopes = _exponents(table).set_index("policy")["steps"]
        scores: dict[str, dict[str, dict[str, float]]] = {
            metric: {name: {} for name in self.subjects()} for metric in METRICS
        }
        for row in table.to_dict("records"):
            name, size = str(row["policy"]), str(row["n"])
            for metric in METRICS[:-1]:
                scores[metric][name][size] = float(row[metric])
            scores["exponent"][name][size] = float(slopes[name])
        return scores


class Trial:
    """A trajectory and targets beside it."""

    def __init__(self, spec: OpticsSpec, count: int, generator: torch.Generator) -> None:
        system = Lorenz96Spec(points=spec.points)
        self._model = SystemDynamics(Run(system, RK4Spec(), dt=spec.dt))
        self.start: Float[Tensor, "1 state"] = system.initial(1, generator).flatten(1)
        self._targets = torch.randn(count + 1, spec.points, generator=generator, dtype=torch.float64)
        self.chain = Chain(lambda x, k: self._model.step(x), self._seeds, count)

    def _seeds(self, k: int, x: Float[Tensor, "1 state"]) -> Float[Tensor, "1 state"] | None:
        return x - self._targets[k] if k % ALONG == 0 or k == self.chain.count else None

    def whole(self) -> tuple[Tensor, tuple[str | int | float, ...]]:
        """Return the gradient through the graph of the whole rollout, and its row of the table."""
        kept: dict[int, int] = {}

        def pack(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        count, began = self.chain.count, time.perf_counter()
        x = start = self.start.clone().requires_grad_()
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            cost = self._cost(0, x)
            for k in range(count):
                x = self.chain.step(x, k)
                cost = cost + self._cost(k + 1, x)
        gradient = torch.autograd.grad(cost, start)[0]
        states = sum(kept.values()) / (start.numel() * start.element_size())
        seconds = time.perf_counter() - began
        return gradient, (AUTOGRAD, count, count, 0, states, 0.0, seconds)

    def _cost(self, k: int, x: Tensor) -> Tensor:
        seed = self._seeds(k, x)
        return torch.zeros((), dtype=x.dtype) if seed is None else seed.square().sum() / 2


def _exponents(table: pd.DataFrame) -> pd.DataFrame:
    """Return slopes of log steps and log seconds against log n."""
    rows = []
    for name, part in table.groupby("policy", sort=False):
        lengths = np.log(part["n"].to_numpy(float))
        steps = np.log((part["forward_steps"] + part["pulled_steps"]).to_numpy(float))
        seconds = np.log(part["seconds"].to_numpy(float))
        slopes = [float(np.polyfit(lengths, values, 1)[0]) for values in (steps, seconds)]
        rows.append((str(name), *slopes))
    return pd.DataFrame(rows, columns=["policy", "steps", "seconds"])
