"""Residual CNN and U-Net as operators: reductions, symmetries, convergence with the grid, options."""

import math

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from koopcast.grids import Axis, TimeAxis
from koopcast.mapping import Signature
from koopcast.operators.cnn_no import CNNSpec
from koopcast.operators.convolutional import ConvolutionalSpec
from koopcast.operators.unet_no import UNetSpec

CONVERTED = ("kernel_interp", "disco", "finite_diff")
KINDS = ("plain", *CONVERTED)
SPECS = (CNNSpec, UNetSpec)


def signature_of(*sizes: int, periodic: bool = True, length: float | None = None) -> Signature:
    axes = tuple(
        Axis(name, size, periodic=periodic, length=length) for name, size in zip("xyz", sizes, strict=False)
    )
    return Signature(axes, ("a", "b"), ("u",), 1, 2, TimeAxis(9, 1.0))


def network(spec: ConvolutionalSpec, *sizes: int, periodic: bool = True) -> torch.nn.Module:
    built = spec.build(signature_of(*sizes, periodic=periodic), torch.Generator().manual_seed(0))
    return built.double()


def field(*sizes: int, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, *sizes, 2, dtype=torch.float64, generator=generator)


def waves(size: int, periodic: bool = True, number: int = 1) -> Tensor:
    place = 2 * math.pi * torch.arange(size, dtype=torch.float64) / (size if periodic else size - 1)
    return torch.stack([(number * place).sin(), (number * place + 0.5).cos().square()], dim=-1)[None]


@pytest.mark.parametrize("kind", SPECS)
@pytest.mark.parametrize("conv", KINDS)
@pytest.mark.parametrize("norm", ["instance", "group"])
@pytest.mark.parametrize("sizes", [(12,), (8, 4)])
def test_without_positions_it_commutes_with_shifts_of_periodic_grids(
    kind: type[ConvolutionalSpec], conv: str, norm: str, sizes: tuple[int, ...]
) -> None:
    spec = kind(conv=conv, norm=norm, width=2, positional="none", radius=0.4 if conv == "disco" else None)
    built, x = network(spec, *sizes), field(*sizes)
    # The U-Net's third level has every fourth point.
    shift, dims = (4, 4)[: len(sizes)], (1, 2)[: len(sizes)]
    assert torch.allclose(built(x.roll(shift, dims)), built(x).roll(shift, dims), atol=1e-12)
    assert built(x).shape == (2, *sizes, 2)


