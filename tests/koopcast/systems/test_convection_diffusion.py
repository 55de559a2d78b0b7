import math

import numpy as np
import pytest
import scipy.sparse.linalg
from pydantic import ValidationError

from koopcast.errors import Underresolved
from koopcast.systems.convection_diffusion import ConvectionDiffusionSpec


def layer_error(points, scheme, nu=0.1, b=2.0):
    # w = x - (e^(bx/ν) - 1)/(e^(b/ν) - 1) has -ν w'' + b w' = b and the exponential layer at x = 1;
    # u = w sin πy then has the source (b + ν π² w) sin πy.
    grid = np.linspace(0, 1, points)
    y, x = np.meshgrid(grid, grid, indexing="ij")
    w = x - np.expm1(b * x / nu) / np.expm1(b / nu)
    source = (b + nu * math.pi**2 * w) * np.sin(math.pi * y)
    system = ConvectionDiffusionSpec(points=points, diffusivity=nu, strength=b, direction=0.0, scheme=scheme)
    problem = system.problem({"source": source}, {})
    u = system.solution({}, scipy.sparse.linalg.spsolve(problem.matrix.tocsc(), problem.rhs))["u"]
    return abs(u - w * np.sin(math.pi * y)).max()


@pytest.mark.parametrize(("scheme", "order"), [("central", 2.0), ("upwind", 1.0)])
def test_the_exponential_layer_converges_at_the_order_of_the_scheme(scheme, order):
    errors = [layer_error(points, scheme) for points in (65, 129)]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.25)


def test_the_wind_turns_with_its_direction():
    # A quarter turn exchanges the axes; half a turn reverses the wind and with it the skew part.
    system = ConvectionDiffusionSpec(points=8, diffusivity=0.2)
    given = {"source": np.ones((8, 8))}
    along_x, along_y, back = (
        system.problem(given, {"direction": angle}).matrix.toarray() for angle in (0.0, math.pi / 2, math.pi)
    )
    swapped = np.arange(36).reshape(6, 6).T.ravel()
    assert np.allclose(along_y, along_x[np.ix_(swapped, swapped)], atol=1e-13)
    assert np.allclose(back, along_x.T, atol=1e-13)
    # The wind blows towards larger x: a node takes more from the neighbour before it.
    assert along_x[1, 0] < along_x[1, 2] < 0


def test_upwind_solutions_of_a_positive_source_are_positive_however_strong_the_wind():
    system = ConvectionDiffusionSpec(points=16, diffusivity=1e-4, scheme="upwind", strength=5.0)
    problem = system.problem({"source": np.ones((16, 16))}, {"direction": 2.0})
    assert scipy.sparse.linalg.spsolve(problem.matrix.tocsc(), problem.rhs).min() > 0


def test_central_differences_refuse_a_wind_for_which_they_oscillate():
    with pytest.raises(ValidationError, match="upwind"):
        ConvectionDiffusionSpec(points=16, diffusivity=0.01)
    system = ConvectionDiffusionSpec(points=16, diffusivity=0.1)
    with pytest.raises(Underresolved, match="upwind"):
        system.problem({"source": np.ones((16, 16))}, {"strength": 5.0})


def test_features_and_context_are_the_wind():
    system = ConvectionDiffusionSpec()
    problem = system.problem({"source": np.ones((65, 65))}, {"strength": 0.5, "direction": math.pi / 6})
    assert problem.features == pytest.approx([0.25, 0.25 * math.sqrt(3)])
    assert problem.context == {"strength": 0.5, "direction": math.pi / 6}
