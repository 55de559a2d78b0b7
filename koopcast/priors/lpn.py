"""Learned proximal networks: the gradient of a convex network, trained to remove noise."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

import pandas as pd
import torch
from jaxtyping import Float
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator
from torch import Tensor

from koopcast.fields import FieldData
from koopcast.grids import FieldsInfo
from koopcast.layers.normaliser import Moments
from koopcast.priors.base import Prior, PriorSpec
from koopcast.priors.convex import ConvexNetwork, convolutional, dense
from koopcast.priors.inversion import inverted
from koopcast.priors.learning import Draw, Stage, learned
from koopcast.rng import torch_generator
from koopcast.spec import Problem

LARGEST_DIMENSION = 2
"""Space axes that convolutions take."""


class LPNSpec(PriorSpec):
    """f = ∇ψ with a convex network ψ is the proximal operator of a regulariser R for all weights; proximal
    matching makes R stand for -log p of the data.
    """

    kind: Literal["lpn"] = "lpn"
    architecture: Literal["dense", "convolution"] = "dense"
    """`dense`: of all values at once; `convolution`: the same at every point."""
    hidden: PositiveInt = 256
    """Width of each layer."""
    layers: PositiveInt = 3
    """Layers."""
    kernel: int = Field(5, ge=1)
    """Points of a kernel along each axis, odd."""
    beta: PositiveFloat = 10.0
    """Sharpness of the softplus activations."""
    alpha: NonNegativeFloat = 0.01
    """Strong convexity: ½ α |x|² in ψ."""
    sigma: PositiveFloat = 0.3
    """Standard deviation of the noise that is removed, in units of the standard deviation of the fields."""
    loss: Literal["pm", "l2", "l1"] = "pm"
    """`pm` proximal matching, whose limit is the mode of the posterior; `l2` its mean; `l1` its median."""
    gamma_schedule: tuple[PositiveFloat, ...] = Field((2.0, 1.0), min_length=1)
    """Stages of `pm`: widths γ in 1 - exp(-|f(y) - x|² / (n γ² σ²)), n values, decreasing."""
    pretrain_steps: PositiveInt = 1500
    """Steps before the stages, with `l1`; all steps of the other losses."""
    stage_steps: NonNegativeInt = 250
    """Steps of each stage."""
    batch_size: PositiveInt = 256
    """Fields a step."""
    learning_rate: PositiveFloat = 2e-3
    """Of Adam, at the start; it falls to 0 by half a cosine."""
    stage_learning_rate: PositiveFloat = 2e-4
    """The same at the start of each stage."""

    reference = (
        "Fang, Buchanan and Sulam 2024, What's in a prior? Learned proximal networks for inverse problems"
    )

    @model_validator(mode="after")
    def _schedule_decreases(self) -> "LPNSpec":
        for wide, narrow in zip(self.gamma_schedule, self.gamma_schedule[1:], strict=False):
            if narrow >= wide:
                raise ValueError(
                    f"gamma_schedule: {narrow:g} follows {wide:g}; widths must decrease towards the mode"
                )
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel: {self.kernel} has no middle; give an odd number")
        return self

    def faults(self, fields: FieldsInfo) -> Iterator[Problem]:
        """Refuse masked fields, and convolutions over too many axes."""
        if fields.is_masked:
            yield Problem((), "a prior is learned of fields without a mask; choose others")
        if self.architecture == "convolution" and len(fields.axes) > LARGEST_DIMENSION:
            yield Problem(
                ("architecture",),
                f"convolutions take at most {LARGEST_DIMENSION} space axes, the fields have "
                f"{len(fields.axes)}; choose `dense`",
            )

    def network(self, info: FieldsInfo, generator: torch.Generator) -> ConvexNetwork:
        """Return the untrained network."""
        channels = info.num_channels
        if self.architecture == "dense":
            return dense(
                info.num_cells * channels,
                self.hidden,
                self.layers,
                channels=channels,
                beta=self.beta,
                alpha=self.alpha,
                generator=generator,
            )
        return convolutional(
            channels,
            self.hidden,
            self.layers,
            kernel=self.kernel,
            padding=["circular" if axis.periodic else "reflect" for axis in info.axes],
            beta=self.beta,
            alpha=self.alpha,
            generator=generator,
        )

    def stages(self) -> tuple[Stage, ...]:
        """Return the stages of training."""
        if self.loss != "pm":
            return (Stage(self.loss, 1.0, self.pretrain_steps, self.learning_rate),)
        first = Stage("l1", 1.0, self.pretrain_steps, self.learning_rate)
        widths = (gamma * self.sigma for gamma in self.gamma_schedule)
        return (
            first,
            *(Stage("pm", width, self.stage_steps, self.stage_learning_rate) for width in widths),
        )

    def train(
        self, network: ConvexNetwork, draw: Draw, seed: int, scratch: Path | None = None
    ) -> pd.DataFrame:
        """Train a network on fields that `draw` draws, in place; return the table of its training."""
        identity = f"{self.model_dump_json()} {seed}"
        return learned(
            network,
            draw,
            self.stages(),
            self.sigma,
            self.batch_size,
            seed,
            scratch=scratch,
            identity=identity,
        )

    def learn(self, data: FieldData, seed: int, scratch: Path) -> tuple["LearnedProximal", pd.DataFrame]:
        """Return the prior, and the table `step, loss, error, learning_rate`."""
        frames = data.tensor().flatten(0, 1)
        moments = Moments.of(frames, torch.ones(frames.shape[:-1], dtype=torch.bool))
        std = moments.std.where(moments.std > 0, 1.0)
        normalised = ((frames.double() - moments.mean) / std).float().movedim(-1, 1).contiguous()

        def draw(count: int, generator: torch.Generator) -> Float[Tensor, "batch channel *space"]:
            return normalised[torch.randint(len(normalised), (count,), generator=generator)]

        network = self.network(data.info, torch_generator(seed, "weights"))
        table = self.train(network, draw, seed, scratch)
        return LearnedProximal(data.info, network, moments.mean, std, self.sigma), table

    def restore(self, info: FieldsInfo, tensors: Mapping[str, Tensor]) -> "LearnedProximal":
        """Return the prior of named tensors."""
        network = self.network(info, torch.Generator().manual_seed(0)).double()
        weights = {
            name.removeprefix("network."): tensor
            for name, tensor in tensors.items()
            if name.startswith("network.")
        }
        network.load_state_dict(weights)
        network.project()
        return LearnedProximal(info, network, tensors["mean"], tensors["std"], self.sigma)


class LearnedProximal(Prior):
    """The network between fields in physical units; double precision."""

    def __init__(
        self,
        info: FieldsInfo,
        network: ConvexNetwork,
        mean: Float[Tensor, " channel"],
        std: Float[Tensor, " channel"],
        sigma: float,
    ) -> None:
        self.info, self.noise = info, sigma
        self.network = network.double().requires_grad_(False).eval()
        self._mean, self._std = mean.double(), std.double()

    def tensors(self) -> dict[str, Tensor]:
        """Return the weights, and what fields are normalised with."""
        weights = {f"network.{name}": value for name, value in self.network.state_dict().items()}
        return {**weights, "mean": self._mean, "std": self._std}

    def proximal(self, z: Float[Tensor, "batch cell"]) -> Float[Tensor, "batch cell"]:
        """Return f(z)."""
        f: Tensor = self.network(self._fields(z))
        return f.movedim(1, -1).flatten(1)

    def potential(self, z: Float[Tensor, "batch cell"]) -> Float[Tensor, " batch"]:
        """Return ψ(z), of which f is the gradient."""
        psi: Tensor = self.network.potential(self._fields(z))
        return psi

    def regulariser(
        self, x: Float[Tensor, "batch cell"]
    ) -> tuple[Float[Tensor, " batch"], Float[Tensor, " batch"]]:
        """Return R(x) = <y, x> - ½ |x|² - ψ(y) with f(y) = x, and |f(y) - x|: how well y was found."""
        y, residual = inverted(self.proximal, self.potential, x)
        value = (y * x).sum(dim=1) - 0.5 * x.square().sum(dim=1) - self.potential(y)
        return value, residual

    def normalise(self, cells: Float[Tensor, "batch cell"]) -> Float[Tensor, "batch cell"]:
        """Return (x - mean) / std, channel by channel."""
        values: Tensor = (cells.unflatten(1, (-1, len(self._std))) - self._mean) / self._std
        return values.flatten(1)

    def denormalise(self, cells: Float[Tensor, "batch cell"]) -> Float[Tensor, "batch cell"]:
        """Return x std + mean."""
        values: Tensor = cells.unflatten(1, (-1, len(self._std))) * self._std + self._mean
        return values.flatten(1)

    def scale(self) -> Float[Tensor, " cell"]:
        """Return the standard deviation of each cell's channel."""
        return self._std.repeat(self.info.num_cells)

    def _fields(self, z: Float[Tensor, "batch cell"]) -> Float[Tensor, "batch channel *space"]:
        return z.reshape(len(z), *self.info.shape, len(self._std)).movedim(-1, 1)
