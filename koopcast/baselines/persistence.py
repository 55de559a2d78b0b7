"""Persistence: what is stays."""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from koopcast.baselines.base import BaselineSpec
from koopcast.fields import FieldData
from koopcast.grids import Window


class PersistenceSpec(BaselineSpec):
    """The initial record, held."""

    kind: Literal["persistence"] = "persistence"

    reference = "Wilks 2019, section 9.1"
    uses_start = True

    def forecast(
        self, data: FieldData, starts: Sequence[int], leads: Sequence[int]
    ) -> Float[Tensor, "sample start lead *space channel"]:
        """Return x(t + lead) = x(t)."""
        first, last = min(starts), max(starts)
        frames = data.tensor(window=Window(data.view.samples, (first, last + 1)))
        held = frames[:, torch.tensor(starts) - first]
        return held[:, :, None].expand(-1, -1, len(leads), *held.shape[2:])
