"""Preconditioners: a cheap M ≈ A⁻¹, made for one matrix and perhaps good for the next."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, TypeAlias

import numpy as np
import scipy.sparse as sparse

from koopcast.linear import LinearProblem, Profile
from koopcast.spec import MethodSpec

Apply: TypeAlias = Callable[[np.ndarray], np.ndarray]
"""r -> M r, linear, of vectors `(unknown,)`; the result may be r itself."""


class Preconditioner(ABC):
    """A preconditioner along a sequence of matrices."""

    @abstractmethod
    def prepare(self, problem: LinearProblem) -> Apply | None:
        """Return M for the matrix of this problem; None where it breaks down."""

    @abstractmethod
    def learn(self, iterations: int) -> None:
        """Take note of the iterations that the last prepared M needed."""


class Fresh(Preconditioner):
    """A preconditioner made anew for every new matrix."""

    def __init__(self, make: Callable[[LinearProblem], Apply | None]) -> None:
        self._make = make
        self._matrix: sparse.csr_array | None = None
        self._apply: Apply | None = None

    def prepare(self, problem: LinearProblem) -> Apply | None:
        """Return the M of the last problem if the matrix is the very same."""
        if problem.matrix is not self._matrix:
            self._matrix, self._apply = problem.matrix, self._make(problem)
        return self._apply

    def learn(self, iterations: int) -> None:
        """Do nothing: the next matrix gets its own anyway."""


class PreconditionerSpec(MethodSpec):
    """Options of a preconditioner."""

    keeps_definite: ClassVar[bool] = True
    """Whether M is symmetric and positive definite where A is."""

    def refusal(self, profile: Profile) -> str | None:
        """Return why it does not suit such matrices, and what to use; None where it does."""
        return None

    @abstractmethod
    def start(self, profile: Profile) -> Preconditioner:
        """Return a preconditioner at the start of a sequence."""


def refusal_of_others(kind: str, profile: Profile, remedy: str) -> str | None:
    """Return the refusal of methods that need a symmetric positive definite matrix."""
    if profile.is_symmetric and profile.is_definite:
        return None
    what = "indefinite" if profile.is_symmetric else "not symmetric"
    return f"{kind} needs symmetric positive definite matrices, these are {what}; {remedy}"
