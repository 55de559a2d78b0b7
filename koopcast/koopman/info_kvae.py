"""The variational Koopman autoencoder whose latent space is shaped by information."""

from typing import Literal

from pydantic import NonNegativeFloat, model_validator

from koopcast.koopman.info_kae import InformationSpec


class InfoKVAESpec(InformationSpec):
    """A Koopman autoencoder whose encoder gives a distribution, N(μ(x), σ²(x)), and whose latent steps are
    the prior, N(z K, Σ): training makes α I + γ S(P) + log p(x | z) + β (E log p(z' | z) + H) large, H the
    entropy of the encoder's distribution.

    The last term is minus the divergence of encoder and prior, here in nats per value of a frame;
    `training.loss` measures reconstructions and forecasts of latent vectors that are drawn. In use the latent
    vector is the mean.
    """

    kind: Literal["info_kvae"] = "info_kvae"
    beta: NonNegativeFloat = 0.01
    """Weight β of the divergence: with the loss `mse` twice the variance of the errors that the decoder is
    allowed, in units of the normalised fields."""

    is_variational = True
    reference = (
        "Cheng et al. 2026, Information shapes Koopman representation, ICLR, the variational form; drawn "
        "latent vectors: Kingma and Welling 2014. Σ is diagonal and learned, and the first vector of a "
        "window has the prior N(0, 1)"
    )

    @model_validator(mode="after")
    def _encoder_gives_a_distribution(self) -> "InfoKVAESpec":
        if self.encoder.kind == "identity":
            raise ValueError(
                "encoder: 'identity' has no distribution; use mlp or conv, or the model info_kae"
            )
        return self
