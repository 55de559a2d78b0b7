"""The network of MgNO: linear cycles, real multigrid, symmetries, cost."""

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from koopcast.grids import Axis, TimeAxis
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
    assert operations(64) <= 4.05 * operations(32)


def test_the_same_generator_gives_the_same_network() -> None:
    signature = signature_of(*square(16))
    first, second, other = (
        MgNOSpec(width=3).build(signature, generator(seed)).state_dict() for seed in (0, 0, 1)
    )
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    assert not any(torch.equal(value, other[name]) for name, value in first.items())


def test_levels_halve_the_points_rounded_up() -> None:
    assert level_shapes((17, 16, 10), 4) == [(17, 16, 10), (9, 8, 5), (5, 4, 3), (3, 2, 2)]


def test_gradients_reach_every_weight() -> None:
    network: MgNO = MgNOSpec(width=3, layers=2, residual_restrict=True).build(
        signature_of(*square(9)), generator()
    )
    x: Tensor = torch.randn(2, 9, 9, 1)
    network(x).square().sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    assert all(parameter.grad.abs().sum() > 0 for parameter in network.parameters())
