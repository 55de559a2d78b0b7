"""Three-dimensional variational analysis."""

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from koopcast.assimilation.backgrounds.base import Background, Covariance
from koopcast.assimilation.base import Analyse, Analysis, FilterSpec, Observed, Setting
from koopcast.assimilation.variational import Minimiser, Minimum, Misfit, Normal, minimise
from koopcast.assimilation.variational_options import SingleStateSpec


class Var3DSpec(SingleStateSpec, FilterSpec):
    """The minimum of ½ |x - x_b|² in B⁻¹ plus ½ |y - H(x)|² in R⁻¹, for a single state and a static B.

    Where observations are entries of the state it is one solve.
    """

    kind: Literal["var3d"] = "var3d"

    reference = "Lorenc 1986; Parrish and Derber 1992"

    def build(self, setting: Setting) -> Analyse:
        """Return the analysis."""
        return Var3D(self.background.build(setting), setting, self.minimiser)


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
        return (self._observed.value[:, None] - self._observed.seen(state)) * self._observed.scale[:, None]

    def linearised(
        self, v: Float[Tensor, "batch 1 rank"]
    ) -> tuple[Float[Tensor, "batch obs"], Float[Tensor, "batch rank obs"]]:
        """Return d(v) and L, which is a selection of columns where observations are entries of the state."""
        observed = self._observed
        if observed.see is not None or observed.cell is None:
            return super().linearised(v)
        return self(v)[:, 0], selected(self._covariance.columns(), observed.cell, observed.scale)


def selected(
    columns: Float[Tensor, "_ rank state"], cell: Int[Tensor, "batch obs"], scale: Float[Tensor, "batch obs"]
) -> Float[Tensor, "_ rank obs"]:
    """Return whitened entries of the columns of B^{1/2}."""
    batch = max(len(cell), len(columns))
    index = cell[:, None].expand(batch, columns.shape[1], -1)
    return columns.expand(batch, -1, -1).gather(2, index) * scale[:, None]


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
            found = Minimum(normal.solve(d[:, 0]), normal.figures(d[:, 0]), normal.solve, normal)
        else:
            found = minimise(Observing(ensemble, covariance, observed), ensemble, self._spec)
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
        self._kept = cell, scale, Normal(selected(covariance.columns(), rows, scales))
        return self._kept[2]
