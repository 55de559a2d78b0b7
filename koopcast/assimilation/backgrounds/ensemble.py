"""The sampled covariance of the ensemble, localised."""

import math
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field, PositiveFloat
from torch import Tensor

from koopcast.assimilation.backgrounds.base import Background, BackgroundSpec, Covariance, Factor
from koopcast.assimilation.base import Setting
from koopcast.assimilation.localization import AnyLocalization, LocalizationSpec, Taper
from koopcast.numerics.ensembles import split


class EnsembleBackgroundSpec(BackgroundSpec):
    """B = ρ ∘ P, the sampled covariance of the ensemble times a taper, entry by entry.

    B^{1/2} v is the sum over members of X_m / √(N-1) times ρ^{1/2} v_m.
    """

    kind: Literal["ensemble"] = "ensemble"
    localization: AnyLocalization = Field(default="none", validate_default=True)
    """How covariances fall with distance."""
    kept: float = Field(0.9999, gt=0, le=1)
    """Share of the trace of ρ that its leading eigenvectors hold; their sum is scaled to a diagonal of 1."""
    factor: PositiveFloat = 1.0
    """Factor on B."""

    reference = "Lorenc 2003; Buehner 2005"

    def build(self, setting: Setting) -> Background:
        """Return the covariance of an ensemble, with the root of ρ formed once."""
        root = self.factor**0.5
        if self.localization.is_global():
            return lambda ensemble: Factor(_anomalies(ensemble) * root)
        taper = root_of_taper(self.localization, setting, self.kept) * root
        return lambda ensemble: Localised(_anomalies(ensemble), taper, setting.num_channels)

    def needs_ensemble(self) -> bool:
        """Return True."""
        return True

    def needs_physical_state(self) -> bool:
        """Return whether there is a taper."""
        return not self.localization.is_global()


def _anomalies(ensemble: Float[Tensor, "batch member state"]) -> Float[Tensor, "batch member state"]:
    scaled: Tensor = split(ensemble)[1] / max(1, ensemble.shape[1] - 1) ** 0.5
    return scaled


class Localised(Covariance):
    """B = Σ_m diag(X_m) ρ diag(X_m); a control holds one field of coefficients of ρ^{1/2} a member."""

    def __init__(
        self,
        anomalies: Float[Tensor, "batch member state"],
        taper: Float[Tensor, "point mode"],
        num_channels: int,
    ) -> None:
        self._X, self._taper, self._channels = anomalies, taper, num_channels
        self.rank = anomalies.shape[1] * taper.shape[1]

    def root(self, control: Float[Tensor, "batch member rank"]) -> Float[Tensor, "batch member state"]:
        """Return Σ_m X_m ∘ ρ^{1/2} v_m."""
        fields = control.unflatten(2, (-1, self._taper.shape[1])) @ self._taper.mT
        weights = fields.repeat_interleave(self._channels, dim=3)
        increment: Tensor = (weights * self._X[:, None]).sum(dim=2)
        return increment

    def transposed(self, state: Float[Tensor, "batch member state"]) -> Float[Tensor, "batch member rank"]:
        """Return ρ^{T/2} (X_m ∘ x) of every m."""
        products = (state[:, :, None] * self._X[:, None]).unflatten(3, (-1, self._channels)).sum(dim=4)
        control: Tensor = (products @ self._taper).flatten(2)
        return control

    def columns(self) -> Float[Tensor, "_ rank state"]:
        """Return X_m ∘ column r of ρ^{1/2}, the modes r fastest."""
        modes = self._taper.mT.repeat_interleave(self._channels, dim=1)
        return (self._X[:, :, None] * modes).flatten(1, 2)


def root_of_taper(spec: LocalizationSpec, setting: Setting, kept: float) -> Float[Tensor, "point mode"]:
    """Return ρ^{1/2} of the taper between all grid points, by its leading eigenvectors.

    Raises:
        EmptySelection: The state has no cells with positions.
    """
    taper = Taper.of(spec, setting)
    assert setting.domain is not None
    device = None if setting.active is None else setting.active.device
    every = torch.arange(math.prod(setting.domain.shape), device=device) * setting.num_channels
    eigenvalues, vectors = torch.linalg.eigh(taper.to_obs(every[None])[0])
    eigenvalues, vectors = eigenvalues.flip(0).clamp_min(0), vectors.flip(1)
    shares = eigenvalues.cumsum(0) / eigenvalues.sum()
    count = int((shares < kept).sum()) + 1
    root = vectors[:, :count] * eigenvalues[:count].sqrt()
    scaled: Tensor = root / root.square().sum(dim=1, keepdim=True).sqrt()
    return scaled
