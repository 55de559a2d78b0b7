"""No analysis at all: what the model does when nobody tells it anything."""

from typing import Literal

import torch
from jaxtyping import Float
from pydantic import PositiveInt
from torch import Tensor

from koopcast.assimilation.base import Analyse, Analysis, FilterSpec, Observed, Setting


class FreeRunSpec(FilterSpec):
    """The ensemble runs on, whatever is observed: the baseline that shows what observations bring."""

    kind: Literal["free_run"] = "free_run"
    members: PositiveInt = 20
    """Size of the ensemble."""

    reference = "the usual baseline of twin experiments"

    def build(self, setting: Setting) -> Analyse:
        """Return the identity."""
        return unchanged

    def num_members(self) -> int:
        """Return `members`."""
        return self.members


def unchanged(
    ensemble: Float[Tensor, "batch member state"], observed: Observed, generator: torch.Generator
) -> Analysis:
    """Return the ensemble as it is."""
    members = ensemble.shape[1]
    variance = observed.predicted.var(dim=1, correction=min(1, members - 1)) * observed.scale.square()
    delta = (observed.value - observed.predicted.mean(dim=1)) * observed.scale
    figures = {
        "degrees_of_freedom": torch.zeros_like(delta[:, 0]),
        "chi_square": (delta.square() / (1 + variance)).sum(dim=1),
    }
    return Analysis(ensemble, figures)
