import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from koopcast.distributions.uniform import UniformSpec
from koopcast.errors import Diverged, Underresolved
from koopcast.generation import Drawings, Draws, Solutions, in_memory
from koopcast.linear import Status
from koopcast.samplers.sobol import SobolSpec
from koopcast.solvers.base import Solver
from koopcast.solvers.cg import CGSpec
from koopcast.solvers.direct import DirectSpec
from koopcast.systems.darcy import DarcySpec
from koopcast.systems.dynamic_signal import DynamicSignalSpec
from koopcast.systems.thermal import ThermalSpec

DARCY = DarcySpec(points=17)


def solved(samples=5, block=2, seed=1, solver=None, system=DARCY, **options):
    draws = Draws(seed, samples, options.pop("laws", {}), options.pop("design", None))
    return Solutions(
        system=system, solver=solver or DirectSpec(), draws=draws, block=block, dtype="float64", **options
    )


def test_the_fields_of_a_stationary_system_solve_its_equation_and_have_no_time():
    made = in_memory(solved())
    assert made.dataset["u"].dims == ("sample", "y", "x")
    assert made.info.is_stationary
    assert "time" not in made.dataset.coords
    for sample in range(5):
        given = {"coefficient": made.dataset["coefficient"].values[sample]}
        problem = DARCY.problem(given, {})
        x = made.dataset["u"].values[sample, 1:-1, 1:-1].ravel()
        assert np.linalg.norm(problem.rhs - problem.matrix @ x) <= 1e-10 * np.linalg.norm(problem.rhs)
    assert float(made.dataset["residual"].max()) < 1e-10
    assert made.tensor().shape == (5, 1, 17, 17, 2)


def test_fewer_samples_are_the_first_of_more():
    many, few = in_memory(solved(7)).dataset, in_memory(solved(3)).dataset
    for name in ("coefficient", "u"):
        assert np.array_equal(few[name], many[name][:3])
    assert not np.array_equal(many["u"][0], many["u"][1])


def test_blocks_do_not_show_in_the_samples_of_a_solver_without_memory():
    one, many = in_memory(solved(block=1)).dataset, in_memory(solved(block=5)).dataset
    assert np.array_equal(one["u"], many["u"])


def test_parameters_stand_beside_the_samples_and_scale_the_solution():
    laws = {"source": UniformSpec(low=1.0, high=3.0)}
    varied, plain = in_memory(solved(laws=laws)).dataset, in_memory(solved()).dataset
    source = varied["source"].values
    assert np.array_equal(varied["coefficient"], plain["coefficient"])
    assert np.allclose(varied["u"], plain["u"] * source[:, None, None], rtol=1e-9, atol=1e-14)
    assert len(set(source)) == 5
    assert json.loads(varied.attrs["parameters"])["source"]["kind"] == "uniform"


def test_a_design_lays_parameters_out_through_their_quantiles():
    laws = {"source": UniformSpec(low=1.0, high=3.0)}
    made = in_memory(solved(samples=8, laws=laws, design=SobolSpec())).dataset
    # A net of 8 points has one in each eighth of the law.
    assert sorted(np.floor((made["source"].values - 1) / 2 * 8)) == list(range(8))


def test_points_that_are_not_kept_change_nothing_in_the_others():
    for system in (DARCY, ThermalSpec(points=21)):
        whole, part = (in_memory(solved(system=system, every_point=every)) for every in (1, 4))
        for name, values in part.dataset.data_vars.items():
            index = {axis: slice(None, None, 4) for axis in values.dims if axis != "sample"}
            assert np.array_equal(values, whole.dataset[name].isel(index), equal_nan=True)
        for axis in part.info.axes:
            assert np.array_equal(part.dataset[axis.name], whole.dataset[axis.name][::4])
            assert part.dataset[axis.name][-1] == whole.dataset[axis.name][-1]
        assert part.tensor().shape[2:4] == part.info.shape


def test_coordinates_of_the_plate_are_counted_from_its_middle():
    made = in_memory(solved(samples=1, system=ThermalSpec(points=21))).dataset
    assert np.allclose(made["x"], np.linspace(-0.5, 0.5, 21))
    assert np.allclose(made["y"], np.linspace(-0.8, 0.8, made["y"].size))


def test_a_static_mask_is_kept_and_hides_what_lies_beyond_the_domain():
    made = in_memory(solved(system=ThermalSpec(points=21)))
    assert made.info.is_masked
    mask = made.dataset["mask"].values.astype(bool)
    assert mask.sum() < mask.size
    assert np.isnan(made.dataset["u"].values[:, ~mask]).all()
    assert torch.isfinite(made.tensor()).all()


def test_a_system_that_is_not_solved_ends_the_run_with_sample_and_reason():
    with pytest.raises(Diverged, match=r"sample \d+ of darcy was not solved: cg stopped after 1 iterations"):
        in_memory(solved(solver=CGSpec(max_iterations=1)))


def test_a_residual_above_the_tolerance_is_refused():
    with pytest.raises(Underresolved, match="above 1e-30; lower the tolerance of the solver"):
        in_memory(solved(residual_tol=1e-30))


class SecondFails(Solver):
    """Breaks down at the second system of a sequence."""

    def __init__(self, inner):
        self.inner, self.count = inner, 0

    def solve(self, problem):
        self.count += 1
        solution = self.inner.solve(problem)
        return replace(solution, status=Status.BROKE_DOWN) if self.count == 2 else solution


class FailingSpec(DirectSpec):
    """Builds it."""

    def build(self, profile, generator):
        return SecondFails(super().build(profile, generator))


def test_samples_that_fail_are_drawn_anew_up_to_the_share_that_may():
    plain = in_memory(solved(samples=6, block=3)).dataset
    made = in_memory(solved(samples=6, block=3, solver=FailingSpec(), max_failed_fraction=0.34)).dataset
    assert sorted(json.loads(made.attrs["refused_samples"])) == ["1", "4"]
    same = [np.array_equal(made["u"][i], plain["u"][i]) for i in range(6)]
    assert same == [True, False, True, True, False, True]
    with pytest.raises(Underresolved, match=r"2 of 6 samples were refused, above max_failed_fraction = 0\.2"):
        in_memory(solved(samples=6, block=3, solver=FailingSpec(), max_failed_fraction=0.2))


def test_drawn_systems_give_their_draws_and_no_residual():
    system = DynamicSignalSpec(patches=4, patch_size=4)
    draws = Draws(2, 6)
    made = in_memory(Drawings(system=system, draws=draws, block=4, dtype="float64")).dataset
    for sample in range(6):
        drawn = system.draw(draws.generator(sample), {})
        assert np.array_equal(made["image"][sample], drawn["image"])
    assert set(made.data_vars) == {"image", "label"}
