"""Options of a system as numbers of its equation, and repeated maps."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from koopcast.distributions.base import DistributionSpec
from koopcast.dynamics import Flow, Setting
from koopcast.errors import InvalidInput
from koopcast.systems.base import EvolvingSpec, SystemSpec


class MapSpec(EvolvingSpec):
    """Options of a map: its time is a number of iterations."""

    def default_time_step(self) -> float:
        """Return one iteration."""
        return 1.0

    def faulty_step(self, dt: float) -> str | None:
        """Refuse parts of an iteration."""
        count = max(1, round(dt))
        return None if is_whole(dt, count) else f"{dt:g} is no whole number of iterations; use {count}"

    def default_integrator(self) -> str:
        """Return the iteration itself."""
        return "exact"


def coefficient(
    system: SystemSpec, setting: Setting, name: str, axes: int = 0
) -> float | Float[Tensor, "batch *axes"]:
    """Return an option as a coefficient: its number, or where it is varied one a sample, with `axes` axes
    behind, rounded to the setting's type.
    """
    value = setting.value(name, float(getattr(system, name)), axes)
    return value.to(setting.dtype) if isinstance(value, Tensor) else value


def iterations(time: float) -> int:
    """Return a time of a map as a number of iterations.

    Raises:
        InvalidInput: It is not a whole number of them.
    """
    count = round(time)
    if count < 0 or not is_whole(time, count):
        raise InvalidInput(
            f"dt: {time:g} is not a whole number of iterations of a map", "set dt to 1, 2, 3, ..."
        )
    return count


def is_whole(time: float, count: int) -> bool:
    """Return whether a time of a map is `count` iterations but for round-off."""
    return abs(time - count) <= 1e-9 * max(1.0, abs(time))


def iterated(once: Callable[[Float[Tensor, "*batch state"]], Float[Tensor, "*batch state"]]) -> Flow:
    """Return the flow of a map: whole numbers of iterations."""

    def advance(state: Float[Tensor, "*batch state"], time: float) -> Float[Tensor, "*batch state"]:
        for _ in range(iterations(time)):
            state = once(state)
        return state

    return Flow(advance)


def uniform(*shape: int, generator: torch.Generator) -> Tensor:
    """Draw independent numbers in [0, 1), float64, on the generator's device."""
    return torch.rand(shape, generator=generator, device=generator.device, dtype=torch.float64)


def drawn(law: DistributionSpec, count: int, generator: torch.Generator) -> Float[Tensor, " count"]:
    """Draw independent numbers of a law, float64, on the generator's device."""
    inside = uniform(count, generator=generator).clamp(2.0**-54, 1 - 2.0**-53)
    return torch.from_numpy(law.quantile(inside.cpu().numpy())).to(generator.device)
