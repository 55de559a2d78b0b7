"""The network of state-space models: linear recurrences with pointwise mixing, as latent dynamics."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from koopcast.koopman.latent import LatentModel, LatentNetwork
from koopcast.layers.pointwise import Linear
from koopcast.layers.state_space import DPLR, S4, S5, Slots, StateSpace
from koopcast.models import Compare, Context, NetworkModel
from koopcast.numerics.hippo import Perturbation, hippo_legs, low_rank, normal_part, perturbed

Initial = Literal["dplr", "s4d", "s5", "s4_ptd", "s5_ptd"]
Mode = Literal["convolution", "recurrent"]


@dataclass(frozen=True)
class Recurrence:
    """How the recurrences of the layers begin."""

    initial: Initial
    state_dim: int
    steps: tuple[float, float]
    """Range of the step δ, log-uniform."""
    perturbation: Perturbation
    seed: int
    known: Slots | None = None
    """Eigenvalues and vectors, where they need not be found."""

    def build(self, channels: int, generator: torch.Generator) -> StateSpace:
        """Return one layer's recurrence."""
        if self.initial == "dplr":
            return self._dplr(channels, generator)
        n, slots = self.state_dim, self.known or self._slots()
        covectors, vectors = (torch.from_numpy(part) for part in (slots.covectors, slots.vectors))
        D = torch.randn(channels, generator=generator)
        if self.initial in ("s5", "s5_ptd"):
            shape = (n, channels)
            B = torch.randn(shape, generator=generator, dtype=torch.float64) / math.sqrt(channels)
            C = torch.randn(shape[::-1], generator=generator, dtype=torch.float64) / math.sqrt(n)
            log_step = self._log_steps(len(slots.weight), generator)
            return S5(slots, log_step, covectors @ B.to(covectors.dtype), C.to(vectors.dtype) @ vectors, D)
        # Without the low-rank part half of the input gives the response its right size on average.
        B = torch.from_numpy(hippo_legs(n)[1]) * (0.5 if self.initial == "s4d" else 1.0)
        B = (covectors @ B.to(covectors.dtype)).expand(channels, -1)
        C = torch.randn(channels, n, generator=generator, dtype=torch.float64) / n
        log_step = self._log_steps(channels, generator)
        return S4(slots, channels, log_step, B, C.to(vectors.dtype) @ vectors, D)

    def _slots(self) -> Slots:
        if self.initial in ("s4_ptd", "s5_ptd"):
            return Slots.of(perturbed(self.state_dim, self.perturbation, self.seed))
        return Slots.of(normal_part(self.state_dim))

    def _dplr(self, channels: int, generator: torch.Generator) -> DPLR:
        n = self.state_dim
        normal, B = normal_part(n), hippo_legs(n)[1]
        V = torch.from_numpy(normal.vectors)
        inside = [V.mH @ torch.from_numpy(part).to(V.dtype) for part in (low_rank(n), B)]
        D = torch.randn(channels, generator=generator)
        C = torch.randn(channels, n, generator=generator, dtype=torch.float64) / n
        log_step = self._log_steps(channels, generator)
        return DPLR(normal, inside[0], log_step, inside[1].expand(channels, -1), C.to(V.dtype) @ V, D)

    def _log_steps(self, count: int, generator: torch.Generator) -> Float[Tensor, " count"]:
        low, high = (math.log(step) for step in self.steps)
        return low + (high - low) * torch.rand(count, generator=generator)


class Block(nn.Module):
    """x + gate(gelu(recurrence(norm(x)))), the gate being a W₁ · σ(a W₂)."""

    def __init__(self, recurrence: StateSpace, channels: int, generator: torch.Generator) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.recurrence = recurrence
        self.mix = Linear(channels, 2 * channels, generator=generator)

    def forward(
        self, x: Float[Tensor, "batch time channel"], mode: Mode
    ) -> Float[Tensor, "batch time channel"]:
        """Return the output for a sequence that begins at rest."""
        u = self.norm(x)
        y = self.recurrence(u) if mode == "convolution" else self.recurrence.recurrent(u)
        return self._mixed(x, y)

    def step(
        self, hidden: Float[Tensor, "batch numbers"], x: Float[Tensor, "batch channel"]
    ) -> tuple[Float[Tensor, "batch numbers"], Float[Tensor, "batch channel"]]:
        """Return hidden numbers and output after one input."""
        state = hidden.reshape(hidden.shape[0], *self.recurrence.state_shape, 2)
        following, y = self.recurrence.step(torch.view_as_complex(state.contiguous()), self.norm(x))
        return torch.view_as_real(following).flatten(1), self._mixed(x, y)

    @property
    def numbers(self) -> int:
        """Return the real numbers of the hidden state."""
        return 2 * math.prod(self.recurrence.state_shape)

    def _mixed(self, x: Tensor, y: Tensor) -> Tensor:
        mixed: Tensor = nn.functional.glu(self.mix(nn.functional.gelu(y)), dim=-1)
        return x + mixed


