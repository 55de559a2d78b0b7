"""Spatiotemporal Fourier neural operator: frames in and out, symmetries, time, velocity, options."""

from dataclasses import replace

import pytest
import torch
from pydantic import TypeAdapter
from torch import Tensor

from koopcast.errors import ShapeMismatch
from koopcast.grids import Axis, FieldsInfo, TimeAxis
from koopcast.layers.normaliser import FieldStatistics, Moments
from koopcast.layers.spectral_bias import SpectralBias
from koopcast.mapping import MappingSpec, Signature
from koopcast.operators.sfno import SFNOSpec
from koopcast.operators.sfno_network import SFNO, Architecture, without_divergence

SMALL = Architecture(
    inputs=1, outputs=1, frames_out=4, modes=(6, 6), periodic=(True, True), width=6, layers=2, carried=(0,)
)


def seeded(number: int) -> torch.Generator:
    return torch.Generator().manual_seed(number)


def network(chosen: Architecture = SMALL) -> SFNO:
    net = SFNO(chosen, seeded(0)).double()
    for number, parameter in enumerate(net.output.bias.parameters()):
        parameter.data = torch.randn(parameter.shape, generator=seeded(7 + number), dtype=torch.float64)
    return net


def noise(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=seeded(seed))


def info_of(*sizes: int, periodic: bool = True, variables: int = 1, length: float = 1.0) -> FieldsInfo:
    axes = tuple(
        Axis(name, size, periodic=periodic, length=length)
        for name, size in zip(("y", "x", "z"), sizes, strict=False)
    )
    return FieldsInfo({f"u{number}": "1" for number in range(variables)}, axes, TimeAxis(21, 0.1))


@pytest.mark.parametrize("given", [5, 10, 20])
@pytest.mark.parametrize("asked", [10, 40])
def test_one_network_takes_5_10_20_frames_and_returns_10_or_40(given: int, asked: int) -> None:
    x = noise(2, 12, 12, given)
    result = network()(x, asked)
    assert result.shape == (2, 12, 12, asked)
    assert result.isfinite().all()


def test_it_returns_the_frames_of_its_training_unless_told_otherwise() -> None:
    net, x = network(), noise(1, 12, 12, 5)
    assert torch.equal(net(x), net(x, 4))


def test_more_frames_out_are_more_points_of_the_same_functions_of_time() -> None:
    # A window of n + 1 intervals: frame j of n lies at j / (n + 1) of it, so 2n + 1 frames hold the n ones.
    net, x = network(), noise(1, 12, 12, 5)
    assert torch.allclose(net(x, 19)[..., 1::2], net(x, 9), atol=1e-12)


def test_a_finer_grid_holds_the_values_of_a_coarser_one_where_no_pointwise_map_acts_on_waves() -> None:
    bias = SpectralBias(2, (5, 4)).double()
    bias.weight.data = noise(2, 5, 3, 2)
    assert torch.allclose(bias((32, 24))[:, ::2, ::3], bias((16, 8)), atol=1e-12)
    assert bias((3, 2)).shape == (1, 3, 2, 2)


def test_without_coordinates_it_would_commute_with_shifts_and_its_output_operator_does() -> None:
    net = network()
    z = noise(1, 12, 12, 22, 1)
    net.output.bias.weight.data.zero_()
    assert torch.allclose(
        net.output(z.roll((5, 2), (1, 2)), 10), net.output(z, 10).roll((5, 2), (1, 2)), atol=1e-12
    )


def test_a_silent_output_operator_leaves_the_last_frame_given() -> None:
    net, x = network(replace(SMALL, inputs=2, outputs=1, carried=(1,))), noise(2, 12, 12, 6)
    for parameter in net.output.parameters():
        parameter.data.zero_()
    frames = net(x, 3)
    assert torch.allclose(frames, x[..., -1:].expand_as(frames), atol=1e-12)


def test_the_bias_enters_with_the_factor_delta() -> None:
    x = noise(1, 12, 12, 5)
    once, thrice = network(), network(replace(SMALL, delta=0.3))
    without = network(replace(SMALL, delta=0.0))
    assert torch.allclose(thrice(x) - without(x), 3 * (once(x) - without(x)), atol=1e-12)


def test_a_variable_that_is_given_alone_is_not_carried_on() -> None:
    net = network(replace(SMALL, inputs=2, carried=None))
    x = noise(1, 12, 12, 6)
    window = net.latent(x)
    # The zeros of the first half and one more where the last frame would stand, then the 10 latent frames.
    assert window.shape == (1, 12, 12, 22, 1)
    assert torch.equal(window[..., :12, :], torch.zeros(1, 12, 12, 12, 1, dtype=torch.float64))


def test_it_serves_one_axis_as_well() -> None:
    net = network(replace(SMALL, modes=(6,), periodic=(True,)))
    assert net(noise(3, 16, 5), 7).shape == (3, 16, 7)


def divergence(frames: Tensor) -> Tensor:
    """Return k·û of a velocity (along y, along x)."""
    n = frames.shape[1]
    k = torch.fft.fftfreq(n, 1 / n, dtype=torch.float64)
    spectrum = torch.fft.fftn(frames, dim=(1, 2))
    return spectrum[..., 0] * k[:, None, None] + spectrum[..., 1] * k[None, :, None]


def test_the_projection_takes_the_divergence_and_nothing_else() -> None:
    frames = noise(2, 9, 9, 3, 2)
    projected = without_divergence(frames, (0, 1))
    assert divergence(projected).abs().max() < 1e-10
    assert torch.allclose(without_divergence(projected, (0, 1)), projected, atol=1e-12)
    # What was taken is a gradient: orthogonal to what is left.
    assert ((frames - projected) * projected).sum().abs() < 1e-9
    assert torch.allclose(projected.mean((1, 2)), frames.mean((1, 2)))


