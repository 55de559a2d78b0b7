"""Networks whose hidden layers all count: towers of equal width, multiplied layer by layer."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from koopcast.layers.perceptron import glorot
from koopcast.layers.pointwise import Linear

TowerActivation = Literal["tanh_sin", "silu_sin", "silu_id", "silu", "tanh", "gelu"]


def tower_activation(name: TowerActivation) -> Callable[[Tensor], Tensor]:
    """Return the function of that name: `tanh_sin` tanh(sin π(x + 1)) + x, `silu_sin` silu(sin π(x + 1)) + x,
    `silu_id` silu(x) + x, or what the name says.
    """
    functions: dict[str, Callable[[Tensor], Tensor]] = {
        "tanh_sin": lambda x: torch.tanh(torch.sin(math.pi * (x + 1))) + x,
        "silu_sin": lambda x: nn.functional.silu(torch.sin(math.pi * (x + 1))) + x,
        "silu_id": lambda x: nn.functional.silu(x) + x,
        "silu": nn.functional.silu,
        "tanh": torch.tanh,
        "gelu": nn.functional.gelu,
    }
    return functions[name]


def activation_slope(name: TowerActivation, x: Tensor) -> Tensor:
    """Return the derivative of an activation, differentiable where the activation is."""
    angle = math.pi * (x + 1)
    wave, speed = torch.sin(angle), math.pi * torch.cos(angle)
    if name == "tanh_sin":
        return (1 - torch.tanh(wave).square()) * speed + 1
    if name == "silu_sin":
        return _silu_slope(wave) * speed + 1
    if name in ("silu", "silu_id"):
        return _silu_slope(x) + (name == "silu_id")
    if name == "tanh":
        return 1 - torch.tanh(x).square()
    density = torch.exp(-x.square() / 2) / math.sqrt(2 * math.pi)
    return (1 + torch.erf(x / math.sqrt(2))) / 2 + x * density


def _silu_slope(x: Tensor) -> Tensor:
    gate = torch.sigmoid(x)
    return gate * (1 + x * (1 - gate))


@dataclass(frozen=True)
class TowerSizes:
    """Sizes and activations of a branch and a trunk of equal widths."""

    width: int = 64
    layers: int = 5
    sum_layers: int = 4
    branch: TowerActivation = "silu_id"
    trunk: TowerActivation = "tanh_sin"


class Tower(nn.Module):
    """x_0 = σ(x V_0 + c_0), x_i = σ(x_{i-1} V_i + c_i); gives the last `kept` of them side by side.

    Weights are normal after Glorot, biases 0 at the start.

    Args:
        channels_in: Numbers that come in.
        sizes: Width and number of layers; the last `sum_layers` are given back.
        name: The activation σ.
        copies: Independent outputs of the first layer, which then go through the other layers each.
        generator: Draws the weights.
    """

    def __init__(
        self,
        channels_in: int,
        sizes: TowerSizes,
        name: TowerActivation,
        *,
        copies: int = 1,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.copies, self.kept, self.name = copies, sizes.sum_layers, name
        first = glorot(channels_in, copies * sizes.width, generator)
        others = [glorot(sizes.width, sizes.width, generator) for _ in range(sizes.layers - 1)]
        self.layers = nn.ModuleList([first, *others])
        self._activation = tower_activation(name)

    def forward(self, x: Float[Tensor, "*batch channel_in"]) -> Float[Tensor, "*batch copy layer width"]:
        """Return the last layers of each copy."""
        x = self._activation(self.layers[0](x).unflatten(-1, (self.copies, -1)))
        kept = [x]
        for layer in self.layers[1:]:
            x = self._activation(layer(x))
            kept.append(x)
        return torch.stack(kept[-self.kept :], dim=-2)

    def with_slopes(
        self, x: Float[Tensor, "point channel_in"], slopes: Float[Tensor, "axis point channel_in"]
    ) -> tuple[Float[Tensor, "point copy layer width"], Float[Tensor, "axis point copy layer width"]]:
        """Return the last layers, and their derivatives along the directions in which `x` has `slopes`."""
        values, changes = [], []
        for index, layer in enumerate(self.layers):
            assert isinstance(layer, Linear)
            x, slopes = layer(x), slopes @ layer.weight
            if index == 0:
                x, slopes = x.unflatten(-1, (self.copies, -1)), slopes.unflatten(-1, (self.copies, -1))
            slopes = activation_slope(self.name, x) * slopes
            x = self._activation(x)
            values.append(x)
            changes.append(slopes)
        return torch.stack(values[-self.kept :], dim=-2), torch.stack(changes[-self.kept :], dim=-2)


class LayeredProduct(nn.Module):
    """G_o = Σ_m L_mo g_m + b_o, g_m = (1/l) Σ_i w_i ⟨a_i^m, x_i⟩ over the last l layers of branch a, trunk x.

    With one output and one copy m there is no L. w and b are 0 at the start: the first step moves them alone.

    Args:
        branch_in: Numbers that the branch sees.
        trunk_in: Numbers that the trunk sees of a place.
        sizes: Of both towers.
        outputs: Values at a place.
        copies: Copies m of the branch; more than one needs L.
        generator: Draws the weights.
    """

    def __init__(
        self,
        branch_in: int,
        trunk_in: int,
        sizes: TowerSizes,
        *,
        outputs: int = 1,
        copies: int = 1,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.branch = Tower(branch_in, sizes, sizes.branch, copies=copies, generator=generator)
        self.trunk = Tower(trunk_in, sizes, sizes.trunk, generator=generator)
        self.weight = nn.Parameter(torch.zeros(sizes.sum_layers))
        self.bias = nn.Parameter(torch.zeros(outputs))
        mixes = copies > 1 or outputs > 1
        self.mixing = glorot(copies, outputs, generator).weight if mixes else None

    def forward(
        self, beta: Float[Tensor, "batch branch_in"], places: Float[Tensor, "point trunk_in"]
    ) -> Float[Tensor, "batch point output"]:
        """Return the outputs at every place: one product of two matrices."""
        return self._combined(self.coefficients(beta), self.trunk(places)[:, 0]) + self.bias

    def with_slopes(
        self,
        beta: Float[Tensor, "batch branch_in"],
        places: Float[Tensor, "point trunk_in"],
        slopes: Float[Tensor, "axis point trunk_in"],
    ) -> tuple[Float[Tensor, "batch point output"], Float[Tensor, "batch axis point output"]]:
        """Return the outputs, and their derivatives where the places move with `slopes`."""
        a = self.coefficients(beta)
        x, dx = self.trunk.with_slopes(places, slopes)
        changes = self._combined(a, dx[:, :, 0].flatten(0, 1)).unflatten(1, slopes.shape[:2])
        return self._combined(a, x[:, 0]) + self.bias, changes

    def coefficients(
        self, beta: Float[Tensor, "batch branch_in"]
    ) -> Float[Tensor, "batch output layer_and_width"]:
        """Return what multiplies the trunk's layers: the branch's, weighed and mixed."""
        a = (self.branch(beta) * (self.weight / len(self.weight))[:, None]).flatten(-2)
        return a if self.mixing is None else torch.einsum("bmk,mo->bok", a, self.mixing)

    def _combined(
        self, a: Float[Tensor, "batch output layer_and_width"], x: Float[Tensor, "point layer width"]
    ) -> Float[Tensor, "batch point output"]:
        products: Tensor = (a.flatten(0, 1) @ x.flatten(1).mT).unflatten(0, a.shape[:2])
        return products.mT
