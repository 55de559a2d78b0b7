"""Multigrid neural operator: linear cycles, real multigrid, symmetries, cost, options."""

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from koopcast.errors import ShapeMismatch
from koopcast.grids import Axis, FieldsInfo, TimeAxis
from koopcast.layers.normaliser import FieldStatistics, Moments
from koopcast.mapping import Signature
from koopcast.operators.mgno import MgNOSpec
from koopcast.operators.mgno_network import Architecture, MgNO, VCycle, level_shapes

TWO_LEVELS = ((1, 0), (1, 1))
THREE_LEVELS = ((1, 0), (1, 1), (2, 0))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def signature_of(
    *axes: Axis, outputs: tuple[str, ...] = ("u",), frames: tuple[int, int] = (1, 1)
) -> Signature:
    return Signature(axes, ("a",), outputs, *frames, TimeAxis(1, ""), ahead=False)


def square(size: int, *, periodic: bool = False) -> tuple[Axis, Axis]:
    return Axis("y", size, periodic=periodic), Axis("x", size, periodic=periodic)


@pytest.mark.parametrize("residual_restrict", [False, True])
@pytest.mark.parametrize(
    ("shape", "padding"),
    [
        ((16,), ("circular",)),
        ((17, 16), ("zeros", "circular")),
        ((12, 9), ("reflect", "zeros")),
        ((8, 8, 9), ("circular", "reflect", "zeros")),
    ],
)
def test_the_cycle_is_linear(
    shape: tuple[int, ...], padding: tuple[str, ...], residual_restrict: bool
) -> None:
    chosen = Architecture(
        1, 1, shape, padding, THREE_LEVELS, width=4, layers=2, residual_restrict=residual_restrict
    )
    W = VCycle(chosen, 3, generator())
    f, g = torch.randn(2, 2, 3, *shape, generator=generator(1))
    together = W(2 * f - g)
    assert together.shape == (2, 4, *shape)
    assert (together - 2 * W(f) + W(g)).norm() <= 1e-5 * together.norm()


