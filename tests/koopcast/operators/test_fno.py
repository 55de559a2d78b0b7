"""Fourier neural operator: parameter counts, symmetries, options, dynamics, storage."""

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from koopcast.errors import ShapeMismatch
from koopcast.grids import Axis, FieldsInfo, TimeAxis
from koopcast.layers.normaliser import FieldStatistics, Moments
from koopcast.mapping import Signature
from koopcast.operators import AnyOperator, FNOSpec, OperatorDynamics
from koopcast.operators.fno_network import FNO, Architecture
from koopcast.spec import Problem


def info_of(*sizes: int, periodic: bool = True, channels: int = 1, times: int = 20) -> FieldsInfo:
    axes = tuple(Axis(name, size, periodic=periodic) for name, size in zip("xyz", sizes, strict=False))
    return FieldsInfo({f"u{index}": "1" for index in range(channels)}, axes, TimeAxis(times, 1.0))


def faults(spec: FNOSpec, info: FieldsInfo) -> list[Problem]:
    return list(spec.faults(Signature.of_dynamics(info, spec.history)))


def statistics_of(info: FieldsInfo, valid: Tensor | None = None) -> FieldStatistics:
    generator = torch.Generator().manual_seed(5)
    draw = 280 + 3 * torch.randn(40, *info.shape, info.num_channels, generator=generator)
    valid = torch.ones(info.shape, dtype=torch.bool) if valid is None else valid
    fields = Moments.of(draw, valid.expand(draw.shape[:-1]))
    return FieldStatistics(valid, fields, Moments.of(draw[1:] - draw[:-1], valid.expand(draw[1:].shape[:-1])))


def dynamics(spec: FNOSpec, info: FieldsInfo, valid: Tensor | None = None) -> OperatorDynamics:
    network = spec.build(Signature.of_dynamics(info, spec.history), torch.Generator().manual_seed(0))
    signature = Signature.of_dynamics(info, spec.history)
    model = spec.assemble(network, info, signature, statistics_of(info, valid))
    assert isinstance(model, OperatorDynamics)
    return model.finished(torch.full((info.num_channels,), 0.25), {"epochs": 3})


@pytest.mark.parametrize(("modes", "width", "count"), [(8, 24, 191_881), (24, 32, 2_569_057)])
def test_number_of_real_parameters_is_that_of_the_reference_network(
    modes: int, width: int, count: int
) -> None:
    network = FNO(Architecture(1, 1, (modes, modes), (True, True), width=width))
    assert sum(parameter.numel() for parameter in network.parameters()) == count


