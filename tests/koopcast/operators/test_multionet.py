"""MultiONet: reduction to a deep operator network, times as coordinates, options, training."""

import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from koopcast.grids import Axis, TimeAxis
from koopcast.mapping import Signature
from koopcast.operators import AnyOperator
from koopcast.operators.deeponet import DeepONetSpec
from koopcast.operators.multionet import MultiONetSpec
from koopcast.operators.multionet_network import MultiONet


def signature_of(*sizes: int, frames: int = 1, outputs: int = 1, periodic: bool = False) -> Signature:
    axes = tuple(Axis(name, size, periodic=periodic) for name, size in zip("xy", sizes, strict=False))
    names = tuple(f"u{index}" for index in range(outputs))
    return Signature(axes, ("a",), names, 1, frames, TimeAxis(20, 1.0))


def network_of(spec: MultiONetSpec, signature: Signature) -> MultiONet:
    network = spec.build(signature, torch.Generator().manual_seed(0))
    network.product.weight.data.fill_(1.0)
    return network


def test_with_one_layer_in_the_sum_it_has_the_parameters_of_a_deep_operator_network_and_one_more() -> None:
    signature = signature_of(16, frames=17)
    own = MultiONetSpec(width=64, layers=5, sum_layers=1).build(signature, torch.Generator())
    other = DeepONetSpec(p=64, branch=(64,) * 4, trunk=(64,) * 4).build(signature, torch.Generator())
    counts = [sum(p.numel() for p in network.parameters()) for network in (own, other)]
    assert counts[0] == counts[1] + 1


def test_with_four_layers_in_the_sum_burgers_takes_34_565_parameters() -> None:
    # Branch 17·64 + 4·65·64, trunk 3·64 + 4·65·64, four weights and a bias.
    network = MultiONetSpec().build(signature_of(16, frames=17), torch.Generator())
    assert sum(p.numel() for p in network.parameters()) == 17 * 64 + 3 * 64 + 8 * 65 * 64 + 5


@pytest.mark.parametrize("encoder", ["none", "mlp", "cnn"])
@pytest.mark.parametrize("features", ["none", "fourier"])
def test_the_grid_values_are_those_of_its_places_and_times(encoder: str, features: str) -> None:
    spec = MultiONetSpec(width=8, layers=3, sum_layers=2, encoder=encoder, trunk_features=features)
    network = network_of(spec, signature_of(6, 5, frames=3, outputs=2))
    x = torch.randn(4, 6, 5, 1)
    on_grid = network(x)
    assert on_grid.shape == (4, 6, 5, 3 * 2)
    # Node (2, 1) of 6 x 5 lies at (2/5, 1/4); the second of three frames at the time 2/3.
    there = network.at(x, torch.tensor([[2 / 5, 1 / 4]]), torch.tensor([2 / 3]))
    assert torch.allclose(on_grid[:, 2, 1, 2:4], there[:, 0, 0], atol=1e-5)


def test_waves_in_the_trunk_close_a_periodic_axis() -> None:
    spec = MultiONetSpec(width=8, layers=3, sum_layers=2, trunk_features="fourier")
    network = network_of(spec, signature_of(8, periodic=True)).double()
    x = torch.randn(2, 8, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ends = network.at(x, torch.tensor([[0.0], [1.0]], dtype=torch.float64))
    assert torch.allclose(ends[:, :, 0], ends[:, :, 1], atol=1e-11)


def test_an_untrained_network_says_the_mean() -> None:
    network = MultiONetSpec().build(signature_of(8), torch.Generator().manual_seed(0))
    assert torch.equal(network(torch.randn(3, 8, 1)), torch.zeros(3, 8, 1))


def test_the_same_generator_gives_the_same_weights() -> None:
    first, second = (
        MultiONetSpec(encoder="cnn").build(signature_of(8), torch.Generator().manual_seed(3)).state_dict()
        for _ in range(2)
    )
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_the_bare_kind_is_a_model_and_odd_options_are_refused() -> None:
    assert TypeAdapter(AnyOperator).validate_python("multionet") == MultiONetSpec()
    with pytest.raises(ValidationError, match="sum_layers: 6 is above 5"):
        MultiONetSpec(sum_layers=6)
    with pytest.raises(ValidationError, match="there is no encoder"):
        MultiONetSpec(hidden=(8,))
    with pytest.raises(ValidationError, match="frequencies"):
        MultiONetSpec(frequencies=2)
    points = Signature((Axis("point", 9, geometry="index"),), ("a",), ("u",), 1, 1, TimeAxis(9, 1.0))
    assert [problem.message for problem in MultiONetSpec().faults(points)]


def test_it_learns_the_shift_of_a_wave() -> None:
    generator = torch.Generator().manual_seed(0)
    place = 2 * torch.pi * torch.arange(16) / 16
    phase = 2 * torch.pi * torch.rand(64, 1, generator=generator)
    x, y = torch.sin(place + phase)[..., None], torch.sin(place + phase + 1)[..., None]
    spec = MultiONetSpec(width=24, layers=3, sum_layers=2)
    network = spec.build(signature_of(16, periodic=True), generator)
    adam = torch.optim.Adam(network.parameters(), lr=5e-3)
    for _ in range(150):
        loss = (network(x) - y).square().mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
    assert loss.item() < 0.01 * y.square().mean().item()
