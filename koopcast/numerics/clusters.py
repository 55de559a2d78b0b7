"""Centres of point clouds."""

import torch
from jaxtyping import Float
from torch import Tensor


def k_means(
    points: Float[Tensor, "point dim"], count: int, generator: torch.Generator, *, sweeps: int = 50
) -> Float[Tensor, "count dim"]:
    """Return `count` centres by Lloyd's iteration from a k-means++ start (Arthur & Vassilvitskii 2007).

    A centre that loses all its points moves to the point that is farthest from its own centre.
    """
    centres = points[_spread_start(points, count, generator)].clone()
    for _ in range(sweeps):
        distance, nearest = torch.cdist(points, centres).min(dim=1)
        sums = torch.zeros_like(centres).index_add_(0, nearest, points)
        sizes = torch.bincount(nearest, minlength=count)
        moved = torch.where(sizes[:, None] > 0, sums / sizes.clamp_min(1)[:, None], points[distance.argmax()])
        if torch.equal(moved, centres):
            break
        centres = moved
    return centres


def _spread_start(points: Float[Tensor, "point dim"], count: int, generator: torch.Generator) -> Tensor:
    chosen = [int(torch.randint(len(points), (1,), generator=generator))]
    squared = (points - points[chosen[0]]).square().sum(dim=1)
    for _ in range(count - 1):
        weights = squared if bool(squared.max() > 0) else torch.ones_like(squared)
        chosen.append(int(torch.multinomial(weights, 1, generator=generator)))
        squared = torch.minimum(squared, (points - points[chosen[-1]]).square().sum(dim=1))
    return torch.tensor(chosen)
