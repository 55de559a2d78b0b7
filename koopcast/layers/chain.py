"""Linear maps with GELUs between them, the same at every point, made block by block of points."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

CACHED_VALUES = 2**18
"""Numbers of a block of rows, in and out of a map, that stay in a core's cache while they are worked on."""


class Link(NamedTuple):
    """z = h W + b + a ⊙ f; what is None is left out."""

    weight: Float[Tensor, "channel_in channel_out"]
    bias: Float[Tensor, " channel_out"] | None = None
    added: Float[Tensor, "*batch channel_out"] | None = None
    factor: Float[Tensor, " channel_out"] | None = None

    def apply(self, h: Tensor, block: slice = slice(None), out: Tensor | None = None) -> Tensor:
        """Return z for the rows h, which are those of `block`."""
        offset = self.bias
        if self.added is not None:
            rows = self.added[block] if self.factor is None else self.added[block] * self.factor
            offset = rows if self.bias is None else rows + self.bias
        if offset is None:
            return torch.mm(h, self.weight, out=out)
        return torch.addmm(offset, h, self.weight, out=out)


def chain(
    x: Float[Tensor, "*batch channel_in"], links: Sequence[Link], *, activated: bool = False
) -> Float[Tensor, "*batch channel_out"]:
    """Return z_L, or gelu(z_L), of z_l = gelu(z_l-1) W_l + b_l + a_l ⊙ f_l with x in place of gelu(z_0)."""
    rows = x.reshape(-1, x.shape[-1])
    for place, link in enumerate(links):
        if link.added is not None:
            link = link._replace(added=link.added.reshape(-1, link.added.shape[-1]))
        is_last = place == len(links) - 1
        rows = _linked(rows, link, activated=activated or not is_last)
    result: Tensor = rows.reshape(*x.shape[:-1], rows.shape[-1])
    return result


def _linked(rows: Tensor, link: Link, *, activated: bool) -> Tensor:
    if _is_trained(rows, link) and len(rows) > _block_size(link.weight):
        return _in_blocks(rows, *link, activated)[0]
    z = link.apply(rows)
    return torch.nn.functional.gelu(z) if activated else z


class _InBlocks(torch.autograd.Function):
    """A link whose values and slopes are made while a block of rows is in the cache.

    Slopes that are themselves derived are made of all rows at once; for them z is an output beside gelu(z).
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
        link = Link(weight, bias, added, factor)
        z = x.new_empty(len(x), weight.shape[1])
        y = torch.empty_like(z) if activated else None
        for block in _blocks(x, weight):
            link.apply(x[block], block, out=z[block])
            if y is not None:
                torch.ops.aten.gelu.out(z[block], out=y[block])
        return (z, None) if y is None else (y, z)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor | None]) -> None:
        x, weight, _, added, factor, _ = inputs
        # The slope of what is added without a factor is that of z, whatever its values are.
        ctx.save_for_backward(x, weight, None if factor is None else added, factor, output[1])
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, slope: Tensor | None, at_z: Tensor | None) -> tuple[Tensor | None, ...]:
        x, weight, added, factor, z = ctx.saved_tensors
        needed = ctx.needs_input_grad
        if torch.is_grad_enabled() or slope is None or at_z is not None:
            g = None if slope is None else _before_gelu(slope, z)
            g = at_z if g is None else g if at_z is None else g + at_z
            nothing = (None,) * len(needed)
            return nothing if g is None else _slopes(g, x, Link(weight, None, added, factor), needed)
        return _slopes_in_blocks(slope, x, Link(weight, None, added, factor), z, needed)


def _slopes(g: Tensor, x: Tensor, link: Link, needed: Sequence[bool]) -> tuple[Tensor | None, ...]:
    """Return the slopes that are needed, by operations that can be derived again, from g, that at z."""
    weight, _, added, factor = link
    return (
        g @ weight.T if needed[0] else None,
        x.T @ g if needed[1] else None,
        g.sum(0) if needed[2] else None,
        (g if factor is None else g * factor) if needed[3] else None,
        (g * added).sum(0) if needed[4] and added is not None else None,
        None,
    )


def _slopes_in_blocks(
    slope: Tensor, x: Tensor, link: Link, z: Tensor | None, needed: Sequence[bool]
) -> tuple[Tensor | None, ...]:
    """Return the same from the slope at gelu(z), or at z if there is no z, block by block."""
    weight, _, added, factor = link
    at_x = torch.empty_like(x) if needed[0] else None
    at_weight = torch.zeros_like(weight) if needed[1] else None
    at_bias = weight.new_zeros(weight.shape[1]) if needed[2] else None
    at_added = x.new_empty(len(x), weight.shape[1]) if needed[3] else None
    at_factor = weight.new_zeros(weight.shape[1]) if needed[4] else None
    for block in _blocks(x, weight):
        g = _before_gelu(slope[block], None if z is None else z[block])
        if at_x is not None:
            torch.mm(g, weight.T, out=at_x[block])
        if at_weight is not None:
            at_weight.addmm_(x[block].T, g)
        if at_bias is not None:
            at_bias += g.sum(0)
        if at_added is not None:
            at_added[block] = g if factor is None else g * factor
        if at_factor is not None and added is not None:
            at_factor += (g * added[block]).sum(0)
    return at_x, at_weight, at_bias, at_added, at_factor, None


_in_blocks: Callable[..., tuple[Tensor, Tensor | None]] = _InBlocks.apply


def _before_gelu(slope: Tensor, z: Tensor | None) -> Tensor:
    before: Tensor = slope if z is None else torch.ops.aten.gelu_backward(slope, z)
    return before


def _block_size(weight: Tensor) -> int:
    return max(1, CACHED_VALUES // sum(weight.shape))


def _blocks(x: Tensor, weight: Tensor) -> Iterator[slice]:
    rows = _block_size(weight)
    return (slice(start, start + rows) for start in range(0, len(x), rows))


def _is_trained(rows: Tensor, link: Link) -> bool:
    """Say whether slopes will be asked for, on a processor and outside of an exported graph."""
    if not torch.is_grad_enabled() or torch.compiler.is_compiling() or rows.device.type != "cpu":
        return False
    return any(part.requires_grad for part in (rows, *link) if part is not None)
