"""Sobolev norms of any order and losses by shells: Parseval, hand values, derivatives."""

import math

import pytest
import torch
from pydantic import ValidationError

from koopcast.grids import Axis, FieldsInfo, TimeAxis
from koopcast.losses import H1Spec, Measure, RelativeL2Spec, SobolevSpec, SpectralSpec
from koopcast.losses.base import LossSpec
from koopcast.numerics.sobolev import Side, energies, shells, sides, square_norm


def measure_of(shape: tuple[int, ...], *, length: float | None = 1.0, periodic: bool = True) -> Measure:
    axes = tuple(
        Axis(name, size, periodic=periodic, length=length)
        for name, size in zip(("y", "x", "z"), shape, strict=False)
    )
    return Measure(axes, torch.ones(shape, dtype=torch.bool), torch.ones(1), torch.ones(1))


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def mode(shape: tuple[int, int], k: tuple[int, int], length: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Return cos(2π k·x / D) and the mean square of its gradient, by hand 4π²|k|²/D² / 2."""
    y, x = (torch.arange(size, dtype=torch.float64) / size for size in shape)
    field = (2 * math.pi * (k[0] * y[:, None] + k[1] * x)).cos()[None, ..., None]
    return field, torch.tensor(4 * math.pi**2 * (k[0] ** 2 + k[1] ** 2) / length**2 / 2)


@pytest.mark.parametrize("shape", [(8,), (9,), (6, 7), (5, 4, 6)])
def test_order_0_is_the_mean_square_whatever_alpha(shape: tuple[int, ...]) -> None:
    field = noise(2, *shape, 3)
    box = tuple(Side(size, 2.0) for size in shape)
    expected = field.square().flatten(1, -2).mean(1)
    for alpha in (0.0, 0.3, 1.0):
        assert torch.allclose(square_norm(field, box, 0.0, alpha), expected, rtol=1e-12)


def test_order_0_is_plain_relative_l2() -> None:
    target, error = noise(3, 8, 6, 1), noise(3, 8, 6, 1, seed=1)
    measure = measure_of((8, 6))
    plain = RelativeL2Spec().measure(target + error, target, measure)
    assert SobolevSpec(order=0).measure(target + error, target, measure).item() == pytest.approx(plain.item())


@pytest.mark.parametrize("k", [(0, 3), (2, 0), (2, -3)])
def test_order_1_without_alpha_is_the_norm_of_the_gradient(k: tuple[int, int]) -> None:
    field, slope = mode((16, 12), k, 2.5)
    assert square_norm(field, (Side(16, 2.5), Side(12, 2.5)), 1.0, 0.0).item() == pytest.approx(slope.item())


def test_order_minus_1_divides_the_mean_square_of_a_wave_by_its_weight() -> None:
    # cos(2π (2y + x)) on (0, 2)²: |k|² = 4π² (4 + 1) / 4, mean square 1/2
    field, _ = mode((8, 8), (2, 1), 2.0)
    value = square_norm(field, (Side(8, 2.0), Side(8, 2.0)), -1.0, 0.5)
    assert value.item() == pytest.approx(0.5 / (0.5 + 5 * math.pi**2))


def test_orders_of_opposite_sign_are_dual() -> None:
    # (r, q)² ≤ ‖r‖²_s ‖q‖²_-s with equality for q̂ = (α + |k|²)^s r̂, here s = 1 and α + |k|² = 1 - Δ.
    r = noise(1, 16, 1)
    k = torch.fft.rfftfreq(16, 1 / 16, dtype=torch.float64) * 2 * math.pi
    q = torch.fft.irfft(torch.fft.rfft(r, dim=1) * (1 + k[:, None] ** 2), n=16, dim=1)
    box = (Side(16, 1.0),)
    product = square_norm(r, box, 1.0).item() * square_norm(q, box, -1.0).item()
    assert product == pytest.approx((r * q).mean().item() ** 2)
    assert square_norm(r, box, 1.0).item() * square_norm(noise(1, 16, 1, seed=3), box, -1.0).item() > (
        (r * noise(1, 16, 1, seed=3)).mean().item() ** 2
    )


def test_order_1_agrees_with_h1_but_for_the_units_of_length() -> None:
    size = 32
    field = torch.stack([(2 * math.pi * j * torch.arange(size) / size).sin() for j in (1, 3)])[..., None]
    measure = measure_of((size,), length=2 * math.pi)
    target, prediction = field[:1].double(), (field[:1] + field[1:]).double()
    h1 = H1Spec().measure(prediction, target, measure)
    assert SobolevSpec(order=1).measure(prediction, target, measure).item() == pytest.approx(h1.item())


def test_a_closed_axis_is_a_sum_of_cosines_between_its_end_nodes() -> None:
    # cos(3πx/D) on [0, D]: mean square 1/2 and slope (3π/D)²; a straight line has no jump at the wall.
    D = 2.0
    place = torch.linspace(0, D, 17, dtype=torch.float64)
    wave = (3 * math.pi * place / D).cos()[None, :, None]
    box = sides((Axis("x", 17, length=D),))
    assert square_norm(wave, box, 1.0, 0.0).item() == pytest.approx((3 * math.pi / D) ** 2 / 2)
    assert square_norm(wave, box, -1.0, 0.0).item() == pytest.approx((D / (3 * math.pi)) ** 2 / 2)
    # ∫ (dx/dx)² / D = 1; the sum over cosines falls short by its tail, O(1/N).
    line = place[None, :, None]
    assert square_norm(line, box, 1.0, 0.0).item() == pytest.approx(1, abs=0.05)


def test_zeros_beyond_the_ends_make_a_sum_of_sines() -> None:
    # sin(2πx/D) at interior nodes: mean square over the nodes of [0, D] with its ends, 1/2; slope (2π/D)².
    D, n = 1.5, 11
    place = torch.arange(1, n + 1, dtype=torch.float64) / (n + 1)
    wave = (2 * math.pi * place).sin()[None, :, None]
    box = (Side(n, D, "zero"),)
    assert square_norm(wave, box, 0.0).item() == pytest.approx(0.5)
    assert square_norm(wave, box, 1.0, 0.0).item() == pytest.approx((2 * math.pi / D) ** 2 / 2)


@pytest.mark.parametrize("order", [-2.0, -1.0, 0.5, 2.0])
def test_the_derivative_is_that_of_the_formula(order: float) -> None:
    measure = measure_of((5, 6))
    target = noise(2, 5, 6, 1)
    prediction = noise(2, 5, 6, 1, seed=1).requires_grad_()
    loss = SobolevSpec(order=order)
    assert torch.autograd.gradcheck(lambda p: loss.measure(p, target, measure), prediction)


@pytest.mark.parametrize("compare", ["waves", "amplitude", "log_energy"])
def test_the_derivative_by_shells_is_that_of_the_formula(compare: str) -> None:
    measure = measure_of((5, 6))
    target = noise(2, 5, 6, 1)
    prediction = noise(2, 5, 6, 1, seed=1).requires_grad_()
    loss = SpectralSpec(compare=compare)
    assert torch.autograd.gradcheck(lambda p: loss.measure(p, target, measure), prediction)


@pytest.mark.parametrize("periodic", [True, False])
def test_energies_add_up_to_the_mean_square_of_the_continued_field(periodic: bool) -> None:
    field = noise(1, 9, 8, 1)
    box = sides(measure_of((9, 8), periodic=periodic).axes)
    total = energies(field, box).sum().item()
    edge = torch.ones(9, 8, dtype=torch.float64)
    if not periodic:
        edge[[0, -1]] /= 2
        edge[:, [0, -1]] /= 2
    assert total == pytest.approx(((field[0, ..., 0].square() * edge).sum() / edge.sum()).item())


def test_shells_are_rings_of_the_wave_number() -> None:
    number = shells((Side(8, 1.0), Side(8, 1.0)), torch.device("cpu"))
    assert number[0].tolist() == [0, 1, 2, 3, 4]
    # (1, 1): √2 -> 1; (2, 2): 2.83 -> 3; (4, 4) lies beyond 4, the last shell
    assert [int(number[k, k]) for k in (1, 2, 4)] == [1, 3, 4]
    # Twice as long an axis halves the lowest wave number.
    assert shells((Side(8, 1.0), Side(8, 2.0)), torch.device("cpu"))[1, 0] == 2


def waves(amplitudes: dict[int, float]) -> torch.Tensor:
    place = torch.arange(32, dtype=torch.float64) / 32
    parts = [amplitude * (2 * math.pi * k * place).sin() for k, amplitude in amplitudes.items()]
    return torch.stack(parts).sum(0)[None, :, None]


def test_every_shell_counts_the_same_however_little_energy_it_has() -> None:
    # Shells 1 and 5 of 17 hold energy; an error of 10 % in either is worth the same.
    target = waves({1: 1.0, 5: 0.01})
    loss = SpectralSpec(values=0, floor=1e-9)
    measure = measure_of((32,))
    large = loss.measure(waves({1: 1.1, 5: 0.01}), target, measure).item()
    small = loss.measure(waves({1: 1.0, 5: 0.011}), target, measure).item()
    assert large == pytest.approx(0.1 / 17, rel=1e-6)
    assert small == pytest.approx(large, rel=1e-6)


def test_amplitudes_and_energies_know_no_phase() -> None:
    target = waves({1: 1.0, 3: 0.5})
    for compare in ("amplitude", "log_energy"):
        loss = SpectralSpec(compare=compare, values=0)
        assert loss.measure(target.roll(5, 1), target, measure_of((32,))).item() == pytest.approx(0, abs=1e-9)
    # The energy of one of 17 shells is 4 times too large.
    doubled = waves({1: 2.0, 3: 0.5})
    logarithm = SpectralSpec(compare="log_energy", values=0, floor=1e-12)
    assert logarithm.measure(doubled, target, measure_of((32,))).item() == pytest.approx(
        math.log(4) / 17, rel=1e-6
    )
    amplitude = SpectralSpec(compare="amplitude", values=0, floor=1e-12)
    assert amplitude.measure(doubled, target, measure_of((32,))).item() == pytest.approx(1 / 17, rel=1e-6)


@pytest.mark.parametrize(
    "loss", [SobolevSpec(order=-1), SpectralSpec(), SpectralSpec(compare="log_energy")], ids=repr
)
def test_a_perfect_prediction_has_loss_zero_and_a_finite_gradient(loss: LossSpec) -> None:
    target = noise(2, 8, 1).float()
    prediction = target.clone().requires_grad_()
    value = loss.measure(prediction, target, measure_of((8,)))
    value.backward()
    assert value.item() == pytest.approx(0, abs=1e-6)
    assert prediction.grad.isfinite().all()


def problems(loss: LossSpec, *axes: Axis, masked: bool = False) -> list[str]:
    info = FieldsInfo({"u": "1"}, axes, TimeAxis(3, 1.0), is_masked=masked)
    return [problem.message for problem in loss.check(info)]


def test_what_has_no_waves_is_refused() -> None:
    for loss in (SobolevSpec(order=-1), SpectralSpec()):
        assert "plane waves" in problems(loss, Axis("point", 9, geometry="index"))[0]
        assert "plane waves" in problems(loss, Axis("latitude", 9, geometry="latitude"))[0]
        assert "masked" in problems(loss, Axis("x", 9, periodic=True), masked=True)[0]
        assert "waves need 3" in problems(loss, Axis("x", 2, periodic=True))[0]
        assert problems(loss, Axis("x", 9), Axis("y", 9, periodic=True)) == []


def test_orders_that_see_mirror_images_are_refused_on_closed_axes() -> None:
    assert "closed axis 'x'" in problems(SobolevSpec(order=2), Axis("x", 9))[0]
    assert "closed axis 'x'" in problems(SobolevSpec(order=-1.5), Axis("x", 9))[0]
    assert problems(SobolevSpec(order=-2), Axis("x", 9, periodic=True)) == []
    with pytest.raises(ValidationError, match="less than or equal"):
        SobolevSpec(order=5)


def test_a_loss_without_any_weight_is_refused() -> None:
    assert "both 0" in problems(SpectralSpec(weight=0, values=0), Axis("x", 9, periodic=True))[0]
