"""DGNO: weak residuals of exact solutions, the binary field, an objective without solutions."""

import math

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from koopcast.errors import DataError
from koopcast.grids import Axis, TimeAxis
from koopcast.layers.normaliser import FieldStatistics, Moments
from koopcast.mapping import MappingSpec, Signature
from koopcast.models import Context
from koopcast.operators import AnyOperator
from koopcast.operators.dgno import DGNOSpec
from koopcast.operators.dgno_network import DGNO, labelled, nearest
from koopcast.operators.dgno_residuals import Centres, Observers, balance, weak_flux_law
from koopcast.systems.darcy import DarcySpec

KINDS = ("wendland", "bump", "cosine")
SIGNATURE = MappingSpec(inputs=("coefficient",), outputs=("u",)).signature(DarcySpec(points=9).describe())
SMALL = DGNOSpec(width=16, layers=3, sum_layers=2, latent=8, hidden=(4, 8), centers=24)


def observers(kind: str = "wendland", across: int = 9, radius: float = 0.2, count: int = 60) -> Observers:
    return Centres(kind, (radius,), across, count).draw(torch.Generator().manual_seed(0))


def network_of(spec: DGNOSpec = SMALL) -> DGNO:
    network = spec.build(SIGNATURE, torch.Generator().manual_seed(0))
    network.calibrate(torch.tensor([5.0, 10.0]))
    return network


