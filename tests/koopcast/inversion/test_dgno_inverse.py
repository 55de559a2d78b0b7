"""Inversion by a latent vector: its law, its answers, what it refuses."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr

from koopcast.errors import EmptySelection, InvalidInput
from koopcast.fields import FieldData
from koopcast.inversion.base import Observed
from koopcast.inversion.dgno_inverse import DGNOInverseSpec, Prior, Start, sensitivity
from koopcast.inversion.experiment import ExperimentSpec, relative_error
from koopcast.mapping import MappingSpec
from koopcast.models import MapModel
from koopcast.operators.dgno import DGNOSpec
from koopcast.operators.dgno_network import DGNO
from koopcast.systems.darcy import DarcySpec

INFO = DarcySpec(points=9).describe()
SIGNATURE = MappingSpec(inputs=("coefficient",), outputs=("u",)).signature(INFO)


def network_of() -> DGNO:
    """Return decoders that say something: weights of the sums are not 0."""
    spec = DGNOSpec(width=16, layers=3, sum_layers=2, latent=8, hidden=(4, 8), centers=12)
    network = spec.build(SIGNATURE, torch.Generator().manual_seed(0))
    network.calibrate(torch.tensor([5.0, 10.0]))
    for product in (network.solution, network.flux, network.coefficient):
        product.weight.data.fill_(0.5)
        product.bias.data.fill_(0.5)
    return network.requires_grad_(False)


class Given(MapModel):
    """A map that holds a network and is asked for nothing else."""

    info, signature = INFO, SIGNATURE

    def __init__(self, network: torch.nn.Module) -> None:
        self.network = network

    def tensors(self) -> dict[str, torch.Tensor]:
        return {}

    def predict(self, given: torch.Tensor, predicted: int | None = None) -> torch.Tensor:
        return given


def observed_of(network: DGNO, beta: torch.Tensor, std: float) -> Observed:
    nodes = torch.arange(81).reshape(9, 9)[1:-1, 1:-1].flatten()
    empty = torch.zeros(len(beta), len(nodes))
    places = Observed((9, 9), nodes, empty, torch.full((len(beta),), std))
    clean = network.solution_at(beta, places.coordinates())
    noise = std * torch.randn(clean.shape, generator=torch.Generator().manual_seed(3))
    return Observed((9, 9), nodes, clean + noise, places.std)


def test_the_law_around_the_minimum_is_that_of_linear_gaussian_theory() -> None:
    generator = torch.Generator().manual_seed(0)
    J = torch.randn(20, 3, generator=generator)
    C = torch.diag(torch.tensor([1.0, 0.5, 2.0]))
    law = Prior(torch.zeros(3), C).posterior(J, 0.1)
    # Kalman form of the same covariance: C - C Jᵀ (J C Jᵀ + σ²)⁻¹ J C, and C holds a small ridge.
    J, C = J.double(), C.double() + 1e-3 * torch.eye(3).double()
    gain = C @ J.T @ torch.linalg.inv(J @ C @ J.T + 0.01 * torch.eye(20).double())
    assert torch.allclose(law, C - gain @ J @ C, atol=1e-10)


def test_the_prior_is_that_of_the_running_moments() -> None:
    network = network_of()
    draws = torch.tensor([[0.5] * 8, [-0.5] * 8])
    network.latent_mean.copy_(draws.mean(0))
    network.latent_square.copy_(draws.T @ draws / 2)
    prior = Prior.of(network)
    along, apart = torch.full((1, 8), 0.5), torch.tensor([[0.5, -0.5] * 4])
    # The variance along (1, ..., 1) is 2, elsewhere nothing but the ridge 1e-3.
    assert prior.distance(along).item() == pytest.approx(0.5 * 2 / 2.001, rel=1e-4)
    assert prior.distance(apart).item() == pytest.approx(0.5 * 2 / 1e-3, rel=1e-4)


def test_the_sensitivity_is_the_derivative_of_the_observed_values() -> None:
    network = network_of()
    beta, places = torch.linspace(-0.4, 0.4, 8), torch.tensor([[0.3, 0.4], [0.7, 0.2]])
    J, h = sensitivity(network, beta, places), 1e-2
    move = h * torch.eye(8)
    change = (network.solution_at(beta + move, places) - network.solution_at(beta - move, places)) / (2 * h)
    assert torch.allclose(J, change.T, atol=1e-3 * float(J.abs().max()) + 1e-7)


def test_samples_start_apart_and_have_parameters_of_their_own() -> None:
    start = Start(3, 16, 8, torch.Generator().manual_seed(0))
    z = start()
    assert z.shape == (3, 8)
    assert not torch.equal(z[0], z[1])
    z[0].sum().backward()
    assert all(torch.equal(p.grad[1:], torch.zeros_like(p.grad[1:])) for p in start.parameters())


def test_the_solution_behind_precise_observations_is_found() -> None:
    network = network_of()
    beta = torch.tensor([[0.3, -0.2, 0.1, 0.4, -0.3, 0.2, 0.0, -0.1]])
    observed = observed_of(network, beta, 1e-5)
    spec = DGNOInverseSpec(iterations=120, w_pde=0.0, prior_weight=0.0, learning_rate=3e-2, draws=8)
    network.latent_square.copy_(0.01 * torch.eye(8))
    posterior = spec.invert(Given(network), observed, torch.Generator().manual_seed(0))
    truth = network.solution_at(beta, network.nodes(beta)).reshape(1, 9, 9)
    assert relative_error(posterior.solution, truth)[0] < 0.05
    assert posterior.std is not None
    assert float(posterior.std.min()) >= 0
    assert float(posterior.mean.min()) >= 5
    assert float(posterior.mean.max()) <= 10


def test_models_without_a_latent_vector_are_refused() -> None:
    observed = observed_of(network_of(), torch.zeros(1, 8), 0.1)
    with pytest.raises(InvalidInput, match="train a dgno"):
        DGNOInverseSpec().invert(Given(torch.nn.Identity()), observed, torch.Generator())


def data_of(samples: int = 3) -> FieldData:
    system, generator = DarcySpec(points=9), torch.Generator().manual_seed(0)
    fields = {"coefficient": [], "u": []}
    for _ in range(samples):
        given = system.draw(generator, {})
        problem = system.problem(given, {})
        x = np.linalg.solve(problem.matrix.toarray(), problem.rhs)
        fields["coefficient"].append(given["coefficient"])
        fields["u"].append(system.solution(given, x)["u"])
    dataset = xr.Dataset({name: (("sample", "y", "x"), np.stack(values)) for name, values in fields.items()})
    return FieldData(dataset, replace(INFO, samples=samples))


def experiment_of(**options: object) -> ExperimentSpec:
    tikhonov = {"kind": "tikhonov", "steps": 4, "iterations": 10}
    return ExperimentSpec(samples=2, observations=30, methods={"pixels": tikhonov}, **options)


def test_noise_has_the_asked_ratio_and_differs_in_size_alone() -> None:
    outputs = torch.rand(2, 9, 9, generator=torch.Generator().manual_seed(0)) + 1
    spec = experiment_of()
    near, far = (spec.observe(outputs, ratio, 1) for ratio in (30, 10))
    assert torch.equal(near.nodes, far.nodes)
    assert torch.allclose(far.std / near.std, torch.full((2,), 10.0))
    clean = outputs.flatten(1)[:, near.nodes]
    assert torch.allclose((far.values - clean) / 10, near.values - clean, atol=1e-5)
    edge = {*range(9), *range(72, 81), *range(0, 81, 9), *range(8, 81, 9)}
    assert not edge & set(near.nodes.tolist())


def test_an_experiment_scores_every_method_at_every_ratio() -> None:
    spec = experiment_of(snr_db=(30, 10))
    findings, fields = spec.run(Given(torch.nn.Identity()), data_of(), seed=0)
    assert set(findings.scores) == set(spec.metrics())
    assert list(findings.scores["input_error"]["pixels"]) == ["30", "10"]
    table = findings.tables["samples"]
    assert len(table) == 2 * 2
    mean = table[table.snr_db == 30].input_error.mean()
    assert findings.scores["input_error"]["pixels"]["30"] == pytest.approx(mean)
    assert {"truth", "pixels_30db_mean", "pixels_10db_solution"} <= set(fields.data_vars)


def test_more_samples_or_places_than_there_are_are_refused() -> None:
    with pytest.raises(EmptySelection, match="lower samples"):
        experiment_of().run(Given(torch.nn.Identity()), data_of(1), seed=0)
    few = replace(INFO, samples=1)
    spec = ExperimentSpec(observations=60, methods={"pixels": "tikhonov"})
    paths = [problem.path for problem in spec.faults(few, SIGNATURE)]
    assert paths == [("experiment", "observations"), ("experiment", "samples")]
    assert next(spec.faults(few, None)).path == ("model",)
