"""Transformer operator: symmetries, convergence with the grid, options."""

import math

import pytest
import torch
from torch import Tensor

from koopcast.grids import Axis, TimeAxis
from koopcast.mapping import Signature
from koopcast.operators.oformer import OFormerSpec

FORMS = ("softmax", "galerkin")


def signature_of(*sizes: int, periodic: bool = True) -> Signature:
    axes = tuple(Axis(name, size, periodic=periodic) for name, size in zip("xyz", sizes, strict=False))
    return Signature(axes, ("a",), ("u", "v"), 2, 1, TimeAxis(9, 1.0))


def network(spec: OFormerSpec, *sizes: int, periodic: bool = True) -> torch.nn.Module:
    return spec.build(signature_of(*sizes, periodic=periodic), torch.Generator().manual_seed(0)).double()


def small(**options: object) -> OFormerSpec:
    return OFormerSpec.model_validate({"width": 8, "layers": 2, "heads": 2, "head_channels": 6, **options})


def draw(*sizes: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, *sizes, 2, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("norm", "modes"), [("none", None), ("instance", 3), ("group", None)])
@pytest.mark.parametrize("sizes", [(8,), (6, 5), (4, 3, 2)])
def test_without_positions_it_commutes_with_shifts_of_periodic_grids(
    form: str, norm: str, modes: int | None, sizes: tuple[int, ...]
) -> None:
    modes = None if modes is None else min(modes, min(sizes) // 2)
    built = network(small(attention=form, norm=norm, spectral_modes=modes, positional="none"), *sizes)
    x, shift, dims = draw(*sizes), (3, 2, 1)[: len(sizes)], (1, 2, 3)[: len(sizes)]
    assert torch.allclose(built(x.roll(shift, dims)), built(x).roll(shift, dims), atol=1e-11)
    assert built(x).shape == (2, *sizes, 2)


@pytest.mark.parametrize("form", FORMS)
def test_without_any_knowledge_of_place_it_commutes_with_permutations_of_the_points(form: str) -> None:
    built = network(small(attention=form, rotary=False, positional="none"), 9)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(2))
    x = draw(9)
    assert torch.allclose(built(x[:, order]), built(x)[:, order], atol=1e-12)


@pytest.mark.parametrize("positional", ["grid", "fourier"])
def test_positions_break_the_symmetry_of_shifts(positional: str) -> None:
    built = network(small(positional=positional), 8)
    x = draw(8)
    assert not torch.allclose(built(x.roll(3, 1)), built(x).roll(3, 1), atol=1e-3)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("periodic", [True, False])
def test_it_converges_as_the_grid_is_refined(form: str, periodic: bool) -> None:
    ends = 0 if periodic else 1
    built = network(small(attention=form), 16 + ends, periodic=periodic)

    def output(intervals: int) -> Tensor:
        place = 2 * math.pi * torch.arange(intervals + ends, dtype=torch.float64) / intervals
        field = torch.stack([place.sin(), (place + 0.3).cos()], dim=-1)[None]
        return built(field)[:, :: intervals // 16]

    coarse, middle, fine = output(16), output(32), output(64)
    # Second order on a closed axis; faster on a circle.
    assert (fine - middle).abs().max() < 0.4 * (middle - coarse).abs().max() + 1e-10


def test_unfit_options_are_refused() -> None:
    def problem_of(spec: OFormerSpec, signature: Signature) -> tuple[tuple[str | int, ...], str]:
        (problem,) = spec.faults(signature)
        return problem.path, problem.message

    plane = signature_of(16, 16)
    assert list(OFormerSpec().faults(plane)) == []
    assert problem_of(OFormerSpec(head_channels=3), plane)[0] == ("head_channels",)
    assert list(OFormerSpec(head_channels=3, rotary=False).faults(plane)) == []
    assert problem_of(OFormerSpec(position_waves=4, positional="grid"), plane)[0] == ("position_waves",)
    assert problem_of(OFormerSpec(spectral_modes=9), plane)[0] == ("spectral_modes",)
    assert problem_of(OFormerSpec(query_waves=9), plane)[0] == ("query_waves",)
    assert problem_of(OFormerSpec(query_scale=1.0), plane)[0] == ("query_scale",)
    assert list(OFormerSpec(decoder="query", query_waves=9, query_scale=1.0).faults(plane)) == []
