"""The network of Koopman autoencoders, and what their training makes small."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
import xarray as xr
from jaxtyping import Complex, Float
from torch import Tensor, nn

from koopcast.koopman.encoders import AnyEncoder, Ends
from koopcast.koopman.latent import LatentModel, LatentNetwork
from koopcast.koopman.spectrum import times
from koopcast.models import Compare, Context, NetworkModel
from koopcast.numerics.information import (
    covariance,
    gaussian_divergence,
    gaussian_information,
    info_nce,
    von_neumann_entropy,
)

Estimator = Literal["infonce", "gaussian"]
FIGURES = ("effective_dim", "info_nce", "mi", "latent_error")
"""Numbers that a trained network keeps of itself."""
NOISE_FLOOR = 1e-6
"""Share of the mean latent variance added to the covariance of residuals, so that its determinant exists."""


@dataclass(frozen=True)
class Aims:
    """What a training makes small; the words are those of the options."""

    is_learned: bool
    """Whether the operator is a parameter; else ridge regression gives it."""
    ridge: float
    rollout_steps: int
    beta: float
    alpha: float = 0.0
    gamma: float = 0.0
    neighbours: int = 3
    temperature: float = 0.07
    estimator: Estimator = "infonce"
    is_variational: bool = False
    """Whether latent vectors are drawn, and β weighs a divergence in place of the departures."""


class KoopmanAutoencoder(LatentNetwork):
    """z = encoder(x), z' = z K, x = decoder(z): latent vectors are rows.

    A learned K is a parameter and begins as the identity. Otherwise K is the ridge regression of the latent
    windows at hand, through which no gradient flows, and after training that of all windows.

    A variational one has latent vectors from N(μ(x), σ²(x)) in training, and μ(x) in use; z' from N(z K, Σ)
    and the first vector of a window from N(0, 1) are the prior, Σ a parameter.
    """

    operator: Tensor
    noise_matrix: Tensor
    figures: Tensor

    def __init__(
        self, encoder: AnyEncoder, ends: Ends, history: int, aims: Aims, generator: torch.Generator
    ) -> None:
        super().__init__()
        width = 2 * ends.latent if aims.is_variational else ends.latent
        self.encoder = encoder.encoder(replace(ends, latent=width), generator)
        self.decoder = encoder.decoder(ends, generator)
        self.history, self.aims = history, aims
        if aims.is_learned:
            self.operator = nn.Parameter(torch.eye(ends.latent))
        else:
            self.register_buffer("operator", torch.eye(ends.latent, dtype=torch.float64))
        if aims.is_variational:
            self.log_noise = nn.Parameter(torch.zeros(ends.latent))
        self.register_buffer("noise_matrix", torch.zeros(ends.latent, ends.latent, dtype=torch.float64))
        self.register_buffer("figures", torch.full((len(FIGURES),), torch.nan, dtype=torch.float64))

    def encode(self, frames: Float[Tensor, "batch frame *space channel"]) -> Float[Tensor, "batch latent"]:
        """Return the latent vector of `history` frames, the mean of a variational one."""
        return self._coded(frames)[:, : len(self.operator)]

    def _coded(self, frames: Float[Tensor, "batch frame *space channel"]) -> Float[Tensor, "batch code"]:
        code: Tensor = self.encoder(frames.movedim(1, -2).flatten(-2))
        return code

    def step(self, z: Float[Tensor, "batch latent"]) -> Float[Tensor, "batch latent"]:
        """Return z K."""
        following: Tensor = z @ self.operator.to(z.dtype)
        return following

    def decode(self, z: Float[Tensor, "batch latent"]) -> Float[Tensor, "batch *space channel"]:
        """Return the last frame."""
        x: Tensor = self.decoder(z)
        return x

    def latents(
        self, frames: Float[Tensor, "batch frame *space channel"]
    ) -> Float[Tensor, "batch time latent"]:
        """Return the latent vectors that end at each frame from the `history`-th on."""
        return self._codes(frames)[..., : len(self.operator)]

    def _codes(
        self, frames: Float[Tensor, "batch time *space channel"]
    ) -> Float[Tensor, "batch state_time code"]:
        count = frames.shape[1] - self.history + 1
        stacked = torch.stack([frames[:, n : n + self.history] for n in range(count)], dim=1)
        codes: Tensor = self._coded(stacked.flatten(0, 1)).unflatten(0, stacked.shape[:2])
        return codes

    def objective(
        self,
        run: Float[Tensor, "batch frame *space channel"],
        model: NetworkModel,
        compare: Compare,
        context: Context,
    ) -> Float[Tensor, ""]:
        """Return reconstruction + forecasts + β latent forecasts - α I - γ S(P) of a batch of windows.

        A variational one has KL / (values of a frame) in place of the latent forecasts.
        """
        assert isinstance(model, LatentModel)
        aims, truth = self.aims, run[:, self.history - 1 :]
        codes = self._codes(model.features(run))
        Z = self._drawn(codes, context)
        K = self.operator if aims.is_learned else regression(Z.detach(), aims.ridge)

        def departure(latents: Tensor, first: int) -> Tensor:
            return compare(model.decode(latents.flatten(0, 1)), truth[:, first:].flatten(0, 1))

        ahead, forecasts, drifts = Z, [], []
        for steps in range(1, aims.rollout_steps + 1):
            ahead = ahead[:, :-1] @ K
            forecasts.append(departure(ahead, steps))
            drifts.append((Z[:, steps:] - ahead).square().mean())
        total = departure(Z, 0) + torch.stack(forecasts).mean()
        if aims.is_variational:
            total = total + aims.beta * self._divergence(codes, Z, K) / truth[0, 0].numel()
        else:
            total = total + aims.beta * torch.stack(drifts).mean()
        if aims.alpha > 0:
            total = total - aims.alpha * self._information(Z, K)
        if aims.gamma > 0:
            total = total - aims.gamma * von_neumann_entropy(covariance(Z.flatten(0, 1).double())).float()
        return total

    def _drawn(
        self, codes: Float[Tensor, "batch time code"], context: Context
    ) -> Float[Tensor, "batch time latent"]:
        """Return latent vectors, with their noise where a variational one is trained."""
        mean = codes[..., : len(self.operator)]
        if not (self.aims.is_variational and context.is_training):
            return mean
        noise = torch.randn(mean.shape, generator=context.generator).to(mean)
        return mean + (codes[..., len(self.operator) :] / 2).exp() * noise

    def _divergence(
        self,
        codes: Float[Tensor, "batch time code"],
        Z: Float[Tensor, "batch time latent"],
        K: Float[Tensor, "latent latent"],
    ) -> Float[Tensor, ""]:
        """Return the mean of KL(N(μ, σ²) ‖ prior) over the times of windows, the prior that of the vector
        before.
        """
        mean, log_variance = codes.split(len(K), dim=-1)
        first = gaussian_divergence(mean[:, :1], log_variance[:, :1], 0.0, 0.0)
        others = gaussian_divergence(mean[:, 1:], log_variance[:, 1:], Z[:, :-1] @ K, self.log_noise)
        return torch.cat([first, others], dim=1).mean()

    def _information(
        self, Z: Float[Tensor, "batch time latent"], K: Float[Tensor, "latent latent"]
    ) -> Float[Tensor, ""]:
        """Return the mutual information of a latent vector and its neighbours in time, up to a constant."""
        if self.aims.estimator == "infonce":
            return -info_nce(Z, self.aims.neighbours, self.aims.temperature)
        Z, K = Z.double(), K.double()
        C = covariance(Z.flatten(0, 1))
        residual = (Z[:, 1:] - Z[:, :-1] @ K).flatten(0, 1)
        return gaussian_information(C, K, _with_floor(covariance(residual), C), self.aims.neighbours).float()

    def conclude(self, runs: Callable[[], Iterator[Tensor]]) -> None:
        """Set the operator, the covariance of its residuals and the figures from all training windows.

        They are read twice, a batch at a time.
        """
        aims, k, sums, nce, windows = self.aims, self.aims.neighbours, Sums(len(self.operator)), 0.0, 0
        for Z in map(self._latents_in_double, runs()):
            sums.add(Z)
            windows += len(Z)
            is_long = Z.shape[1] >= 2 * k + 2
            nce += len(Z) * float(info_nce(Z, k, aims.temperature)) if is_long else torch.nan
        if not aims.is_learned:
            self.operator.copy_(solved(sums.gram / windows, sums.cross / windows, aims.ridge))
        K = self.operator.double()
        self.noise_matrix.zero_()
        for Z in map(self._latents_in_double, runs()):
            residual = (Z[:, 1:] - Z[:, :-1] @ K).flatten(0, 1)
            self.noise_matrix.add_(residual.mT @ residual / sums.pairs)
        C = sums.covariance()
        information = gaussian_information(C, K, _with_floor(self.noise_matrix, C))
        error = (self.noise_matrix.trace() / C.trace()).sqrt()
        dimension = von_neumann_entropy(C).exp()
        self.figures.copy_(torch.stack([dimension, torch.tensor(nce / windows), information, error]))

    def _latents_in_double(
        self, run: Float[Tensor, "batch frame *space channel"]
    ) -> Float[Tensor, "batch time latent"]:
        return self.latents(run).double()

    def noise(self) -> Float[Tensor, "latent rank"] | None:
        """Return the factor of the covariance of the residuals."""
        values, vectors = torch.linalg.eigh(self.noise_matrix)
        kept = values > values.max() * len(values) * torch.finfo(values.dtype).eps
        factor = vectors[:, kept] * values[kept].sqrt()
        return factor.to(torch.float32) if bool(kept.any()) else None

    def facts(self) -> dict[str, float | int | str]:
        """Return the figures that are known, and the spectral radius."""
        figures = dict(zip(FIGURES, self.figures.tolist(), strict=True))
        known: dict[str, float | int | str] = {n: value for n, value in figures.items() if np.isfinite(value)}
        return {**known, "spectral_radius": float(np.abs(self.eigenpairs()[0]).max())}

    def eigenpairs(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the eigenvalues of K, largest modulus first, and its eigenvectors as columns of norm 1."""
        values, vectors = np.linalg.eig(self.operator.detach().cpu().double().numpy())
        order = np.lexsort((-values.imag, -np.abs(values)))
        return values[order], vectors[:, order]

    def eigenfunctions(self, z: Float[Tensor, "batch latent"]) -> Complex[Tensor, "batch mode"]:
        """Return z r for each eigenvector r of K: a step multiplies it by its eigenvalue."""
        vectors = torch.from_numpy(self.eigenpairs()[1].astype(np.complex128)).to(z.device)
        return times(z.double(), vectors)

    def diagnostics(self) -> xr.Dataset:
        """Return the operator and its eigenvalues."""
        values = self.eigenpairs()[0]
        parts = {
            "eigenvalue_real": (values.real, "real part of the eigenvalue"),
            "eigenvalue_imag": (values.imag, "imaginary part of the eigenvalue"),
            "eigenvalue_abs": (np.abs(values), "modulus of the eigenvalue"),
        }
        arrays = {
            name: xr.DataArray(numbers, dims="mode", attrs={"units": "1", "long_name": text})
            for name, (numbers, text) in parts.items()
        }
        K = self.operator.detach().cpu().double().numpy()
        attributes = {"units": "1", "long_name": "operator of latent rows, z' = z K"}
        operator = xr.DataArray(K, dims=("latent", "latent_next"), attrs=attributes)
        return xr.Dataset({**arrays, "operator": operator})


