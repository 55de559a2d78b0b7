"""State-space layers: x' = Λ x + B u, y = Re(C x) + D u over a sequence, as a convolution or step by step."""

from abc import abstractmethod
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Complex, Float
from torch import Tensor, nn

from koopcast.numerics.hippo import Diagonalised

PAIRED = 1e-6
"""Imaginary part, relative to the modulus, above which an eigenvalue is one of a conjugate pair."""


@dataclass(frozen=True)
class Slots:
    """Eigenvalues of a real matrix, one of each conjugate pair, and what multiplies real parts of sums."""

    eigenvalues: Complex[np.ndarray, " slot"]
    vectors: Complex[np.ndarray, "n slot"]
    """Columns of V."""
    covectors: Complex[np.ndarray, "slot n"]
    """Rows of V⁻¹."""
    weight: Float[np.ndarray, " slot"]
    """2 for a pair, 1 for a real eigenvalue."""

    @classmethod
    def of(cls, matrix: Diagonalised) -> "Slots":
        """Return the slots of a diagonalised matrix."""
        values, V = matrix.eigenvalues, matrix.vectors
        is_real = np.abs(values.imag) <= PAIRED * np.abs(values)
        kept = is_real | (values.imag > 0)
        return cls(values[kept], V[:, kept], np.linalg.inv(V)[kept], np.where(is_real, 1.0, 2.0)[kept])

    @classmethod
    def blank(cls, n: int, size: int) -> "Slots":
        """Return slots that stand for others of the same size."""
        zeros = np.zeros((n, size), dtype=complex)
        return cls(np.full(size, -1 + 1j), zeros, zeros.T, np.full(size, 2.0))


class StateSpace(nn.Module):
    """A linear recurrence of sequences `(batch, time, channel)` with a hidden state, by zero-order hold."""

    state_shape: tuple[int, ...]
    """Shape of the complex hidden state of one member of a batch."""
    D: nn.Parameter

    @abstractmethod
    def forward(self, u: Float[Tensor, "batch time channel"]) -> Float[Tensor, "batch time channel"]:
        """Return y of a sequence that begins at rest, by fast convolution."""

    @abstractmethod
    def step(
        self, x: Complex[Tensor, "batch *state"], u: Float[Tensor, "batch channel"]
    ) -> tuple[Complex[Tensor, "batch *state"], Float[Tensor, "batch channel"]]:
        """Return hidden state and output after one input."""

    def recurrent(self, u: Float[Tensor, "batch time channel"]) -> Float[Tensor, "batch time channel"]:
        """Return y of a sequence that begins at rest, step by step."""
        x, outputs = u.new_zeros(u.shape[0], *self.state_shape, dtype=torch.complex64), []
        for value in u.unbind(1):
            x, y = self.step(x, value)
            outputs.append(y)
        return torch.stack(outputs, dim=1)


class Diagonal(StateSpace):
    """Diagonal recurrences: Λ = -e^a + iω, Λ̄ = e^{δΛ}, B̄ = (Λ̄ - 1) Λ⁻¹ B, one step δ a channel or a slot.

    Coefficients are computed in double precision: small ones lose a long kernel.
    """

    weight: Tensor

    def __init__(self, slots: Slots, copies: tuple[int, ...], log_step: Float[Tensor, "*step"]) -> None:
        super().__init__()
        values = torch.from_numpy(slots.eigenvalues).expand(*copies, -1)
        self.decay = nn.Parameter((-values.real).log().float().clone())
        self.frequency = nn.Parameter(values.imag.float().clone())
        self.log_step = nn.Parameter(log_step.float())
        self.register_buffer("weight", torch.from_numpy(slots.weight).float())

    def held(self) -> tuple[Complex[Tensor, "*slot"], Complex[Tensor, "*slot"]]:
        """Return δΛ and the factor (e^{δΛ} - 1) Λ⁻¹ of B̄."""
        rate = torch.complex(-self.decay.double().exp(), self.frequency.double())
        exponent = self.log_step.double().exp() * rate
        return exponent, torch.expm1(exponent) / rate

    def powers(self, exponent: Complex[Tensor, "*slot"], times: int) -> Complex[Tensor, "*slot time"]:
        """Return Λ̄ˡ, l = 0, 1, ..."""
        return torch.exp(exponent[..., None] * torch.arange(times, device=exponent.device))


