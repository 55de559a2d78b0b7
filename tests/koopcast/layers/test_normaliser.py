"""Moments and normalisers."""

import torch

from koopcast.layers.normaliser import Moments, Normaliser


def test_merged_blocks_have_the_moments_of_the_whole() -> None:
    values = 300 + torch.randn(50, 4, 2, generator=torch.Generator().manual_seed(0))
    valid = torch.rand(50, 4, generator=torch.Generator().manual_seed(1)) > 0.3
    whole = Moments.of(values, valid)
    merged = Moments(0, torch.zeros(2).double(), torch.zeros(2).double())
    for start in (0, 7, 20):
        stop = {0: 7, 7: 20, 20: 50}[start]
        merged = merged.merged(Moments.of(values[start:stop], valid[start:stop]))
    kept = values[valid].double()
    assert merged.count == whole.count == int(valid.sum())
    assert torch.allclose(merged.mean, kept.mean(0), rtol=1e-12)
    assert torch.allclose(merged.std, kept.std(0, correction=0), rtol=1e-9)
    assert torch.allclose(merged.rms, kept.square().mean(0).sqrt(), rtol=1e-12)


def test_denormalise_undoes_normalise() -> None:
    normaliser = Normaliser(torch.tensor([280.0, 1.0]), torch.tensor([5.0, 0.1]))
    field = torch.randn(3, 4, 2)
    assert torch.allclose(normaliser.normalise(normaliser.denormalise(field)), field, atol=1e-4)


def test_a_channel_that_never_changes_comes_back_as_its_mean() -> None:
    normaliser = Normaliser(torch.tensor([7.0]), torch.tensor([0.0]))
    assert torch.equal(normaliser.normalise(torch.full((2, 1), 7.0)), torch.zeros(2, 1))
    assert torch.equal(normaliser.denormalise(torch.randn(2, 1)), torch.full((2, 1), 7.0))


def test_cells_have_moments_of_their_own_and_blocks_of_them_merge() -> None:
    frames = 5 + torch.randn(30, 4, 2, generator=torch.Generator().manual_seed(2))
    merged = Moments.of_cells(frames[:11]).merged(Moments.of_cells(frames[11:]))
    assert torch.allclose(merged.mean, frames.double().mean(0), rtol=1e-12)
    assert torch.allclose(merged.std, frames.double().std(0, correction=0), rtol=1e-9)
    normaliser = Normaliser(merged.mean, merged.std)
    assert normaliser.is_cellwise
    normal = normaliser.normalise(frames)
    assert torch.allclose(normal.mean(0), torch.zeros(4, 2), atol=1e-5)
    assert torch.allclose(normal.std(0, correction=0), torch.ones(4, 2), atol=1e-5)


def test_moments_of_some_channels_are_theirs() -> None:
    values = torch.randn(20, 3, generator=torch.Generator().manual_seed(3))
    whole = Moments.of(values, torch.ones(20, dtype=torch.bool))
    assert torch.equal(whole.of_channels([2, 0]).mean, whole.mean[[2, 0]])
