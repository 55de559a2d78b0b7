import numpy as np
import pytest
import torch

from koopcast.errors import DataError
from koopcast.numerics.pod import decompose


def low_rank(frames=60, values=40, rank=5, noise=0.0):
    rng = np.random.default_rng(1)
    left, right = rng.standard_normal((frames, rank)), rng.standard_normal((rank, values))
    field = left * 2.0 ** -np.arange(rank) @ right + 3.0 + noise * rng.standard_normal((frames, values))
    return torch.from_numpy(field)


def modes_of(frames, modes, size=17):
    return decompose(lambda: frames.split(size), modes, np.random.default_rng(2))


@pytest.mark.parametrize("values", [8, 40])
def test_modes_are_the_singular_vectors_of_the_departures_from_the_mean(values):
    frames = low_rank(values=values, noise=1e-3)
    found = modes_of(frames, 3)
    _, singular, Vh = torch.linalg.svd(frames - frames.mean(0), full_matrices=False)
    assert torch.allclose(found.singular, singular[:3], rtol=1e-10)
    assert torch.allclose((found.directions.mT @ Vh[:3].mT).abs(), torch.eye(3).double(), atol=1e-9)
    assert torch.allclose(found.mean, frames.mean(0))
    assert bool((found.directions.gather(0, found.directions.abs().argmax(0, keepdim=True)) > 0).all())


def test_coefficients_rebuild_frames_of_low_rank():
    frames = low_rank()
    found = modes_of(frames, 5)
    coefficients = found.coefficients(frames)
    assert torch.allclose(found.mean + coefficients @ found.directions.mT, frames, atol=1e-10)
    assert torch.allclose(coefficients.square().sum(0).sqrt(), found.singular)


def test_blocks_may_have_any_size():
    frames = low_rank(noise=1e-2)
    whole, parts = modes_of(frames, 4, size=60), modes_of(frames, 4, size=1)
    assert torch.allclose(whole.directions, parts.directions, atol=1e-10)


def test_directions_that_do_not_vary_are_no_modes():
    frames = low_rank(rank=2)
    found = modes_of(frames, 6)
    assert found.directions.shape == (40, 2)
    found.refuse_fewer(2)
    found.refuse_fewer(None)
    with pytest.raises(DataError, match="6 modes asked, but the frames vary in 2 directions"):
        found.refuse_fewer(6)
    with pytest.raises(DataError, match="do not vary"):
        modes_of(torch.full((9, 4), 0.3, dtype=torch.float64), 2)
