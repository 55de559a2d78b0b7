"""Laws of the first configuration of an automaton of movers."""

import math
from abc import abstractmethod
from typing import Annotated, Literal, TypeAlias

import torch
from jaxtyping import Float
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor

from koopcast.spec import Family, MethodSpec
from koopcast.systems.parameters import uniform


class BitsSpec(MethodSpec):
    """Options of a law of configurations."""

    @abstractmethod
    def draw(
        self, count: int, sites: int, species: int, generator: torch.Generator
    ) -> Float[Tensor, "count site species"]:
        """Draw configurations: 1 where there is a mover, else 0."""

    def fault(self, sites: int, species: int) -> str | None:
        """Return which option does not fit so many bits, and what to do; None where all do."""
        return None


class ProductSpec(BitsSpec):
    """Independent bits."""

    kind: Literal["product"] = "product"
    density: float = Field(0.5, ge=0, le=1)
    """Probability of a mover."""

    reference = "standard; at density 1/2 it is the law that every update and every flip keep"

    def draw(
        self, count: int, sites: int, species: int, generator: torch.Generator
    ) -> Float[Tensor, "count site species"]:
        """Draw configurations."""
        return (uniform(count, sites, species, generator=generator) < self.density).double()


class ParticlesSpec(BitsSpec):
    """A fixed number of movers at random places."""

    kind: Literal["particles"] = "particles"
    count: PositiveInt = 1
    """Movers."""

    reference = "standard"

    def draw(
        self, count: int, sites: int, species: int, generator: torch.Generator
    ) -> Float[Tensor, "count site species"]:
        """Draw configurations."""
        order = uniform(count, sites * species, generator=generator).argsort(dim=1)
        bits = torch.zeros_like(order, dtype=torch.float64)
        return bits.scatter_(1, order[:, : self.count], 1.0).reshape(count, sites, species)

    def fault(self, sites: int, species: int) -> str | None:
        """Return why so many movers have no place."""
        bits = sites * species
        return None if self.count <= bits else f"count: {self.count} movers on {bits} places; lower it"


class WaveSpec(BitsSpec):
    """One right mover, at a place drawn from q², q(x) ∝ e^{-d(x)²/(4w²)} cos(2π k d(x) / sites).

    d is the distance from the centre on the circle, w the width.
    """

    kind: Literal["wave"] = "wave"
    centre: NonNegativeInt = 0
    """Site of the centre."""
    width: PositiveFloat = 2.0
    """Standard deviation w of the envelope of q², in sites."""
    waves: NonNegativeInt = 1
    """Waves k around the circle."""

    reference = "Wetterich 2020: a real wave function q with probabilities q²"

    def amplitude(self, sites: int) -> Float[Tensor, " site"]:
        """Return q, of length 1."""
        d = (torch.arange(sites, dtype=torch.float64) - self.centre + sites // 2) % sites - sites // 2
        q = torch.exp(-((d / (2 * self.width)) ** 2)) * torch.cos(2 * math.pi * self.waves * d / sites)
        size: Tensor = q.norm()
        return q / size

    def draw(
        self, count: int, sites: int, species: int, generator: torch.Generator
    ) -> Float[Tensor, "count site species"]:
        """Draw configurations."""
        heights = self.amplitude(sites).square().cumsum(0)
        places = torch.searchsorted(heights.to(generator.device), uniform(count, generator=generator))
        bits = torch.zeros(count, sites, species, dtype=torch.float64, device=generator.device)
        bits[torch.arange(count), places.clamp_max(sites - 1), 0] = 1.0
        return bits

    def fault(self, sites: int, species: int) -> str | None:
        """Return why the centre is not on the circle."""
        return (
            None
            if self.centre < sites
            else f"centre: {self.centre} is not below {sites}, the number of sites"
        )


AnyBits: TypeAlias = Annotated[ParticlesSpec | ProductSpec | WaveSpec, Family("automaton_states")]
