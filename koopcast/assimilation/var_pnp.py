"""Variational analysis with a learned prior: plug and play."""

from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator
from torch import Tensor

from koopcast.assimilation.base import Analyse, Analysis, FilterSpec, Observed, Setting
from koopcast.errors import EmptySelection, InvalidInput
from koopcast.priors.base import Prior

MATCH = 1e-9
"""Largest difference of what is observed of a state from its cells, relative to their size."""


class VarPnPSpec(FilterSpec):
    """argmin ½ |(y - Hx)/σ_o|² + ½ w |(x - x_b)/s|² + ρ R(x) with a learned R; without memory where w = 0.

    All of it is in units of the prior's training data. Observations are of the cells themselves.
    """

    kind: Literal["var_pnp"] = "var_pnp"
    solver: Literal["admm", "pgd"] = "admm"
    """`admm`: x, then u ← u + x - z, then z = f(x + u); `pgd`: x ← f(x - η ∇), whose ρ is 1/η."""
    rho: PositiveFloat | None = None
    """Weight ρ of R, of `admm`; default 1/σ², with σ the noise that the prior was learned with."""
    step: float = Field(0.9, gt=0, lt=1)
    """Step of `pgd` as a share of the largest one that surely converges, 1 over the largest curvature."""
    max_iter: PositiveInt = 100
    """Iterations at most."""
    tolerance: PositiveFloat = 1e-5
    """Stop when no analysis moves by more, root mean square."""
    background_weight: NonNegativeFloat = 0.0
    """w: 0 leaves the forecast out."""
    background_std: PositiveFloat = 0.5
    """s, the standard deviation of the forecast's error, in units of that of the fields."""

    reference = "Venkatakrishnan et al. 2013; Fang, Buchanan and Sulam 2024"

    @model_validator(mode="after")
    def _options_belong_to_the_solver(self) -> "VarPnPSpec":
        if self.solver == "pgd" and self.rho is not None:
            raise ValueError("rho: `pgd` weights the prior by its step; remove it, or choose solver: admm")
        return self

    def num_members(self) -> int:
        """Return 1."""
        return 1

    def needs_physical_state(self) -> bool:
        """Return True: the prior is one of fields."""
        return True

    def needs_prior(self) -> bool:
        """Return True."""
        return True

    def build(self, setting: Setting) -> Analyse:
        """Return the iteration."""
        if setting.prior is None:
            raise EmptySelection(
                "plug-and-play analysis needs a learned prior", "name the step that learns one with `prior`"
            )
        return PlugAndPlay(self, setting.prior)


class _Quadratic(NamedTuple):
    """½ d x² - b x, cell by cell: observations and background."""

    d: Float[Tensor, "batch cell"]
    b: Float[Tensor, "batch cell"]


class PlugAndPlay:
    """Iterates between the observations and the proximal operator of the prior."""

    def __init__(self, spec: VarPnPSpec, prior: Prior) -> None:
        self._spec, self._prior = spec, prior

    def __call__(
        self, ensemble: Float[Tensor, "batch member state"], observed: Observed, generator: torch.Generator
    ) -> Analysis:
        """Return the analysis, from the background on."""
        background = self._prior.normalise(ensemble[:, 0])
        quadratic = self._quadratic(ensemble[:, 0], background, observed)
        solve = self._admm if self._spec.solver == "admm" else self._pgd
        x, count = solve(background, quadratic)
        iterations = x.new_full((len(x),), float(count))
        return Analysis(self._prior.denormalise(x)[:, None], {"iterations": iterations})

    def _quadratic(
        self,
        state: Float[Tensor, "batch state"],
        background: Float[Tensor, "batch cell"],
        observed: Observed,
    ) -> _Quadratic:
        """Return what observations and background ask for.

        Raises:
            InvalidInput: What is observed is no cell of the state.
        """
        cell = observed.cell
        seen = None if cell is None else state.gather(1, cell)
        if seen is None or float((seen - observed.predicted[:, 0]).abs().max()) > MATCH * (
            1 + float(seen.abs().max())
        ):
            raise InvalidInput(
                "plug-and-play analysis takes observations of cells themselves, and these see something else",
                "observe values of the fields at sites, or choose another method",
            )
        assert cell is not None
        std = self._prior.scale()[cell]
        precision = (observed.scale * std).square()
        value = background.gather(1, cell) + (observed.value - seen) / std
        weight = self._spec.background_weight / self._spec.background_std**2
        d = torch.full_like(background, weight).scatter_add(1, cell, precision)
        b = (weight * background).scatter_add(1, cell, precision * value)
        return _Quadratic(d, b)

    def _admm(
        self, z: Float[Tensor, "batch cell"], quadratic: _Quadratic
    ) -> tuple[Float[Tensor, "batch cell"], int]:
        rho = self._spec.rho if self._spec.rho is not None else self._prior.noise**-2
        u = torch.zeros_like(z)
        for count in range(1, self._spec.max_iter + 1):
            x = (quadratic.b + rho * (z - u)) / (quadratic.d + rho)
            u = u + x - z
            new = self._prior.proximal(x + u)
            moved = max(_rms(new - z), _rms(new - x))
            z = new
            if moved <= self._spec.tolerance:
                return z, count
        return z, self._spec.max_iter

    def _pgd(
        self, x: Float[Tensor, "batch cell"], quadratic: _Quadratic
    ) -> tuple[Float[Tensor, "batch cell"], int]:
        step = self._spec.step / quadratic.d.amax(dim=1, keepdim=True).clamp_min(1e-300)
        for count in range(1, self._spec.max_iter + 1):
            new = self._prior.proximal(x - step * (quadratic.d * x - quadratic.b))
            moved = _rms(new - x)
            x = new
            if moved <= self._spec.tolerance:
                return x, count
        return x, self._spec.max_iter


def _rms(departure: Float[Tensor, "batch cell"]) -> float:
    """Return the largest root mean square of the batch."""
    return float(departure.square().mean(dim=1).sqrt().max())
