"""Linear maps with GELUs between them, the same at every point, made block by block of points."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

CACHED_VALUES = 2**17
"""Numbers of a block of rows, in and out of a map, that stay in a core's cache while they are worked on."""

BIAS, ADDED, FACTOR = 1, 2, 3
"""Places in a link, after the weight."""


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
    links = [
        link if link.added is None else link._replace(added=link.added.reshape(-1, link.added.shape[-1]))
        for link in links
    ]
    if len(rows) > _block_size(links) and _is_trained(rows, links):
        y = _Chain.apply(rows, activated, *(part for link in links for part in link))[0]
    else:
        y = links[0].apply(rows)
        for link in links[1:]:
            y = link.apply(torch.nn.functional.gelu(y))
        y = torch.nn.functional.gelu(y) if activated else y
    return y.reshape(*x.shape[:-1], y.shape[-1])


class _Chain(torch.autograd.Function):
    """A chain whose values and slopes are made while a block of rows is in the cache.

    GELUs are made again for the slopes. Slopes that are themselves derived are made of all rows at once; for
    them every z that enters a GELU is an output too.
    """

    @staticmethod
    def forward(x: Tensor, activated: bool, *parts: Tensor | None) -> tuple[Tensor, ...]:
        links = _links(parts)
        *inner, y = (x.new_empty(len(x), link.weight.shape[1]) for link in links)
        zs = [*inner, torch.empty_like(y)] if activated else inner
        for block in _blocks(x, links):
            h = x[block]
            for link, z in zip(links, zs, strict=False):
                h = torch.nn.functional.gelu(link.apply(h, block, out=z[block]))
            if activated:
                y[block] = h
            else:
                links[-1].apply(h, block, out=y[block])
        return (y, *zs)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        x, _, *parts = inputs
        # The slope of what is added without a factor is that of z, whatever its values are.
        kept = [
            None if place % 4 == BIAS or (place % 4 == ADDED and parts[place + 1] is None) else part
            for place, part in enumerate(parts)
        ]
        ctx.save_for_backward(x, *kept, *output[1:])
        ctx.num_parts = len(parts)
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor | None) -> tuple[Tensor | None, ...]:
        x, *saved = ctx.saved_tensors
        links, zs = _links(saved[: ctx.num_parts]), saved[ctx.num_parts :]
        needed = ctx.needs_input_grad
        if torch.is_grad_enabled() or slopes[0] is None or any(slope is not None for slope in slopes[1:]):
            found = dict(_slopes(slopes, x, links, zs, needed))
            return tuple(found.get(place) for place in range(len(needed)))
        found = {}
        for block in _blocks(x, links):
            cut = [z[block] for z in zs]
            rows = [link if link.added is None else link._replace(added=link.added[block]) for link in links]
            for place, value in _slopes((slopes[0][block],), x[block], rows, cut, needed):
                if place == 0 or (place - 2) % 4 == ADDED:
                    if place not in found:
                        found[place] = x.new_empty(len(x), value.shape[1])
                    found[place][block] = value
                else:
                    found[place] = found[place].add_(value) if place in found else value
        return tuple(found.get(place) for place in range(len(needed)))


def _slopes(
    slopes: Sequence[Tensor | None],
    x: Tensor,
    links: Sequence[Link],
    zs: Sequence[Tensor],
    needed: Sequence[bool],
) -> Iterator[tuple[int, Tensor]]:
    """Yield the slopes at the inputs of the chain that are needed, each with the place of the input."""
    g, at_zs = slopes[0], slopes[1:]
    for index in reversed(range(len(links))):
        weight, _, added, factor = links[index]
        if index < len(zs):
            g = None if g is None else torch.ops.aten.gelu_backward(g, zs[index])
            g = _total(g, at_zs[index] if at_zs else None)
        if g is None:
            continue
        place = 2 + 4 * index
        if needed[place]:
            h = x if index == 0 else torch.nn.functional.gelu(zs[index - 1])
            yield place, h.T @ g
        if needed[place + BIAS]:
            yield place + BIAS, g.sum(0)
        if needed[place + ADDED]:
            yield place + ADDED, g if factor is None else g * factor
        if needed[place + FACTOR]:
            yield place + FACTOR, (g * added).sum(0)
        if index > 0 or needed[0]:
            g = g @ weight.T
    if needed[0] and g is not None:
        yield 0, g


def _total(first: Tensor | None, second: Tensor | None) -> Tensor | None:
    return second if first is None else first if second is None else first + second


def _links(parts: Sequence[Tensor | None]) -> list[Link]:
    return [Link(*parts[start : start + 4]) for start in range(0, len(parts), 4)]


def _block_size(links: Sequence[Link]) -> int:
    return max(1, CACHED_VALUES // max(sum(link.weight.shape) for link in links))


def _blocks(x: Tensor, links: Sequence[Link]) -> Iterator[slice]:
    rows = _block_size(links)
    return (slice(start, start + rows) for start in range(0, len(x), rows))


def _is_trained(rows: Tensor, links: Sequence[Link]) -> bool:
    """Say whether slopes will be asked for, on a processor and outside of an exported graph."""
    if not torch.is_grad_enabled() or torch.compiler.is_compiling() or rows.device.type != "cpu":
        return False
    given = (rows, *(part for link in links for part in link))
    return any(part.requires_grad for part in given if part is not None)
