"""Weighted particles: normalised weights, effective numbers, moments, and schemes that draw them again."""

from typing import Literal, assert_never

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Scheme = Literal["systematic", "stratified", "residual", "multinomial"]


def normalised(
    log_weight: Float[Tensor, "batch member"],
) -> tuple[Float[Tensor, "batch member"], Float[Tensor, " batch"]]:
    """Return weights of sum 1, and the logarithm of the sum that they had."""
    total = torch.logsumexp(log_weight, dim=1)
    return (log_weight - total[:, None]).exp(), total


def effective_number(weight: Float[Tensor, "batch member"]) -> Float[Tensor, " batch"]:
    """Return 1 / Σ w² of weights of sum 1."""
    return 1 / weight.square().sum(dim=1)


def weighted_split(
    ensemble: Float[Tensor, "batch member state"], weight: Float[Tensor, "batch member"]
) -> tuple[Float[Tensor, "batch 1 state"], Float[Tensor, "batch member state"]]:
    """Return the mean, and the anomalies √(w / (1 - Σ w²)) (x - mean) whose products are the covariance.

    Equal weights give the usual divisor N - 1. Where nearly all the weight is on one particle, 1 - Σ w² and
    the distances from the mean are formed without cancellation: the covariance is that of the two heaviest.
    """
    top = weight.argmax(dim=1, keepdim=True)
    pivot = gathered(ensemble, top)
    others = weight.scatter(1, top, 0.0)
    below = others.sum(dim=1, keepdim=True)
    rest = weight.gather(1, top) * below + (others * (1 - others)).sum(dim=1, keepdim=True)
    shifted = ensemble - pivot
    mean = others[:, None] @ shifted
    scale = torch.where(rest > 0, weight / rest, 0.0).sqrt()
    return pivot + mean, scale[..., None] * (shifted - mean)


def covariance_root(anomalies: Float[Tensor, "batch member state"]) -> Float[Tensor, "batch rank state"]:
    """Return the triangular F with FᵀF = AᵀA and at most `state` rows."""
    root: Tensor = torch.linalg.qr(anomalies, mode="r")[1]
    return root


def ancestors(
    weight: Float[Tensor, "batch member"], scheme: Scheme, uniform: Float[Tensor, "batch member"]
) -> Int[Tensor, "batch member"]:
    """Return the particle that each of N new ones copies, sorted; particle i is expected N wᵢ times.

    Args:
        weight: Of sum 1.
        scheme: `systematic`: one number shifts a comb of N teeth; `stratified`: each tooth has a shift of its
            own; `residual`: ⌊N wᵢ⌋ copies each, the rest independent draws; `multinomial`: independent draws.
        uniform: Numbers from [0, 1); systematic draws use the first.
    """
    count = weight.shape[1]
    teeth = torch.arange(count, dtype=weight.dtype, device=weight.device)
    match scheme:
        case "systematic":
            return _inverse(weight, (uniform[:, :1] + teeth) / count)
        case "stratified":
            return _inverse(weight, (uniform + teeth) / count)
        case "multinomial":
            return _inverse(weight, uniform.sort(dim=1).values)
        case "residual":
            # Equal weights have N w = 1 only up to rounding.
            copies = (count * weight * (1 + 4 * torch.finfo(weight.dtype).eps)).floor()
            whole = copies.cumsum(dim=1)
            kept = torch.searchsorted(whole, teeth.expand_as(whole).contiguous(), right=True)
            drawn = _inverse((count * weight - copies).clamp_min(0), uniform)
            return torch.where(teeth < whole[:, -1:], kept.clamp_max(count - 1), drawn).sort(dim=1).values
        case _:
            assert_never(scheme)


def is_repeated(index: Int[Tensor, "batch member"]) -> Bool[Tensor, "batch member"]:
    """Return whether each of sorted numbers is that before it."""
    same: Tensor = torch.zeros_like(index, dtype=torch.bool)
    same[:, 1:] = index[:, 1:] == index[:, :-1]
    return same


def _inverse(
    weight: Float[Tensor, "batch member"], probability: Float[Tensor, "batch draw"]
) -> Int[Tensor, "batch draw"]:
    """Return where the cumulative weight first exceeds a share of its total."""
    cumulative = weight.cumsum(dim=1)
    found = torch.searchsorted(cumulative, (probability * cumulative[:, -1:]).contiguous(), right=True)
    return found.clamp_max(weight.shape[1] - 1)


def gathered(
    values: Float[Tensor, "batch member *rest"], index: Int[Tensor, "batch draw"]
) -> Float[Tensor, "batch draw *rest"]:
    """Return the values of the particles with these numbers."""
    rows = torch.arange(values.shape[0], device=values.device)[:, None]
    return values[rows, index]
