"""The order of rational kernels: how fast the error of a spectral density falls with their width."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Annotated, Literal

import pandas as pd
import torch
from pydantic import Field, PositiveInt, model_validator

from koopcast.numerics.spectral_measures import rational_density
from koopcast.progress import report
from koopcast.studies.base import ALL, Findings, StudySpec

Width = Annotated[float, Field(gt=0, lt=1)]
Order = Annotated[int, Field(ge=1, le=10)]
WEIGHT = 0.6


class RationalKernelSpec(StudySpec):
    """The unitary shift e_k ↦ e_{k+1} and f = e_0 + 0.6 e_1, whose spectral density is known:
    (1.36 + 1.2 cos θ) / 2π.
    """

    kind: Literal["rational_kernel"] = "rational_kernel"
    orders: tuple[Order, ...] = Field((1, 2, 4), min_length=1)
    """Orders of the kernel."""
    epsilons: tuple[Width, ...] = Field((0.2, 0.1), min_length=2)
    """Widths, from wide to narrow."""
    functions: PositiveInt = 200
    """The shift acts on e_{-n} .. e_n; n must be many times log(1/error)/ε."""
    angles: PositiveInt = 64
    """Points of the circle at which the density is compared."""

    reference = "Colbrook & Townsend 2024; Colbrook, Mezić & Stepanenko 2024"

    @model_validator(mode="after")
    def _widths_descend(self) -> "RationalKernelSpec":
        if any(narrow >= wide for wide, narrow in pairwise(self.epsilons)):
            raise ValueError(f"epsilons: {list(self.epsilons)} must descend")
        if self.functions * self.epsilons[-1] < 10:
            raise ValueError(
                f"functions: {self.functions} are too few for epsilon {self.epsilons[-1]:g}; take "
                f"{math.ceil(10 / self.epsilons[-1])} or more"
            )
        return self

    def metrics(self) -> Mapping[str, str]:
        """Return by how much the error falls from the first width to the last, and the last error."""
        return {"gain": "1", "error": "1"}

    def subjects(self) -> Mapping[str, Sequence[int]]:
        """Return the orders."""
        return {f"order_{order}": () for order in sorted(set(self.orders))}

    def run(self, seed: int) -> Findings:
        """Evaluate; nothing is drawn."""
        size = 2 * self.functions + 1
        K = torch.zeros(size, size, dtype=torch.float64)
        K[torch.arange(1, size), torch.arange(size - 1)] = 1
        f = torch.zeros(size, dtype=torch.float64)
        f[self.functions], f[self.functions + 1] = 1, WEIGHT
        angles = 2 * math.pi * torch.arange(self.angles, dtype=torch.float64) / self.angles
        exact = (1 + WEIGHT**2 + 2 * WEIGHT * angles.cos()) / (2 * math.pi)
        rows: list[dict[str, float | str]] = []
        orders = sorted(set(self.orders))
        for done, order in enumerate(orders):
            for epsilon in self.epsilons:
                found = rational_density(K, f, angles, order=order, epsilon=epsilon)
                error = float((found - exact).abs().max())
                rows.append({"order": f"order_{order}", "epsilon": epsilon, "error": error})
            report("order", done + 1, len(orders))
        table = pd.DataFrame(rows)
        errors = table.groupby("order", sort=False)["error"]
        gain, last = errors.first() / errors.last(), errors.last()
        scores = {
            "gain": {str(name): {ALL: float(value)} for name, value in gain.items()},
            "error": {str(name): {ALL: float(value)} for name, value in last.items()},
        }
        return Findings(scores, {"errors": table})