def two_phase(count: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    waves = torch.randn(count, 1, 1, 2, generator=generator) * 3
    place = torch.stack(torch.meshgrid(torch.linspace(0, 1, 9), torch.linspace(0, 1, 9), indexing="ij"), -1)
    return torch.where(torch.sin((place * waves).sum(-1)) > 0, 10.0, 5.0)[..., None]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("radius", [0.1, 0.3])
def test_weights_are_exact_for_constants_and_by_parts_for_linear_fields(kind: str, radius: float) -> None:
    seen = observers(kind, 7, radius)
    constant = seen.seen(torch.ones(1, len(seen.points)))
    assert torch.allclose(constant[0], torch.ones_like(constant[0]), atol=1e-4)
    assert constant[1:].abs().max() < 1e-3
    slopes = seen.seen(seen.points.T)
    # ∫ ∂_k ψ x_j = -δ_kj ∫ ψ.
    wanted = -torch.eye(2)[:, :, None].expand_as(slopes[1:])
    assert torch.allclose(slopes[1:], wanted, atol=2e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_the_divergence_theorem_holds_in_the_limit_of_fine_lattices(kind: str) -> None:
    def error(across: int) -> float:
        seen = observers(kind, across)
        x, y = (math.pi * seen.points).unbind(-1)
        field = torch.stack([torch.cos(x) * torch.sin(y), torch.sin(2 * x) * torch.cos(y)], dim=-1)
        divergence = -math.pi * torch.sin(x) * torch.sin(y) - math.pi * torch.sin(2 * x) * torch.sin(y)
        return balance(seen, field[None], 0.0).add(seen.seen(divergence[None])[0]).abs().max().item()

    # Slopes are of order π; at the corners of the square discs are a quarter, and there it is of first order.
    assert error(25) < 0.5 * error(9)
    assert error(25) < 0.03


@pytest.mark.parametrize("kind", KINDS)
def test_the_residuals_of_an_exact_solution_vanish_with_the_quadrature(kind: str) -> None:
    # u = sin πx sin πy, a = 1 + x, s = a ∇u, f = -div s = 2π² a u - ∂_x u.
    def errors(across: int) -> tuple[float, float]:
        seen = observers(kind, across)
        x, y = (math.pi * seen.points).unbind(-1)
        u, a = torch.sin(x) * torch.sin(y), 1 + seen.points[:, 0]
        gradient = math.pi * torch.stack([torch.cos(x) * torch.sin(y), torch.sin(x) * torch.cos(y)], dim=-1)
        s, f = a[:, None] * gradient, 2 * math.pi**2 * a * u - gradient[:, 0]
        kept = balance(seen, s[None], 0.0) - seen.seen(f[None])[0]
        law = weak_flux_law(seen, a[None], u[None], s[None])
        return kept.abs().max().item() / (2 * math.pi**2), law.abs().max().item() / math.pi

    coarse, fine = errors(9), errors(25)
    assert max(fine) < 0.02
    assert fine[0] < 0.3 * coarse[0]
    assert fine[1] < 0.3 * coarse[1]


def test_residuals_of_a_wrong_flux_do_not_vanish() -> None:
    seen = observers(across=25)
    assert balance(seen, torch.zeros(1, len(seen.points), 2), 1.0).abs().min() > 0.99
    x, y = (math.pi * seen.points).unbind(-1)
    u = torch.sin(x) * torch.sin(y)
    law = weak_flux_law(seen, torch.ones_like(u)[None], u[None], torch.zeros(1, len(u), 2))
    assert law.norm(dim=-1).mean() > 1


def test_centres_reach_the_boundary_and_are_drawn_anew() -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = (Centres("wendland", (0.2,), 9, 400).draw(generator) for _ in range(2))
    assert not torch.equal(first.matrices, second.matrices)
    near = (first.points.min(-1).values < 0.04)[None].float()
    assert (first.matrices[0] * near).sum(-1).max() > 0.3
    again = Centres("wendland", (0.2,), 9, 400).draw(torch.Generator().manual_seed(0))
    assert torch.equal(first.matrices, again.matrices)


def test_the_solution_is_zero_on_the_boundary_and_its_gradient_is_the_derivative() -> None:
    network = network_of().double()
    network.solution.weight.data.fill_(1.0)
    beta = torch.rand(2, 8).double() - 0.5
    sides = torch.tensor([[0.0, 0.3], [1.0, 0.7], [0.4, 0.0], [0.2, 1.0]]).double()
    assert network.solution_at(beta, sides).abs().max() < 1e-15
    points = 0.1 + 0.8 * torch.rand(5, 2).double()
    gradient, h = network.gradient_at(beta, points), 1e-6
    for axis in range(2):
        move = h * torch.eye(2).double()[axis]
        change = (network.solution_at(beta, points + move) - network.solution_at(beta, points - move)) / (
            2 * h
        )
        assert torch.allclose(gradient[..., axis], change, atol=1e-8)


def test_a_binary_field_has_exactly_two_values() -> None:
    network = network_of()
    assert (float(network.low), float(network.high)) == (5.0, 10.0)
    logits = torch.tensor([-50.0, 0.0, 50.0])
    assert torch.allclose(network.coefficient_of(logits), torch.tensor([5.0, 7.5, 10.0]))
    assert torch.allclose(network.spread_of(logits), torch.tensor([0.0, 2.5, 0.0]), atol=1e-4)
    for values in ([3.0], [3.0, 5.0, 7.0]):
        with pytest.raises(DataError, match="exactly two"):
            network.calibrate(torch.tensor(values))
    with pytest.raises(DataError, match="positive"):
        network.calibrate(torch.tensor([-1.0, 1.0]))
    continuous = network_of(SMALL.model_copy(update={"field": "continuous"}))
    continuous.calibrate(torch.tensor([3.0, 5.0, 7.0]))
    assert float(continuous.coefficient_of(torch.tensor(0.0))) == pytest.approx(5.0)


def test_points_take_the_value_of_their_nearest_node() -> None:
    field = torch.arange(9.0).reshape(1, 3, 3)
    points = torch.tensor([[0.0, 0.0], [0.24, 0.26], [0.9, 0.4]])
    assert nearest(field, points).tolist() == [[0.0, 1.0, 7.0]]


def test_a_share_of_the_samples_is_labelled_always_the_same() -> None:
    draw = torch.rand(2000, 9, 9, generator=torch.Generator().manual_seed(0))
    a = torch.where(draw > 0.5, 10.0, 5.0)
    chosen = labelled(a, 0.1)
    # Binomial: 200 with a standard deviation of 13.4.
    assert abs(int(chosen.sum()) - 200) < 6 * 13.4
    assert torch.equal(labelled(a[700:900], 0.1), chosen[700:900])
    assert not labelled(a, 0.0).any()
    assert labelled(a, 1.0).all()


def objective(spec: DGNOSpec, a: Tensor, u: Tensor, training: bool = True) -> tuple[DGNO, Tensor]:
    network = network_of(spec)
    zero = Moments(0, torch.zeros(2).double(), torch.zeros(2).double())
    statistics = FieldStatistics(torch.ones(9, 9, dtype=torch.bool), zero, zero)
    model = spec.assemble(network, DarcySpec(points=9).describe(), SIGNATURE, statistics)
    context = Context(1, False, 0.0, torch.Generator().manual_seed(2), training)

    def compare(prediction: Tensor, target: Tensor, given: Tensor | None = None) -> Tensor:
        return (prediction - target).square().mean()

    return network, model.loss(torch.cat([a, u], dim=-1)[:, None], compare, context)


def test_without_labels_solutions_do_not_enter_the_objective() -> None:
    a = two_phase(4)
    _, first = objective(SMALL, a, torch.zeros_like(a))
    _, second = objective(SMALL, a, torch.randn_like(a))
    assert torch.equal(first, second)
    spec = SMALL.model_copy(update={"labelled": 1.0})
    _, third = objective(spec, a, torch.zeros_like(a))
    _, fourth = objective(spec, a, torch.ones_like(a))
    assert third != fourth


@pytest.mark.parametrize("law", ["weak", "pointwise"])
def test_training_on_the_equation_alone_brings_the_solution_nearer(law: str) -> None:
    system, a = DarcySpec(points=9), two_phase(6)
    solutions = []
    for one in a[..., 0].double().numpy():
        problem = system.problem({"coefficient": one}, {})
        x = torch.linalg.solve(torch.from_numpy(problem.matrix.toarray()), torch.from_numpy(problem.rhs))
        solutions.append(torch.from_numpy(system.solution({"coefficient": one}, x.numpy())["u"]))
    u = torch.stack(solutions).float()[..., None]
    network = network_of(SMALL.model_copy(update={"flux_law": law, "centers": 48}))
    adam = torch.optim.Adam(network.parameters(), lr=1e-2)
    generator = torch.Generator().manual_seed(0)
    losses = []
    for _ in range(40):
        beta = network.encode(a)
        loss = network.residual(beta, a[..., 0], generator) + network.misfit(beta, a[..., 0])
        adam.zero_grad()
        loss.backward()
        adam.step()
        losses.append(loss.item())
    error = ((network(a) - u).norm() / u.norm()).item()
    # At the start u = 0, whose error is 1.
    assert sum(losses[-10:]) < 0.5 * sum(losses[:10])
    assert error < 0.6


def test_what_is_no_map_on_the_unit_square_is_refused() -> None:
    assert list(SMALL.faults(SIGNATURE)) == []
    ring = Signature(
        (Axis("y", 9, periodic=True), Axis("x", 9)), ("a",), ("u",), 1, 1, TimeAxis(1, ""), ahead=False
    )
    assert "unit square" in next(SMALL.faults(ring)).message
    steps = Signature.of_dynamics(DarcySpec(points=9).describe(), 1)
    assert "mapping" in next(SMALL.faults(steps)).message


def test_the_bare_kind_is_a_model_and_odd_options_are_refused() -> None:
    assert TypeAdapter(AnyOperator).validate_python("dgno") == DGNOSpec()
    with pytest.raises(ValidationError, match="half the domain"):
        DGNOSpec(radius=0.5)
    with pytest.raises(ValidationError, match="lattice"):
        DGNOSpec(radius=1e-4)
    with pytest.raises(ValidationError, match="without a source"):
        DGNOSpec(source=0.0)
    with pytest.raises(ValidationError, match="sum_layers"):
        DGNOSpec(sum_layers=9)


def test_running_moments_of_the_latent_vectors_follow_training_alone() -> None:
    a = two_phase(4)
    untouched, _ = objective(SMALL, a, a, training=False)
    assert torch.equal(untouched.latent_mean, torch.zeros(8))
    moved, _ = objective(SMALL, a, a)
    assert torch.allclose(moved.latent_mean, 0.01 * moved.encode(a).mean(0), atol=1e-6)
