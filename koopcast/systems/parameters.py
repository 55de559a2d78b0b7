"""Options of a system as numbers of its equation, and repeated maps."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from koopcast.distributions.base import DistributionSpec
from koopcast.dynamics import Flow, Setting
from koopcast.errors import InvalidInput
from koopcast.systems.base import SystemSpec


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
    if count < 0 or abs(time - count) > 1e-9 * max(1.0, abs(time)):
        raise InvalidInput(
            f"dt: {time:g} is not a whole number of iterations of a map", "set dt to 1, 2, 3, ..."
        )
    return count


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
