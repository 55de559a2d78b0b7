"""Maps that act at each point alone."""

import math
from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

CACHED_VALUES = 2**17
"""Numbers of a block of rows, in and out, that stay in a core's cache while they are worked on."""


class Linear(nn.Module):
    """y = x W + b over the last axis, W stored (in, out) like the spectral weights.

    In this layout the weight's gradient xᵀ g has the few input channels as its rows, which BLAS does up to
    six times faster than gᵀ x. Weights and bias are uniform in ± 1 / √channels_in at the start.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        *,
        bias: bool = True,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        bound = 1 / math.sqrt(channels_in)
        self.weight = nn.Parameter(torch.empty(channels_in, channels_out))
        self.bias = nn.Parameter(torch.empty(channels_out)) if bias else None
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound, generator=generator)

    def forward(
        self,
        x: Float[Tensor, "*batch channel_in"],
        added: Float[Tensor, "*batch channel_out"] | None = None,
        factor: Float[Tensor, " channel_out"] | None = None,
        *,
        activated: bool = False,
    ) -> Float[Tensor, "*batch channel_out"]:
        """Return z = x W + b + added · factor, or gelu(z), in one pass over the points."""
        shape = (*x.shape[:-1], self.weight.shape[1])
        rows = x.reshape(-1, x.shape[-1])
        more = None if added is None else added.reshape(-1, added.shape[-1])
        if _is_long(rows, self.weight) and _is_trained(rows, self.weight, more):
            return _Pass.apply(rows, self.weight, self.bias, more, factor, activated)[0].reshape(shape)
        offset = _offset(self.bias, more, factor)
        z = rows @ self.weight if offset is None else torch.addmm(offset, rows, self.weight)
        return (nn.functional.gelu(z) if activated else z).reshape(shape)


class ChannelMLP(nn.Module):
    """Two linear maps with a GELU between them, the same at every point."""

    def __init__(
        self, channels_in: int, hidden: int, channels_out: int, *, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        self.first = Linear(channels_in, hidden, generator=generator)
        self.second = Linear(hidden, channels_out, generator=generator)

    def forward(
        self,
        x: Float[Tensor, "*batch channel_in"],
        added: Float[Tensor, "*batch channel_out"] | None = None,
        factor: Float[Tensor, " channel_out"] | None = None,
        *,
        activated: bool = False,
    ) -> Float[Tensor, "*batch channel_out"]:
        """Return z = gelu(x V₁ + c₁) V₂ + c₂ + added · factor, or gelu(z)."""
        result: Tensor = self.second(self.first(x, activated=True), added, factor, activated=activated)
        return result


class Gate(nn.Module):
    """One factor a channel, 1 at the start."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, x: Float[Tensor, "*batch channel"]) -> Float[Tensor, "*batch channel"]:
        """Return x times its factors."""
        return x * self.weight


class _Pass(torch.autograd.Function):
    """z = x W + b + a ⊙ f and gelu(z), made and derived block by block of rows that stay in the cache.

    Where a derivative is itself to be derived, ordinary operations make it; for these z is an output too.
    """

    @staticmethod
    def forward(
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        added: Tensor | None,
        factor: Tensor | None,
        activated: bool,
    ) -> tuple[Tensor, Tensor | None]:
        z = x.new_empty(len(x), weight.shape[1])
        y = torch.empty_like(z) if activated else None
        for block in _blocks(x, weight):
            offset = _offset(bias, None if added is None else added[block], factor)
            if offset is None:
                torch.mm(x[block], weight, out=z[block])
            else:
                torch.addmm(offset, x[block], weight, out=z[block])
            if y is not None:
                torch.ops.aten.gelu.out(z[block], out=y[block])
        return (z, None) if y is None else (y, z)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor | None]) -> None:
        x, weight, _, added, factor, _ = inputs
        ctx.save_for_backward(x, weight, None if factor is None else added, factor, output[1])
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, slope: Tensor | None, slope_at_z: Tensor | None) -> tuple[Tensor | None, ...]:
        x, weight, added, factor, z = ctx.saved_tensors
        if slope is None or slope_at_z is not None or torch.is_grad_enabled():
            g = slope if z is None or slope is None else torch.ops.aten.gelu_backward(slope, z)
            g = g if slope_at_z is None else slope_at_z if g is None else g + slope_at_z
            slopes = _slopes(g, x, weight, added, factor)
            needed = zip(slopes, ctx.needs_input_grad, strict=False)
            return (*(value if is_needed else None for value, is_needed in needed), None)
        needs_x, needs_weight, needs_bias, needs_added, needs_factor, _ = ctx.needs_input_grad
        at_x = torch.empty_like(x) if needs_x else None
        at_weight = torch.zeros_like(weight) if needs_weight else None
        at_bias = weight.new_zeros(weight.shape[1]) if needs_bias else None
        at_added = torch.empty_like(slope) if needs_added else None
        at_factor = torch.zeros_like(factor) if needs_factor else None
        for block in _blocks(x, weight):
            g = slope[block] if z is None else torch.ops.aten.gelu_backward(slope[block], z[block])
            if at_x is not None:
                torch.mm(g, weight.T, out=at_x[block])
            if at_weight is not None:
                at_weight.addmm_(x[block].T, g)
            if at_bias is not None:
                at_bias += g.sum(0)
            if at_added is not None:
                at_added[block] = g if factor is None else g * factor
            if at_factor is not None:
                at_factor += (g * added[block]).sum(0)
        return at_x, at_weight, at_bias, at_added, at_factor, None


def _slopes(
    g: Tensor, x: Tensor, weight: Tensor, added: Tensor | None, factor: Tensor | None
) -> tuple[Tensor | None, ...]:
    """Return the slopes at x, W, b, a and f, given those at z, by operations that can be derived again."""
    at_factor = None if added is None else (g * added).sum(0)
    return g @ weight.T, x.T @ g, g.sum(0), g if factor is None else g * factor, at_factor


def _blocks(x: Tensor, weight: Tensor) -> Iterator[slice]:
    rows = max(1, CACHED_VALUES // sum(weight.shape))
    return (slice(start, start + rows) for start in range(0, len(x), rows))


def _offset(bias: Tensor | None, added: Tensor | None, factor: Tensor | None) -> Tensor | None:
    """Return b + a ⊙ f, of what there is."""
    if added is None or factor is None:
        return bias if added is None else added if bias is None else added + bias
    return added * factor if bias is None else torch.addcmul(bias, added, factor)


def _is_trained(*tensors: Tensor | None) -> bool:
    """Say whether derivatives will be asked for, on a processor and outside of an exported graph."""
    if not torch.is_grad_enabled() or torch.compiler.is_compiling():
        return False
    given = [tensor for tensor in tensors if tensor is not None]
    return given[0].device.type == "cpu" and any(tensor.requires_grad for tensor in given)


def _is_long(rows: Tensor, weight: Tensor) -> bool:
    return len(rows) * sum(weight.shape) > CACHED_VALUES
