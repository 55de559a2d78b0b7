"""What recycling saves on the sequences of its paper, at reduced size, and what is faster all the same."""

import numpy as np
import pytest
import torch

from koopcast.solvers.base import solve_all
from koopcast.solvers.cg import CGSpec
from koopcast.solvers.gcro_dr import GCRODRSpec
from koopcast.solvers.gmres import GMRESSpec
from koopcast.solvers.preconditioners import FFTSpec, JacobiSpec
from koopcast.solvers.skr import SKRSpec
from koopcast.systems.coefficients import FewParametersSpec, LognormalSpec
from koopcast.systems.convection_diffusion import ConvectionDiffusionSpec
from koopcast.systems.darcy import DarcySpec
from koopcast.systems.helmholtz import HelmholtzSpec

pytestmark = pytest.mark.claim


def sequence(system, count, **varied):
    """Return profile and problems, the varied options uniform between their bounds."""
    rng, problems = np.random.default_rng(0), []
    for number in range(count):
        parameters = {name: float(rng.uniform(*bounds)) for name, bounds in varied.items()}
        given = system.draw(torch.Generator().manual_seed(number), parameters)
        problems.append(system.problem(given, parameters))
    return system.profile(varied), problems


def mean(figure, spec, profile, problems):
    solutions = [solution for _, solution in solve_all(spec, profile, problems, np.random.default_rng(0))]
    assert all(solution.residual <= 1e-8 for solution in solutions)
    return np.mean([getattr(solution, figure) for solution in solutions])


def test_recycling_needs_a_third_of_the_applications_of_gmres_on_lognormal_darcy():
    darcy = sequence(DarcySpec(points=66, coefficient=LognormalSpec()), 10)
    gmres, skr, cg = (
        mean("applications", spec, *darcy)
        for spec in (GMRESSpec(), SKRSpec(), CGSpec(preconditioner=FFTSpec()))
    )
    assert skr <= gmres / 3
    # Symmetric and definite: a cheap preconditioner does far better than any recycling.
    assert cg < skr / 4


def test_recycling_needs_a_tenth_of_the_applications_of_gmres_on_indefinite_helmholtz():
    profile, problems = sequence(HelmholtzSpec(points=50), 12, wavenumber=(5, 15))
    gmres = GMRESSpec(preconditioner=JacobiSpec())
    solver = gmres.build(profile, np.random.default_rng(0))
    stuck = np.mean([solver.solve(problem).applications for problem in problems[:4]])
    assert mean("applications", SKRSpec(preconditioner=JacobiSpec()), profile, problems) <= stuck / 10


def test_sorting_saves_a_tenth_of_the_iterations_on_convection_diffusion_with_two_parameters():
    winds = sequence(ConvectionDiffusionSpec(points=50), 60, direction=(0, 2 * np.pi), strength=(0.5, 1.5))
    unsorted, ordered = (mean("iterations", SKRSpec(sort=sort), *winds) for sort in ("none", "greedy"))
    assert ordered <= 0.9 * unsorted


def test_a_smooth_family_gains_threefold_over_gmres_and_1_8_over_no_recycling():
    darcy = sequence(DarcySpec(points=65, coefficient=FewParametersSpec()), 20)
    options = {"m": 50, "k": 25, "preconditioner": JacobiSpec()}
    skr, alone = (mean("applications", Spec(**options), *darcy) for Spec in (SKRSpec, GCRODRSpec))
    gmres = mean("applications", GMRESSpec(m=50, preconditioner=JacobiSpec()), *darcy)
    assert gmres >= 3 * skr
    assert alone >= 1.8 * skr
