"""Deep operator network: the sum by hand, sensors, places and times, modes, the concatenated baseline."""

import math
from dataclasses import replace

import pytest
import torch

from koopcast.errors import DataError, ShapeMismatch
from koopcast.layers.perceptron import Perceptron
from koopcast.layers.sensors import Queries, Sensors
from koopcast.operators.deeponet_network import Architecture, DeepONet
from koopcast.operators.fnn_network import FNN

LINE = Architecture(
    (21,), (False,), (21,), channels_in=1, frames=1, variables=1, branch=(12,), trunk=(9,), p=7
)
PLANE = Architecture(
    (9, 8), (False, True), (3, 4), channels_in=2, frames=3, variables=2, branch=(12,), trunk=(9,), p=7
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def inputs(chosen, count=3, seed=1):
    return torch.randn(count, *chosen.shape, chosen.channels_in, generator=generator(seed))


def parameters(network):
    return sum(parameter.numel() for parameter in network.parameters())


def test_the_reference_network_for_a_hundred_sensors_has_its_number_of_parameters():
    # Branch 100-40-40, trunk 1-40-40, b_0: 4040 + 1640, 80 + 1640, 1.
    chosen = Architecture((100,), (False,), (100,), channels_in=1, frames=1, variables=1)
    assert parameters(DeepONet(chosen)) == 7401


def test_the_output_is_the_sum_of_products_of_branch_and_trunk():
    network = DeepONet(LINE, generator())
    network.output_bias.data.fill_(0.3)
    u = inputs(LINE)
    b = network.branch(u)
    y = torch.linspace(-1, 1, 21)[:, None]
    t = network.basis.network(y)
    for sample in range(3):
        for place in (0, 8, 20):
            expected = sum((b[sample, k] * t[place, k]).item() for k in range(7)) / math.sqrt(7) + 0.3
            assert network(u)[sample, place, 0].item() == pytest.approx(expected, abs=1e-5)
    assert (t >= 0).all()


def test_the_output_does_not_grow_with_the_number_of_terms_at_the_start():
    few, many = (
        DeepONet(replace(LINE, p=p, branch=(200,), trunk=(200,)), generator())(inputs(LINE, 100)).std()
        for p in (10, 1000)
    )
    assert 0.001 < many < few < 1


def test_the_grid_is_answered_as_its_points_and_times_one_by_one():
    network = DeepONet(PLANE, generator())
    u = inputs(PLANE)
    fields = network(u)
    assert fields.shape == (3, 9, 8, 6)
    for row, column, frame in ((0, 0, 0), (4, 5, 1), (8, 7, 2)):
        place = torch.tensor([[row / 8, column / 8]])
        alone = network.at(u, place, torch.tensor([(frame + 1) / 3]))
        assert torch.allclose(alone[:, 0, 0], fields[:, row, column, 2 * frame : 2 * frame + 2], atol=1e-5)


def test_a_finer_output_grid_holds_the_same_values_while_the_input_stays():
    network = DeepONet(LINE, generator())
    u = inputs(LINE)
    fine = network.at(u, torch.linspace(0, 1, 41)[:, None])
    assert fine.shape == (3, 1, 41, 1)
    assert torch.allclose(fine[:, 0, ::2], network(u), atol=1e-6)


@pytest.mark.parametrize("encoder", ["mlp", "cnn"])
def test_only_the_sensors_are_seen(encoder):
    network = DeepONet(replace(PLANE, branch_encoder=encoder, activation="tanh"), generator())
    u = inputs(PLANE)
    elsewhere, there = u.clone(), u.clone()
    elsewhere[:, 1] += 1
    elsewhere[:, :, 3] += 1
    there[:, 4, 2] += 1
    assert torch.equal(network(elsewhere), network(u))
    assert not torch.allclose(network(there), network(u))


def test_an_input_on_another_grid_is_refused():
    with pytest.raises(ShapeMismatch, match="21 points, the field on one of 41 points"):
        DeepONet(LINE)(torch.zeros(1, 41, 1))


def test_each_term_of_a_stacked_network_has_weights_of_its_own():
    network = DeepONet(replace(LINE, stacked=True), generator())
    # 7 branches 21-12-1, one trunk 1-9-7, b_0.
    assert parameters(network) == 7 * (21 * 12 + 12 + 12 + 1) + (18 + 70) + 1
    network.coefficients(inputs(LINE))[:, 0, 2].sum().backward()
    touched = network.branch[1].weights[0].grad.abs().sum((1, 2)) > 0
    assert touched.tolist() == [k == 2 for k in range(7)]


def test_fourier_features_of_a_periodic_axis_give_a_periodic_output():
    chosen = replace(LINE, periodic=(True,), trunk_features="fourier")
    network = DeepONet(chosen, generator())
    ends = network.at(inputs(chosen), torch.tensor([[0.0], [1.0]]))
    assert torch.allclose(ends[:, :, 0], ends[:, :, 1], atol=1e-5)


def outputs_of_rank(rank, chosen, count=40):
    """Random combinations of `rank` random fields about a mean."""
    size = (*chosen.shape, chosen.frames * chosen.variables)
    parts = torch.randn(rank + 1, *size, generator=generator(5))
    weights = torch.randn(count, rank, generator=generator(6)) * torch.arange(1, rank + 1)
    return parts[0] + torch.einsum("nr,r...->n...", weights, parts[1:])


def test_modes_of_the_training_outputs_span_outputs_of_their_rank():
    chosen = replace(PLANE, basis="pod", p=5)
    network = DeepONet(chosen, generator())
    outputs = outputs_of_rank(5, chosen)
    network.basis.fit(lambda: outputs.split(16))
    for variable in range(2):
        cells = outputs[..., variable::2].movedim(-1, 1).flatten(1)
        functions, mean = network.basis.functions[variable], network.basis.mean[variable]
        coefficients = torch.linalg.lstsq(functions.T, (cells - mean).T).solution.T
        assert torch.allclose(coefficients @ functions + mean, cells, atol=1e-4)
        # Coefficients of the training outputs are uncorrelated and have mean 0 and variance 1.
        assert torch.allclose(coefficients.T @ coefficients / len(cells), torch.eye(5), atol=1e-4)
    b = torch.randn(4, 2, 5, generator=generator(7))
    values = network.basis.combined(b)[..., 1].flatten(1)
    assert torch.allclose(values, b[:, 1] @ network.basis.functions[1] + network.basis.mean[1], atol=1e-5)
    assert network(inputs(chosen)).shape == (3, 9, 8, 6)


def test_a_silent_branch_gives_the_mean_of_the_training_outputs_frame_by_frame():
    chosen = replace(PLANE, basis="pod", p=5)
    network = DeepONet(chosen, generator())
    outputs = outputs_of_rank(8, chosen)
    network.basis.fit(lambda: [outputs])
    for parameter in network.branch.parameters():
        parameter.data.zero_()
    assert torch.allclose(network(inputs(chosen)), outputs.mean(0).expand(3, 9, 8, 6), atol=1e-5)


def test_more_modes_than_the_outputs_have_are_refused():
    network = DeepONet(replace(PLANE, basis="pod", p=7), generator())
    with pytest.raises(
        DataError, match="7 modes, but the training outputs vary in 4 directions; lower p to 4"
    ):
        network.basis.fit(lambda: [outputs_of_rank(4, PLANE)])


def test_modes_are_known_on_one_grid_alone():
    network = DeepONet(replace(LINE, basis="pod"), generator())
    with pytest.raises(ShapeMismatch, match="training grid alone"):
        network.at(inputs(LINE), torch.zeros(1, 1))


@pytest.mark.parametrize("features", ["none", "fourier"])
def test_the_baseline_is_a_perceptron_of_the_concatenation(features):
    queries = Queries(PLANE.periodic, PLANE.frames, features)
    sensors = Sensors(PLANE.shape, PLANE.periodic, PLANE.sensors)
    network = FNN(sensors, queries, 2, 2, (11, 6), "gelu", generator())
    u = inputs(PLANE)
    plain = Perceptron((24 + queries.size, 11, 6, 2), "gelu")
    plain.layers[0].weight.data = network.first.weight.data
    for layer, source in zip(plain.layers[1:], network.rest.layers, strict=True):
        layer.weight.data = source.weight.data
    y = queries(queries.points((9, 8), u), queries.times(u)).expand(3, -1, -1, -1)
    seen = sensors(u).flatten(1)[:, None, None].expand(-1, 3, 72, -1)
    expected = plain(torch.cat((seen, y), dim=-1)).unflatten(2, (9, 8)).movedim(1, -2).flatten(-2)
    assert torch.allclose(network(u), expected, atol=1e-5)


@pytest.mark.parametrize("options", [{}, {"stacked": True}, {"branch_encoder": "cnn"}])
def test_weights_follow_from_the_generator_alone(options):
    def weights():
        torch.rand(1)
        return DeepONet(replace(PLANE, **options), generator(3)).state_dict()

    first, again = weights(), weights()
    assert all(torch.equal(first[name], again[name]) for name in first)
