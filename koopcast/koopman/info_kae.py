"""The Koopman autoencoder whose latent space is shaped by information, and the options of its likes."""

from typing import ClassVar, Literal

from pydantic import Field, NonNegativeFloat, PositiveInt, model_validator

from koopcast.koopman.autoencoder import Aims, Estimator
from koopcast.koopman.koopman_ae import AutoencoderSpec

MOST_GAUSSIAN = 64


class InformationSpec(AutoencoderSpec):
    """Options of autoencoders whose latent space is shaped by information."""

    operator: Literal["learned", "ridge"] = "ridge"
    """K: a parameter, or the ridge regression of the latent windows at hand."""
    alpha: NonNegativeFloat = 0.05
    """Weight α of the mutual information."""
    gamma: NonNegativeFloat = 0.02
    """Weight γ of the entropy. Noise has directions too: keep it small."""
    neighbours: PositiveInt = 3
    """Times k on each side that count as near."""
    temperature: float = Field(0.07, gt=0, le=10)
    """Of cosine similarities, for `mi_estimator: infonce`."""
    mi_estimator: Estimator = "infonce"
    """I: contrastive, neighbours against other times of a window; or that of the linear Gaussian model at a
    distance of k steps, in closed form, for latent_dim up to 64."""

    is_variational: ClassVar[bool] = False

    @model_validator(mode="after")
    def _windows_hold_neighbours(self) -> "InformationSpec":
        least = 2 * self.neighbours + 2
        if self.window < least:
            raise ValueError(
                f"window: {self.window} is below {least}, k = {self.neighbours} neighbours on both sides, "
                "the time itself and one to tell apart; raise window or lower neighbours"
            )
        if self.mi_estimator == "gaussian" and self.latent_dim > MOST_GAUSSIAN:
            raise ValueError(
                f"latent_dim: {self.latent_dim} is above {MOST_GAUSSIAN}, the limit of the Gaussian "
                "estimator; lower it, or use infonce"
            )
        return self

    def aims(self) -> Aims:
        """Return what training makes small."""
        return Aims(
            self.operator == "learned",
            self.penalty,
            self.rollout_steps,
            self.beta,
            self.alpha,
            self.gamma,
            self.neighbours,
            self.temperature,
            self.mi_estimator,
            self.is_variational,
        )


class InfoKAESpec(InformationSpec):
    """A Koopman autoencoder that also makes α I + γ S(P) large: I is the mutual information of latent vectors
    that are near in time, which keeps them coherent, and S the von Neumann entropy of the normalised latent
    covariance P, which keeps modes from collapsing; exp(S) is the effective dimension.

    `training.loss` measures reconstructions and forecasts.
    """

    kind: Literal["info_kae"] = "info_kae"

    reference = (
        "Cheng et al. 2026, Information shapes Koopman representation, ICLR; the entropy is made large, as "
        "in the paper, where the authors' code makes it small; the regression is over all windows of a batch"
    )
