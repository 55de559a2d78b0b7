"""Latent spectral model: shapes, norms in and out of training, symmetries, cost, options."""

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from koopcast.grids import Axis, FieldsInfo, TimeAxis
from koopcast.layers.normaliser import FieldStatistics, Moments
from koopcast.mapping import MappingSpec, Signature
from koopcast.operators.lsm import LSMSpec
from koopcast.operators.lsm_network import LSM, Architecture


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def signature_of(*axes: Axis) -> Signature:
    return Signature(axes, ("a",), ("u",), 1, 1, TimeAxis(1, ""), ahead=False)


def square(size: int, *, periodic: bool = False) -> tuple[Axis, Axis]:
    return Axis("y", size, periodic=periodic), Axis("x", size, periodic=periodic)


def network_of(spec: LSMSpec, *axes: Axis) -> LSM:
    return spec.build(signature_of(*axes), generator())


@pytest.mark.parametrize("levels", [1, 2, 3])
@pytest.mark.parametrize(("dims", "size"), [(1, 16), (1, 21), (2, 16), (2, 17), (3, 13)])
def test_it_takes_grids_of_every_size(dims: int, size: int, levels: int) -> None:
    axes = (Axis(name, size, periodic=name == "y") for name in "zyx"[:dims])
    network = network_of(LSMSpec(width=4, heads=2, tokens=2, basis=3, levels=levels), *axes)
    result = network(torch.randn(2, *[size] * dims, 1))
    assert result.shape == (2, *[size] * dims, 1)
    assert result.is_contiguous()


def test_widths_double_but_for_the_last_level() -> None:
    def widths(levels: int) -> list[int]:
        return Architecture(1, 1, (4,), (0,), (False,), width=8, levels=levels).widths

    assert widths(5) == [8, 16, 32, 64, 64]
    assert widths(2) == [8, 8]
    assert widths(1) == [8]


# C = 16 on three levels. Convolutions: 2 · 9 C² in; 9 (C · 2C + 4C²) and 2 · 9 · 4C² down; 9 (4C · 2C +
# 2C · C) and 9 (2C · C + C²) up: 261 · C². Norms: 2 numbers for each of 2C + 4C + 4C + 3C + 2C channels. Lift
# 3 C + C, mix C² + C, head 128 C + 128 + 128 + 1. A block of w channels: 3 w² + 2 w, tokens 4 w, waves 24 w.
def test_number_of_parameters_is_that_of_the_formula() -> None:
    C = 16
    u_net = 261 * C**2 + 2 * 15 * C + 4 * C + C**2 + C + 128 * C + 257
    blocks = sum(3 * w**2 + 30 * w for w in (C, 2 * C, 2 * C))
    for spectral, count in ((False, u_net), (True, u_net + blocks)):
        network = network_of(LSMSpec(levels=3, spectral=spectral), *square(16))
        assert sum(parameter.numel() for parameter in network.parameters()) == count


def trained_a_little() -> tuple[LSM, Tensor]:
    network = network_of(LSMSpec(width=8, levels=2), *square(8))
    x = torch.randn(16, 8, 8, 1, generator=generator(1)) * 3 + 1
    with torch.no_grad():
        for _ in range(60):
            network(x)
    return network, x


def test_batch_norm_sees_the_batch_in_training_and_running_means_after_it() -> None:
    network, x = trained_a_little()
    assert not torch.allclose(network(x[:4]), network(x)[:4], atol=1e-3)
    in_training = network(x)
    network.eval()
    assert torch.allclose(network(x[:4]), network(x)[:4], atol=1e-5)
    # Running variances are unbiased, 1 in 256 above that of 16 samples of 4 x 4 points, in each of 8 norms:
    # 1.6 % together. After 60 times the same batch 0.9⁶⁰ = 0.2 % of the first running means are left.
    assert (network(x) - in_training).norm() <= 0.03 * in_training.norm()


def test_the_running_means_are_part_of_what_is_stored() -> None:
    network, x = trained_a_little()
    other = network_of(LSMSpec(width=8, levels=2), *square(8))
    other.load_state_dict(network.state_dict())
    assert torch.equal(other.eval()(x), network.eval()(x))


def test_a_restored_map_is_the_same_to_the_bit() -> None:
    info = FieldsInfo({"a": "1", "u": "1"}, square(8), TimeAxis(1, ""), samples=9)
    valid = torch.ones(info.shape, dtype=torch.bool)
    moments = Moments.of(3 + torch.randn(9, 8, 8, 2, generator=generator()), valid.expand(9, 8, 8))
    mapping = MappingSpec(inputs=("a",), outputs=("u",))
    spec, signature = LSMSpec(width=8, levels=2), mapping.signature(info)
    network, x = trained_a_little()
    model = spec.assemble(network, info, signature, FieldStatistics(valid, moments, moments))
    model = model.finished(torch.ones(1), {})
    restored = LSMSpec.model_validate(spec.model_dump(mode="json")).restore(info, model.tensors(), mapping)
    assert torch.equal(restored.predict(x[:, None]), model.predict(x[:, None]))
    assert model.card()["parameters"] == sum(parameter.numel() for parameter in network.parameters())


def test_instance_norm_sees_each_sample_alone_in_training_and_after_it() -> None:
    network = network_of(LSMSpec(width=8, levels=2, norm="instance"), *square(8))
    x = torch.randn(16, 8, 8, 1, generator=generator(1)) * 3 + 1
    together = network(x)
    assert torch.allclose(network(x[:1]), together[:1], atol=1e-5)
    assert torch.equal(network.eval()(x), together)


