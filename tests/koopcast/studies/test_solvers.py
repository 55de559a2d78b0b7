from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from koopcast.distributions.beta import BetaSpec
from koopcast.linear import LinearProblem, Profile, Solution, Status
from koopcast.solvers.direct import DirectSpec
from koopcast.solvers.sor import SORSpec
from koopcast.solvers.ssor import SSORSpec
from koopcast.studies.sequences import draw_problems, stationary
from koopcast.studies.solvers import SolversSpec
from koopcast.systems.poisson import PoissonSpec

STUDY = SolversSpec(
    system=PoissonSpec(points=9),
    parameters={"reaction": BetaSpec(low=0.0, high=40.0)},
    samples=5,
    rounds=2,
    solvers={
        "lu": DirectSpec(),
        "slow": SORSpec(omega=1.0),
        "fast": SORSpec(omega=1.5),
        "stopped": SSORSpec(max_iterations=2),
    },
)


def test_scores_are_those_of_solving_the_drawn_sequence() -> None:
    scores = STUDY.run(seed=2).scores
    problems = draw_problems(stationary(STUDY.system), STUDY.parameters, 5, 2, "solvers")
    assert len({problem.context["reaction"] for problem in problems}) == 5
    for name, omega in (("slow", 1.0), ("fast", 1.5)):
        runs = [SORSpec().iterate(problem.matrix, problem.rhs, omega) for problem in problems]
        residuals = [
            np.linalg.norm(one.rhs - one.matrix @ x) / np.linalg.norm(one.rhs)
            for one, (x, _, _) in zip(problems, runs, strict=True)
        ]
        assert scores["iterations"][name]["all"] == np.mean([run[1] for run in runs])
        assert scores["residual"][name]["all"] == pytest.approx(max(residuals))
        assert scores["failed"][name]["all"] == 0
    assert scores["iterations"]["fast"]["all"] < scores["iterations"]["slow"]["all"]
    assert scores["failed"]["stopped"]["all"] == 5
    assert scores["residual"]["lu"]["all"] < 1e-12


def test_there_is_a_score_for_every_metric_and_subject() -> None:
    scores = STUDY.run(seed=0).scores
    assert set(scores) == set(STUDY.metrics())
    assert all(set(subjects) == set(STUDY.subjects()) for subjects in scores.values())
    assert all(set(sizes) == {"all"} for subjects in scores.values() for sizes in subjects.values())


def test_tables_have_a_row_a_solver_and_a_row_a_solver_and_system() -> None:
    first, again = (STUDY.run(seed=3).tables for _ in range(2))
    assert first["solvers"]["solver"].tolist() == ["lu", "slow", "fast", "stopped"]
    systems = first["systems"]
    assert systems.groupby("solver")["system"].apply(sorted).tolist() == [[0, 1, 2, 3, 4]] * 4
    assert systems.loc[systems["solver"] == "fast", "omega"].tolist() == [1.5] * 5
    assert (systems["seconds"] > 0).all()
    for name, table in first.items():
        assert table.drop(columns="seconds").equals(again[name].drop(columns="seconds"))
    means = systems.groupby("solver")["iterations"].mean()
    assert first["solvers"].set_index("solver")["iterations"].to_dict() == means.to_dict()


def test_a_residual_is_recomputed_whatever_the_solver_claims(monkeypatch: pytest.MonkeyPatch) -> None:
    class Boaster:
        def solve(self, problem: LinearProblem) -> Solution:
            return Solution(np.zeros_like(problem.rhs), Status.CONVERGED, 0.0)

    def build(self: SORSpec, profile: Profile, generator: np.random.Generator) -> Any:
        return Boaster()

    monkeypatch.setattr(SORSpec, "build", build)
    assert STUDY.run(seed=0).scores["residual"]["fast"]["all"] == 1.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"system": "lorenz96"}, "system: lorenz96 poses no linear systems"),
        ({"system": "helmholtz", "solvers": {"x": "sor"}}, "'x' does not suit helmholtz: sor converges on"),
        ({"parameters": {"points": [1, 2]}}, "cannot vary 'points'"),
        ({"solvers": {}}, "solvers"),
        ({"solvers": {"a b": "direct"}}, "solvers"),
    ],
)
def test_what_cannot_be_compared_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SolversSpec.model_validate(options)
