"""Attention as an integral over the domain."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from koopcast.layers.domain_normalisation import DomainNormalisation
from koopcast.layers.pointwise import Linear
from koopcast.layers.quadrature import quadrature
from koopcast.layers.rotary import rotated, rotated_at

Form = Literal["softmax", "galerkin"]


class Asked(NamedTuple):
    """Places where an integral is asked for, and features of them that the queries are made of."""

    features: Float[Tensor, "batch point channel"]
    places: Float[Tensor, "point axis"]
    """Coordinates from 0 to 1 along each axis."""


class IntegralAttention(nn.Module):
    """z(x) = ∫ κ(x, y) v(y) dy, several heads side by side, then a linear map.

    `softmax`: κ = e^{q(x)·k(y) / √d} / ∫ e^{q(x)·k(y') / √d} dy'. `galerkin`: κ = q(x)·k(y), with k and v of
    mean 0 and variance 1 over the domain; its cost grows linearly with the points. Integrals are sums with
    quadrature weights. With `rotary` q and k turn with the coordinates, so that q·k knows the offset x - y.

    Args:
        channels: Channels of input and output.
        heads: Number of heads.
        head_channels: Channels d of a head.
        periodic: Which axes are periodic.
        form: Of the kernel κ.
        rotary: Whether q and k turn with the coordinates.
        generator: Draws the weights.
    """

    def __init__(
        self,
        channels: int,
        heads: int,
        head_channels: int,
        periodic: Sequence[bool],
        *,
        form: Form = "softmax",
        rotary: bool = True,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.heads, self.periodic, self.form, self.rotary = heads, tuple(periodic), form, rotary
        inner = heads * head_channels
        self.query, self.key, self.value = (
            Linear(channels, inner, bias=False, generator=generator) for _ in range(3)
        )
        self.out = Linear(inner, channels, generator=generator)
        self.norms = nn.ModuleList(
            DomainNormalisation(inner, inner, periodic) for _ in range(2) if form == "galerkin"
        )

    def forward(
        self, x: Float[Tensor, "batch *space channel"], asked: Asked | None = None
    ) -> Float[Tensor, "batch *point channel"]:
        """Return the integral over the grid of `x`, at its points or where it is asked for."""
        shape = x.shape[1:-1]
        source = x if asked is None else asked.features
        q, k, v = self.query(source), self.key(x), self.value(x)
        if self.form == "galerkin":
            k, v = self.norms[0](k), self.norms[1](v)
        q, k, v = (self._heads(part) for part in (q, k, v))
        if self.rotary:
            k = rotated(k, shape, self.periodic)
            q = (
                rotated(q, shape, self.periodic)
                if asked is None
                else rotated_at(q, asked.places, self.periodic)
            )
        weights = quadrature(shape, self.periodic, dtype=x.dtype, device=x.device).flatten()
        z = self._softmax(q, k, v, weights) if self.form == "softmax" else q @ ((k.mT * weights) @ v)
        result: Tensor = self.out(z.movedim(1, 2).reshape(*source.shape[:-1], -1))
        return result

    def _heads(self, x: Float[Tensor, "batch *space channel"]) -> Float[Tensor, "batch head point each"]:
        heads: Tensor = x.flatten(1, -2).unflatten(-1, (self.heads, -1)).movedim(2, 1)
        return heads

    def _softmax(
        self,
        q: Float[Tensor, "batch head asked each"],
        k: Float[Tensor, "batch head point each"],
        v: Float[Tensor, "batch head point each"],
        weights: Float[Tensor, " point"],
    ) -> Float[Tensor, "batch head asked each"]:
        """Return the mean of v under w e^{q·k}, written as e^{q·k + log w}; equal weights drop out."""
        mask = None if all(self.periodic) else weights.log().expand(1, 1, q.shape[-2], -1)
        return nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
