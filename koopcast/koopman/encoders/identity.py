"""The values themselves."""

from collections.abc import Iterator
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from koopcast.koopman.encoders.base import EncoderSpec, Ends
from koopcast.spec import Problem


class IdentitySpec(EncoderSpec):
    """The latent vector holds the values of the frames: a linear model of them."""

    kind: Literal["identity"] = "identity"

    reference = "nothing is learned beside the operator"

    def encoder(self, ends: Ends, generator: torch.Generator) -> nn.Module:
        """Return the flattening."""
        return nn.Flatten()

    def decoder(self, ends: Ends, generator: torch.Generator) -> nn.Module:
        """Return the last frame."""
        return LastFrame(ends)

    def faults(self, ends: Ends) -> Iterator[Problem]:
        """Refuse another size than that of the frames."""
        values = ends.cells * ends.channels_in
        if ends.latent != values:
            yield Problem(
                ("latent_dim",),
                f"{ends.latent} is not {values}, the values of a state, which `identity` keeps; set it to "
                f"{values}",
            )


class LastFrame(nn.Module):
    """The newest variables of a flattened state."""

    def __init__(self, ends: Ends) -> None:
        super().__init__()
        self._shape = tuple(axis.size for axis in ends.axes)
        self._channels = ends.channels_in, ends.channels_out

    def forward(self, z: Float[Tensor, "batch latent"]) -> Float[Tensor, "batch *space channel"]:
        """Return the last frame."""
        given, asked = self._channels
        return z.reshape(z.shape[0], *self._shape, given)[..., given - asked :]