class S4(Diagonal):
    """One system with one input and one output a channel."""

    def __init__(
        self,
        slots: Slots,
        channels: int,
        log_step: Float[Tensor, " channel"],
        B: Complex[Tensor, "channel slot"],
        C: Complex[Tensor, "channel slot"],
        D: Float[Tensor, " channel"],
    ) -> None:
        super().__init__(slots, (channels,), log_step[:, None])
        self.B, self.C = _real(B), _real(C)
        self.D = nn.Parameter(D)
        self.state_shape = (channels, B.shape[1])

    def kernel(self, times: int) -> Float[Tensor, "channel time"]:
        """Return K_l = Re Σ w C B̄ Λ̄ˡ."""
        exponent, factor = self.held()
        product = self.weight * _complex(self.C) * factor * _complex(self.B)
        return (product[:, None] @ self.powers(exponent, times))[:, 0].real.float()

    def forward(self, u: Float[Tensor, "batch time channel"]) -> Float[Tensor, "batch time channel"]:
        """Return y of a sequence that begins at rest, by fast convolution."""
        return convolved(u, self.kernel(u.shape[1]).mT) + self.D * u

    def step(
        self, x: Complex[Tensor, "batch *state"], u: Float[Tensor, "batch channel"]
    ) -> tuple[Complex[Tensor, "batch *state"], Float[Tensor, "batch channel"]]:
        """Return hidden state and output after one input."""
        exponent, factor = self.held()
        B = (factor * _complex(self.B)).to(x.dtype)
        x = exponent.exp().to(x.dtype) * x + B * u[..., None]
        y = ((self.weight * _complex(self.C)).to(x.dtype) * x).sum(-1).real
        return x, y.to(u.dtype) + self.D * u


class S5(Diagonal):
    """One system with all channels as inputs and outputs."""

    def __init__(
        self,
        slots: Slots,
        log_step: Float[Tensor, " slot"],
        B: Complex[Tensor, "slot channel"],
        C: Complex[Tensor, "channel slot"],
        D: Float[Tensor, " channel"],
    ) -> None:
        super().__init__(slots, (), log_step)
        self.B, self.C = _real(B), _real(C)
        self.D = nn.Parameter(D)
        self.state_shape = (len(B),)

    def forward(self, u: Float[Tensor, "batch time channel"]) -> Float[Tensor, "batch time channel"]:
        """Return y of a sequence that begins at rest, by fast convolution of each slot."""
        exponent, factor = self.held()
        inputs = u.to(torch.complex64) @ (factor[:, None] * _complex(self.B)).mT.to(torch.complex64)
        x = convolved(inputs, self.powers(exponent, u.shape[1]).mT.to(torch.complex64))
        return self._output(x) + self.D * u

    def step(
        self, x: Complex[Tensor, "batch *state"], u: Float[Tensor, "batch channel"]
    ) -> tuple[Complex[Tensor, "batch *state"], Float[Tensor, "batch channel"]]:
        """Return hidden state and output after one input."""
        exponent, factor = self.held()
        B = (factor[:, None] * _complex(self.B)).mT.to(x.dtype)
        x = exponent.exp().to(x.dtype) * x + u.to(x.dtype) @ B
        return x, self._output(x).to(u.dtype) + self.D * u

    def _output(self, x: Complex[Tensor, "*batch slot"]) -> Float[Tensor, "*batch channel"]:
        y: Tensor = (x @ (self.weight * _complex(self.C)).mT.to(x.dtype)).real
        return y