@pytest.mark.parametrize("backend", ["dft", "fft"])
@pytest.mark.parametrize("norm", ["none", "instance", "group"])
@pytest.mark.parametrize("skip", ["linear", "identity", "gate", "none"])
def test_without_positions_it_commutes_with_shifts_of_periodic_grids(
    skip: str, norm: str, backend: str
) -> None:
    chosen = Architecture(
        2,
        1,
        (4, 5),
        (True, True),
        width=6,
        layers=2,
        skip=skip,
        norm=norm,
        positional="none",
        backend=backend,
    )
    network = FNO(chosen, torch.Generator().manual_seed(0)).double()
    x = torch.randn(2, 12, 15, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(network(x.roll((5, 2), (1, 2))), network(x).roll((5, 2), (1, 2)), atol=1e-12)


def test_positions_break_the_symmetry_of_shifts() -> None:
    network = FNO(Architecture(1, 1, (4,), (True,), width=6, layers=2), torch.Generator().manual_seed(0))
    x = torch.randn(1, 16, 1)
    assert not torch.allclose(network(x.roll(5, 1)), network(x).roll(5, 1), atol=1e-4)


def test_padding_keeps_the_two_ends_of_a_closed_axis_apart() -> None:
    def reach(padding: float) -> float:
        chosen = Architecture(
            1, 1, (16,), (False,), width=8, layers=1, mlp_ratio=0.0, padding=padding, skip="none"
        )
        network = FNO(chosen, torch.Generator().manual_seed(0)).double()
        # A Gaussian filter that spans about two points.
        gaussian = (-((torch.arange(9, dtype=torch.float64) / 4) ** 2)).exp()
        network.blocks[0].spectral.weight.data.zero_()
        network.blocks[0].spectral.weight.data[0] = gaussian[:, None, None] * torch.eye(
            8, dtype=torch.float64
        )
        x = torch.zeros(1, 32, 1, dtype=torch.float64)
        touched = x.clone()
        touched[0, 0] = 1
        return (network(touched) - network(x))[0, -1].abs().max().item()

    assert reach(0.5) < 0.2 * reach(0.0)


def test_the_period_of_a_padded_axis_is_the_same_on_nested_grids() -> None:
    network = FNO(Architecture(1, 1, (6,), (False,), width=2, layers=1, padding=0.5))
    periods = {size: network._padded(torch.zeros(1, size, 2)).shape[1] / (size - 1) for size in (17, 33, 65)}
    assert set(periods.values()) == {1.5}


def test_the_same_weights_see_the_same_smooth_field_on_a_finer_grid() -> None:
    network = FNO(
        Architecture(1, 1, (8,), (True,), width=8, layers=2), torch.Generator().manual_seed(0)
    ).double()

    def output(size: int) -> Tensor:
        place = torch.arange(size, dtype=torch.float64) / size
        return network((2 * torch.pi * place).sin()[None, :, None])

    assert torch.allclose(output(256)[:, ::4], output(64), atol=5e-3)
    coarse = (output(128)[:, ::2] - output(64)).abs().max()
    fine = (output(256)[:, ::2] - output(128)).abs().max()
    assert fine < 0.8 * coarse


def test_the_bare_kind_is_a_model_with_defaults_for_any_grid() -> None:
    spec = TypeAdapter(AnyOperator).validate_python("fno")
    assert spec.kept_modes(Signature.of_dynamics(info_of(64, 18), 1)) == (16, 9)
    assert faults(spec, info_of(64, 18)) == []
    with pytest.raises(ValidationError, match="greater than or equal"):
        FNOSpec(layers=0)


def problem_of(spec: FNOSpec, info: FieldsInfo) -> tuple[tuple[str | int, ...], str]:
    (problem,) = faults(spec, info)
    return problem.path, problem.message


def test_modes_above_the_limit_of_the_grid_are_refused() -> None:
    assert problem_of(FNOSpec(modes=40), info_of(64, 64)) == (
        ("modes",),
        "40 is above 32, the Nyquist limit of grid (64, 64); lower modes",
    )
    path, message = problem_of(FNOSpec(modes=(8, 20)), info_of(64, 18))
    assert path == ("modes", 1)
    assert message.startswith("20 is above 9")
    assert problem_of(FNOSpec(modes=(8, 8, 8)), info_of(64, 64))[0] == ("modes",)
    assert faults(FNOSpec(modes=32), info_of(64, 64)) == []


def test_what_is_not_a_grid_is_refused() -> None:
    points = FieldsInfo({"u": "1"}, (Axis("point", 50, geometry="index"),), TimeAxis(9, 1.0))
    assert "not a grid" in problem_of(FNOSpec(), points)[1]
    ring = FieldsInfo({"u": "1"}, (Axis("state", 40, geometry="index", periodic=True),), TimeAxis(9, 1.0))
    assert faults(FNOSpec(), ring) == []
    assert problem_of(FNOSpec(padding=0.1), info_of(64))[0] == ("padding",)


def test_an_untrained_residual_model_with_silent_network_keeps_the_mean_increment() -> None:
    info = info_of(16)
    model = dynamics(FNOSpec(width=4, layers=1), info)
    model.network.project.second.weight.data.zero_()
    model.network.project.second.bias.data.zero_()
    state = 280 + torch.randn(3, 16)
    assert torch.allclose(model.step(state), state + model.outputs.mean, atol=1e-4)


@pytest.mark.parametrize("residual", [True, False])
def test_a_state_of_two_frames_moves_up_by_one(residual: bool) -> None:
    info = info_of(8, 6, channels=2)
    model = dynamics(FNOSpec(width=4, layers=1, history=2, residual=residual, modes=(3, 2)), info)
    frames = 280 + torch.randn(3, 2, 8, 6, 2)
    state = model.encode(frames)
    following = model.step(state)
    assert state.shape == following.shape == (3, 2 * 8 * 6 * 2)
    assert not model.is_physical
    assert torch.equal(model.decode(state), frames[:, -1])
    assert torch.equal(following[:, : 8 * 6 * 2], frames[:, -1].flatten(1))
    assert torch.equal(model.decode(following), model.advance(frames))
    forecast = model.forecast(frames, [1, 3])
    assert torch.equal(forecast[:, 0], model.decode(following))


def test_noise_lies_on_the_valid_cells_of_the_last_frame() -> None:
    valid = torch.ones(8, dtype=torch.bool)
    valid[3] = False
    model = dynamics(FNOSpec(width=4, layers=1, history=2), info_of(8), valid)
    noise = model.noise_std()
    assert noise is not None
    assert torch.equal(noise[:8], torch.zeros(8))
    assert torch.equal(noise[8:], 0.25 * valid)


@pytest.mark.parametrize("residual", [True, False])
def test_masked_cells_reach_no_other_cell_and_are_zero(residual: bool) -> None:
    valid = torch.ones(12, dtype=torch.bool)
    valid[4:6] = False
    model = dynamics(FNOSpec(width=4, layers=2, residual=residual), info_of(12), valid)
    state = 280 + torch.randn(2, 12)
    spoiled = state.clone()
    spoiled[:, 4:6] = torch.tensor([float("nan"), 1e9])
    assert torch.equal(model.step(state), model.step(spoiled))
    assert torch.equal(model.step(state)[:, 4:6], torch.zeros(2, 2))


@pytest.mark.parametrize("norm", ["none", "instance"])
def test_a_restored_model_is_the_same_to_the_bit(norm: str) -> None:
    info = info_of(16, 10, channels=2)
    spec = FNOSpec(width=4, layers=2, norm=norm, history=2, modes=(6, 5))
    model = dynamics(spec, info)
    restored = FNOSpec.model_validate(spec.model_dump(mode="json")).restore(info, model.tensors())
    state = 280 + torch.randn(3, 2 * 16 * 10 * 2)
    assert torch.equal(restored.step(state), model.step(state))
    assert torch.equal(restored.noise_std(), model.noise_std())
    assert restored.card()["parameters"] == model.card()["parameters"]
    assert not restored.step(state).requires_grad


def test_tensors_of_other_options_are_refused() -> None:
    info = info_of(16)
    tensors = dynamics(FNOSpec(width=4, layers=2), info).tensors()
    with pytest.raises(ShapeMismatch, match="blocks"):
        FNOSpec(width=4, layers=3).restore(info, tensors)


def test_the_step_is_differentiable_in_the_state() -> None:
    model = dynamics(FNOSpec(width=4, layers=1, mlp_ratio=0, modes=3), info_of(8))
    generator = torch.Generator().manual_seed(2)
    state = (280 + torch.randn(1, 8, generator=generator)).requires_grad_()
    direction, weight = torch.randn(2, 1, 8, generator=generator)
    (slope,) = torch.autograd.grad((model.step(state) * weight).sum(), state)
    with torch.no_grad():
        change = model.step(state + 0.1 * direction) - model.step(state - 0.1 * direction)
    assert (slope * direction).sum().item() == pytest.approx((change / 0.2 * weight).sum().item(), abs=5e-3)


@pytest.mark.slow
def test_an_exported_network_is_the_network_and_leaves_later_calls_alone() -> None:
    network = FNO(
        Architecture(1, 1, (6, 6), (True, True), width=4, layers=2), torch.Generator().manual_seed(0)
    )
    x = torch.randn(2, 18, 14, 1, generator=torch.Generator().manual_seed(1))
    exported = torch.export.export(network, (x,)).module()
    assert torch.allclose(exported(x), network(x), atol=1e-6)


@pytest.mark.parametrize("options", [{}, {"norm": "instance"}, {"mlp_ratio": 0.0}, {"skip": "gate"}])
def test_slopes_are_the_same_in_cached_blocks_and_at_once(
    options: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    network = FNO(
        Architecture(1, 1, (6, 6), (True, True), width=4, layers=3, **options),
        torch.Generator().manual_seed(0),
    ).double()
    x = torch.randn(2, 16, 16, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    whole = torch.autograd.grad(network(x).square().sum(), list(network.parameters()))
    monkeypatch.setattr("koopcast.layers.chain.CACHED_VALUES", 1000)
    blocks = torch.autograd.grad(network(x).square().sum(), list(network.parameters()))
    assert all(torch.allclose(one, other, atol=1e-10) for one, other in zip(whole, blocks, strict=True))
