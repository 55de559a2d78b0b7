import torch

from koopcast.numerics.clusters import k_means


def test_centres_of_separate_clouds_are_their_means() -> None:
    seed = torch.Generator().manual_seed(0)
    places = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0], [10.0, 10.0]], dtype=torch.float64)
    clouds = places[:, None] + 0.1 * torch.randn(4, 50, 2, generator=seed, dtype=torch.float64)
    centres = k_means(clouds.flatten(0, 1), 4, seed)
    order = torch.cdist(places, centres).argmin(dim=1)
    assert sorted(order.tolist()) == [0, 1, 2, 3]
    assert torch.allclose(centres[order], clouds.mean(dim=1))


def test_the_same_seed_gives_the_same_centres() -> None:
    points = torch.randn(100, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    one, other = (k_means(points, 7, torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(one, other)


def test_points_that_coincide_are_no_obstacle() -> None:
    centres = k_means(torch.ones(5, 2, dtype=torch.float64), 3, torch.Generator().manual_seed(0))
    assert torch.equal(centres, torch.ones(3, 2, dtype=torch.float64))
