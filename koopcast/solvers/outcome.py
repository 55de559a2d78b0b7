"""Outcomes of solves, judged by the matrix itself."""

import numpy as np
from jaxtyping import Float

from koopcast.linear import LinearProblem, Solution, Status


def trivial(problem: LinearProblem) -> Solution | None:
    """Return x = 0 for b = 0, a failure for numbers that are not finite, and None where there is work."""
    if not (np.isfinite(problem.rhs).all() and np.isfinite(problem.matrix.data).all()):
        return broken(problem)
    if problem.rhs.any():
        return None
    return Solution(np.zeros_like(problem.rhs), Status.CONVERGED, 0.0)


def broken(problem: LinearProblem) -> Solution:
    """Return the outcome of a method that could not even begin: x = 0."""
    return Solution(np.zeros_like(problem.rhs), Status.BROKE_DOWN, 1.0)


def outcome(
    problem: LinearProblem, x: Float[np.ndarray, " unknown"], tolerance: float, *, applications: int
) -> Solution:
    """Return the outcome of a direct method: its residual is within the tolerance, or it broke down."""
    size = np.abs(problem.rhs).max()
    defect = problem.rhs - problem.matrix @ x
    residual = float(np.linalg.norm(defect / size) / np.linalg.norm(problem.rhs / size))
    status = Status.CONVERGED if residual <= tolerance else Status.BROKE_DOWN
    return Solution(x, status, residual, applications=applications)
