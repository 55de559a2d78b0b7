"""Strong-constraint four-dimensional variational analysis."""

from functools import partial
from itertools import pairwise
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from koopcast.assimilation.backgrounds.base import Background, Covariance
from koopcast.assimilation.base import Analysis, Setting, Smooth, SmootherSpec, Window
from koopcast.assimilation.var3d import selected
from koopcast.assimilation.variational import Minimiser, Misfit, minimise
from koopcast.assimilation.variational_options import SingleStateSpec
from koopcast.gradients import AnyGradient, Chain, GradientSpec
from koopcast.numerics.derivatives import pushed


class Var4DSpec(SingleStateSpec, SmootherSpec):
    """The state at the start of a window whose forecast fits all observations in it, and a background.

    Incremental: each outer loop linearises the model about its own forecast, and the quadratic cost is
    minimised over v, x = x_b + B^{1/2} v. Small states hold H M B^{1/2} as a matrix; large ones call tangent
    and adjoint models, the latter by the policy `gradient`.
    """

    kind: Literal["var4d"] = "var4d"
    gradient: AnyGradient = Field(default="store", validate_default=True)
    """What conjugate gradients keep of the forecast for its adjoint."""

    reference = "Courtier, Thepaut and Hollingsworth 1994; Lorenc 2003 for the control"

    def build(self, setting: Setting) -> Smooth:
        """Return the analysis of a window."""
        return Var4D(self.background.build(setting), self.minimiser, self.gradient)


class Var4D:
    """Strong 4D-Var of a window."""

    def __init__(self, background: Background, minimiser: Minimiser, gradient: GradientSpec) -> None:
        self._background, self._minimiser, self._gradient = background, minimiser, gradient

    def __call__(
        self, ensemble: Float[Tensor, "batch 1 state"], window: Window, generator: torch.Generator
    ) -> Analysis:
        """Return the analysis at the start of the window."""
        covariance = self._background(ensemble)
        misfit = Forecasting(ensemble, covariance, window, self._gradient)
        found = minimise(misfit, ensemble, self._minimiser)
        return Analysis(ensemble + covariance.root(found.v[:, None]), found.figures)


class Forecasting(Misfit):
    """The misfit of the forecast from x_b + B^{1/2} v at all observation times of a window."""

    def __init__(
        self,
        origin: Float[Tensor, "batch 1 state"],
        covariance: Covariance,
        window: Window,
        gradient: GradientSpec,
    ) -> None:
        self._origin, self._covariance, self._window = origin, covariance, window
        self._gradient, self.rank = gradient, covariance.rank
        self._places = {steps: place for place, steps in enumerate(window.steps)}

    def __call__(self, v: Float[Tensor, "batch member rank"]) -> Float[Tensor, "batch member obs"]:
        """Return the misfits of all times side by side."""
        states = self._window.trajectory(self._origin + self._covariance.root(v))
        parts = [misfit_of(self._window, place, state) for place, state in enumerate(states)]
        return torch.cat(parts, dim=2)

    def linearised(
        self, v: Float[Tensor, "batch 1 rank"]
    ) -> tuple[Float[Tensor, "batch obs"], Float[Tensor, "batch rank obs"]]:
        """Return d(v) and L: the tangent model takes all columns of B^{1/2} through the window at once."""
        columns = self._covariance.columns().expand(len(v), -1, -1)
        start = (self._origin + self._covariance.root(v)).repeat(1, self.rank, 1)
        misfits, rows = [], []
        for place, (states, tangents) in enumerate(self._window.tangents(start, columns)):
            observed = self._window.observe(states[:, :1], place)
            misfits.append((observed.value - observed.predicted[:, 0]) * observed.scale)
            if observed.see is None and observed.cell is not None:
                rows.append(selected(tangents, observed.cell, observed.scale))
            else:
                rows.append(-pushed(partial(misfit_of, self._window, place), states, tangents)[1])
        return torch.cat(misfits, dim=1), torch.cat(rows, dim=2)

    def adjoint(self, v: Float[Tensor, "batch member rank"], u: Float[Tensor, "batch member obs"]) -> Tensor:
        """Return Lᵀ u by the adjoint model, with the policy that was asked for."""
        parts = self._parts(u)

        def seeds(k: int, state: Tensor) -> Tensor | None:
            place = self._places.get(k)
            if place is None:
                return None
            with torch.enable_grad():
                start = state.detach().requires_grad_()
                d = misfit_of(self._window, place, start)
                return -torch.autograd.grad(d, start, parts[place], materialize_grads=True)[0]

        chain = Chain(lambda state, k: self._window.step(state), seeds, self._window.steps[-1])
        start = self._origin + self._covariance.root(v)
        return self._covariance.transposed(self._gradient.gradient(chain, start).value)

    def _parts(self, u: Float[Tensor, "batch member obs"]) -> list[Tensor]:
        """Split what stands side by side into observation times."""
        sizes = [self._window.observe(self._origin, place).value.shape[1] for place in self._places.values()]
        ends = [0, *torch.tensor(sizes).cumsum(0).tolist()]
        return [u[..., first:last] for first, last in pairwise(ends)]


def misfit_of(
    window: Window, place: int, state: Float[Tensor, "batch member state"]
) -> Float[Tensor, "batch member obs"]:
    """Return the misfit of states at one observation time of a window."""
    seen = window.observe(state, place)
    return (seen.value[:, None] - seen.predicted) * seen.scale[:, None]
