"""Pointwise maps, feature normalisation and positions."""

import pytest
import torch

from koopcast.layers.normalisation import FeatureNormalisation
from koopcast.layers.pointwise import ChannelMLP, Gate, Linear
from koopcast.layers.positions import grid_positions


def test_linear_is_the_torch_layer_with_its_weight_transposed() -> None:
    ours, theirs = Linear(3, 4), torch.nn.Linear(3, 4)
    theirs.weight.data, theirs.bias.data = ours.weight.data.T, ours.bias.data
    x = torch.randn(2, 5, 6, 3)
    assert torch.allclose(ours(x), theirs(x), atol=1e-6)


def test_channel_mlp_and_gate_treat_every_point_alone() -> None:
    mlp, gate = ChannelMLP(2, 5, 3), Gate(2)
    gate.weight.data = torch.tensor([2.0, -1.0])
    x = torch.randn(2, 4, 4, 2)
    assert torch.allclose(mlp(x)[1, 2, 3], mlp(x[1, 2, 3]), atol=1e-6)
    assert torch.equal(gate(x), x * torch.tensor([2.0, -1.0]))


@pytest.mark.parametrize(("over", "groups"), [("instance", 4), ("group", 1)])
def test_feature_normalisation_is_group_norm_of_torch(over: str, groups: int) -> None:
    layer = FeatureNormalisation(4, over)
    layer.scale.data, layer.shift.data = torch.rand(4), torch.rand(4)
    x = 3 + 2 * torch.randn(2, 5, 6, 4)
    expected = torch.nn.functional.group_norm(x.movedim(-1, 1), groups, layer.scale, layer.shift)
    assert torch.allclose(layer(x), expected.movedim(1, -1), atol=1e-5)


def test_positions_are_those_of_the_place_on_every_grid() -> None:
    arguments = {"dtype": torch.float64, "device": torch.device("cpu")}
    coarse = grid_positions([4, 5], [True, False], **arguments)
    fine = grid_positions([8, 9], [True, False], **arguments)
    assert torch.equal(fine[::2, ::2], coarse)
    assert coarse[:, 0, 0].tolist() == [0.0, 0.25, 0.5, 0.75]
    assert coarse[0, :, 1].tolist() == [0.0, 0.25, 0.5, 0.75, 1.0]
