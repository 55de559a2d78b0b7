"""Linear maps with GELUs between them, the same at every point, made block by block of points.

A block goes through all maps, and its slopes back through all of them, while it is in the cache. Of a map
only z is kept: gelu(z) is made again for the slopes, which is as cheap as to fetch it.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import gelu

CACHED_VALUES = 2**19
"""Numbers of a block of rows, in and out of the widest map, that stay in a core's cache."""


class Link(NamedTuple):
    """z = h W + b + a ⊙ f, or z = h W + b + M a in each group of rows; what is None is left out."""

    weight: Float[Tensor, "channel_in channel_out"]
    bias: Float[Tensor, " channel_out"] | None = None
    added: Float[Tensor, "*batch channel_out"] | None = None
    factor: Float[Tensor, " channel_out"] | None = None
    matrix: Float[Tensor, "row fewer"] | None = None

    @property
    def group(self) -> int:
        """Rows that are made together."""
        return 1 if self.matrix is None else self.matrix.shape[0]

    def of(self, h: Tensor) -> Tensor:
        """Return z."""
        offset = self.bias
        if self.added is not None:
            rows = self.added if self.matrix is None else _each(self.matrix, self.added).flatten(0, 1)
            rows = rows if self.factor is None else rows * self.factor
            offset = rows if self.bias is None else rows + self.bias
        return h @ self.weight if offset is None else torch.addmm(offset, h, self.weight)

    def write(self, h: Tensor, block: slice, z: Tensor) -> None:
        """Write z for the rows h, which are those of `block`."""
        weight, bias, added, factor, matrix = self
        if added is None:
            torch.mm(h, weight, out=z) if bias is None else torch.addmm(bias, h, weight, out=z)
        elif matrix is not None:
            _each(matrix, added[self.groups(block)], out=z.unflatten(0, (-1, self.group)))
            z.addmm_(h, weight)
            if bias is not None:
                z += bias
        elif bias is None and factor is None:
            torch.addmm(added[block], h, weight, out=z)
        else:
            scale = torch.ones_like(weight[0]) if factor is None else factor
            torch.addcmul(torch.zeros_like(scale) if bias is None else bias, added[block], scale, out=z)
            z.addmm_(h, weight)

    def groups(self, block: slice) -> slice:
        """Return which groups the rows of a block are."""
        return slice(block.start // self.group, block.stop // self.group)

    def rows(self) -> "Link":
        """Return the link with what is added as a matrix, or as one a group."""
        if self.added is None:
            return self
        return self._replace(added=self.added.flatten(0, -2 if self.matrix is None else -3))


def chain(
    x: Float[Tensor, "*batch channel_in"], links: Sequence[Link], *, activated: bool = False
) -> Float[Tensor, "*batch channel_out"]:
    """Return z_L, or gelu(z_L), of z_l = gelu(z_l-1) W_l + … (see `Link`) with x in place of gelu(z_0)."""
    rows = x.reshape(-1, x.shape[-1])
    plan = _Plan(activated, tuple(link.added is x for link in links))
    links = [link.rows() for link in links]
    if _is_trained(rows, links) and len(rows) > _block_size(links):
        result = _in_blocks(rows, plan, *plan.parts(links))[0]
    else:
        result = rows
        for place, link in enumerate(links, start=1):
            z = link.of(result)
            result = gelu(z) if activated or place < len(links) else z
    shaped: Tensor = result.reshape(*x.shape[:-1], result.shape[-1])
    return shaped


class _Plan(NamedTuple):
    """What of a chain is no tensor: whether it ends with a GELU, and to which links its input is added."""

    activated: bool
    adds_input: tuple[bool, ...]

    def parts(self, links: Sequence[Link]) -> list[Tensor | None]:
        """Return the parts of all links, without the input where that is added."""
        pairs = zip(links, self.adds_input, strict=True)
        return [part for link, adds in pairs for part in (link._replace(added=None) if adds else link)]

    def links(self, x: Tensor, parts: Sequence[Any]) -> list[Link]:
        """Return the links that have these parts."""
        links = [Link(*parts[place : place + len(Link._fields)]) for place in self.places()]
        pairs = zip(links, self.adds_input, strict=True)
        return [link._replace(added=x) if adds else link for link, adds in pairs]

    def places(self) -> range:
        """Return where the parts of each link begin."""
        return range(0, len(Link._fields) * len(self.adds_input), len(Link._fields))


class _InBlocks(torch.autograd.Function):
    """A chain whose values and slopes are made while a block of rows is in the cache.

    Beside the result its outputs are z of each link that a GELU follows: slopes are made from them, and
    where slopes are themselves derived, these outputs have slopes too.
    """

    @staticmethod
    def forward(x: Tensor, plan: _Plan, *parts: Tensor | None) -> tuple[Tensor, ...]:
        links = plan.links(x, parts)
        made = [x.new_empty(len(x), link.weight.shape[1]) for link in links]
        result = torch.empty_like(made[-1]) if plan.activated else made[-1]
        for block in _blocks(x, links):
            h = x[block]
            for place, (link, z) in enumerate(zip(links, made, strict=True), start=1):
                link.write(h, block, z[block])
                if place < len(links):
                    h = gelu(z[block])
            if plan.activated:
                torch.ops.aten.gelu.out(made[-1][block], out=result[block])
        return (result, *made[: len(links) - 1 + plan.activated])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        x, plan, *parts = inputs
        ctx.plan = plan
        # What is added without a factor has the slope of z, whatever its values are.
        for place in plan.places():
            if parts[place + 3] is None:
                parts[place + 2] = None
        ctx.save_for_backward(x, *parts, *output[1:])
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, slope: Tensor | None, *at_z: Tensor | None) -> tuple[Tensor | None, ...]:
        x, *rest = ctx.saved_tensors
        count = len(ctx.needs_input_grad) - 2
        links, zs = ctx.plan.links(x, rest[:count]), rest[count:]
        if len(zs) < len(links):
            zs.append(None)
        needed = _Needed(ctx)
        if torch.is_grad_enabled() or slope is None or any(part is not None for part in at_z):
            return _slopes(x, links, zs, slope, at_z, needed)
        return _slopes_in_blocks(x, links, zs, slope, needed)