def test_on_a_whole_circle_without_positions_it_commutes_with_shifts() -> None:
    network = network_of(
        LSMSpec(width=8, levels=1, norm="instance", spectral=False), Axis("y", 8), Axis("x", 8, periodic=True)
    ).double()
    network.lift.weight.data[1:] = 0
    x = torch.randn(1, 8, 8, 1, dtype=torch.float64, generator=generator(1))
    assert torch.allclose(network(x.roll(3, 2)), network(x).roll(3, 2), atol=1e-12)
    assert not torch.allclose(network(x.roll(3, 1)), network(x).roll(3, 1), atol=1e-4)


def test_padding_goes_on_with_zeros_or_around_the_circle() -> None:
    network = network_of(LSMSpec(width=8, levels=1, patch=4), Axis("y", 6), Axis("x", 6, periodic=True))
    assert network.architecture.appended == (2, 2)
    x = torch.randn(2, 3, 6, 6)
    padded = network._appended(x)
    assert torch.equal(padded[:, :, :6, :6], x)
    assert torch.equal(padded[:, :, :6, 6:], x[..., :2])
    assert (padded[:, :, 6:] == 0).all()


def test_without_spectral_blocks_nothing_else_changes() -> None:
    with_blocks = network_of(LSMSpec(levels=2, norm="instance"), *square(8))
    without = network_of(LSMSpec(levels=2, norm="instance", spectral=False), *square(8))
    without.load_state_dict(with_blocks.state_dict(), strict=False)
    x = torch.randn(2, 8, 8, 1)
    assert not torch.allclose(with_blocks(x), without(x), atol=1e-4)
    for block in with_blocks.blocks:
        # Without tokens, values and waves the block hands on what it is given.
        for parameter in (block.latent, block.weight, block.values.weight, block.values.bias):
            parameter.data.zero_()
    assert torch.allclose(with_blocks(x), without(x), atol=1e-6)


def operations(size: int) -> int:
    network = network_of(LSMSpec(width=8, levels=3), *square(size))
    with FlopCounterMode(display=False) as counter:
        network(torch.randn(1, size, size, 1)).sum().backward()
    return counter.get_total_flops()


def test_the_cost_is_linear_in_the_points() -> None:
    assert operations(64) <= 4.05 * operations(32)


def test_the_same_generator_gives_the_same_network() -> None:
    first, second, other = (
        LSMSpec().build(signature_of(*square(16)), generator(seed)).state_dict() for seed in (0, 0, 1)
    )
    drawn = [name for name in first if "norms" not in name]
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not any(torch.equal(first[name], other[name]) for name in drawn)


def test_gradients_reach_every_weight() -> None:
    network = network_of(LSMSpec(width=8, levels=2), *square(8))
    network(torch.randn(4, 8, 8, 1)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize(
    ("size", "levels", "appended"), [(16, 3, 0), (17, 3, 15), (8, 2, 0), (85, 4, 11), (5, 1, 3)]
)
def test_left_open_levels_and_padding_are_what_the_grid_has_room_for(
    size: int, levels: int, appended: int
) -> None:
    signature = signature_of(*square(size))
    assert LSMSpec().num_levels(signature) == levels
    assert LSMSpec().appended(signature) == (appended, appended)
    assert list(LSMSpec().faults(signature)) == []


def problem_of(spec: LSMSpec, *axes: Axis) -> tuple[tuple[str | int, ...], str]:
    (problem, *others) = spec.faults(signature_of(*axes))
    assert all(other.path[:1] == problem.path[:1] for other in others)
    return problem.path, problem.message


def test_heads_share_the_channels_evenly() -> None:
    path, message = problem_of(LSMSpec(width=20), *square(16))
    assert path == ("width",)
    assert message == "20 is not divisible by 8 heads; take 16 or 24"
    assert problem_of(LSMSpec(width=4), *square(16))[1].endswith("take 8")


def test_a_bottom_smaller_than_a_patch_is_refused() -> None:
    path, message = problem_of(LSMSpec(levels=4), *square(16))
    assert path == ("levels",)
    assert "fewer than a patch of 4; at most 3 levels, or a smaller patch" in message
    path, message = problem_of(LSMSpec(patch=20), *square(16))
    assert path == ("patch",)
    assert "20 points are more than axis 'y' has (16)" in message
    assert problem_of(LSMSpec(levels=5, patch=1), *square(16))[0] == ("levels",)


def test_padding_that_leaves_parts_of_patches_is_refused() -> None:
    path, message = problem_of(LSMSpec(levels=3, padding=(0, 5)), *square(16))
    assert path == ("padding", 1)
    assert "16 + 5 points of axis 'x' are no multiple of 16" in message
    assert "take 0 or 16, or auto" in message
    assert "take 15, or auto" in problem_of(LSMSpec(levels=3, padding=(0, 0)), *square(17))[1]
    assert problem_of(LSMSpec(padding=(0,)), *square(16))[0] == ("padding",)
    assert problem_of(LSMSpec(patch=(4, 4, 4)), *square(16))[0] == ("patch",)
    assert list(LSMSpec(levels=3, padding=(0, 16)).faults(signature_of(*square(16)))) == []
    once_more = problem_of(LSMSpec(levels=1, patch=1, padding=(9,)), Axis("x", 8, periodic=True))
    assert once_more[0] == ("padding", 0)
    assert "more than once around" in once_more[1]


def test_what_is_not_a_grid_is_refused() -> None:
    assert "not a grid" in problem_of(LSMSpec(), Axis("point", 50, geometry="index"))[1]
    assert not LSMSpec.any_resolution
