"""An automaton of movers whose operators are known: what holds exactly, and what samples recover."""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Complex, Float, Int
from pydantic import PositiveInt, model_validator
from scipy import sparse
from scipy.linalg import expm

from koopcast.dynamics import Flow
from koopcast.numerics.permutations import (
    complex_structure,
    configurations,
    cycles,
    directed_distance,
    eigenfunctions,
    hamiltonian,
    matched_distance,
    numbered,
    spectrum,
    transfer_matrix,
)
from koopcast.rng import numpy_generator, torch_generator
from koopcast.studies.base import ALL, Findings, StudySpec
from koopcast.systems.pca_automaton import PCAAutomatonSpec, ScatteringSpec

UPDATE, CYCLES, FLIPS, SAMPLES = "update", "cycles", "flips", "samples"
MOST_BITS = 8
"""Bits up to which eigenvalues are found without the theory."""


class ExactTransferSpec(StudySpec):
    """Compares operators on all configurations of an automaton with what theory and samples say of them.

    `update` is the automaton without flips: an orthogonal S, p(t+1) = S p(t), q(t+1) = S q(t) with p = q²,
    eigenvalues that are roots of unity, the residuals ‖g∘σ - λg‖ / ‖g‖ of its exact pairs (λ, g), S = e^{-iH}
    with a Hermitian H, and a complex structure J from the exchange of movers and holes, where that commutes.
    `flips` are the flips alone, with the eigenvalue (1-2f)ᵏ of each parity of k bits. `samples` are
    trajectories of update and flips together, with a regression on the indicators of all configurations.
    """

    kind: Literal["exact_transfer"] = "exact_transfer"
    system: PCAAutomatonSpec = PCAAutomatonSpec(
        sites=4, scattering=ScatteringSpec(pattern="list", sites=(0, 2)), noise=0.05
    )
    """The automaton; its flips are those of `flips` and `samples`."""
    steps: PositiveInt = 100
    """Steps over which expectations and numbers of movers are followed."""
    cases: PositiveInt = 500
    """Trajectories of `samples`."""
    records: PositiveInt = 400
    """Pairs of each trajectory."""

    reference = "Wetterich 2020, The probabilistic world; EDMD: Williams, Kevrekidis and Rowley 2015"

    @model_validator(mode="after")
    def _operators_fit(self) -> "ExactTransferSpec":
        bits = self.system.num_bits
        if bits > MOST_BITS:
            raise ValueError(
                f"system: {bits} bits are above {MOST_BITS}, up to which all eigenvalues of a full matrix "
                "are found; lower sites or colours"
            )
        if not self.system.is_disturbed():
            raise ValueError("system.noise: 0 leaves nothing to recover in `flips` and `samples`; raise it")
        return self

    def metrics(self) -> Mapping[str, str]:
        """Return the largest departures from theory.

        `orthogonality` max|SᵀS - 1|; `unit_circle` max||λ| - 1| and `roots` the distance of the eigenvalues
        of the matrix from roots of unity; `count` of the cycles of each length; `expectation` max|qᵀOq - p·O|
        and `movers` the change of their number, both after `steps`; `occupation` the difference of movers at
        a site and in half of the chain, as Sᵀ makes them of observables and as trajectories show them, over
        all configurations; `residual` of the exact pairs; `hamiltonian` max|e^{-iH} - S|; `complex_structure`
        max of |J² + 1|, |SJ - JS| and the change of ψ beyond a permutation, `paired` the share of
        configurations that J acts on, 0 where the exchange does not commute with the update; `parities`
        the distance of eigenvalues of the flips from (1-2f)ᵏ; `recovered` the distance of each true
        eigenvalue from the nearest one of the regression, and `spurious` the reverse, both times the root of
        the number of pairs.
        """
        names = ("orthogonality", "unit_circle", "roots", "count", "expectation", "movers", "occupation")
        quantum = ("residual", "hamiltonian", "complex_structure", "paired")
        return dict.fromkeys((*names, *quantum, "parities", "recovered", "spurious"), "1")

    def subjects(self) -> Mapping[str, Sequence[int]]:
        """Return what is compared, and the lengths of the cycles."""
        lengths = sorted({len(cycle) for cycle in cycles(self.system.permutation())})
        return {UPDATE: (), CYCLES: lengths, FLIPS: (), SAMPLES: ()}

    def run(self, seed: int) -> Findings:
        """Make operators and samples, and compare."""
        sigma = self.system.permutation()
        exact = spectrum(sigma)
        found = np.linalg.eigvals(self.update.transfer().toarray())
        true, estimated = self.system.eigenvalues(), self.estimated(seed)
        root = float(np.sqrt(self.cases * self.records))
        lengths = pd.Series([len(cycle) for cycle in cycles(sigma)]).value_counts()
        departures = {
            "orthogonality": self.orthogonality(),
            "unit_circle": float(np.abs(np.abs(found) - 1).max()),
            "roots": matched_distance(np.asarray(found, dtype=complex), exact),
            "expectation": self.expectation(seed),
            "movers": self.movers(seed),
            "occupation": self.occupation(),
            "residual": largest_residual(sigma),
            "hamiltonian": float(
                np.abs(expm(-1j * hamiltonian(sigma)) - self.update.transfer().toarray()).max()
            ),
            **exchange(sigma),
        }
        scores: dict[str, dict[str, dict[str, float]]] = {
            name: {UPDATE: {ALL: value}} for name, value in departures.items()
        }
        scores["count"] = {CYCLES: {str(length): float(count) for length, count in lengths.items()}}
        scores["parities"] = {FLIPS: {ALL: self.parities()}}
        scores["recovered"] = {SAMPLES: {ALL: root * directed_distance(true, estimated)}}
        scores["spurious"] = {SAMPLES: {ALL: root * directed_distance(estimated, true)}}
        spectra = {"exact": exact, "noisy": true, "regression": estimated}
        rows = [(name, value.real, value.imag) for name, values in spectra.items() for value in values]
        return Findings(scores, {"spectra": pd.DataFrame(rows, columns=["operator", "real", "imag"])})

    @property
    def update(self) -> PCAAutomatonSpec:
        """The automaton without flips."""
        return self.system.model_copy(update={"noise": 0.0, "beta": None})

    def orthogonality(self) -> float:
        """Return max|SᵀS - 1|."""
        S = self.update.transfer().toarray()
        return float(np.abs(S.T @ S - np.eye(len(S))).max())

    def expectation(self, seed: int) -> float:
        """Return max|qᵀOq - p·O| after `steps`, of a random wave function and random observables O in ±1."""
        draws, S = numpy_generator(seed, self.kind, "expectation"), self.update.transfer()
        q = draws.standard_normal(S.shape[0])
        q /= np.linalg.norm(q)
        p = q * q
        observables = draws.choice([-1.0, 1.0], size=(20, S.shape[0]))
        for _ in range(self.steps):
            q, p = S @ q, S @ p
        return float(np.abs((observables * q) @ q - observables @ p).max())

    def movers(self, seed: int) -> float:
        """Return how much the number of movers changes at most over `steps` of the update."""
        first = self.system.initial(self.cases, torch_generator(seed, self.kind, "movers")).flatten(1)
        problem = self.update.problem()
        assert isinstance(problem, Flow)
        last = problem.advance(first, float(self.steps))
        return float((last.sum(1) - first.sum(1)).abs().max())

    def occupation(self) -> float:
        """Return how far (Sᵀ)ᵗ O is from O of the configuration t steps later, for counts O of movers."""
        K, update = self.update.transfer().T.tocsr(), self.update
        problem = update.problem()
        assert isinstance(problem, Flow)
        states = torch.from_numpy(configurations(update.num_bits).astype(float))
        later = problem.advance(states, float(self.steps)).unflatten(1, (update.sites, -1)).sum(dim=2)
        gaps = []
        for stop in (1, max(1, update.sites // 2)):
            counts = update.block_counts(0, stop).astype(float)
            for _ in range(self.steps):
                counts = K @ counts
            gaps.append(float(np.abs(counts - later[:, :stop].sum(dim=1).numpy()).max()))
        return max(gaps)

    def parities(self) -> float:
        """Return the distance of the eigenvalues of the flips from (1-2f)ᵏ, one for each set of k bits."""
        alone = PCAAutomatonSpec(
            sites=1,
            colours=2,
            scattering=ScatteringSpec(pattern="none"),
            noise=self.system.flip_probability,
        )
        k = configurations(alone.num_bits).sum(1)
        theory = (1 - 2 * alone.noise) ** k
        return matched_distance(alone.eigenvalues(), np.asarray(theory, dtype=complex))

    def estimated(self, seed: int) -> Complex[np.ndarray, " eigenvalue"]:
        """Return the eigenvalues of EDMD on the indicators of configurations that were seen."""
        generator = torch_generator(seed, self.kind, "samples")
        state, problem = self.system.initial(self.cases, generator).flatten(1), self.system.problem()
        numbers = [numbered(state.numpy())]
        for _ in range(self.records):
            state = self.system.disturbed(problem.advance(state, 1.0), generator)
            numbers.append(numbered(state.numpy()))
        return np.linalg.eigvals(indicator_regression(np.stack(numbers, axis=1))).astype(complex)


def indicator_regression(numbers: Int[np.ndarray, "case time"]) -> Float[np.ndarray, "seen seen"]:
    """Return K = G⁺A of the indicators 1[x = j] of what is seen: how often k follows j, as a share.

    Args:
        numbers: Configurations of trajectories; no pair goes from one to the next.
    """
    seen, places = np.unique(numbers, return_inverse=True)
    places = places.reshape(numbers.shape)
    A = np.zeros((len(seen), len(seen)))
    np.add.at(A, (places[:, :-1].ravel(), places[:, 1:].ravel()), 1.0)
    G = A.sum(1)
    return A / np.where(G > 0, G, 1.0)[:, None]


def exchange(sigma: Int[np.ndarray, " configuration"]) -> dict[str, float]:
    """Return `complex_structure` and `paired` of the exchange of movers and holes, s -> 1 - s."""
    theta = len(sigma) - 1 - np.arange(len(sigma))
    if bool((sigma[theta] != theta[sigma]).any()):
        return {"complex_structure": 0.0, "paired": 0.0}
    J, half = complex_structure(sigma, theta)
    S = transfer_matrix(sigma)
    acted = np.zeros(len(sigma))
    acted[np.concatenate([half, theta[half]])] = 1.0
    q = np.random.default_rng(0).standard_normal(len(sigma))
    psi = np.zeros(len(sigma), dtype=complex)
    psi[half] = q[half] + 1j * q[theta[half]]
    after = S @ q
    stepped = after[half] + 1j * after[theta[half]] - (S @ psi)[half]
    gaps = (np.abs(part).max() for part in (J @ J + sparse.diags_array(acted), S @ J - J @ S, stepped))
    return {"complex_structure": float(max(gaps)), "paired": float(acted.mean())}


def largest_residual(sigma: Int[np.ndarray, " configuration"]) -> float:
    """Return the largest ‖g∘σ - λg‖ / ‖g‖ of the exact pairs, all configurations with equal weights."""
    return max(
        float((np.linalg.norm(g[sigma] - values * g, axis=0) / np.linalg.norm(g, axis=0)).max())
        for values, g in eigenfunctions(sigma)
    )