class _Needed:
    """Which slopes are asked for."""

    def __init__(self, ctx: Any) -> None:
        adds_input = ctx.plan.adds_input
        self.x, _, *parts = ctx.needs_input_grad
        self.links = [parts[place : place + len(Link._fields)] for place in ctx.plan.places()]
        self.adds_input = [adds and self.x for adds in adds_input]


_in_blocks: Callable[..., tuple[Tensor, ...]] = _InBlocks.apply


def _slopes(
    x: Tensor,
    links: Sequence[Link],
    zs: Sequence[Tensor | None],
    slope: Tensor | None,
    at_z: Sequence[Tensor | None],
    needed: _Needed,
) -> tuple[Tensor | None, ...]:
    """Return the slopes by operations that can be derived again, of all rows at once."""
    at_x: Tensor | None = None
    at_parts: list[tuple[Tensor | None, ...]] = []
    g = slope
    for place in reversed(range(len(links))):
        (weight, _, added, factor, matrix), z = links[place], zs[place]
        of_weight, of_bias, of_added, of_factor, _ = needed.links[place]
        g = _sum(None if g is None else _before_gelu(g, z), at_z[place] if place < len(at_z) else None)
        if g is None:
            at_parts.append((None,) * len(Link._fields))
            continue
        before = zs[place - 1] if place else None
        h = x if before is None else gelu(before)
        at_added = g if factor is None else g * factor
        if matrix is not None:
            at_added = _each(matrix.T, at_added.unflatten(0, (-1, len(matrix))))
        at_parts.append(
            (
                h.T @ g if of_weight else None,
                g.sum(0) if of_bias else None,
                at_added if of_added else None,
                (g * added).sum(0) if of_factor and added is not None else None,
                None,
            )
        )
        if needed.adds_input[place]:
            at_x = _sum(at_x, at_added)
        g = g @ weight.T
    at_x = _sum(at_x, g) if needed.x else None
    return (at_x, None, *(part for parts in reversed(at_parts) for part in parts))