class DPLR(StateSpace):
    """A channel's system with the full matrix diag(Λ) - p p*, Λ = -e^a + iω: HiPPO itself, without an
    approximation.

    Its exponential is a dense matrix a channel: for small states.
    """

    def __init__(
        self,
        normal: Diagonalised,
        p: Complex[Tensor, " n"],
        log_step: Float[Tensor, " channel"],
        B: Complex[Tensor, "channel n"],
        C: Complex[Tensor, "channel n"],
        D: Float[Tensor, " channel"],
    ) -> None:
        super().__init__()
        values = torch.from_numpy(normal.eigenvalues)
        self.decay = nn.Parameter((-values.real).log().float())
        self.frequency = nn.Parameter(values.imag.float())
        self.p, self.B, self.C = _real(p), _real(B), _real(C)
        self.log_step, self.D = nn.Parameter(log_step.float()), nn.Parameter(D)
        self.state_shape = (len(B), len(p))

    def held(self) -> tuple[Complex[Tensor, "channel n n"], Complex[Tensor, "channel n"]]:
        """Return e^{δA} and A⁻¹(e^{δA} - 1) B of each channel, from one exponential of [[δA, δB], [0, 0]]."""
        p = _complex(self.p)
        A = torch.diag(torch.complex(-self.decay.double().exp(), self.frequency.double()))
        A = A - torch.outer(p, p.conj())
        step = self.log_step.double().exp()[:, None, None]
        size, channels = len(p), len(step)
        block = A.new_zeros(channels, size + 1, size + 1)
        block[:, :size, :size] = step * A
        block[:, :size, size] = step[:, 0] * _complex(self.B)
        held = torch.linalg.matrix_exp(block)
        return held[:, :size, :size], held[:, :size, size]

    def kernel(self, times: int) -> Float[Tensor, "channel time"]:
        """Return K_l = Re C Āˡ B̄, the powers by doubling."""
        A, B = self.held()
        X, power = B[..., None], A
        while X.shape[-1] < times:
            X = torch.cat([X, power @ X], dim=-1)
            power = power @ power
        return (_complex(self.C)[:, None] @ X[..., :times])[:, 0].real.float()

    def forward(self, u: Float[Tensor, "batch time channel"]) -> Float[Tensor, "batch time channel"]:
        """Return y of a sequence that begins at rest, by fast convolution."""
        return convolved(u, self.kernel(u.shape[1]).mT) + self.D * u

    def step(
        self, x: Complex[Tensor, "batch *state"], u: Float[Tensor, "batch channel"]
    ) -> tuple[Complex[Tensor, "batch *state"], Float[Tensor, "batch channel"]]:
        """Return hidden state and output after one input."""
        A, B = (part.to(x.dtype) for part in self.held())
        x = (A @ x[..., None])[..., 0] + B * u[..., None]
        y = (_complex(self.C).to(x.dtype) * x).sum(-1).real
        return x, y.to(u.dtype) + self.D * u


def convolved(u: Tensor, kernel: Tensor) -> Tensor:
    """Return Σ_l k_l u_{t-l} of `(batch, time, channel)` and `(time, channel)`, real or complex."""
    times, size = u.shape[1], 2 * u.shape[1]
    if u.is_complex():
        product = torch.fft.fft(u, size, dim=1) * torch.fft.fft(kernel, size, dim=0)
        result: Tensor = torch.fft.ifft(product, dim=1)
        return result[:, :times]
    product = torch.fft.rfft(u, size, dim=1) * torch.fft.rfft(kernel, size, dim=0)
    result = torch.fft.irfft(product, size, dim=1)
    return result[:, :times]


def _real(values: Complex[Tensor, "*shape"]) -> nn.Parameter:
    """Return a complex tensor as a parameter of real and imaginary parts."""
    return nn.Parameter(torch.view_as_real(values.to(torch.complex64).resolve_conj()).contiguous().clone())


def _complex(parameter: Float[Tensor, "*shape 2"]) -> Complex[Tensor, "*shape"]:
    """Return the complex numbers in double precision."""
    return torch.view_as_complex(parameter.double())
