"""Losses by hand values."""

import math
from dataclasses import replace

import pytest
import torch

from koopcast.grids import Axis, FieldsInfo, TimeAxis
from koopcast.losses import H1Spec, MeanSquaredErrorSpec, Measure, RelativeL2Spec
from koopcast.losses.base import LossSpec


def measure_of(
    shape: tuple[int, ...], *, periodic: bool = True, valid: torch.Tensor | None = None, channels: int = 1
) -> Measure:
    axes = tuple(Axis(name, size, periodic=periodic) for name, size in zip("xyz", shape, strict=False))
    ones = torch.ones(channels)
    return Measure(axes, torch.ones(shape, dtype=torch.bool) if valid is None else valid, ones, ones)


def test_relative_l2_is_the_mean_of_the_ratios_over_batch_and_channels() -> None:
    target = torch.tensor([[[3.0], [4.0]], [[0.0], [2.0]]])
    prediction = target + torch.tensor([[[0.0], [1.0]], [[1.0], [0.0]]])
    # ‖p - u‖ / ‖u‖ = 1 / 5 and 1 / 2
    assert RelativeL2Spec().measure(prediction, target, measure_of((2,))).item() == pytest.approx(0.35)
    both = torch.cat([target, 1000 * target], dim=-1), torch.cat([prediction, 1000 * prediction], dim=-1)
    assert RelativeL2Spec().measure(both[1], both[0], measure_of((2,), channels=2)).item() == pytest.approx(
        0.35
    )


def test_relative_l2_of_a_zero_target_is_bounded_by_the_size_of_the_data() -> None:
    measure = measure_of((4,))
    value = RelativeL2Spec().measure(torch.full((1, 4, 1), 0.01), torch.zeros(1, 4, 1), measure)
    assert value.item() == pytest.approx(0.01 / 1e-3)


def test_a_perfect_prediction_has_loss_and_gradient_zero() -> None:
    target = torch.randn(2, 8, 1)
    for loss in (RelativeL2Spec(), MeanSquaredErrorSpec(), H1Spec()):
        prediction = target.clone().requires_grad_()
        value = loss.measure(prediction, target, measure_of((8,)))
        value.backward()
        assert value.item() == pytest.approx(0, abs=1e-11)
        assert torch.equal(prediction.grad, torch.zeros_like(target))


def test_mean_squared_error_is_in_units_of_the_variance() -> None:
    measure = Measure(
        (Axis("x", 2),), torch.ones(2, dtype=torch.bool), torch.tensor([2.0, 0.0]), torch.ones(2)
    )
    error = torch.tensor([[[2.0, 1.0], [4.0, 1.0]]])
    # channel 1: (4 + 16) / 2 / 4 = 2.5; channel 2 never changes and counts as it is: 1
    assert MeanSquaredErrorSpec().measure(error, torch.zeros(1, 2, 2), measure).item() == pytest.approx(1.75)


def wave(size: int, number: int, *, closed: bool = False) -> torch.Tensor:
    place = torch.arange(size, dtype=torch.float64) / (size - 1 if closed else size)
    return (2 * math.pi * number * place).sin()[None, :, None]


@pytest.mark.parametrize("size", [32, 33])
def test_h1_weighs_a_wave_by_its_slope(size: int) -> None:
    # error sin(3x), target sin(x): √((1 + 9) / (1 + 1))
    target = wave(size, 1)
    value = H1Spec().measure(target + wave(size, 3), target, measure_of((size,)))
    assert value.item() == pytest.approx(math.sqrt(5), rel=1e-6)


def test_h1_in_two_dimensions_adds_the_slopes_of_both_axes() -> None:
    line = wave(16, 1)[0, :, 0]
    target = (line[:, None] * line)[None, ..., None]
    error = (wave(16, 2)[0, :, 0][:, None] * line)[None, ..., None]
    # (1 + 4 + 1) / (1 + 1 + 1)
    assert H1Spec().measure(target + error, target, measure_of((16, 16))).item() == pytest.approx(
        math.sqrt(2), rel=1e-6
    )


def test_h1_on_a_closed_axis_does_not_reach_across_the_wall() -> None:
    # u = x on [0, 1]: slope 1 everywhere, times ℓ = 1 / 2π; across the wall it would be -(N - 1).
    line = torch.linspace(0, 1, 11, dtype=torch.float64)[None, :, None]
    norm = H1Spec()._square_norm(line, measure_of((11,), periodic=False))
    assert norm.item() == pytest.approx(line.square().mean().item() + (1 / (2 * math.pi)) ** 2)


def test_h1_by_differences_converges_to_the_spectral_one_with_second_order() -> None:
    def gap(size: int) -> float:
        norm = H1Spec()._square_norm(wave(size, 1, closed=True), measure_of((size,), periodic=False))
        values = wave(size, 1, closed=True).square().mean().item()
        return abs(norm.item() - values - 0.5)

    assert math.log2(gap(33) / gap(65)) == pytest.approx(2, abs=0.2)


@pytest.mark.parametrize(
    "loss", [RelativeL2Spec(), MeanSquaredErrorSpec(), H1Spec()], ids=lambda loss: loss.kind
)
def test_masked_cells_change_nothing(loss: LossSpec) -> None:
    valid = torch.ones(6, 5, dtype=torch.bool)
    valid[2, 1:3] = False
    measure = measure_of((6, 5), valid=valid)
    target = torch.randn(2, 6, 5, 1) * valid[..., None]
    prediction = target + torch.randn(2, 6, 5, 1)
    spoiled = torch.where(valid[..., None], prediction, 1e6)
    assert loss.measure(spoiled, target, measure) == loss.measure(
        torch.where(valid[..., None], prediction, 0), target, measure
    )


def test_h1_refuses_a_list_of_points() -> None:
    info = FieldsInfo({"u": "1"}, (Axis("point", 9, geometry="index"),), TimeAxis(3, 1.0))
    (problem,) = H1Spec().check(info)
    assert "point" in problem.message


def test_frames_among_the_channels_are_judged_together() -> None:
    # Two frames of one variable: errors of norm 3 and 4 on truths of norm 6 and 8 make 5 / 10.
    axis = (Axis("x", 1),)
    measure = Measure(axis, torch.ones(1, dtype=torch.bool), torch.ones(2), torch.ones(2), frames=2)
    target = torch.tensor([[[6.0, 8.0]]])
    prediction = target + torch.tensor([[[3.0, 4.0]]])
    assert RelativeL2Spec().measure(prediction, target, measure).item() == pytest.approx(0.5)
    apart = replace(measure, frames=1)
    assert RelativeL2Spec().measure(prediction, target, apart).item() == pytest.approx(0.5)
    uneven = torch.tensor([[[6.0, 0.01]]])
    assert RelativeL2Spec().measure(uneven + 3, uneven, measure).item() == pytest.approx(
        18**0.5 / 6, rel=1e-3
    )
    assert RelativeL2Spec().measure(uneven + 3, uneven, apart).item() > 100
