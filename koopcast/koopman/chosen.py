"""What was chosen among candidates, as a model tells it."""

from collections.abc import Mapping
from dataclasses import dataclass

import xarray as xr
from jaxtyping import Float, Int
from torch import Tensor

from koopcast.spec import MethodSpec


@dataclass(frozen=True)
class Chosen:
    """Candidates, their errors, and the best."""

    axes: Mapping[str, tuple[object, ...]]
    """Option -> its candidates."""
    best: Int[Tensor, " axis"]
    """Place of the best along each axis."""
    errors: Float[Tensor, "*axis"]
    lead: int

    def card(self) -> dict[str, float | int | str]:
        """Return what was chosen, and its error."""
        found: dict[str, float | int | str] = {
            f"chosen_{option}": _label(values[place])
            for (option, values), place in zip(self.axes.items(), self.best.tolist(), strict=True)
        }
        return found | {"held_out_error": float(self.errors.min())}

    def table(self) -> xr.DataArray:
        """Return the errors, a dim an option."""
        labels = {option: [_coordinate(*item) for item in enumerate(v)] for option, v in self.axes.items()}
        text = f"relative error, {self.lead} steps ahead, of blocks left out"
        attrs = {"units": "1", "long_name": text}
        return xr.DataArray(self.errors.numpy(), labels, tuple(labels), attrs=attrs)


def _label(value: object) -> float | str:
    if isinstance(value, MethodSpec):
        return value.kind
    return value if isinstance(value, float) else str(value)


def _coordinate(place: int, value: object) -> float | str:
    return f"{place}: {value.kind}" if isinstance(value, MethodSpec) else _label(value)