class Sums:
    """Sums over latent windows: of rows, of their products, and of products with the rows that follow."""

    def __init__(self, latent: int) -> None:
        self.rows = torch.zeros(latent, dtype=torch.float64)
        self.products, self.gram, self.cross = (torch.zeros(3, latent, latent, dtype=torch.float64)).unbind()
        self.count = self.pairs = 0

    def add(self, Z: Float[Tensor, "batch time latent"]) -> None:
        """Take in windows."""
        every, X, Y = (part.flatten(0, 1) for part in (Z, Z[:, :-1], Z[:, 1:]))
        self.rows, self.products = self.rows.to(Z) + every.sum(0), self.products.to(Z) + every.mT @ every
        self.gram, self.cross = self.gram.to(Z) + X.mT @ X, self.cross.to(Z) + X.mT @ Y
        self.count, self.pairs = self.count + len(every), self.pairs + len(X)

    def covariance(self) -> Float[Tensor, "latent latent"]:
        """Return the centred covariance of the rows."""
        mean = self.rows / self.count
        return self.products / self.count - torch.outer(mean, mean)


def regression(Z: Float[Tensor, "batch time latent"], ridge: float) -> Float[Tensor, "latent latent"]:
    """Return K = (ZᵀZ + ρ)⁻¹ ZᵀZ' of rows z' ≈ z K, products being means over the windows; ρ is `ridge`.

    Computed in double precision. With ρ = 0 it is the solution of smallest norm.
    """
    X, Y = Z[:, :-1].double().flatten(0, 1), Z[:, 1:].double().flatten(0, 1)
    return solved(X.mT @ X / len(Z), X.mT @ Y / len(Z), ridge).to(Z.dtype)


def solved(
    G: Float[Tensor, "latent latent"], A: Float[Tensor, "latent latent"], ridge: float
) -> Float[Tensor, "latent latent"]:
    """Return (G + ρ)⁻¹ A, with ρ = 0 by the pseudo-inverse."""
    if ridge == 0:
        inverse: Tensor = torch.linalg.pinv(G, hermitian=True)
        return inverse @ A
    K: Tensor = torch.linalg.solve(G + ridge * torch.eye(len(G), dtype=G.dtype, device=G.device), A)
    return K


def _with_floor(noise: Float[Tensor, "latent latent"], C: Float[Tensor, "latent latent"]) -> Tensor:
    """Return a covariance that is surely positive definite."""
    size = C.diagonal().mean() * NOISE_FLOOR + torch.finfo(C.dtype).tiny
    return noise + size * torch.eye(len(noise), dtype=noise.dtype, device=noise.device)
