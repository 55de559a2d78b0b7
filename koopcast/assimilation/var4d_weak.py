"""Weak-constraint four-dimensional variational analysis."""

from dataclasses import replace
from functools import partial
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from pydantic import model_validator
from torch import Tensor

from koopcast.assimilation.backgrounds.base import Background, Covariance, Factor
from koopcast.assimilation.backgrounds.diagonal import Independent
from koopcast.assimilation.base import Analysis, Setting, Smooth, SmootherSpec, Window
from koopcast.assimilation.var4d import misfit_of
from koopcast.assimilation.variational import Minimiser, Misfit, Normal, minimise
from koopcast.assimilation.variational_options import SingleStateSpec
from koopcast.errors import EmptySelection
from koopcast.numerics.derivatives import pushed


class Var4DWeakSpec(SingleStateSpec, SmootherSpec):
    """4D-Var in which the model may err: x_{k+1} = M(x_k) + η_k with η of the covariance Q at every record.

    Q is the step's `model_noise`, or what a fitted model states of itself. Windows do not overlap, so that
    each goes on from the state, errors included, at which the last one ended.
    """

    kind: Literal["var4d_weak"] = "var4d_weak"
    form: Literal["forcing", "state"] = "forcing"
    """What is linearised about: `forcing`, the forecast from the start with its errors; `state`, the states
    of all records, whose forecasts by one record run side by side. Both end at the same minimum."""

    reference = "Tremolet 2006; the state form by the linear system in increments and errors"

    @model_validator(mode="after")
    def _windows_meet(self) -> "Var4DWeakSpec":
        if self.shift != self.lag:
            raise ValueError(
                f"shift: {self.shift} is not lag, {self.lag}, and windows of weak 4D-Var do not overlap; "
                "set them equal"
            )
        if self.form == "state" and self.minimiser.inner == "cg":
            raise ValueError(
                "minimiser: the state form solves directly; use `inner: direct`, or `form: forcing`"
            )
        return self

    def build(self, setting: Setting) -> Smooth:
        """Return the analysis of a window.

        Raises:
            EmptySelection: Nothing is known of the model's error.
        """
        background, error = self.background.build(setting), model_error(setting)
        if self.form == "state":
            return StateForm(background, error, self.minimiser)
        return ForcingForm(background, error, self.minimiser)


def model_error(setting: Setting) -> Covariance:
    """Return Q.

    Raises:
        EmptySelection: The setting holds none.
    """
    if setting.noise is not None:
        return Factor(setting.noise.mT[None])
    if setting.noise_std is not None:
        return Independent(setting.noise_std)
    raise EmptySelection(
        "weak 4D-Var needs the size of the model's error, and this model states none",
        "set `model_noise: {std: ...}`, or use `var4d`",
    )


class ForcingForm:
    """Controls are those of x_0 and of the errors; the forecast with them is linearised as it is."""

    def __init__(self, background: Background, error: Covariance, minimiser: Minimiser) -> None:
        self._background, self._error, self._minimiser = background, error, minimiser

    def __call__(
        self, ensemble: Float[Tensor, "batch 1 state"], window: Window, generator: torch.Generator
    ) -> Analysis:
        """Return the analysis at the start of the window, and its path."""
        misfit = Forced(ensemble, self._background(ensemble), self._error, window)
        found = minimise(misfit, ensemble, self._minimiser)
        states = misfit.states(found.v[:, None])
        return Analysis(states[0], found.figures, path=tuple(states[k] for k in window.steps))


class Forced(Misfit):
    """The misfit of the forecast from x_b + B^{1/2} v_0 with the errors Q^{1/2} v_k added to it."""

    def __init__(
        self, origin: Float[Tensor, "batch 1 state"], first: Covariance, error: Covariance, window: Window
    ) -> None:
        self._origin, self._first, self._error, self._window = origin, first, error, window
        self._ranks = [first.rank] + [error.rank] * window.steps[-1]
        self.rank = sum(self._ranks)

    def states(self, v: Float[Tensor, "batch member rank"]) -> list[Tensor]:
        """Return the state at every record of the window."""
        first, *errors = v.split(self._ranks, dim=2)
        states = [self._origin + self._first.root(first)]
        for error in errors:
            states.append(self._window.step(states[-1]) + self._error.root(error))
        return states

    def __call__(self, v: Float[Tensor, "batch member rank"]) -> Float[Tensor, "batch member obs"]:
        """Return the misfits of all times side by side."""
        states = self.states(v)
        parts = [misfit_of(self._window, place, states[k]) for place, k in enumerate(self._window.steps)]
        return torch.cat(parts, dim=2)