@pytest.mark.parametrize(
    ("conv", "periodic"),
    [*((conv, True) for conv in CONVERTED), ("kernel_interp", False), ("disco", False)],
)
@pytest.mark.parametrize("kind", SPECS)
def test_a_converted_network_converges_as_the_grid_is_refined(
    kind: type[ConvolutionalSpec], conv: str, periodic: bool
) -> None:
    ends = 0 if periodic else 1
    built = network(kind(conv=conv, width=3), 12 + ends, periodic=periodic)

    def output(size: int) -> Tensor:
        return built(waves(size + ends, periodic))[:, :: size // 12]

    coarse, middle, fine = output(12), output(48), output(192)
    # First order quarters the change.
    assert (fine - middle).abs().max() < 0.4 * (middle - coarse).abs().max()


def test_plain_weights_drift_further_from_their_grid_than_interpolated_ones() -> None:
    plain, converted = (network(CNNSpec(conv=conv, width=8), 16) for conv in ("plain", "kernel_interp"))
    for built in (plain, converted):
        for value in built.blocks.parameters():
            value.data *= 3
    x, fine = waves(16, number=2), waves(64, number=2)
    assert torch.equal(plain(x), converted(x))
    drift = [(built(fine)[:, ::4] - built(x)).abs().max() for built in (plain, converted)]
    assert drift[1] < 0.5 * drift[0]


def test_a_level_below_the_first_of_a_converted_unet_has_a_fixed_grid() -> None:
    seen: list[tuple[int, ...]] = []
    for conv in ("disco", "plain"):
        built = network(UNetSpec(conv=conv, width=2), 16, 16)
        handles = [
            level.register_forward_hook(lambda _, __, out: seen.append(tuple(out.shape[1:-1])))
            for level in built.down
        ]
        built(field(32, 32))
        for handle in handles:
            handle.remove()
    assert seen == [(32, 32), (8, 8), (4, 4), (32, 32), (16, 16), (8, 8)]


def test_a_unet_of_one_level_is_a_cnn_of_one_block() -> None:
    cnn = network(CNNSpec(width=4, layers=1), 12, 12)
    unet = network(UNetSpec(width=4, multipliers=(1,)), 12, 12)
    state = cnn.state_dict()
    unet.load_state_dict({name.replace("blocks.", "down."): value for name, value in state.items()})
    assert torch.equal(unet(field(12, 12)), cnn(field(12, 12)))


def test_the_base_resolution_says_where_the_taps_lie() -> None:
    fine = network(CNNSpec(width=3, base_resolution=16), 32, 32)
    base = network(CNNSpec(width=3), 16, 16)
    assert torch.equal(fine(field(32, 32)), base(field(32, 32)))


def problem_of(spec: ConvolutionalSpec, signature: Signature) -> tuple[tuple[str | int, ...], str]:
    (problem,) = spec.faults(signature)
    return problem.path, problem.message


@pytest.mark.parametrize("kind", SPECS)
def test_options_that_have_no_meaning_are_refused(kind: type[ConvolutionalSpec]) -> None:
    plane = signature_of(16, 16)
    assert problem_of(kind(conv="plain", radius=0.2), plane) == (
        ("radius",),
        "has no meaning for conv 'plain'; remove it",
    )
    assert problem_of(kind(conv="disco", kernel=5), plane)[0] == ("kernel",)
    assert problem_of(kind(conv="plain", base_resolution=8), plane)[0] == ("base_resolution",)
    assert problem_of(kind(allow_resolution_shift=True), plane)[0] == ("allow_resolution_shift",)
    assert problem_of(kind(base_resolution=(8,)), plane)[0] == ("base_resolution",)
    for conv in KINDS:
        assert list(kind(conv=conv).faults(plane)) == []
        assert list(kind(conv=conv).faults(signature_of(33, 17, periodic=False, length=2.0))) == []


def test_even_kernels_are_refused_with_their_neighbours_named() -> None:
    with pytest.raises(ValidationError, match="6 taps have no middle; take 5 or 7"):
        CNNSpec(kernel=6)


def test_three_axes_and_lists_of_points_are_refused() -> None:
    assert problem_of(CNNSpec(), signature_of(8, 8, 8))[1] == "3 space axes; cnn_no takes 1 or 2"
    points = Signature((Axis("point", 50, geometry="index"),), ("a",), ("u",), 1, 1, TimeAxis(9, 1.0))
    assert "not a grid" in problem_of(CNNSpec(), points)[1]


def test_discs_between_the_points_are_refused() -> None:
    path, message = problem_of(CNNSpec(conv="disco", radius=0.03125), signature_of(16, 16))
    assert path == ("radius",)
    assert "hats that no point of grid (16, 16) meets" in message
    assert list(CNNSpec(conv="disco", radius=0.03125).faults(signature_of(128, 128))) == []


def test_levels_for_which_the_grid_has_no_room_are_refused() -> None:
    assert list(UNetSpec(multipliers=(1, 2, 2, 2)).faults(signature_of(16, 16))) == []
    path, message = problem_of(UNetSpec(multipliers=(1, 2, 2, 2, 2)), signature_of(16, 16))
    assert path == ("multipliers",)
    assert "give at most 4" in message


def test_plain_weights_belong_to_their_grid_unless_a_shift_is_allowed() -> None:
    assert not CNNSpec(conv="plain").transfers()
    assert CNNSpec(conv="plain", allow_resolution_shift=True).transfers()
    assert CNNSpec(conv="plain", resample_io="fourier").transfers()
    assert all(UNetSpec(conv=conv).transfers() for conv in CONVERTED)
