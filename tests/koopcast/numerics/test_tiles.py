import numpy as np
import pytest
import torch

from koopcast.grids import Axis
from koopcast.numerics.geometry import Domain, distances, implied_coordinates
from koopcast.numerics.tiles import Sites, tiles

GLOBE = Domain(
    (Axis("latitude", 18, "latitude"), Axis("longitude", 36, "longitude", periodic=True, length=360.0)),
    (torch.arange(-85.0, 90, 10).double(), torch.arange(0.0, 360, 10).double()),
)
TUBE = Domain(
    axes := (Axis("y", 9, length=3.0), Axis("x", 12, periodic=True, length=6.0)),
    tuple(implied_coordinates(axis) for axis in axes),
)


@pytest.mark.parametrize("shape", [(7,), (9, 12), (4, 5, 6)])
def test_tiles_hold_every_point_once(shape):
    blocks = list(tiles(shape, 4))
    assert sorted(torch.cat(blocks).tolist()) == list(range(int(np.prod(shape))))
    assert max(map(len, blocks)) <= 4 ** len(shape)


@pytest.mark.parametrize(("domain", "reach"), [(GLOBE, 25.0), (GLOBE, 400.0), (TUBE, 0.6)])
def test_no_site_within_reach_of_a_tile_is_left_out(domain, reach):
    count = int(np.prod(domain.shape))
    sites = torch.randperm(count, generator=torch.Generator().manual_seed(0))[: count // 2]
    found = Sites(domain, sites)
    sizes = []
    for points in tiles(domain.shape, 4):
        near = found.near(points, reach)
        needed = (distances(domain, points, sites) <= reach).any(dim=0).nonzero()[:, 0]
        assert set(needed.tolist()) <= set(near.tolist())
        sizes.append(len(near) / len(sites))
    # What is far is not looked at.
    assert reach > 180 or np.mean(sizes) < 0.7