def weights_of_multigrid(cycle: VCycle, size: int) -> None:
    """Set a one-channel cycle to the solver of -Δu + u = f on the periodic unit square: damped Jacobi, full
    weighting, bilinear interpolation.
    """
    laplacian = torch.tensor([[0.0, -1.0, 0.0], [-1.0, 4.0, -1.0], [0.0, -1.0, 0.0]])
    identity = torch.tensor([[0.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    hat, wide_hat = torch.tensor([1.0, 2.0, 1.0]) / 4, torch.tensor([1.0, 2.0, 1.0, 0.0]) / 2
    for level, (down, up) in enumerate(zip(cycle.down, cycle.up, strict=True)):
        inverse_h2 = float(size // 2**level) ** 2
        operator = inverse_h2 * laplacian + identity
        for smoothing in (down, up):
            for A in smoothing.A:
                A.weight.data[0, 0] = operator
            for S in smoothing.S:
                S.weight.data[0, 0] = 0.8 / operator[1, 1] * identity
        if level < len(cycle.restrict):
            cycle.restrict[level].A.weight.data[0, 0] = operator
            cycle.restrict[level].R.weight.data[0, 0] = torch.outer(hat, hat)
            cycle.restrict[level].Pi.weight.data.zero_()
            cycle.prolong[level].weight.data[0, 0] = torch.outer(wide_hat, wide_hat)


def left_of_the_error(steps: tuple[int, int], samples: int = 20) -> float:
    size, smoothing = 32, (steps, steps, steps, (20, 0))
    chosen = Architecture(
        1, 1, (size, size), ("circular", "circular"), smoothing, width=1, residual_restrict=True
    )
    cycle = VCycle(chosen, 1)
    weights_of_multigrid(cycle, size)
    cycle.double()
    u = torch.randn(samples, 1, size, size, dtype=torch.float64, generator=generator())
    neighbours = sum(u.roll(shift, axis) for shift in (1, -1) for axis in (2, 3))
    f = size**2 * (4 * u - neighbours) + u
    with torch.no_grad():
        error = (cycle(f) - u).flatten(1).norm(dim=1) / u.flatten(1).norm(dim=1)
    return error.max().item()


# A two-grid cycle with one or two sweeps of Jacobi damped by 0.8 leaves 0.6 and 0.36 of its worst mode
# and less of white noise; without the coarse grids smooth modes would stay as they are.
def test_with_the_weights_of_a_multigrid_solver_it_is_one() -> None:
    assert left_of_the_error((1, 0)) <= 0.40
    assert left_of_the_error((2, 0)) <= 0.25
    assert left_of_the_error((1, 1)) <= 0.25


@pytest.mark.parametrize("residual_restrict", [False, True])
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_a_shifted_periodic_input_gives_the_shifted_output(dims: int, residual_restrict: bool) -> None:
    chosen = Architecture(
        2,
        1,
        (16,) * dims,
        ("circular",) * dims,
        THREE_LEVELS,
        width=3,
        layers=2,
        residual_restrict=residual_restrict,
    )
    network = MgNO(chosen, generator()).double()
    x = torch.randn(1, *[16] * dims, 2, dtype=torch.float64, generator=generator(1))
    # A shift by 4 moves the points of the third grid onto one another.
    space, shift = tuple(range(1, 1 + dims)), (4,) * dims
    assert torch.allclose(network(x.roll(shift, space)), network(x).roll(shift, space), atol=1e-13)


def test_each_axis_ends_in_its_own_way() -> None:
    chosen = Architecture(1, 1, (16, 17), ("circular", "zeros"), THREE_LEVELS, width=3, layers=2)
    network = MgNO(chosen, generator()).double()
    x = torch.randn(1, 16, 17, 1, dtype=torch.float64, generator=generator(1))
    assert torch.allclose(network(x.roll(4, 1)), network(x).roll(4, 1), atol=1e-13)
    assert not torch.allclose(network(x.roll(4, 2)), network(x).roll(4, 2), atol=1e-4)


def symmetric_cycle(size: int, padding: str, smoothing: tuple[tuple[int, int], ...]) -> VCycle:
    """Return a cycle that commutes with mirror images: kernels of three points are symmetric, and the fourth
    point of a wider one is 0.
    """
    chosen = Architecture(1, 1, (size,), (padding,), smoothing, width=2, residual_restrict=True)
    W = VCycle(chosen, 2, generator(3)).double()
    for index, parameter in enumerate(W.parameters()):
        w = torch.randn(*parameter.shape[:2], 3, dtype=torch.float64, generator=generator(index))
        parameter.data = torch.nn.functional.pad(w + w.flip(-1), (0, parameter.shape[-1] - 3))
    return W


def test_reflection_leaves_a_half_of_the_even_field_on_a_circle() -> None:
    around, half = (
        symmetric_cycle(size, padding, THREE_LEVELS) for size, padding in ((32, "circular"), (17, "reflect"))
    )
    inner = torch.randn(1, 2, 17, dtype=torch.float64, generator=generator(4))
    even = torch.cat([inner, inner[..., 1:-1].flip(-1)], -1)
    assert torch.allclose(around(even)[..., :17], half(inner), atol=1e-12)


def test_on_one_grid_zeros_leave_a_half_of_the_odd_field_on_a_circle() -> None:
    around, half = (
        symmetric_cycle(size, padding, ((3, 1),)) for size, padding in ((36, "circular"), (17, "zeros"))
    )
    inner = torch.randn(1, 2, 17, dtype=torch.float64, generator=generator(4))
    wall = torch.zeros(1, 2, 1, dtype=torch.float64)
    odd = torch.cat([inner, wall, -inner.flip(-1), wall], -1)
    assert torch.allclose(around(odd)[..., :17], half(inner), atol=1e-12)


def test_handing_down_the_residual_changes_nothing_where_a_level_has_no_operator() -> None:
    def cycle(residual_restrict: bool) -> VCycle:
        chosen = Architecture(
            1, 1, (8, 8), ("zeros", "zeros"), TWO_LEVELS, width=3, residual_restrict=residual_restrict
        )
        return VCycle(chosen, 2, generator())

    with_residual, without = cycle(True), cycle(False)
    with_residual.load_state_dict(without.state_dict(), strict=False)
    f = torch.randn(1, 2, 8, 8)
    assert not torch.allclose(with_residual(f), without(f))
    with_residual.restrict[0].A.weight.data.zero_()
    assert torch.equal(with_residual(f), without(f))


def test_a_skip_adds_the_last_frames_of_the_input() -> None:
    chosen = Architecture(4, 2, (8,), ("circular",), TWO_LEVELS, width=3, layers=1, out_skip=True)
    network = MgNO(chosen, generator())
    network.project.weight.data.zero_()
    x = torch.randn(2, 8, 4)
    assert torch.equal(network(x), x[..., 2:])


# Each layer on width n: S of the first step; then S, A of each other step, R, Π (9 n² each) and P (16 n²) of
# each of two transfers; B. Steps: 4 S and 3 A. So 9 (7 + 4) n² + 2 · 16 n² + n² + n; the first layer has one
# channel of f: S, A 9 n each, R 9; and the projection has n.
def test_number_of_parameters_is_that_of_the_formula() -> None:
    n = 16
    smoothing = ((1, 0), (1, 0), (2, 0))
    network = MgNO(Architecture(1, 1, (16, 16), ("zeros", "zeros"), smoothing, width=n, layers=4))
    inner = 9 * 11 * n**2 + 32 * n**2 + n**2 + n
    first = 9 * 7 * n + 2 * 9 + 2 * 9 * n**2 + 32 * n**2 + n + n
    assert sum(parameter.numel() for parameter in network.parameters()) == 3 * inner + first + n == 115_298


@pytest.mark.parametrize("size", [9, 12, 17, 20, 33])
@pytest.mark.parametrize("dims", [1, 2])
def test_it_takes_grids_of_every_size(size: int, dims: int) -> None:
    shape = (size,) * dims
    network = MgNO(Architecture(1, 2, shape, ("zeros",) * dims, THREE_LEVELS, width=3, layers=2))
    result = network(torch.randn(2, *shape, 1))
    assert result.shape == (2, *shape, 2)
    assert result.is_contiguous()


def operations(size: int) -> int:
    network = MgNOSpec(width=4, levels=4).build(signature_of(*square(size)), generator())
    x = torch.randn(1, size, size, 1)
    with FlopCounterMode(display=False) as counter:
        network(x).sum().backward()
    return counter.get_total_flops()


def test_the_cost_is_linear_in_the_points() -> None:
    assert operations(64) / operations(32) == pytest.approx(4, rel=0.01)


def test_the_same_generator_gives_the_same_network() -> None:
    signature = signature_of(*square(16))
    first, second, other = (
        MgNOSpec(width=3).build(signature, generator(seed)).state_dict() for seed in (0, 0, 1)
    )
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    assert not any(torch.equal(value, other[name]) for name, value in first.items())


def test_levels_halve_the_points_rounded_up() -> None:
    assert level_shapes((17, 16, 10), 4) == [(17, 16, 10), (9, 8, 5), (5, 4, 3), (3, 2, 2)]


@pytest.mark.parametrize(("sizes", "levels"), [((16, 16), 3), ((17, 17), 3), ((64, 64), 5), ((64, 9), 2)])
def test_left_open_the_levels_are_what_the_grid_has_room_for(sizes: tuple[int, int], levels: int) -> None:
    signature = signature_of(*(Axis(name, size) for name, size in zip("yx", sizes, strict=True)))
    assert MgNOSpec().num_levels(signature) == levels
    assert MgNOSpec().steps(signature) == (*[(1, 0)] * (levels - 1), (2, 0))


def test_the_padding_follows_the_boundary_of_each_axis() -> None:
    signature = signature_of(Axis("y", 17), Axis("x", 20, periodic=True))
    assert MgNOSpec().paddings(signature) == ("zeros", "circular")
    assert MgNOSpec(padding="reflect").paddings(signature) == ("reflect", "reflect")
    # 20 = 4 · 5: a periodic axis is halved twice at most.
    assert MgNOSpec().num_levels(signature) == 3


def problem_of(spec: MgNOSpec, signature: Signature) -> tuple[tuple[str | int, ...], str]:
    (problem, *others) = spec.faults(signature)
    assert all(other.path == problem.path for other in others)
    return problem.path, problem.message


def test_levels_that_the_grid_has_no_room_for_are_refused() -> None:
    path, message = problem_of(MgNOSpec(levels=6), signature_of(*square(16)))
    assert path == ("levels",)
    assert message == "6 levels leave 1 point of axis 'y' of 16 points, fewer than 2; at most 4 levels"
    assert list(MgNOSpec(levels=4).faults(signature_of(*square(16)))) == []


def test_periodic_axes_must_halve_evenly() -> None:
    path, message = problem_of(MgNOSpec(levels=4), signature_of(*square(20, periodic=True)))
    assert path == ("levels",)
    assert "not divisible by 8" in message
    assert "take 16 or 24 points, or at most 3 levels" in message
    assert list(MgNOSpec(levels=4).faults(signature_of(*square(20)))) == []
    assert problem_of(MgNOSpec(levels=3, padding="circular"), signature_of(*square(18)))[0] == ("levels",)


def test_smoothing_that_does_not_fit_is_refused() -> None:
    signature = signature_of(*square(16))
    assert problem_of(MgNOSpec(levels=3, smoothing=((1, 0), (2, 0))), signature)[0] == ("smoothing",)
    assert problem_of(MgNOSpec(smoothing=((0, 1), (2, 0))), signature)[0] == ("smoothing", 0, 0)
    assert problem_of(MgNOSpec(smoothing=((1, 0),) * 6), signature)[0] == ("smoothing",)
    assert list(MgNOSpec(smoothing=((1, 0), (0, 0), (0, 2))).faults(signature)) == []
    with pytest.raises(ValidationError, match="greater than or equal to 0"):
        TypeAdapter(MgNOSpec).validate_python({"smoothing": [[1, -1]]})


def test_a_skip_between_different_variables_is_refused() -> None:
    path, message = problem_of(MgNOSpec(out_skip=True), signature_of(*square(16)))
    assert path == ("out_skip",)
    assert "1 frames of a and output 1 of u" in message
    same = signature_of(*square(16), outputs=("a",))
    assert list(MgNOSpec(out_skip=True).faults(same)) == []
    more = signature_of(*square(16), outputs=("a",), frames=(1, 4))
    assert problem_of(MgNOSpec(out_skip=True), more)[0] == ("out_skip",)


def test_what_is_not_a_grid_is_refused() -> None:
    points = signature_of(Axis("point", 50, geometry="index"))
    assert "not a grid" in problem_of(MgNOSpec(), points)[1]
    four = signature_of(*(Axis(name, 8) for name in "wzyx"))
    assert "mgno takes 1 to 3" in problem_of(MgNOSpec(), four)[1]
    assert not MgNOSpec.any_resolution


def test_as_dynamics_it_is_restored_to_the_bit_and_keeps_to_its_grid() -> None:
    info = FieldsInfo({"u": "m", "v": "m"}, square(8, periodic=True), TimeAxis(20, 1.0))
    valid = torch.ones(info.shape, dtype=torch.bool)
    draw = 280 + torch.randn(20, 8, 8, 2, generator=generator())
    moments, changes = (Moments.of(part, valid.expand(part.shape[:-1])) for part in (draw, draw.diff(dim=0)))
    spec = MgNOSpec(width=3, layers=2, history=2, smoothing=((1, 1), (0, 2)))
    signature = Signature.of_dynamics(info, 2)
    network = spec.build(signature, generator())
    model = spec.assemble(network, info, signature, FieldStatistics(valid, moments, changes))
    model = model.finished(torch.ones(2), {})
    restored = MgNOSpec.model_validate(spec.model_dump(mode="json")).restore(info, model.tensors())
    state = draw[:6].reshape(3, -1)
    assert torch.equal(restored.step(state), model.step(state))
    with pytest.raises(ShapeMismatch, match="mgno"):
        model.on(square(16, periodic=True))


def test_gradients_reach_every_weight() -> None:
    network: MgNO = MgNOSpec(width=3, layers=2, residual_restrict=True).build(
        signature_of(*square(9)), generator()
    )
    x: Tensor = torch.randn(2, 9, 9, 1)
    network(x).square().sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    assert all(parameter.grad.abs().sum() > 0 for parameter in network.parameters())
