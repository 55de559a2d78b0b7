"""The Koopman autoencoder: an encoder whose latent vectors move linearly."""

from collections.abc import Iterator
from typing import Literal

import torch
from pydantic import Field, NonNegativeFloat, PositiveInt, model_validator

from koopcast.koopman.autoencoder import Aims, KoopmanAutoencoder
from koopcast.koopman.encoders import AnyEncoder, Ends
from koopcast.koopman.latent import LatentSpec
from koopcast.mapping import Signature
from koopcast.spec import Problem

RIDGE = 0.1
"""Default of `ridge`."""


class AutoencoderSpec(LatentSpec):
    """Options that Koopman autoencoders share."""

    latent_dim: int = Field(24, ge=2, le=4096)
    """Entries d of a latent vector."""
    encoder: AnyEncoder = Field(default="mlp", validate_default=True)
    """From frames to latent vectors, and back."""
    operator: Literal["learned", "ridge"] = "learned"
    """K: a parameter, or the ridge regression of the latent windows at hand."""
    ridge: NonNegativeFloat | None = None
    """Added to the diagonal of ZᵀZ of a window, for `operator: ridge` alone; default: 0.1."""
    window: PositiveInt = 10
    """Latent vectors of a training window."""
    rollout_steps: PositiveInt = 1
    """Latent steps that are compared with the records, from each time of a window."""
    beta: NonNegativeFloat = 1.0
    """Weight β of the departure of latent forecasts."""

    @model_validator(mode="after")
    def _windows_hold_the_rollout(self) -> "AutoencoderSpec":
        if self.window <= self.rollout_steps:
            raise ValueError(
                f"window: {self.window} is not above rollout_steps {self.rollout_steps}; raise it to at "
                f"least {self.rollout_steps + 1}"
            )
        if self.operator == "ridge" and self.encoder.kind == "identity":
            raise ValueError(
                "operator: ridge with the encoder 'identity' leaves nothing to train; use "
                "learned, or the model dmd"
            )
        if self.operator == "learned" and self.ridge is not None:
            raise ValueError("ridge: a learned operator has none; remove it, or set operator: ridge")
        return self

    def num_frames(self, signature: Signature, rollout: int) -> int:
        """Return the records of a window."""
        return self.history + self.window - 1

    def faults(self, signature: Signature) -> Iterator[Problem]:
        """Refuse what the encoder cannot take."""
        yield from super().faults(signature)
        yield from self.encoder.faults(self.ends(signature))

    def build(self, signature: Signature, generator: torch.Generator) -> KoopmanAutoencoder:
        """Return the untrained network."""
        return KoopmanAutoencoder(self.encoder, self.ends(signature), self.history, self.aims(), generator)

    def ends(self, signature: Signature) -> Ends:
        """Return what the encoder takes and the decoder returns."""
        return Ends(signature.axes, signature.channels_in, len(signature.outputs), self.latent_dim)

    @property
    def penalty(self) -> float:
        """What is added to the diagonal."""
        return RIDGE if self.ridge is None else self.ridge

    def aims(self) -> Aims:
        """Return what training makes small."""
        return Aims(self.operator == "learned", self.penalty, self.rollout_steps, self.beta)


class KoopmanAESpec(AutoencoderSpec):
    """Latent vectors z of frames x with a linear map K: training makes |x - g(z)|² + |x' - g(z K)|² +
    β |z' - z K|² small, g being the decoder, and the first two as `training.loss` measures them.
    """

    kind: Literal["koopman_ae"] = "koopman_ae"

    reference = "Lusch, Kutz and Brunton 2018, Nature Communications 9; Takeishi, Kawahara and Yairi 2017"
