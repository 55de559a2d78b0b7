"""Error of every band of wavenumbers with the same weight."""

from collections.abc import Iterator
from typing import Literal

from jaxtyping import Float
from pydantic import Field, NonNegativeFloat
from torch import Tensor

from koopcast.grids import FieldsInfo
from koopcast.losses.base import LossSpec, Measure
from koopcast.losses.rel_l2 import TINY, RelativeL2Spec
from koopcast.losses.waves import faulty_axes
from koopcast.numerics.sobolev import energies, shells, sides
from koopcast.spec import Problem


class SpectralSpec(LossSpec):
    """Error of the waves of a field shell by shell of |k|, the mean over the shells, beside `rel_l2`.

    With E_j(r) = Σ_{k in shell j} |r̂(k)|², whose sum is the mean of r²: `waves` is the mean over shells of
    √(E_j(p - u) / E_j(u)); `amplitude` that of |√E_j(p) - √E_j(u)| / √E_j(u); `log_energy` that of
    |log E_j(p) - log E_j(u)|. The last two know nothing of phases, so that `values` should not be 0. A closed
    axis is transformed by cosines.
    """

    kind: Literal["spectral"] = "spectral"
    compare: Literal["waves", "amplitude", "log_energy"] = "waves"
    """What is compared in each shell."""
    weight: NonNegativeFloat = 1.0
    """Weight of the shells."""
    values: NonNegativeFloat = 1.0
    """Weight of `rel_l2`."""
    floor: float = Field(1e-6, gt=0, lt=1)
    """Energies below this share of the target's mean square are raised to it: noise has no scale."""

    reference = "energy spectra as training target; bands weighted alike (Cao et al. 2025 compare by shells)"

    def check(self, fields: FieldsInfo) -> Iterator[Problem]:
        """Refuse what has no waves, and a loss without weight."""
        yield from faulty_axes(fields)
        if self.weight == 0 and self.values == 0:
            yield Problem(("weight",), "weight and values are both 0; raise one")

    def measure(
        self,
        prediction: Float[Tensor, "batch *space channel"],
        target: Float[Tensor, "batch *space channel"],
        measure: Measure,
    ) -> Float[Tensor, ""]:
        """Return values · rel_l2 + weight · mean over batch, channels and shells."""
        by_values = RelativeL2Spec().measure(prediction, target, measure)
        prediction, target = prediction * measure.valid[..., None], target * measure.valid[..., None]
        of_target = self._shells(target, measure)
        floor = self.floor * of_target.sum(1, keepdim=True).clamp_min(measure.rms.square() * self.floor)
        floor = floor.where(floor > 0, 1.0)
        if self.compare == "waves":
            error = self._shells(prediction - target, measure)
            by_shell = (error / of_target.clamp_min(floor) + TINY).sqrt().mean()
        else:
            ratio = (self._shells(prediction, measure) + floor) / (of_target + floor)
            apart = ratio.log() if self.compare == "log_energy" else ratio.sqrt() - 1
            by_shell = apart.abs().mean()
        return self.values * by_values + self.weight * by_shell

    def _shells(
        self, field: Float[Tensor, "batch *space channel"], measure: Measure
    ) -> Float[Tensor, "batch shell channel"]:
        box = sides(measure.axes)
        number = shells(box, field.device).flatten()
        energy = energies(field, box).flatten(1, -2)
        total = energy.new_zeros(len(energy), int(number.max()) + 1, energy.shape[-1])
        return total.index_add(1, number, energy)
