"""Fourier neural operator."""

from typing import Literal

import torch

from koopcast.mapping import Signature
from koopcast.operators.fno_network import FNO
from koopcast.operators.fourier import FourierSpec


class FNOSpec(FourierSpec):
    """Blocks that add a learned multiplier of the low Fourier modes to a pointwise map; 1 to 3 space axes."""

    kind: Literal["fno"] = "fno"

    reference = (
        "Li et al. 2021; blocks as in the neuraloperator library 2.0 (Kossaifi et al. 2024), but odd"
        " grids and rescaled grids are exact"
    )

    def build(self, signature: Signature, generator: torch.Generator) -> FNO:
        """Return the untrained network for fields like these."""
        return FNO(self.architecture(signature), generator)
