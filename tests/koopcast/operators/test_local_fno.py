"""Fourier neural operator with local layers: its reduction, symmetries, convergence, options."""

import math

import pytest
import torch
from torch import Tensor

from koopcast.grids import Axis, TimeAxis
from koopcast.mapping import Signature
from koopcast.operators.fno_network import FNO, Architecture
from koopcast.operators.local_fno import LocalFNOSpec


def signature_of(*sizes: int, periodic: bool = True) -> Signature:
    axes = tuple(Axis(name, size, periodic=periodic) for name, size in zip("xyz", sizes, strict=False))
    return Signature(axes, ("a",), ("u",), 1, 1, TimeAxis(9, 1.0))


def network(spec: LocalFNOSpec, *sizes: int, periodic: bool = True) -> torch.nn.Module:
    return spec.build(signature_of(*sizes, periodic=periodic), torch.Generator().manual_seed(0)).double()


@pytest.mark.parametrize("mlp_ratio", [0.0, 0.5])
def test_without_local_layers_it_is_the_fourier_neural_operator(mlp_ratio: float) -> None:
    spec = LocalFNOSpec(modes=4, width=6, layers=2, integral="none", derivative="none", mlp_ratio=mlp_ratio)
    local = network(spec.model_copy(update={"positional": "none"}), 12, 10)
    plain = FNO(
        Architecture(1, 1, (4, 4), (True, True), positional="none", width=6, layers=2, mlp_ratio=mlp_ratio)
    ).double()
    renamed = {
        name.replace("parts.0.spectral.", "spectral.").replace("parts.1.", "skip."): value
        for name, value in local.state_dict().items()
    }
    plain.load_state_dict({name: value for name, value in renamed.items() if name in plain.state_dict()})
    x = torch.randn(2, 12, 10, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(local(x), plain(x), atol=1e-12)


@pytest.mark.parametrize("norm", ["none", "instance", "group"])
@pytest.mark.parametrize("sizes", [(12,), (12, 9)])
def test_without_positions_it_commutes_with_shifts_of_periodic_grids(
    norm: str, sizes: tuple[int, ...]
) -> None:
    spec = LocalFNOSpec(modes=4, width=4, layers=2, norm=norm, derivative="all", positional="none")
    built = network(spec, *sizes)
    x = torch.randn(2, *sizes, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    shift, dims = (5, 2)[: len(sizes)], (1, 2)[: len(sizes)]
    assert torch.allclose(built(x.roll(shift, dims)), built(x).roll(shift, dims), atol=1e-12)


@pytest.mark.parametrize("periodic", [True, False])
def test_it_converges_as_the_grid_is_refined(periodic: bool) -> None:
    ends = 0 if periodic else 1
    built = network(LocalFNOSpec(modes=4, width=4, layers=2), 16 + ends, periodic=periodic)

    def output(size: int) -> Tensor:
        place = 2 * math.pi * torch.arange(size + ends, dtype=torch.float64) / size
        return built(place.sin()[None, :, None])[:, :: size // 16]

    coarse, middle, fine = output(16), output(64), output(256)
    assert (fine - middle).abs().max() < 0.4 * (middle - coarse).abs().max()


@pytest.mark.parametrize(("where", "count"), [("all", 3), ("last", 1), ("none", 0)])
def test_local_layers_stand_in_the_blocks_named(where: str, count: int) -> None:
    built = network(LocalFNOSpec(modes=4, width=4, layers=3, integral=where, derivative=where), 12, 12)
    lengths = [len(block.parts) for block in built.blocks]
    assert lengths == [2] * (3 - count) + [4] * count


def test_unfit_options_are_refused() -> None:
    def problem_of(spec: LocalFNOSpec, signature: Signature) -> tuple[tuple[str | int, ...], str]:
        (problem,) = spec.faults(signature)
        return problem.path, problem.message

    plane = signature_of(16, 16)
    assert list(LocalFNOSpec().faults(plane)) == []
    assert problem_of(LocalFNOSpec(modes=9), plane)[0] == ("modes",)
    assert problem_of(LocalFNOSpec(integral="none", radius=0.2), plane)[0] == ("radius",)
    assert problem_of(LocalFNOSpec(radius=0.03125), plane)[0] == ("radius",)
    assert problem_of(LocalFNOSpec(disc=(8, 16), radius=0.1), plane)[0] == ("radius",)
    assert problem_of(LocalFNOSpec(), signature_of(8, 8, 8))[1] == "3 space axes; local_fno takes 1 or 2"
