import math

import pytest
import torch

from koopcast.errors import ShapeMismatch
from koopcast.grids import Axis
from koopcast.random_fields.wave_sum import WaveSumSpec

PLAIN = {"fold_probability": 0.0, "window_probability": 0.0}


def axis(points, length=1.0):
    return (Axis("x", points, periodic=True, length=length),)


def draw(law, points, count, seed=0, length=1.0):
    return law.draw(axis(points, length), count, torch.Generator().manual_seed(seed))


def test_one_seed_gives_one_function_whatever_the_grid_and_the_length():
    coarse, fine = (draw(WaveSumSpec(), points, 200) for points in (64, 192))
    assert torch.allclose(fine[:, ::3], coarse, atol=1e-13)
    assert torch.allclose(draw(WaveSumSpec(), 64, 200, length=5.0), coarse, atol=1e-13)


def test_a_plain_field_is_a_sum_of_at_most_two_of_the_first_eight_waves():
    energy = torch.fft.rfft(draw(WaveSumSpec(**PLAIN), 64, 500), norm="forward").abs().square()
    assert energy[:, 0].max() < 1e-28
    assert energy[:, 9:].max() < 1e-28
    assert int((energy > 1e-20).sum(dim=1).max()) == 2


def test_waves_have_the_variance_of_uniform_amplitudes_and_all_wave_numbers_alike():
    # A wave has the mean square A²/2, on average 1/6; phases are independent, so two waves have 1/3 together
    # and each wave number holds an eighth of that.
    fields = draw(WaveSumSpec(**PLAIN), 32, 20_000)
    squares = fields.square().mean(dim=1)
    assert abs(squares.mean() - 1 / 3) < 5 * squares.std() / math.sqrt(20_000)
    energy = 2 * torch.fft.rfft(fields, norm="forward").abs().square()[:, 1:9]
    error = (energy.mean(dim=0) - 1 / 24).abs() / (energy.std(dim=0) / math.sqrt(20_000))
    assert error.max() < 4.5


def test_folding_and_windows_come_at_their_rates_and_leave_the_same_waves():
    count = 4000
    plain, folded, windowed = (
        draw(WaveSumSpec(fold_probability=fold, window_probability=window), 128, count)
        for fold, window in ((0.0, 0.0), (0.25, 0.0), (0.0, 0.25))
    )
    is_folded = (folded != plain).any(dim=1)
    one_sign = (folded >= 0).all(dim=1) | (folded <= 0).all(dim=1)
    assert torch.equal(is_folded, one_sign)
    assert torch.equal(folded.abs(), plain.abs())
    positive = (folded[is_folded].sum(dim=1) > 0).double()
    assert abs(is_folded.double().mean() - 0.25) < 5 * math.sqrt(0.25 * 0.75 / count)
    assert abs(positive.mean() - 0.5) < 5 * 0.5 / math.sqrt(count / 4)
    is_cut = (windowed != plain).any(dim=1)
    assert abs(is_cut.double().mean() - 0.25) < 5 * math.sqrt(0.25 * 0.75 / count)
    # x = 0.02 lies outside of every window by 8 widths, x = 0.5 inside by 5 at least.
    assert windowed[is_cut][:, 2].abs().max() < 1e-5
    assert (windowed - plain)[is_cut][:, 64].abs().max() < 2e-4


def test_axes_that_waves_do_not_fit_are_refused_with_a_remedy():
    law = WaveSumSpec()
    assert law.fault(axis(64)) is None
    for axes in ((Axis("x", 64, length=1.0),), axis(16), (*axis(64), *axis(64))):
        assert law.fault(axes) is not None
        with pytest.raises(ShapeMismatch, match="; "):
            law.draw(axes, 1, torch.Generator())
