"""Neural spectral block: each patch of a field is mapped in a few latent tokens."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from koopcast.layers.pointwise import Linear


class NeuralSpectralBlock(nn.Module):
    """x ← x + D(S(E(x))) in each patch: attention to tokens, a map of the tokens, attention back.

    With the points s of a patch, heads h of width / heads channels, keys k, values v and queries q that are
    linear in x, and learned tokens L:

    E: T_th = L_th + Σ_s softmax_s(L_th · k_sh) v_sh
    S: T ← T + Σ_m w_m sin(π m T / M) + w'_m cos(π m T / M), 0 ≤ m < M, weights of each channel
    D: x_sh ← x_sh + Σ_t softmax_t(q_sh · T_th) T_th

    A bias of the keys would move all logits of a token alike, which a softmax does not see: there is none.

    Args:
        width: Channels.
        patch: Points of a patch along each axis.
        tokens: Tokens of each head.
        basis: M.
        heads: Parts of the channels that attend by themselves.
        is_scaled: Whether logits are divided by the root of the channels a head.
        generator: Draws the weights; tokens and w uniform in (0, 1 / width).
    """

    def __init__(
        self,
        width: int,
        patch: Sequence[int],
        *,
        tokens: int,
        basis: int,
        heads: int,
        is_scaled: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        assert width % heads == 0, "every head has as many channels"
        self.patch, self.heads, self.tokens = tuple(patch), heads, tokens
        self.scale = math.sqrt(heads / width) if is_scaled else 1.0
        self.latent = nn.Parameter(torch.rand(tokens, heads, width // heads, generator=generator) / width)
        self.weight = nn.Parameter(torch.rand(2, basis, width, generator=generator) / width)
        self.keys = Linear(width, width, bias=False, generator=generator)
        self.values = Linear(width, width, generator=generator)
        self.queries = Linear(width, width, generator=generator)

    def forward(self, x: Float[Tensor, "batch channel *space"]) -> Float[Tensor, "batch channel *space"]:
        """Return the field after the block; every axis holds whole patches."""
        points = self._cut(x)
        keys, values, queries = self._projected(points)
        T = self._encoded(keys, values)
        T = T + wave_sum(T, self.weight.unflatten(-1, (self.heads, -1)))
        return self._joined(points + self._decoded(queries, T), x.shape)

    def _projected(self, points: Float[Tensor, "patch point channel"]) -> tuple[Tensor, Tensor, Tensor]:
        """Return the logits of the tokens over the points, values and queries: one product for all three."""
        key_weight = self.keys.weight.unflatten(-1, (self.heads, -1))
        logits = torch.einsum("chd,thd->cth", key_weight, self.latent * self.scale).flatten(1)
        assert self.values.bias is not None
        assert self.queries.bias is not None
        weight = torch.cat([logits, self.values.weight, self.queries.weight], dim=1)
        bias = torch.cat([logits.new_zeros(logits.shape[1]), self.values.bias, self.queries.bias])
        width = points.shape[-1]
        rows = torch.addmm(bias, points.flatten(0, 1), weight).unflatten(0, points.shape[:2])
        parts = rows.split([logits.shape[1], width, width], dim=-1)
        return parts[0], parts[1], parts[2]

    def _encoded(
        self, logits: Float[Tensor, "patch point slot"], values: Float[Tensor, "patch point channel"]
    ) -> Float[Tensor, "patch token head part"]:
        """Return the tokens. All heads' values are averaged with all heads' weights in one product; the
        blocks where the two agree are kept.
        """
        averages = torch.bmm(logits.softmax(dim=1).mT, values)
        blocks: Tensor = averages.unflatten(2, (self.heads, -1)).unflatten(1, (self.tokens, self.heads))
        return self.latent + blocks.diagonal(dim1=2, dim2=3).transpose(2, 3)

    def _decoded(
        self, queries: Float[Tensor, "patch point channel"], T: Float[Tensor, "patch token head part"]
    ) -> Float[Tensor, "patch point channel"]:
        """Return what the points read from the tokens, which stand in a matrix of one block a head."""
        eye = torch.eye(self.heads, dtype=T.dtype, device=T.device)
        matrix = (T[:, :, :, None] * eye[:, :, None]).flatten(3).flatten(1, 2)
        logits = torch.bmm(queries, matrix.mT) * self.scale
        weights = logits.unflatten(2, (self.tokens, self.heads)).softmax(dim=2).flatten(2)
        return torch.bmm(weights, matrix)

    def _cut(self, x: Float[Tensor, "batch channel *space"]) -> Float[Tensor, "patch point channel"]:
        split = x
        for dim, size in enumerate(self.patch):
            split = split.unflatten(2 + 2 * dim, (-1, size))
        axes = range(len(self.patch))
        counts, inner = [2 + 2 * axis for axis in axes], [3 + 2 * axis for axis in axes]
        return split.permute(0, *counts, *inner, 1).reshape(-1, math.prod(self.patch), x.shape[1])

    def _joined(
        self, points: Float[Tensor, "patch point channel"], shape: Sequence[int]
    ) -> Float[Tensor, "batch channel *space"]:
        counts = [size // part for size, part in zip(shape[2:], self.patch, strict=True)]
        split = points.reshape(shape[0], *counts, *self.patch, shape[1])
        axes = range(len(self.patch))
        order = [place for axis in axes for place in (1 + axis, 1 + len(self.patch) + axis)]
        return split.permute(0, *order, -1).reshape(shape[0], *shape[2:], shape[1]).movedim(-1, 1)


def wave_sum(
    T: Float[Tensor, "patch token *channel"], weight: Float[Tensor, "2 basis *channel"]
) -> Float[Tensor, "patch token *channel"]:
    """Return Σ_m w_m sin(m θ) + w'_m cos(m θ) with θ = π T / M, as Re Σ_m (w'_m - i w_m) zᵐ, z = exp(i θ).

    Horner's rule takes one sine and one cosine instead of M of each.
    """
    angle = T * (math.pi / weight.shape[1])
    z = torch.complex(angle.cos(), angle.sin())
    factors = torch.complex(weight[1], -weight[0])
    total = factors[-1].expand_as(z)
    for factor in reversed(factors[:-1].unbind()):
        total = torch.addcmul(factor, total, z)
    return total.real
