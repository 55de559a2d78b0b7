"""Anomalies, random rotations and whitened innovations of ensembles."""

from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor

from koopcast.numerics.arrays import normal, shared_normal


def split(ensemble: Float[Tensor, "batch member state"]) -> tuple[Tensor, Tensor]:
    """Return the mean `(batch, 1, state)` and the anomalies."""
    mean = ensemble.mean(dim=1, keepdim=True)
    return mean, ensemble - mean


def centred_errors(*shape: int, generator: torch.Generator) -> Float[Tensor, "batch member obs"]:
    """Draw standard normal errors, centred over members and scaled up so that each keeps the variance 1."""
    noise = normal(*shape, generator=generator)
    members = noise.shape[1]
    errors: Tensor = split(noise)[1] * (members / (members - 1)) ** 0.5
    return errors


@cache
@torch.inference_mode(False)
def mean_and_contrasts(members: int, device: torch.device) -> Float[Tensor, "member member"]:
    """Return a matrix whose first row takes the mean and whose other rows are an orthonormal basis of its
    complement.

    The basis is Helmert's: row k compares member k with the mean of those before it.
    """
    size = torch.arange(1, members, dtype=torch.float64, device=device)
    contrasts = torch.ones(members - 1, members, dtype=torch.float64, device=device).tril()
    contrasts[size.long() - 1, size.long()] = -size
    contrasts /= (size * (size + 1)).sqrt()[:, None]
    mean = torch.full((1, members), 1 / members, dtype=torch.float64, device=device)
    return torch.cat((mean, contrasts))


def haar(draws: Float[Tensor, "*batch size column"]) -> Float[Tensor, "*batch size column"]:
    """Return orthogonal matrices, or their first columns, uniform where the draws are standard normal: Q of
    their QR with the diagonal of R made positive.
    """
    Q, R = torch.linalg.qr(draws)
    uniform: Tensor = Q * R.diagonal(dim1=-2, dim2=-1).sign()[..., None, :]
    return uniform


def rotated(
    anomalies: Float[Tensor, "batch member state"], generator: torch.Generator
) -> Float[Tensor, "batch member state"]:
    """Return U A with a random orthogonal U that keeps the mean: U = V diag(1, Q) Vᵀ, the first column of V
    constant.

    One U serves all experiments that share a stream of random numbers, as if each had been alone. Where
    states are fewer than members, B = V A is W R with few orthonormal columns W, and Q W is as likely as
    those of any other uniform matrix.
    """
    batch, members, states = anomalies.shape
    V = mean_and_contrasts(members, anomalies.device)[1:]
    B = V @ anomalies
    columns = min(states, members - 1)
    Q = haar(shared_normal(batch, members - 1, columns, generator=generator))
    turned = Q @ (torch.linalg.qr(B).R if columns < members - 1 else B)
    result: Tensor = V.mT @ turned
    return result


def inverse_and_root(
    M: Float[Tensor, "*batch n n"], scale: float
) -> tuple[Float[Tensor, "*batch n n"], Float[Tensor, "*batch n n"]]:
    """Return M⁻¹ and √scale M^{-1/2}, the symmetric root, of positive definite matrices."""
    eigenvalues, V = torch.linalg.eigh(M)
    return (V / eigenvalues[..., None, :]) @ V.mT, (V * (scale / eigenvalues).sqrt()[..., None, :]) @ V.mT


class Roots:
    """Functions of z I + C Cᵀ for anomalies C `(*batch, member, obs)`, from the smaller of C Cᵀ and CᵀC.

    With CᵀC = U S Uᵀ, f(z I + C Cᵀ) = f(z) I + C U g(S) Uᵀ Cᵀ with g(s) = (f(z + s) - f(z)) / s, which has no
    pole at s = 0. The shift z is one number for each batch element.
    """

    def __init__(self, C: Float[Tensor, "*batch member obs"]) -> None:
        members, obs = C.shape[-2:]
        self._is_wide = obs < members
        S, self._vectors = torch.linalg.eigh(C.mT @ C if self._is_wide else C @ C.mT)
        self._C, self._basis = C, C @ self._vectors if self._is_wide else self._vectors
        self.eigenvalues: Tensor = S.clamp_min(0)
        """Of C Cᵀ, `(*batch, rank)`, without the zeros that its shape alone makes."""

    @classmethod
    def of_gram(cls, gram: Float[Tensor, "*batch member member"]) -> "Roots":
        """Return the same given C Cᵀ, whose own spectrum is taken; `along` is not known then."""
        roots = cls.__new__(cls)
        roots._is_wide = False
        S, roots._basis = torch.linalg.eigh(gram)
        roots.eigenvalues = S.clamp_min(0)
        return roots

    def along(self, delta: Float[Tensor, "*batch obs"]) -> Float[Tensor, "*batch rank"]:
        """Return the singular values of C times the component of δ along their right vectors."""
        if self._is_wide:
            found: Tensor = self.eigenvalues.sqrt() * (self._vectors.mT @ delta[..., None])[..., 0]
        else:
            found = (self._vectors.mT @ (self._C @ delta[..., None]))[..., 0]
        return found

    def inverse(self, z: Float[Tensor, "*batch"], X: Float[Tensor, "*batch member _"]) -> Tensor:
        """Return (z I + C Cᵀ)⁻¹ X."""
        return self.inverse_and_root(z, X)[0]

    def root(self, z: Float[Tensor, "*batch"], X: Float[Tensor, "*batch member _"]) -> Tensor:
        """Return (z I + C Cᵀ)^{-1/2} X, the symmetric root."""
        return self.inverse_and_root(z, X)[1]

    def inverse_and_root(
        self, z: Float[Tensor, "*batch"], X: Float[Tensor, "*batch member _"]
    ) -> tuple[Tensor, Tensor]:
        """Return both, which share most of the work."""
        inside = self._basis.mT @ X
        shifted = z[..., None] + self.eigenvalues
        high = shifted.sqrt()
        if not self._is_wide:
            return self._basis @ (inside / shifted[..., None]), self._basis @ (inside / high[..., None])
        low = z.sqrt()
        pole = high * (low[..., None] + high)
        inverse = (X - self._basis @ (inside / shifted[..., None])) / z[..., None, None]
        return inverse, (X - self._basis @ (inside / pole[..., None])) / low[..., None, None]
