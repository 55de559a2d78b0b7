"""What every stationary system on a grid says of its matrices, and shows."""

import numpy as np
import pytest
import scipy.sparse.linalg
import torch

from koopcast.numerics.geometry import implied_coordinates
from koopcast.systems.convection_diffusion import ConvectionDiffusionSpec
from koopcast.systems.darcy import DarcySpec
from koopcast.systems.helmholtz import HelmholtzSpec
from koopcast.systems.poisson import PoissonSpec
from koopcast.systems.thermal import ThermalSpec

SYSTEMS = {
    "convection_diffusion": (ConvectionDiffusionSpec(points=12, diffusivity=0.2), {"direction": 1.0}),
    "darcy": (DarcySpec(points=12), {"source": 3.0}),
    "darcy_pdebench": (DarcySpec(points=12, coefficient="pdebench"), {"source": 0.01}),
    "darcy_skr": (DarcySpec(points=12, stencil="skr"), {"source": 3.0}),
    "helmholtz": (HelmholtzSpec(points=20), {"wavenumber": 7.0}),
    "poisson": (PoissonSpec(points=12), {"reaction": 5.0}),
    "thermal": (ThermalSpec(points=21), {"temperature": 50.0, "flux": -7.0}),
}
RANDOM = {key: SYSTEMS[key] for key in ("darcy", "darcy_pdebench", "helmholtz", "poisson")}
WITH_NEARBY = {key: SYSTEMS[key] for key in ("convection_diffusion", "darcy", "darcy_pdebench", "helmholtz")}
EVERY = pytest.mark.parametrize(("system", "parameters"), SYSTEMS.values(), ids=SYSTEMS)


def sample(system, parameters, seed=0):
    given = system.draw(torch.Generator().manual_seed(seed), parameters)
    return given, system.problem(given, parameters)


@EVERY
def test_fields_are_those_that_the_system_describes_and_solve_the_equation_it_states(system, parameters):
    given, problem = sample(system, parameters)
    x = scipy.sparse.linalg.spsolve(problem.matrix.tocsc(), problem.rhs)
    solution, info = system.solution(given, x), system.describe()
    assert [*given, *solution] == list(info.variables)
    assert {field.shape for field in (*given.values(), *solution.values())} == {info.shape}
    mask = np.ones(info.shape, dtype=bool) if system.mask() is None else system.mask()
    assert info.is_stationary
    assert info.is_masked == (not mask.all())
    assert all((np.isfinite(field) == mask).all() for field in (*given.values(), *solution.values()))
    assert np.isin(x, solution["u"]).all()
    for axis in info.axes:
        assert implied_coordinates(axis)[-1].item() == pytest.approx(axis.length, rel=1e-14)


@EVERY
@pytest.mark.parametrize("is_varied", [False, True])
def test_matrices_are_what_the_profile_promises(system, parameters, is_varied):
    profile = system.profile(parameters if is_varied else ())
    values = parameters if is_varied else {}
    problems = [sample(system, values, seed)[1] for seed in (0, 1)]
    A = problems[0].matrix.toarray()
    assert A.shape == (profile.size, profile.size)
    assert bool(abs(A - A.T).max() <= 1e-12 * abs(A).max()) == profile.is_symmetric
    if profile.is_definite:
        assert np.linalg.eigvalsh(A + A.T).min() > 0
    assert (problems[0].matrix is problems[1].matrix) == profile.is_shared
    box = profile.box or problems[0].box
    if box is not None:
        assert np.allclose(np.sort(box.eigenvalues, axis=None), np.linalg.eigvalsh(A))
    assert profile.box is None or profile.is_shared
    assert profile.has_boxes == (problems[0].box is not None)


@pytest.mark.parametrize(("system", "parameters"), RANDOM.values(), ids=RANDOM)
def test_the_same_stream_gives_the_same_sample_and_another_one_another(system, parameters):
    first, again, other = (sample(system, parameters, seed)[0] for seed in (0, 0, 1))
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert any(not np.array_equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize(("system", "parameters"), WITH_NEARBY.values(), ids=WITH_NEARBY)
def test_the_box_nearby_lowers_the_condition_of_the_matrix(system, parameters):
    _, problem = sample(system, parameters)
    size = problem.nearby.eigenvalues.shape[0]
    modes = np.sin(np.pi * np.outer(np.arange(1, size + 1), np.arange(1, size + 1)) / (size + 1))
    modes = np.kron(modes, modes) * 2 / (size + 1)
    inverse = modes @ (modes.T / problem.nearby.eigenvalues.ravel()[:, None])
    spread = np.linalg.cond(inverse @ problem.matrix.toarray())
    assert spread < 0.5 * np.linalg.cond(problem.matrix.toarray())
