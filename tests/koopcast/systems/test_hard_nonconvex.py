import pytest
import torch

from koopcast.integrators.rk4 import RK4Spec
from koopcast.numerics import hard_chain
from koopcast.systems.hard_nonconvex import ChainRotation, HardNonconvexSpec


def flowed(system, time, count=1):
    step = RK4Spec().build(system.problem(), system.default_time_step())
    x = system.initial(count, torch.Generator().manual_seed(1))[..., 0]
    states = [x]
    for _ in range(round(time / system.default_time_step())):
        states.append(step(states[-1]))
    return torch.stack(states)


def test_the_flow_descends_and_finds_one_coordinate_after_the_other():
    states = flowed(HardNonconvexSpec(length=4), 1.4)
    values = hard_chain.value(states)
    assert bool((values.diff(dim=0) < 0).all())
    found = hard_chain.progress(states, 0.25)[:, 0]
    assert set(found.diff().tolist()) == {0, 1}
    assert int(found[-1]) == 4
    # df/dt = -‖∇f‖²: the drop over the flow is the integral of the squared gradient.
    squares = hard_chain.gradient(states).square().sum(-1)
    assert float(values[0] - values[-1]) == pytest.approx(
        float(torch.trapezoid(squares, dx=0.01, dim=0)), rel=1e-3
    )


def test_the_flow_that_is_rotated_takes_as_long_and_stays_in_the_span_of_the_chain():
    system = HardNonconvexSpec(length=4, rotation=ChainRotation(ambient=15))
    chain, states = (
        system.rotated(),
        flowed(HardNonconvexSpec(length=4, rotation=ChainRotation(ambient=15)), 1.4),
    )
    assert states.shape[-1] == 15
    assert torch.allclose(states @ chain.U @ chain.U.mT, states, atol=1e-12)
    assert int(hard_chain.progress(chain.chain(states[-1]), 0.25)) == 4
    assert torch.equal(system.rotated().U, chain.U)
    other = system.model_copy(update={"rotation": ChainRotation(ambient=15, seed=1)})
    assert not torch.equal(other.rotated().U, chain.U)


def test_a_space_that_is_smaller_than_the_chain_is_refused():
    with pytest.raises(ValueError, match=r"rotation\.ambient: 20 is below length 40; raise ambient"):
        HardNonconvexSpec(rotation=ChainRotation(ambient=20))
