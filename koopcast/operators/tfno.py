"""Tensorised Fourier neural operator: spectral weights as products of small factors."""

from typing import Literal

import torch

from koopcast.layers.factorised_weights import Factorization
from koopcast.mapping import Signature
from koopcast.operators.fno_network import FNO
from koopcast.operators.fourier import FourierSpec


class TFNOSpec(FourierSpec):
    """A Fourier neural operator whose spectral weights have a Tucker form of a tenth of the parameters."""

    kind: Literal["tfno"] = "tfno"
    factorization: Factorization = "tucker"
    """Form of the spectral weights: full tensors, or products of smaller ones (CP, Tucker, tensor train)."""

    reference = (
        "Kossaifi, Kovachki, Azizzadenesheli, Anandkumar 2024; complex numbers count as two parameters, and"
        " rank 1 takes full ranks"
    )

    def build(self, signature: Signature, generator: torch.Generator) -> FNO:
        """Return the untrained network for fields like these."""
        return FNO(self.architecture(signature), generator)