def _slopes_in_blocks(
    x: Tensor, links: Sequence[Link], zs: Sequence[Tensor | None], slope: Tensor, needed: _Needed
) -> tuple[Tensor | None, ...]:
    """Return the same, block by block."""
    at_x = torch.empty_like(x) if needed.x else None
    at_parts = [_empty_slopes(x, link, wanted) for link, wanted in zip(links, needed.links, strict=True)]
    first = 0 if needed.x else next(place for place, wanted in enumerate(needed.links) if any(wanted))
    for block in _blocks(x, links):
        g = slope[block]
        into_x = None if at_x is None else at_x[block]
        is_begun = False
        for place in reversed(range(first, len(links))):
            (weight, _, added, factor, matrix), z = links[place], zs[place]
            at_weight, at_bias, at_added, at_factor, _ = at_parts[place]
            # Where nothing multiplies what is added, its slope is that of z: written once, used in place.
            is_slope = at_added is not None and factor is None and matrix is None
            room = at_added[block] if at_added is not None and is_slope else None
            g = _before_gelu(g, None if z is None else z[block], room)
            if at_weight is not None:
                before = zs[place - 1] if place else None
                at_weight.addmm_((x[block] if before is None else gelu(before[block])).T, g)
            if at_bias is not None:
                at_bias += g.sum(0)
            if at_factor is not None and added is not None:
                at_factor += (g * added[block]).sum(0)
            if at_added is not None and matrix is not None:
                groups = links[place].groups(block)
                _each(matrix.T, g.unflatten(0, (-1, len(matrix))), out=at_added[groups])
            elif at_added is not None and factor is not None:
                torch.mul(g, factor, out=at_added[block])
            if into_x is not None and needed.adds_input[place]:
                if is_begun:
                    into_x += g if factor is None else g * factor
                elif factor is None:
                    into_x.copy_(g)
                else:
                    torch.mul(g, factor, out=into_x)
                is_begun = True
            if place > first:
                g = g @ weight.T
            elif into_x is not None:
                torch.addmm(into_x, g, weight.T, beta=int(is_begun), out=into_x)
    return (at_x, None, *(part for parts in at_parts for part in parts))


def _empty_slopes(x: Tensor, link: Link, wanted: Sequence[bool]) -> tuple[Tensor | None, ...]:
    """Return room for the slopes of a link: zeros for sums over the rows."""
    weight, bias, _, factor, matrix = link
    of_weight, of_bias, of_added, of_factor, _ = wanted
    added = (len(x),) if matrix is None else (len(x) // link.group, matrix.shape[1])
    return (
        torch.zeros_like(weight) if of_weight else None,
        torch.zeros_like(bias) if of_bias and bias is not None else None,
        x.new_empty(*added, weight.shape[1]) if of_added else None,
        torch.zeros_like(factor) if of_factor and factor is not None else None,
        None,
    )


def _each(matrix: Tensor, groups: Tensor, out: Tensor | None = None) -> Tensor:
    """Multiply each group of rows."""
    # The shape, not the length: in an exported program it may be any.
    return torch.bmm(matrix.expand(groups.shape[0], -1, -1), groups, out=out)


def _before_gelu(slope: Tensor, z: Tensor | None, room: Tensor | None = None) -> Tensor:
    """Return the slope at z, in `room` if that is given."""
    if z is None:
        return slope if room is None else room.copy_(slope)
    if room is None:
        room = torch.ops.aten.gelu_backward(slope, z)
    else:
        torch.ops.aten.gelu_backward.grad_input(slope, z, grad_input=room)
    return room


def _sum(first: Tensor | None, second: Tensor | None) -> Tensor | None:
    if first is None or second is None:
        return second if first is None else first
    return first + second


def _block_size(links: Sequence[Link]) -> int:
    group = max(link.group for link in links)
    rows = CACHED_VALUES // max(sum(link.weight.shape) for link in links)
    return max(1, rows // group) * group


def _blocks(x: Tensor, links: Sequence[Link]) -> Iterator[slice]:
    rows = _block_size(links)
    return (slice(start, min(start + rows, len(x))) for start in range(0, len(x), rows))


def _is_trained(rows: Tensor, links: Sequence[Link]) -> bool:
    """Say whether slopes will be asked for, on a processor and outside of an exported graph."""
    if not torch.is_grad_enabled() or torch.compiler.is_compiling() or rows.device.type != "cpu":
        return False
    return any(part.requires_grad for link in links for part in (rows, *link) if part is not None)