class SSMNetwork(LatentNetwork):
    """The change of a frame is read from blocks of recurrences that have seen all frames before it.

    The latent vector is the frame, flattened, then the hidden numbers of each block, which have not seen that
    frame yet: a model that is stopped goes on from it.
    """

    history: int = 1
    """Frames from which the forecasts of training begin."""
    rollout_steps: int = 1
    """Their steps; 1: training makes none."""

    def __init__(
        self,
        shape: tuple[int, ...],
        channels: int,
        layers: int,
        recurrence: Recurrence,
        mode: Mode,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.shape, self.values, self.mode = shape, math.prod(shape), mode
        self.reader = Linear(self.values, channels, generator=generator)
        self.blocks = nn.ModuleList(
            Block(recurrence.build(channels, generator), channels, generator) for _ in range(layers)
        )
        self.writer = Linear(channels, self.values, generator=generator)
        # Training sets out from persistence.
        nn.init.zeros_(self.writer.weight)
        assert self.writer.bias is not None
        nn.init.zeros_(self.writer.bias)

    @property
    def numbers(self) -> list[int]:
        """Return the real numbers of each block's hidden state."""
        return [block.numbers for block in self._each()]

    def _each(self) -> list[Block]:
        return [block for block in self.blocks if isinstance(block, Block)]

    def sequence(
        self, frames: Float[Tensor, "batch time value"], mode: Mode | None = None
    ) -> Float[Tensor, "batch time value"]:
        """Return the frame after each of a sequence, hidden states at rest before it."""
        x = self.reader(frames)
        for block in self.blocks:
            x = block(x, mode or self.mode)
        following: Tensor = frames + self.writer(x)
        return following

    def encode(self, frames: Float[Tensor, "batch frame *space channel"]) -> Float[Tensor, "batch latent"]:
        """Return the last frame and what the frames before it left."""
        z = frames.new_zeros(frames.shape[0], self.values + sum(self.numbers))
        flat = frames.flatten(2)
        for frame in flat[:, :-1].unbind(1):
            z = self.step(torch.cat([frame, z[:, self.values :]], dim=1))
        return torch.cat([flat[:, -1], z[:, self.values :]], dim=1)

    def step(self, z: Float[Tensor, "batch latent"]) -> Float[Tensor, "batch latent"]:
        """Return the frame and the hidden states one record later."""
        frame, *hidden = z.split([self.values, *self.numbers], dim=1)
        x, later = self.reader(frame), []
        for block, state in zip(self._each(), hidden, strict=True):
            state, x = block.step(state, x)
            later.append(state)
        return torch.cat([frame + self.writer(x), *later], dim=1)

    def decode(self, z: Float[Tensor, "batch latent"]) -> Float[Tensor, "batch *space channel"]:
        """Return the frame."""
        return z[:, : self.values].reshape(z.shape[0], *self.shape)

    def noise_std(self, frame: Float[Tensor, "*space channel"]) -> Float[Tensor, " latent"] | None:
        """Return the error of the frame, then zeros."""
        return torch.cat([frame.flatten(), frame.new_zeros(sum(self.numbers))])

    def objective(
        self,
        run: Float[Tensor, "batch frame *space channel"],
        model: NetworkModel,
        compare: Compare,
        context: Context,
    ) -> Float[Tensor, ""]:
        """Return the loss of the frame after each of a window, and of the forecast from its end."""
        assert isinstance(model, LatentModel)
        frames, steps = model.features(run), self.rollout_steps
        window = frames[:, : frames.shape[1] - steps]
        following = self.sequence(window.flatten(2)).flatten(0, 1).reshape(-1, *self.shape)
        loss = compare(model.fields(following), run[:, 1 : window.shape[1] + 1].flatten(0, 1))
        if steps == 1:
            return loss
        z, ahead = self.encode(window[:, -self.history :]), []
        for _ in range(steps):
            z = self.step(z)
            ahead.append(self.decode(z))
        forecast = model.fields(torch.stack(ahead, dim=1).flatten(0, 1))
        return loss + compare(forecast, run[:, -steps:].flatten(0, 1))

    def facts(self) -> dict[str, float | int | str]:
        """Return the size of the hidden states."""
        return {"hidden_numbers": sum(self.numbers)}
