"""Transformer asked at places: the grid, other grids, symmetries, convergence, physical units."""

import math

import pytest
import torch
from torch import Tensor

from koopcast.errors import OutsideDomain
from koopcast.grids import Axis, FieldsInfo, TimeAxis
from koopcast.layers.normaliser import FieldStatistics, Moments
from koopcast.layers.positions import grid_positions
from koopcast.mapping import MappingSpec, Signature
from koopcast.operators.oformer import OFormerSpec
from koopcast.operators.oformer_queries import QueriedTransformer, RandomWaves
from koopcast.operators.sensing import predict_at
from koopcast.operators.trained import OperatorMap

FORMS = ("softmax", "galerkin")
PERIODIC = (False, True)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def small(**options: object) -> OFormerSpec:
    sizes = {"width": 8, "layers": 2, "heads": 2, "head_channels": 6, "query_waves": 5}
    return OFormerSpec.model_validate({"decoder": "query", **sizes, **options})


def network(spec: OFormerSpec, *axes: Axis, frames: int = 1) -> QueriedTransformer:
    signature = Signature(axes, ("a", "b"), ("u", "v"), 1, frames, TimeAxis(9, 1.0))
    assert list(spec.faults(signature)) == []
    built = spec.build(signature, seeded(0)).double()
    assert isinstance(built, QueriedTransformer)
    return built


def plane(rows: int, columns: int) -> tuple[Axis, Axis]:
    return (Axis("y", rows), Axis("x", columns, periodic=True))


def draw(*sizes: int) -> Tensor:
    return torch.randn(2, *sizes, 2, dtype=torch.float64, generator=seeded(1))


@pytest.mark.parametrize("form", FORMS)
def test_places_of_the_grid_one_by_one_and_in_any_order_get_the_output_fields(form: str) -> None:
    built, x = network(small(attention=form), *plane(5, 6), frames=3), draw(5, 6)
    fields = built(x).unflatten(-1, (3, 2)).movedim(-2, 1).flatten(2, 3)
    places = grid_positions([5, 6], PERIODIC, dtype=x.dtype, device=x.device).flatten(0, 1)
    order = torch.randperm(30, generator=seeded(2))
    assert torch.allclose(built.at(x, places[order]), fields[:, :, order], atol=1e-12)
    alone = built.at(x, places[7:8], torch.tensor([2 / 3], dtype=torch.float64))
    assert torch.allclose(alone[:, 0, 0], fields[:, 1, 7], atol=1e-12)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("periodic", PERIODIC)
def test_the_same_weights_answer_at_fixed_places_the_better_the_finer_the_input(
    form: str, periodic: bool
) -> None:
    ends = 0 if periodic else 1
    built = network(small(attention=form), Axis("x", 16 + ends, periodic=periodic))
    places = torch.tensor([[0.1], [1 / 3], [0.77]], dtype=torch.float64)

    def output(intervals: int) -> Tensor:
        turn = 2 * math.pi * torch.arange(intervals + ends, dtype=torch.float64) / intervals
        return built.at(torch.stack([turn.sin(), (turn + 0.3).cos()], dim=-1)[None], places).detach()

    limit = output(1024)
    coarse, fine = (float((output(size) - limit).abs().max()) for size in (32, 64))
    # Second order on a closed axis; faster on a circle.
    assert fine < 0.3 * coarse + 1e-10
    assert fine < 0.02 * float(limit.abs().max())


@pytest.mark.parametrize("form", FORMS)
def test_without_any_knowledge_of_place_the_order_of_tokens_has_no_effect_on_an_answer(form: str) -> None:
    x, places = draw(9), torch.rand(4, 1, dtype=torch.float64, generator=seeded(3))
    order = torch.randperm(9, generator=seeded(2))
    circle = Axis("x", 9, periodic=True)
    blind = network(small(attention=form, rotary=False, positional="none"), circle)
    assert torch.allclose(blind.at(x[:, order], places), blind.at(x, places), atol=1e-12)
    turning = network(small(attention=form, positional="none"), circle)
    assert not torch.allclose(turning.at(x[:, order], places), turning.at(x, places), atol=1e-4)


@pytest.mark.parametrize("form", FORMS)
def test_rotary_positions_tell_a_query_its_offset_from_the_field(form: str) -> None:
    built = network(small(attention=form, positional="none"), Axis("x", 8, periodic=True))
    built.waves.get_buffer("vectors").zero_()
    x, places = draw(8), torch.rand(4, 1, dtype=torch.float64, generator=seeded(3))
    assert torch.allclose(built.at(x.roll(3, 1), places + 3 / 8), built.at(x, places), atol=1e-12)
    assert not torch.allclose(built.at(x, places + 3 / 8), built.at(x, places), atol=1e-4)


def test_waves_close_along_periodic_axes_alone() -> None:
    waves = RandomWaves((True, False), 50, 2.0, seeded(0)).double()
    y = torch.tensor([0.3, 0.4], dtype=torch.float64)
    around, across = torch.eye(2, dtype=torch.float64)
    # The vectors are single-precision numbers; whole ones are exact.
    assert torch.allclose(waves(y), waves(y + around), atol=1e-10)
    assert not torch.allclose(waves(y), waves(y + across), atol=1e-2)
    assert waves(y).shape == (100,)
    # cos² + sin² of every wave.
    assert torch.allclose(waves(y).square().sum(), torch.tensor(50.0, dtype=torch.float64))


def test_a_model_answers_in_physical_units_and_from_fields_on_other_grids() -> None:
    info = FieldsInfo({"a": "1", "u": "1"}, (Axis("x", 21, length=2.0),), TimeAxis(5, 0.1))
    mapping = MappingSpec(inputs=("a",), outputs=("u",), given=1, predicted=4)
    signature, spec = mapping.signature(info), small()
    values = 5 + 3 * torch.randn(40, *info.shape, 2, generator=seeded(5))
    valid = torch.ones(info.shape, dtype=torch.bool)
    moments = Moments.of(values, valid.expand(values.shape[:-1]))
    statistics = FieldStatistics(valid, moments, moments)
    model = spec.assemble(spec.build(signature, seeded(0)), info, signature, statistics)
    assert isinstance(model, OperatorMap)
    model = model.finished(torch.ones(1), {})
    for size in (21, 41):
        given = 5 + torch.randn(3, 1, size, 1, generator=seeded(2))
        # The middle of a length of 2 lies at 1.
        alone = predict_at(model, given, torch.tensor([[1.0]]))
        assert torch.allclose(alone[:, :, 0], model.predict(given)[:, :, size // 2], atol=1e-4)
    with pytest.raises(OutsideDomain, match="which is 2 long"):
        predict_at(model, given, torch.tensor([[2.1]]))


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_it_is_exported_as_a_graph_that_takes_any_batch(form: str) -> None:
    built = network(small(attention=form), *plane(5, 6), frames=2).eval()
    batch = torch.export.Dim("batch", min=2)
    graph = torch.export.export(
        built, (draw(5, 6).repeat(2, 1, 1, 1),), dynamic_shapes=({0: batch},)
    ).module()
    many = draw(5, 6).repeat(3, 1, 1, 1)
    torch.testing.assert_close(graph(many), built(many))