def test_a_network_for_velocities_returns_fields_without_divergence() -> None:
    chosen = replace(SMALL, inputs=2, outputs=2, carried=(0, 1), divergence_free=(0, 1), modes=(5, 5))
    frames = network(chosen)(noise(1, 9, 9, 6), 3)
    assert divergence(frames.unflatten(-1, (3, 2))).abs().max() < 1e-9


def test_weights_are_drawn_from_the_generator_alone() -> None:
    torch.manual_seed(5)
    first = SFNO(SMALL, seeded(3)).state_dict()
    torch.manual_seed(6)
    assert all(torch.equal(value, first[name]) for name, value in SFNO(SMALL, seeded(3)).state_dict().items())


def map_signature(info: FieldsInfo, given: int = 5, predicted: int = 16) -> Signature:
    return MappingSpec(given=given, predicted=predicted).signature(info)


def statistics_of(info: FieldsInfo) -> FieldStatistics:
    draw = 3 + 2 * torch.randn(40, *info.shape, info.num_channels, generator=seeded(5))
    valid = torch.ones(info.shape, dtype=torch.bool)
    fields = Moments.of(draw, valid.expand(draw.shape[:-1]))
    return FieldStatistics(valid, fields, Moments.of(draw[1:] - draw[:-1], valid.expand(draw[1:].shape[:-1])))


def test_a_stored_map_is_the_same_to_the_bit_and_takes_other_numbers_of_frames() -> None:
    info, mapping = info_of(12, 12), MappingSpec(given=5, predicted=6)
    spec = SFNOSpec(width=6, layers=2, modes=6)
    signature = mapping.signature(info)
    model = spec.assemble(spec.build(signature, seeded(0)), info, signature, statistics_of(info))
    model = model.finished(torch.zeros(1), {})
    restored = SFNOSpec.model_validate(spec.model_dump(mode="json")).restore(info, model.tensors(), mapping)
    for given in (5, 10, 20):
        frames = 3 + torch.randn(2, given, 12, 12, 1, generator=seeded(8))
        assert torch.equal(restored.predict(frames), model.predict(frames))
        assert restored.predict(frames).shape == (2, 6, 12, 12, 1)
    with pytest.raises(ShapeMismatch, match="blocks"):
        spec.model_copy(update={"layers": 3}).restore(info, model.tensors(), mapping)


def test_as_dynamics_it_adds_its_change_to_the_last_record() -> None:
    info = info_of(12, 12)
    spec = SFNOSpec(width=6, layers=1, modes=6, history=5)
    signature = Signature.of_dynamics(info, 5)
    assert list(spec.faults(signature)) == []
    model = spec.assemble(spec.build(signature, seeded(0)), info, signature, statistics_of(info))
    for parameter in model.network.output.parameters():
        parameter.data.zero_()
    frames = torch.randn(2, 5, 12, 12, 1, generator=seeded(8))
    assert torch.allclose(model.advance(frames), frames[:, -1] + model.outputs.mean, atol=1e-5)


def problems(spec: SFNOSpec, signature: Signature) -> list[tuple[tuple[str | int, ...], str]]:
    return [(problem.path, problem.message) for problem in spec.faults(signature)]


def test_the_bare_kind_is_a_model_for_any_periodic_grid() -> None:
    spec = TypeAdapter(SFNOSpec).validate_python({"kind": "sfno"})
    assert problems(spec, map_signature(info_of(32, 32))) == []
    assert spec.kept_modes(map_signature(info_of(32, 18))) == (16, 9)
    assert spec.transfers()


def test_what_has_no_place_on_the_torus_is_refused() -> None:
    assert "not periodic" in problems(SFNOSpec(), map_signature(info_of(32, periodic=False)))[0][1]
    assert "1 to 2" in problems(SFNOSpec(), map_signature(info_of(8, 8, 8)))[0][1]
    same_time = replace(map_signature(info_of(32)), ahead=False)
    assert "records after those given" in problems(SFNOSpec(), same_time)[0][1]


def test_modes_that_grid_or_latent_frames_do_not_hold_are_refused() -> None:
    signature = map_signature(info_of(16, 16))
    assert problems(SFNOSpec(modes=24), signature)[0][0] == ("modes",)
    assert problems(SFNOSpec(modes=(8, 24)), signature)[0][0] == ("modes", 1)
    assert problems(SFNOSpec(modes=(8, 8, 8)), signature)[0][0] == ("modes",)
    assert problems(SFNOSpec(latent_steps=6), signature) == [
        (("time_modes",), "5 is above 4, the waves that 6 latent_steps hold; lower it")
    ]


def test_velocities_need_an_output_for_each_axis_in_physical_units() -> None:
    signature = map_signature(info_of(16, 16, variables=2))
    physical = SFNOSpec(divergence_free=("u0", "u1"), normalize_input="none", normalize_output="none")
    assert problems(physical, signature) == []
    scaled = SFNOSpec(divergence_free=("u0", "u1"))
    assert "have no divergence" in problems(scaled, signature)[0][1]
    assert (
        "not one output"
        in problems(physical.model_copy(update={"divergence_free": ("u0", "w")}), signature)[0][1]
    )


def test_a_last_frame_in_other_units_than_the_output_is_refused() -> None:
    assert problems(SFNOSpec(normalize_output="none"), map_signature(info_of(16)))[0][0] == (
        "normalize_output",
    )
