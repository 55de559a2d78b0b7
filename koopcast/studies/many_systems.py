"""Iterations that relaxation takes on many systems at once: the counts that solving one by one gives."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import scipy.sparse as sparse
from jaxtyping import Bool, Float, Int
from pyamg.relaxation.relaxation import gauss_seidel

from koopcast.errors import InvalidInput
from koopcast.linear import LinearProblem
from koopcast.progress import report

Base = Literal["sor", "ssor"]
SLOTS = 256
"""Systems in work at a time: their matrices still fit a cache, and a sweep is long beside its call."""


@dataclass(frozen=True)
class SideBySide:
    """Systems whose matrices have one pattern."""

    pattern: sparse.csr_array
    entries: Float[np.ndarray, "system entry"]
    rhs: Float[np.ndarray, "system unknown"]


def side_by_side(problems: Sequence[LinearProblem]) -> SideBySide:
    """Return systems side by side.

    Raises:
        InvalidInput: Their matrices differ in where they have entries.
    """
    pattern = problems[0].matrix.sorted_indices()
    matrices = [problem.matrix.sorted_indices() for problem in problems]
    for place, matrix in enumerate(matrices):
        if not all(
            np.array_equal(getattr(matrix, name), getattr(pattern, name)) for name in ("indptr", "indices")
        ):
            raise InvalidInput(
                f"the matrix of system {place} has entries elsewhere than that of system 0",
                "study a system whose matrices share a pattern",
            )
    rhs = np.stack([problem.rhs for problem in problems])
    return SideBySide(pattern, np.stack([matrix.data for matrix in matrices]), rhs)


def iteration_counts(
    base: Base, systems: SideBySide, omegas: Float[np.ndarray, " action"], tolerance: float, cap: int
) -> Int[np.ndarray, "system action"]:
    """Return the iterations until ||b - A x|| < tolerance ||b|| from x = 0, `cap` where it takes longer.

    A slot whose system is done takes up the next one, and when none is left the bench is narrowed; small ω,
    which take longest, come first.
    """
    total = len(systems.rhs) * len(omegas)
    counts, begun = np.full(total, cap), min(SLOTS, total)
    bench = _Bench(_Work(base, systems, omegas, tolerance), np.arange(begun))
    while bench.is_busy.any():
        bench.step()
        done = bench.is_busy & (bench.sizes() < bench.enough)
        counts[bench.task[done]] = bench.age[done]
        free = np.flatnonzero(done | (bench.is_busy & (bench.age >= cap)))
        fresh, idle = free[: total - begun], free[total - begun :]
        if len(fresh):
            bench.take_up(fresh, np.arange(begun, begun + len(fresh)))
            begun += len(fresh)
            report("system", begun, total)
        if len(idle):
            bench = bench.rest(idle)
    return counts.reshape(len(omegas), -1).T


@dataclass(frozen=True)
class _Work:
    """All pairs of a system and an ω; pair number t is system t mod count with ω number t div count."""

    base: Base
    systems: SideBySide
    omegas: Float[np.ndarray, " action"]
    tolerance: float


@dataclass(frozen=True)
class _Fresh:
    """Systems that slots take up."""

    slots: Int[np.ndarray, " fresh"]
    entries: Float[np.ndarray, "entry fresh"]
    omega: Float[np.ndarray, " fresh"]
    b: Float[np.ndarray, "unknown fresh"]


class _Bench:
    """Slots, and the pairs that they work on."""

    def __init__(self, work: _Work, task: Int[np.ndarray, " slot"]) -> None:
        self.work, self.task = work, task.copy()
        self.age = np.zeros(len(task), dtype=np.int64)
        self.enough = np.zeros(len(task))
        self.is_busy = np.ones(len(task), dtype=np.bool_)
        self.method = _METHODS[work.base](work.systems.pattern, len(task))
        self.take_up(np.arange(len(task)), task)

    def take_up(self, slots: Int[np.ndarray, " fresh"], task: Int[np.ndarray, " fresh"]) -> None:
        """Begin pairs."""
        action, system = np.divmod(task, len(self.work.systems.rhs))
        b = self.work.systems.rhs[system].T
        self.method.load(_Fresh(slots, self.work.systems.entries[system].T, self.work.omegas[action], b))
        self.task[slots], self.age[slots] = task, 0
        self.enough[slots] = self.work.tolerance * np.linalg.norm(b, axis=0)

    def rest(self, slots: Int[np.ndarray, " idle"]) -> "_Bench":
        """Leave slots without work; return the bench without such slots once they are half of it."""
        self.is_busy[slots], self.method.r[:, slots] = False, 0.0
        busy = np.flatnonzero(self.is_busy)
        if len(busy) == 0 or 2 * len(busy) > len(self.task):
            return self
        narrow = _Bench(self.work, self.task[busy])
        narrow.age = self.age[busy]
        narrow.method.go_on(self.method, busy)
        return narrow

    def step(self) -> None:
        """Take one iteration of all."""
        self.method.step()
        self.age += 1

    def sizes(self) -> Float[np.ndarray, " slot"]:
        """Return the norms of the residuals."""
        return np.asarray(np.sqrt(_dot(self.method.r, self.method.r)))


def _dot(
    x: Float[np.ndarray, "unknown slot"], y: Float[np.ndarray, "unknown slot"]
) -> Float[np.ndarray, " slot"]:
    return np.asarray(np.einsum("us,us->s", x, y))


class _Stack:
    """Matrices of one pattern as one matrix over (unknown, slot), slots running fastest.

    Neighbouring rows belong to different systems, so a sweep has no chain of waits; to each system it is a
    sweep over that system alone.
    """

    def __init__(self, pattern: sparse.csr_array, kept: Bool[np.ndarray, " entry"], slots: int) -> None:
        row, column = _rows(pattern)[kept], pattern.indices[kept]
        slot, size = np.arange(slots), pattern.shape[0] * slots
        wide_row, wide_column = ((index[:, None] * slots + slot).ravel() for index in (row, column))
        numbers = np.arange(1.0, wide_row.size + 1.0)
        self.matrix = sparse.csr_array((numbers, (wide_row, wide_column)), shape=(size, size))
        places = np.argsort(self.matrix.data)
        self.places = places.reshape(len(row), slots)
        self.matrix.data[:] = 0.0

    def load(self, slots: Int[np.ndarray, " fresh"], entries: Float[np.ndarray, "entry fresh"]) -> None:
        """Put other matrices into slots."""
        self.matrix.data[self.places[:, slots]] = entries

    def solve(
        self, r: Float[np.ndarray, "unknown slot"], direction: Literal["forward", "backward"]
    ) -> Float[np.ndarray, "unknown slot"]:
        """Return the triangular solves with lower (forward) or upper (backward) triangles."""
        z = np.zeros(r.size)
        gauss_seidel(self.matrix, z, r.ravel(), sweep=direction)
        return z.reshape(r.shape)

    def times(self, z: Float[np.ndarray, "unknown slot"]) -> Float[np.ndarray, "unknown slot"]:
        """Return the products with the matrices."""
        return np.asarray((self.matrix @ z.ravel()).reshape(z.shape))


def _rows(pattern: sparse.csr_array) -> Int[np.ndarray, " entry"]:
    return np.repeat(np.arange(pattern.shape[0]), np.diff(pattern.indptr))


class _Method(ABC):
    """One method on the systems of all slots; `r` are their residuals."""

    state: ClassVar[tuple[str, ...]] = ("r",)
    """Arrays, slots last, that change from iteration to iteration."""

    def __init__(self, pattern: sparse.csr_array, slots: int) -> None:
        side = pattern.indices - _rows(pattern)
        self.lower, self.diagonal, self.upper = side <= 0, side == 0, side >= 0
        self.r = np.zeros((pattern.shape[0], slots))

    def with_diagonal(
        self, fresh: _Fresh, factor: Float[np.ndarray, " fresh"]
    ) -> Float[np.ndarray, "entry fresh"]:
        """Return the entries, those on the diagonal times a factor."""
        return np.where(self.diagonal[:, None], factor * fresh.entries, fresh.entries)

    def go_on(self, other: "_Method", slots: Int[np.ndarray, " slot"]) -> None:
        """Take over where slots of another bench stand."""
        for name in self.state:
            getattr(self, name)[...] = getattr(other, name)[..., slots]

    @abstractmethod
    def load(self, fresh: _Fresh) -> None:
        """Begin other systems, at x = 0."""

    @abstractmethod
    def step(self) -> None:
        """Take one iteration."""


class _SOR(_Method):
    """With M = D/ω + L, r - A M⁻¹ r = ((1/ω - 1) D - U) M⁻¹ r: x itself is not needed."""

    def __init__(self, pattern: sparse.csr_array, slots: int) -> None:
        super().__init__(pattern, slots)
        self.M = _Stack(pattern, self.lower, slots)
        self.rest = _Stack(pattern, self.upper, slots)

    def load(self, fresh: _Fresh) -> None:
        self.M.load(fresh.slots, self.with_diagonal(fresh, 1.0 / fresh.omega)[self.lower])
        self.rest.load(fresh.slots, -self.with_diagonal(fresh, 1.0 - 1.0 / fresh.omega)[self.upper])
        self.r[:, fresh.slots] = fresh.b

    def step(self) -> None:
        self.r = self.rest.times(self.M.solve(self.r, "forward"))


class _SSOR(_Method):
    """Conjugate gradients with M⁻¹ = (2/ω - 1) (D/ω + Lᵀ)⁻¹ D (D/ω + L)⁻¹."""

    state = ("r", "p", "gain")

    def __init__(self, pattern: sparse.csr_array, slots: int) -> None:
        super().__init__(pattern, slots)
        self.A, self.M = (_Stack(pattern, self.lower | self.upper, slots) for _ in range(2))
        self.scale, self.p = np.zeros_like(self.r), np.zeros_like(self.r)
        self.gain = np.full(slots, np.inf)

    def load(self, fresh: _Fresh) -> None:
        self.A.load(fresh.slots, fresh.entries)
        self.M.load(fresh.slots, self.with_diagonal(fresh, 1.0 / fresh.omega))
        self.scale[:, fresh.slots] = (2.0 / fresh.omega - 1.0) * fresh.entries[self.diagonal]
        self.r[:, fresh.slots], self.p[:, fresh.slots], self.gain[fresh.slots] = fresh.b, 0.0, np.inf

    def step(self) -> None:
        z = self.M.solve(self.scale * self.M.solve(self.r, "forward"), "backward")
        before, self.gain = self.gain, _dot(self.r, z)
        self.p = z + _ratio(self.gain, before) * self.p
        Ap = self.A.times(self.p)
        self.r = self.r - _ratio(self.gain, _dot(self.p, Ap)) * Ap


def _ratio(a: Float[np.ndarray, " slot"], b: Float[np.ndarray, " slot"]) -> Float[np.ndarray, " slot"]:
    """Return a/b, and 0 in slots at rest, where b is 0."""
    return np.asarray(np.divide(a, b, out=np.zeros_like(a), where=b > 0.0))


_METHODS: dict[Base, type[_Method]] = {"sor": _SOR, "ssor": _SSOR}
