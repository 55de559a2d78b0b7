"""Tensorised and multi-grid Fourier neural operators: parameters, rules, patches, memory."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from koopcast.grids import Axis, TimeAxis
from koopcast.mapping import Signature
from koopcast.operators.fno import FNOSpec
from koopcast.operators.mg_tfno import MGTFNOSpec
from koopcast.operators.tfno import TFNOSpec


def signature_of(*sizes: int, periodic: bool = True) -> Signature:
    axes = tuple(Axis(name, size, periodic=periodic) for name, size in zip("xyz", sizes, strict=False))
    return Signature(axes, ("a",), ("u",), 1, 1, TimeAxis(1, 1.0), ahead=False)


def network_of(spec: FNOSpec | TFNOSpec | MGTFNOSpec, *sizes: int) -> nn.Module:
    return spec.build(signature_of(*sizes), torch.Generator().manual_seed(0))


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def field_of(*sizes: int) -> Tensor:
    return torch.randn(2, *sizes, 1, generator=torch.Generator().manual_seed(1))


def test_numbers_of_reals_are_those_of_the_reference_networks() -> None:
    assert count(network_of(FNOSpec(modes=8), 16, 16)) == 191_881
    assert count(network_of(TFNOSpec(modes=8), 16, 16)) == 21_721


@pytest.mark.parametrize("options", [{"joint": True}, {"factorization": "tt"}, {"factorization": "cp"}, {}])
@pytest.mark.parametrize("sizes", [(16,), (12, 10), (8, 8, 6)])
def test_both_implementations_agree(sizes: tuple[int, ...], options: dict[str, Any]) -> None:
    first = network_of(TFNOSpec(width=6, layers=2, **options), *sizes)
    second = network_of(TFNOSpec(width=6, layers=2, implementation="factorized", **options), *sizes)
    assert torch.allclose(first(field_of(*sizes)), second(field_of(*sizes)), atol=1e-5)


def test_joint_layers_are_different_slices_of_one_tensor() -> None:
    network = network_of(TFNOSpec(width=6, layers=3, joint=True), 16, 16)
    names = {name for name, _ in network.named_parameters() if "factors" in name}
    assert names == {f"joint.factors.{index}" for index in range(6)}
    first, second = network.joint.tensor(layer=0), network.joint.tensor(layer=1)
    assert (first - second).abs().max() > 0.01
    assert torch.allclose(torch.stack([first, second]), network.joint.tensor()[:2], atol=1e-6)


@pytest.mark.parametrize("options", [{"rank": 0.5}, {"joint": True}, {"implementation": "factorized"}])
def test_options_of_factors_are_refused_for_dense_weights(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="dense weights have no factors"):
        FNOSpec(**options)
    FNOSpec(factorization="cp", **options)


def test_separable_weights_are_not_contracted_factor_by_factor() -> None:
    with pytest.raises(ValidationError, match="separable"):
        TFNOSpec(separable=True, implementation="factorized")


def test_patches_of_the_whole_domain_are_the_undivided_network() -> None:
    whole = network_of(TFNOSpec(width=6, layers=2, modes=5), 12, 12)
    divided = network_of(MGTFNOSpec(width=6, layers=2, modes=5, decomposition={"levels": 0}), 12, 12)
    divided.network.load_state_dict(whole.state_dict())
    assert torch.allclose(divided(field_of(12, 12)), whole(field_of(12, 12)), atol=1e-6)


def test_without_positions_a_shift_by_a_patch_is_a_shift_of_the_result() -> None:
    network = network_of(MGTFNOSpec(width=6, layers=2, positional="none"), 16, 16)
    x = field_of(16, 16)
    assert torch.allclose(network(x.roll((8, 8), (1, 2))), network(x).roll((8, 8), (1, 2)), atol=1e-6)
    placed = network_of(MGTFNOSpec(width=6, layers=2), 16, 16)
    assert not torch.allclose(placed(x.roll(8, 1)), placed(x).roll(8, 1), atol=1e-4)


def largest_tensor(network: nn.Module, x: Tensor) -> int:
    """Return the most numbers that any layer of the network returns."""
    sizes = []
    handles = [
        layer.register_forward_hook(lambda _layer, _given, result: sizes.append(result.numel()))
        for layer in network.modules()
    ]
    network(x)
    for handle in handles:
        handle.remove()
    return max(sizes)


def test_patches_of_a_quarter_with_an_eighth_of_padding_make_tensors_1_7_times_smaller() -> None:
    whole, divided = network_of(TFNOSpec(), 32, 32), network_of(MGTFNOSpec(), 32, 32)
    x = field_of(32, 32)
    assert largest_tensor(whole, x) >= 1.7 * largest_tensor(divided, x)


def problem_of(signature: Signature, **decomposition: float) -> tuple[tuple[str | int, ...], str]:
    (problem,) = MGTFNOSpec(decomposition=decomposition).faults(signature)
    return problem.path, problem.message


def test_domains_that_cannot_be_cut_are_refused() -> None:
    assert list(MGTFNOSpec().faults(signature_of(32, 32))) == []
    assert "not periodic" in problem_of(replace(signature_of(32, periodic=False)))[1]
    path, message = problem_of(signature_of(36), levels=3, padding=0.0)
    assert path == ("decomposition", "levels")
    assert "36 points cannot be cut into 8" in message
    path, message = problem_of(signature_of(32), levels=1, padding=0.4)
    assert path == ("decomposition", "padding")
    assert "42 points" in message


def test_modes_are_held_against_the_points_of_a_patch() -> None:
    (problem,) = MGTFNOSpec(modes=16).faults(signature_of(32, 32))
    assert problem.message.startswith("16 is above 12")
    assert MGTFNOSpec().kept_modes(signature_of(32, 32)) == (12, 12)


def test_patches_are_told_their_place_without_a_jump_at_the_seam() -> None:
    network = network_of(MGTFNOSpec(width=6, layers=2), 32)
    seen: list[Tensor] = []
    network.network.register_forward_pre_hook(lambda _network, given: seen.append(given[0]))
    network(torch.zeros(1, 32, 1))
    # After the field and its coarser view. 16 points and 4 on each side: patch 0 begins at 28 of 32.
    first, second = (part[0, :, 2:] for part in seen)
    turn = 2 * math.pi * torch.arange(-4, 20) / 32
    assert torch.allclose(first, torch.stack([turn.sin(), turn.cos()], dim=-1), atol=1e-6)
    assert torch.allclose(second, -first, atol=1e-6)
