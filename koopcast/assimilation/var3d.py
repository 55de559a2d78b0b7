"""Three-dimensional variational analysis."""

from collections.abc import Iterator
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field, field_validator
from torch import Tensor

from koopcast.assimilation.backgrounds import AnyBackground
from koopcast.assimilation.backgrounds.base import Background, Covariance
from koopcast.assimilation.base import Analyse, Analysis, FilterSpec, Observed, Setting
from koopcast.assimilation.variational import Minimiser, Minimum, Misfit, Normal, minimise
from koopcast.grids import FieldsInfo
from koopcast.spec import Problem


class Var3DSpec(FilterSpec):
    """The minimum of ½ |x - x_b|² in B⁻¹ plus ½ |y - H(x)|² in R⁻¹, for a single state and a static B.

    Where observations are entries of the state it is one solve.
    """

    kind: Literal["var3d"] = "var3d"
    background: AnyBackground = Field(default="climatological", validate_default=True)
    """The covariance B of the error of a forecast."""
    minimiser: Minimiser = Minimiser()
    """How the cost is minimised where the observation operator is not linear."""

    reference = "Lorenc 1986; Parrish and Derber 1992"

    @field_validator("background")
    @classmethod
    def _is_static(cls, background: AnyBackground) -> AnyBackground:
        return static(background)

    def num_members(self) -> int:
        """Return 1."""
        return 1

    def needs_climatology(self) -> bool:
        """Return whether B does."""
        return self.background.needs_climatology()

    def needs_physical_state(self) -> bool:
        """Return whether B does."""
        return self.background.needs_physical_state()

    def check(self, fields: FieldsInfo) -> Iterator[Problem]:
        """Pass on what B refuses."""
        yield from (problem.below("background") for problem in self.background.check(fields))

    def build(self, setting: Setting) -> Analyse:
        """Return the analysis."""
        return Var3D(self.background.build(setting), setting, self.minimiser)


def static(background: AnyBackground) -> AnyBackground:
    """Return a covariance that needs no ensemble; refuse others."""
    if background.needs_ensemble():
        raise ValueError(
            f"background: '{background.kind}' is estimated from an ensemble, and this method has a single "
            "state; choose another, or method `envar`"
        )
    return background


class Observing(Misfit):
    """The misfit of x_b + B^{1/2} v at one observation time."""

    def __init__(
        self, origin: Float[Tensor, "batch 1 state"], covariance: Covariance, observed: Observed
    ) -> None:
        self._origin, self._covariance, self._observed = origin, covariance, observed
        self.rank = covariance.rank

    def __call__(self, v: Float[Tensor, "batch member rank"]) -> Float[Tensor, "batch member obs"]:
        """Return (y - H(x_b + B^{1/2} v)) / σ."""
        state = self._origin + self._covariance.root(v)
        return (self._observed.value[:, None] - seen(self._observed, state)) * self._observed.scale[:, None]


def seen(observed: Observed, ensemble: Float[Tensor, "batch member state"]) -> Tensor:
    """Return what is observed of each member: `(batch, member, obs)`."""
    if observed.see is not None:
        return observed.see(ensemble)
    assert observed.cell is not None, "the observed cells are given"
    return ensemble.gather(2, observed.cell[:, None].expand(-1, ensemble.shape[1], -1))


class Var3D:
    """3D-Var; where sites and errors stay the same, so does the gain, and it is kept."""

    def __init__(self, background: Background, setting: Setting, spec: Minimiser) -> None:
        self._background, self._spec = background, spec
        self._states_are_cells = setting.active is not None
        self._kept: tuple[Tensor, Tensor, Normal] | None = None

    def __call__(
        self, ensemble: Float[Tensor, "batch 1 state"], observed: Observed, generator: torch.Generator
    ) -> Analysis:
        """Return the analysis and the standard deviation that it states."""
        covariance = self._background(ensemble)
        if observed.see is None and self._spec.is_direct(covariance.rank):
            normal = self._gain(covariance, observed)
            d = Observing(ensemble, covariance, observed)(
                ensemble.new_zeros(len(ensemble), 1, covariance.rank)
            )
            found = Minimum(normal.solve(d[:, 0]), normal.figures(d[:, 0]), normal)
        else:
            start = ensemble.new_zeros(len(ensemble), covariance.rank)
            found = minimise(Observing(ensemble, covariance, observed), start, self._spec)
        std = None
        if found.normal is not None and self._states_are_cells:
            std = found.normal.reduced(covariance.columns()).sqrt().expand(len(ensemble), -1)
        return Analysis(ensemble + covariance.root(found.v[:, None]), found.figures, std)

    def _gain(self, covariance: Covariance, observed: Observed) -> Normal:
        """Return the normal equations of a selection of entries, one where experiments share them."""
        cell, scale = observed.cell, observed.scale
        assert cell is not None, "the observed cells are given"
        if self._kept is not None and self._kept[0] is cell and torch.equal(self._kept[1], scale):
            return self._kept[2]
        is_shared = bool((cell == cell[:1]).all()) and bool((scale == scale[:1]).all())
        rows, scales = (cell[:1], scale[:1]) if is_shared else (cell, scale)
        columns = covariance.columns()
        batch = max(len(rows), len(columns))
        index = rows[:, None].expand(batch, columns.shape[1], -1)
        L = columns.expand(batch, -1, -1).gather(2, index) * scales[:, None]
        self._kept = cell, scale, Normal(L)
        return self._kept[2]
