"""Models whose state is functions of the coordinates: eigenfunctions, or observables."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import xarray as xr
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from koopcast.grids import FieldsInfo
from koopcast.koopman.base import KoopmanModel
from koopcast.koopman.certificates import certificate_text
from koopcast.koopman.snapshots import delayed
from koopcast.koopman.spectrum import scaled_rows, times, to_complex
from koopcast.numerics.ridge import covariance_factor, ridge_regression

Features = Callable[[Float[Tensor, "batch coordinate"]], Float[Tensor, "batch observable"]]
MAX_STORED = 128
"""Pairs that a model keeps for its diagnostics, the most certain first."""


@dataclass(frozen=True)
class Eigenpairs:
    """Eigenpairs of a map of observables, the most certain first: φ(x) = ψ(x) · vector."""

    values: Complex[Tensor, " mode"]
    vectors: Complex[Tensor, "observable mode"]
    residuals: Float[Tensor, " mode"]


def modal_basis(
    pairs: Eigenpairs, is_kept: Bool[Tensor, " mode"]
) -> tuple[Float[Tensor, "observable state"], Float[Tensor, "state state"]]:
    """Return ψ ↦ real coordinates of the eigenfunctions that are kept, and the map of these coordinates.

    A real pair has one coordinate. A complex one has the real and the imaginary part of φ, and its conjugate
    none of its own: λ = a + ib turns (p, q) into (ap - bq, bp + aq).
    """
    columns: list[Tensor] = []
    blocks: list[Tensor] = []
    for index in torch.nonzero(is_kept)[:, 0].tolist():
        value, vector = pairs.values[index], pairs.vectors[:, index]
        if abs(float(value.imag)) <= 1e-12 * max(1.0, abs(complex(value))):
            part = vector.real if vector.real.norm() >= vector.imag.norm() else vector.imag
            columns.append(part[:, None])
            blocks.append(value.real.reshape(1, 1))
        elif value.imag > 0 or not _has_conjugate(pairs.values[is_kept], value):
            columns.append(torch.stack([vector.real, vector.imag], dim=1))
            a, b = float(value.real), float(value.imag)
            blocks.append(torch.tensor([[a, -b], [b, a]], dtype=value.real.dtype))
    return torch.cat(columns, dim=1).contiguous(), torch.block_diag(*blocks)


def _has_conjugate(values: Complex[Tensor, " mode"], value: Tensor) -> bool:
    return bool(((values - value.conj()).abs() <= 1e-9 * value.abs()).any())


def modal_tensors(
    before: Float[Tensor, "pair observable"],
    after: Float[Tensor, "pair observable"],
    frames: Float[Tensor, "pair component"],
    components: Float[Tensor, "value component"],
    latent: tuple[Float[Tensor, "observable state"], Float[Tensor, "state state"]],
    ridge: float,
) -> tuple[dict[str, Tensor], Float[Tensor, ""]]:
    """Return the tensors of a modal model, and the relative error of its frames one step ahead.

    Args:
        before: Observables of the states, weighted.
        after: Those one step later.
        frames: Components of the later frames, with the same weights.
        components: What leads from components to values.
        latent: Observables to coordinates of the state, and the map of these.
        ridge: Penalty of the regression of frames on coordinates.
    """
    encoder, operator = latent
    states, following = before @ encoder, after @ encoder
    # A coordinate of unit size is one that the penalty treats as the others.
    size = (states.square().mean(dim=0) + following.square().mean(dim=0)).sqrt()
    size = size.clamp_min(torch.finfo(size.dtype).tiny)
    readout = ridge_regression(following / size, frames, ridge).coefficients / size[:, None]
    ahead = states @ operator.mT
    tensors = {
        "encoder": encoder,
        "operator": operator.contiguous(),
        "noise": covariance_factor(following - ahead, float(len(operator))),
        "basis": (components @ readout.mT).contiguous(),
        "components": components,
    }
    return tensors, (frames - ahead @ readout).norm() / frames.norm()


def pair_tensors(
    pairs: Eigenpairs,
    is_verified: Bool[Tensor, " mode"],
    before: Float[Tensor, "pair observable"],
    frames: Float[Tensor, "pair component"],
) -> dict[str, Tensor]:
    """Return what the diagnostics show of the first pairs.

    The pattern of a pair is that of the frames that go with its eigenfunction, <φ, frames> / ‖φ‖² times the
    root mean square of φ: it needs no other pair. `eigenfunctions` leads from observables to φ of root mean
    square 1.
    """
    values, vectors = pairs.values[:MAX_STORED], pairs.vectors[:, :MAX_STORED]
    phi = times(before, vectors)
    size = torch.linalg.vector_norm(phi, dim=0).clamp_min(torch.finfo(phi.real.dtype).tiny)
    patterns = (phi.mH @ frames.to(phi.dtype)) / size[:, None] / len(before) ** 0.5
    return {
        "eigenfunctions": scaled_rows(vectors.mT, size / len(before) ** 0.5),
        "eigenvalues": torch.view_as_real(values).contiguous(),
        "eigenvectors": torch.view_as_real(patterns.contiguous()).contiguous(),
        "eigen_residuals": pairs.residuals[:MAX_STORED].contiguous(),
        "verified": is_verified[:MAX_STORED].contiguous(),
    }


class ModalModel(KoopmanModel):
    """The state is `encoder` applied to the observables of the coordinates.

    Tensors beside those of every Koopman model: `components` `(value, component)` of a frame, `encoder`
    `(observable, state)`, `verified` `(mode)`, `certificate`, and where they were asked for `pseudospectrum`
    `(re, im)` with `re` and `im`, `density` `(angle)` with `angle` and `atoms` `(mode)`. `basis` leads from
    state to frame.
    """

    def __init__(self, info: FieldsInfo, delays: int, tensors: dict[str, Tensor], features: Features) -> None:
        super().__init__(info, delays, tensors)
        self._features = features

    def encode(self, frames: Float[Tensor, "batch history *space channel"]) -> Float[Tensor, "batch state"]:
        """Return the coordinates of the frames' observables."""
        return self._observables(frames) @ self._tensors["encoder"]

    def eigenfunctions(
        self, frames: Float[Tensor, "batch history *space channel"]
    ) -> Complex[Tensor, "batch mode"]:
        """Return the eigenfunctions of all stored pairs, whether forecasts use them or not."""
        return times(self._observables(frames), to_complex(self._tensors["eigenfunctions"]).mT)

    def card(self) -> dict[str, float | int | str]:
        """Return the figures of the fit, and what the residuals certify."""
        return super().card() | {
            "rank": self._tensors["components"].shape[1],
            "spectral_radius": float(torch.linalg.eigvals(self._tensors["operator"]).abs().max()),
            "verified_pairs": int(self._tensors["verified"].sum()),
            "certificate": certificate_text(self._tensors),
        }

    def diagnostics(self) -> xr.Dataset:
        """Return eigenpairs with residuals and whether they are verified, pseudospectrum and density."""
        result = super().diagnostics()
        verified = self._tensors["verified"].numpy()
        text = "residual within the tolerance (1: yes)"
        result["verified"] = ("mode", verified.astype("int8"), {"units": "1", "long_name": text})
        if "pseudospectrum" in self._tensors:
            result = result.assign_coords(re=self._tensors["re"].numpy(), im=self._tensors["im"].numpy())
            attrs = {"units": "1", "long_name": "smallest residual of any function of the dictionary"}
            result["pseudospectrum"] = (("re", "im"), self._tensors["pseudospectrum"].numpy(), attrs)
        if "density" in self._tensors:
            result = result.assign_coords(angle=self._tensors["angle"].numpy())
            attrs = {"units": "1", "long_name": "spectral density of the leading component"}
            result["spectral_density"] = ("angle", self._tensors["density"].numpy(), attrs)
        if "atoms" in self._tensors:
            attrs = {
                "units": "1",
                "long_name": "power of the leading component at the angle of the eigenvalue",
            }
            result["atom_weight"] = ("mode", self._tensors["atoms"].numpy(), attrs)
        return result.assign_attrs(
            certificate=certificate_text(self._tensors),
            widening=float(self._tensors["certificate"][0]),
            norm="residuals are in the mean square over the training pairs, weighted",
        )

    def _observables(
        self, frames: Float[Tensor, "batch history *space channel"]
    ) -> Float[Tensor, "batch observable"]:
        components = self._normalised(frames) @ self._tensors["components"]
        return self._features(delayed(components, self.history)[:, -1])

    def _mode_values(self) -> Complex[Tensor, "mode value"]:
        patterns = to_complex(self._tensors["eigenvectors"])
        return patterns @ self._tensors["components"].mT.to(patterns.dtype)
