"""Options of the multigrid neural operator: levels, smoothing, padding, storage."""

import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from koopcast.errors import ShapeMismatch
from koopcast.grids import Axis, FieldsInfo, TimeAxis
from koopcast.layers.normaliser import FieldStatistics, Moments
from koopcast.mapping import Signature
from koopcast.operators.mgno import MgNOSpec


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def signature_of(
    *axes: Axis, outputs: tuple[str, ...] = ("u",), frames: tuple[int, int] = (1, 1)
) -> Signature:
    return Signature(axes, ("a",), outputs, *frames, TimeAxis(1, ""), ahead=False)


def square(size: int, *, periodic: bool = False) -> tuple[Axis, Axis]:
    return Axis("y", size, periodic=periodic), Axis("x", size, periodic=periodic)


@pytest.mark.parametrize(("sizes", "levels"), [((16, 16), 3), ((17, 17), 3), ((64, 64), 5), ((64, 9), 2)])
def test_left_open_the_levels_are_what_the_grid_has_room_for(sizes: tuple[int, int], levels: int) -> None:
    signature = signature_of(*(Axis(name, size) for name, size in zip("yx", sizes, strict=True)))
    assert MgNOSpec().num_levels(signature) == levels
    assert MgNOSpec().steps(signature) == (*[(1, 0)] * (levels - 1), (2, 0))


def test_the_padding_follows_the_boundary_of_each_axis() -> None:
    signature = signature_of(Axis("y", 17), Axis("x", 20, periodic=True))
    assert MgNOSpec().paddings(signature) == ("zeros", "circular")
    assert MgNOSpec(padding="reflect").paddings(signature) == ("reflect", "reflect")
    # 20 = 4 · 5: a periodic axis is halved twice at most.
    assert MgNOSpec().num_levels(signature) == 3


def problem_of(spec: MgNOSpec, signature: Signature) -> tuple[tuple[str | int, ...], str]:
    (problem, *others) = spec.faults(signature)
    assert all(other.path == problem.path for other in others)
    return problem.path, problem.message


def test_levels_that_the_grid_has_no_room_for_are_refused() -> None:
    path, message = problem_of(MgNOSpec(levels=6), signature_of(*square(16)))
    assert path == ("levels",)
    assert message == "6 levels leave 1 point of axis 'y' of 16 points, fewer than 2; at most 4 levels"
    assert list(MgNOSpec(levels=4).faults(signature_of(*square(16)))) == []


def test_periodic_axes_must_halve_evenly() -> None:
    path, message = problem_of(MgNOSpec(levels=4), signature_of(*square(20, periodic=True)))
    assert path == ("levels",)
    assert "not divisible by 8" in message
    assert "take 16 or 24 points, or at most 3 levels" in message
    assert list(MgNOSpec(levels=4).faults(signature_of(*square(20)))) == []
    assert problem_of(MgNOSpec(levels=3, padding="circular"), signature_of(*square(18)))[0] == ("levels",)


def test_smoothing_that_does_not_fit_is_refused() -> None:
    signature = signature_of(*square(16))
    assert problem_of(MgNOSpec(levels=3, smoothing=((1, 0), (2, 0))), signature)[0] == ("smoothing",)
    assert problem_of(MgNOSpec(smoothing=((0, 1), (2, 0))), signature)[0] == ("smoothing", 0, 0)
    assert problem_of(MgNOSpec(smoothing=((1, 0),) * 6), signature)[0] == ("smoothing",)
    assert list(MgNOSpec(smoothing=((1, 0), (0, 0), (0, 2))).faults(signature)) == []
    with pytest.raises(ValidationError, match="greater than or equal to 0"):
        TypeAdapter(MgNOSpec).validate_python({"smoothing": [[1, -1]]})


def test_a_skip_between_different_variables_is_refused() -> None:
    path, message = problem_of(MgNOSpec(out_skip=True), signature_of(*square(16)))
    assert path == ("out_skip",)
    assert "1 frames of a and output 1 of u" in message
    same = signature_of(*square(16), outputs=("a",))
    assert list(MgNOSpec(out_skip=True).faults(same)) == []
    more = signature_of(*square(16), outputs=("a",), frames=(1, 4))
    assert problem_of(MgNOSpec(out_skip=True), more)[0] == ("out_skip",)


def test_what_is_not_a_grid_is_refused() -> None:
    points = signature_of(Axis("point", 50, geometry="index"))
    assert "not a grid" in problem_of(MgNOSpec(), points)[1]
    four = signature_of(*(Axis(name, 8) for name in "wzyx"))
    assert "mgno takes 1 to 3" in problem_of(MgNOSpec(), four)[1]
    assert not MgNOSpec.any_resolution


def test_as_dynamics_it_is_restored_to_the_bit_and_keeps_to_its_grid() -> None:
    info = FieldsInfo({"u": "m", "v": "m"}, square(8, periodic=True), TimeAxis(20, 1.0))
    valid = torch.ones(info.shape, dtype=torch.bool)
    draw = 280 + torch.randn(20, 8, 8, 2, generator=generator())
    moments, changes = (Moments.of(part, valid.expand(part.shape[:-1])) for part in (draw, draw.diff(dim=0)))
    spec = MgNOSpec(width=3, layers=2, history=2, smoothing=((1, 1), (0, 2)))
    signature = Signature.of_dynamics(info, 2)
    network = spec.build(signature, generator())
    model = spec.assemble(network, info, signature, FieldStatistics(valid, moments, changes))
    model = model.finished(torch.ones(2), {})
    restored = MgNOSpec.model_validate(spec.model_dump(mode="json")).restore(info, model.tensors())
    state = draw[:6].reshape(3, -1)
    assert torch.equal(restored.step(state), model.step(state))
    with pytest.raises(ShapeMismatch, match="mgno"):
        model.on(square(16, periodic=True))
