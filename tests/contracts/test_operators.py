"""What every operator promises: shapes, seeds, storage, gradients, export, other grids."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from koopcast.grids import Axis, FieldsInfo, TimeAxis
from koopcast.layers.normaliser import FieldStatistics, Moments
from koopcast.mapping import Signature
from koopcast.models import Context
from koopcast.operators import AnyOperator
from koopcast.operators.base import OperatorSpec
from koopcast.operators.fitted import Examples, FittedOperatorSpec
from koopcast.spec import MethodSpec, kind_of, members

CIRCLE = (Axis("x", 64, periodic=True, length=1.0),)
SQUARE = (Axis("y", 16, length=1.0), Axis("x", 16, length=1.0))
TIME = TimeAxis(8, 1.0)
SIGNATURES = {
    f"{name}_on_{place}": signature
    for place, axes in (("a_circle", CIRCLE), ("a_square", SQUARE))
    for name, signature in (
        ("map", Signature(axes, ("a", "b"), ("u",), 1, 3, TIME)),
        ("plain_map", Signature(axes, ("a",), ("u",), 1, 1, TIME, ahead=False)),
        ("dynamics", Signature.of_dynamics(FieldsInfo({"u": "1"}, axes, TIME, samples=3), history=1)),
    )
}
COMPLETE = [
    method
    for method in members(AnyOperator)
    if not any(field.is_required() for field in method.model_fields.values())
]


def spec_of(method: type[MethodSpec]) -> OperatorSpec:
    spec = method()
    assert isinstance(spec, OperatorSpec)
    return spec


def learns(spec: OperatorSpec, signature: Signature) -> bool:
    is_meant = spec.learns_dynamics if signature.is_dynamics else spec.learns_maps
    return is_meant and not any(spec.faults(signature))


def signatures_of(method: type[MethodSpec]) -> list[str]:
    return [name for name, signature in SIGNATURES.items() if learns(spec_of(method), signature)]


def first_of(method: type[MethodSpec]) -> Signature:
    return SIGNATURES[signatures_of(method)[0]]


CASES = [
    pytest.param(method, signature, id=f"{kind_of(method)}-{signature}")
    for method in COMPLETE
    for signature in signatures_of(method)
]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def phases(*sizes: int, seed: int) -> Tensor:
    return 1 + (torch.rand(sizes, generator=generator(seed)) < 0.5).to(torch.float32)


def given(signature: Signature, batch: int = 2, seed: int = 1) -> Tensor:
    """Return input fields of two phases: some operators take a coefficient, and it may have to be one."""
    return phases(batch, *signature.shape, signature.channels_in, seed=seed)


def asked(signature: Signature, batch: int = 2, seed: int = 2) -> Tensor:
    return torch.randn(batch, *signature.shape, signature.channels_out, generator=generator(seed))


def network_of(spec: OperatorSpec, signature: Signature, seed: int = 0) -> nn.Module:
    """Return the network as training, or the fit, is about to leave it for the first time."""
    network = spec.build(signature, generator(seed))
    inputs, outputs = given(signature, 12), asked(signature, 12)
    if isinstance(spec, FittedOperatorSpec):
        spec.fit_network(network, Examples(inputs, outputs), None, generator(seed))
        return network

    def pairs() -> Iterator[tuple[Tensor, Tensor]]:
        yield inputs, outputs

    spec.calibrate(network, pairs)
    return network


@pytest.mark.parametrize("method", COMPLETE, ids=kind_of)
def test_an_operator_learns_something_on_a_small_grid(method: type[MethodSpec]) -> None:
    assert signatures_of(method), "its options refuse a circle of 64 points and a square of 16 by 16"


@pytest.mark.parametrize(("method", "name"), CASES)
def test_fields_become_finite_fields_channels_last(method: type[MethodSpec], name: str) -> None:
    signature = SIGNATURES[name]
    network = network_of(spec_of(method), signature).eval()
    result = network(given(signature))
    assert result.shape == (2, *signature.shape, signature.channels_out)
    assert result.dtype == torch.float32
    assert bool(result.isfinite().all())
    # One sample's output does not depend on those beside it.
    alone = network(given(signature)[:1])
    torch.testing.assert_close(result[:1], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", COMPLETE, ids=kind_of)
def test_weights_come_from_the_generator_alone(method: type[MethodSpec]) -> None:
    spec, signature = spec_of(method), first_of(method)
    before = torch.get_rng_state()
    one, other = network_of(spec, signature).state_dict(), network_of(spec, signature).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("method", COMPLETE, ids=kind_of)
def test_a_stored_state_gives_the_same_output_to_the_bit(method: type[MethodSpec]) -> None:
    spec, signature = spec_of(method), first_of(method)
    network = network_of(spec, signature).eval()
    copy = spec.build(signature, generator(7)).eval()
    copy.load_state_dict({name: value.clone() for name, value in network.state_dict().items()})
    assert torch.equal(copy(given(signature)), network(given(signature)))


def squares(prediction: Tensor, target: Tensor, given: Tensor | None = None) -> Tensor:
    return (prediction - target).square().mean()


@pytest.mark.parametrize("method", COMPLETE, ids=kind_of)
def test_gradients_of_the_loss_reach_every_parameter_that_is_trained(method: type[MethodSpec]) -> None:
    spec, signature = spec_of(method), first_of(method)
    network = network_of(spec, signature)
    trained = {name: value for name, value in network.named_parameters() if value.requires_grad}
    assert bool(trained) == spec.is_trained_by_gradient
    variables = sorted({*signature.inputs, *signature.outputs})
    info = FieldsInfo(dict.fromkeys(variables, "1"), signature.axes, TIME, samples=3)
    run = phases(3, spec.num_frames(signature, 1), *signature.shape, len(variables), seed=3)
    valid = torch.ones(signature.shape, dtype=torch.bool)
    moments = Moments.of(run, valid.expand(run.shape[:-1]))
    model = spec.assemble(network, info, signature, FieldStatistics(valid, moments, moments))
    # What is trained may change as a training goes on: predictor first, gain then.
    for progress in (0.0, 0.99) if trained else ():
        model.loss(run, squares, Context(1, False, progress, generator(), is_training=True)).backward()
    unreached = [name for name, value in trained.items() if value.grad is None]
    assert unreached == []
    assert all(bool(value.grad.isfinite().all()) for value in trained.values() if value.grad is not None)


@pytest.mark.parametrize("method", COMPLETE, ids=kind_of)
def test_the_output_is_differentiable_in_the_input(method: type[MethodSpec]) -> None:
    signature = first_of(method)
    network, x = network_of(spec_of(method), signature).eval(), given(signature).requires_grad_()
    # Some networks begin as the zero map.
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator()).to(parameter.dtype)
    network(x).square().sum().backward()
    assert x.grad is not None
    assert bool(x.grad.isfinite().all())
    assert bool((x.grad != 0).any())


@pytest.mark.slow
@pytest.mark.parametrize("method", COMPLETE, ids=kind_of)
def test_a_network_is_exported_as_a_graph_that_says_the_same(method: type[MethodSpec]) -> None:
    signature = first_of(method)
    network, x = network_of(spec_of(method), signature).eval(), given(signature)
    graph = torch.export.export(network, (x,)).module()
    torch.testing.assert_close(graph(x), network(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "method", [method for method in COMPLETE if spec_of(method).transfers()], ids=kind_of
)
def test_weights_that_act_on_any_grid_act_on_a_finer_one(method: type[MethodSpec]) -> None:
    signature = first_of(method)
    fine = signature.on(tuple(replace(axis, size=3 * axis.size // 2) for axis in signature.axes))
    network = network_of(spec_of(method), signature).eval()
    result = network(given(fine))
    assert result.shape == (2, *fine.shape, fine.channels_out)
    assert bool(result.isfinite().all())