class Affine(NamedTuple):
    """States as functions of all controls: origin + directionsᵀ v."""

    origin: Float[Tensor, "batch 1 state"]
    directions: Float[Tensor, "batch rank state"]

    def of(self, v: Float[Tensor, "batch rank"]) -> Float[Tensor, "batch 1 state"]:
        """Return the state of a control."""
        return self.origin + v[:, None] @ self.directions


class StateForm:
    """The states of all records are the guess; each record's forecast is linearised about its own."""

    def __init__(self, background: Background, error: Covariance, minimiser: Minimiser) -> None:
        self._background, self._error, self._minimiser = background, error, minimiser

    def __call__(
        self, ensemble: Float[Tensor, "batch 1 state"], window: Window, generator: torch.Generator
    ) -> Analysis:
        """Return the analysis at the start of the window, and its path."""
        guess = [ensemble]
        for _ in range(window.steps[-1]):
            guess.append(window.step(guess[-1]))
        covariance, figures, first = self._background(ensemble), dict[str, Tensor](), None
        for _ in range(self._minimiser.iterations):
            states = self._linearised(ensemble, guess, covariance, window)
            d, L = _observed(guess, states, window)
            normal = Normal(L)
            figures = figures or normal.figures(d)
            v = normal.solve(d)
            new = [state.of(v) for state in states]
            change = torch.cat([a - b for a, b in zip(new, guess, strict=True)], dim=2).norm(dim=2)
            guess, first = new, change if first is None else first
            if bool((change <= self._minimiser.tolerance * first).all()):
                break
        return Analysis(guess[0], figures, path=tuple(guess[k] for k in window.steps))

    def _linearised(
        self, origin: Tensor, guess: list[Tensor], first: Covariance, window: Window
    ) -> list[Affine]:
        """Return x̂_0 = x_b + B^{1/2} v_0 and x̂_{k+1} = M(x_k) + M_k (x̂_k - x_k) + Q^{1/2} v_{k+1}."""
        batch, _, size = origin.shape
        count = len(guess) - 1
        directions = origin.new_zeros(batch, first.rank + count * self._error.rank, size)
        directions[:, : first.rank] = first.columns()
        states = [Affine(origin, directions)]
        if count == 0:
            return states
        # All records and directions at once, side by side as members.
        origins = torch.cat(guess[:-1], dim=1).repeat_interleave(size, dim=1)
        identity = torch.eye(size, dtype=origin.dtype, device=origin.device).repeat(batch, count, 1)
        one = next(replace(window, steps=(1,)).tangents(origins, identity))
        ahead, tangents = (part.unflatten(1, (count, size)) for part in one)
        error = self._error.columns()
        for k in range(count):
            before, M = states[-1], tangents[:, k]
            directions = before.directions @ M
            start = first.rank + k * self._error.rank
            directions[:, start : start + self._error.rank] += error
            states.append(Affine(ahead[:, k, :1] + (before.origin - guess[k]) @ M, directions))
        return states


def _observed(
    guess: list[Tensor], states: list[Affine], window: Window
) -> tuple[Float[Tensor, "batch obs"], Float[Tensor, "batch rank obs"]]:
    """Return the misfit of v = 0 and L, both by operators linearised about the guess."""
    misfits, rows = [], []
    for place, k in enumerate(window.steps):
        directions = torch.cat((states[k].origin - guess[k], states[k].directions), dim=1)
        points = guess[k].repeat(1, directions.shape[1], 1)
        d, change = pushed(partial(misfit_of, window, place), points, directions)
        misfits.append(d[:, 0] + change[:, 0])
        rows.append(-change[:, 1:])
    return torch.cat(misfits, dim=1), torch.cat(rows, dim=2)
