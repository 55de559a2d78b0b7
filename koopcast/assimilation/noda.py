"""A learned observer: the gain that the forecast model was trained with."""

from functools import partial
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from koopcast.assimilation.base import Analyse, Analysis, FilterSpec, Observed, Setting
from koopcast.assimilation.gridded import on_cells
from koopcast.dynamics import Correction
from koopcast.errors import InvalidInput


class NODASpec(FilterSpec):
    """One state, x_a = x_b + K(x_b)[m (y - E(x_b))] with gain K and observation operator E of the forecast
    model; it states no spread.
    """

    kind: Literal["noda"] = "noda"

    reference = "Singh, Borsoi, Erdogmus and Imbiriba 2024"

    def build(self, setting: Setting) -> Analyse:
        """Return the model's own correction."""
        if setting.correction is None:
            raise InvalidInput(
                "the forecast model has no gain to correct with",
                "train a model that learns one (`model: noda`), or choose another method",
            )
        return partial(corrected, correction=setting.correction)

    def num_members(self) -> int:
        """Return 1."""
        return 1

    def needs_cells(self) -> bool:
        """Return True: observations are laid out on cells."""
        return True

    def needs_physical_state(self) -> bool:
        """Return True: measurements are laid out on the state's cells."""
        return True

    def needs_correction(self) -> bool:
        """Return True."""
        return True


def corrected(
    ensemble: Float[Tensor, "batch member state"],
    observed: Observed,
    generator: torch.Generator,
    *,
    correction: Correction,
) -> Analysis:
    """Return the corrected state; an experiment without a measurement keeps its background bit for bit."""
    state = ensemble[:, 0]
    value, mask = on_cells(observed.value, observed, state.shape[1])
    has_datum = (mask > 0).any(dim=1, keepdim=True)
    return Analysis(torch.where(has_datum, correction(state, value, mask), state)[:, None])
