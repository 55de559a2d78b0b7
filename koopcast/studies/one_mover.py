"""A lone mover on a chain: its energies are those of a massless particle, and scattering opens gaps."""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Complex, Float, Int
from pydantic import Field, PositiveInt

from koopcast.numerics.permutations import cycles, energies_of, hamiltonian
from koopcast.rng import numpy_generator
from koopcast.studies.base import Findings, StudySpec
from koopcast.systems.pca_automaton import PCAAutomatonSpec, ScatteringSpec

FREE, SCATTERED = "free", "scattered"


class OneMoverSpec(StudySpec):
    """The sector of one mover of the automaton, S = e^{-iH} on the 2N places of a chain of N sites.

    Free movers have the modes e^{ikx}, k = 2πn/N, with the energy k to the right and -k to the left: gaps
    close as the chain grows. A mover that turns round at sites `spacing` apart has energies π/`spacing` apart
    on a chain of any length.
    """

    kind: Literal["one_mover"] = "one_mover"
    sizes: list[PositiveInt] = Field(default=[8, 16, 32, 64], min_length=1, max_length=16)
    """Numbers N of sites, multiples of `spacing`."""
    spacing: PositiveInt = 2
    """Distance of the sites where the mover turns round."""
    steps: PositiveInt = 100
    """Over which the momentum of a wave is followed."""

    reference = "Wetterich 2021, Fermionic quantum field theories as probabilistic cellular automata"

    def metrics(self) -> Mapping[str, str]:
        """Return what is measured.

        `gap` the largest one between neighbouring energies on the circle; `dispersion` max|H - H_k|, H_k
        with the energies ±k of the modes e^{ikx}; `momentum` the largest change, over `steps`, of the
        probability |<k|q>|² of a momentum in a wave of right movers.
        """
        return dict.fromkeys(("gap", "dispersion", "momentum"), "1")

    def subjects(self) -> Mapping[str, Sequence[int]]:
        """Return chains without and with scattering."""
        return {FREE: self.sizes, SCATTERED: self.sizes}

    def run(self, seed: int) -> Findings:
        """Compare each chain with theory."""
        scores: dict[str, dict[str, dict[str, float]]] = {name: {} for name in self.metrics()}
        rows: list[tuple[str, int, float]] = []
        for size in self.sizes:
            turning = tuple(range(0, size, self.spacing))
            free = PCAAutomatonSpec(sites=size, scattering=ScatteringSpec(pattern="none")).one_mover()
            patterns = {
                FREE: free,
                SCATTERED: PCAAutomatonSpec(
                    sites=size, scattering=ScatteringSpec(pattern="list", sites=turning)
                ).one_mover(),
            }
            for name, sigma in patterns.items():
                energies = np.sort(np.concatenate([energies_of(len(cycle)) for cycle in cycles(sigma)]))
                rows += [(name, size, float(energy)) for energy in energies]
                scores["gap"].setdefault(name, {})[str(size)] = largest_gap(energies)
            change = self._momentum(free, numpy_generator(seed, self.kind, size))
            found = {"dispersion": dispersion(free), "momentum": change}
            for metric, value in found.items():
                scores[metric].setdefault(FREE, {})[str(size)] = value
        table = pd.DataFrame(rows, columns=["chain", "sites", "energy"])
        return Findings(scores, {"energies": table})

    def _momentum(self, sigma: Int[np.ndarray, " place"], draws: np.random.Generator) -> float:
        """Return how much the law of the momentum changes in a random wave of right movers."""
        q = np.zeros(len(sigma))
        q[0::2] = draws.standard_normal(len(sigma) // 2)
        q /= np.linalg.norm(q)
        first = momenta(q[0::2])
        for _ in range(self.steps):
            following = np.empty_like(q)
            following[sigma] = q
            q = following
        return float(np.abs(momenta(q[0::2]) - first).max())


def momenta(q: Float[np.ndarray, " site"]) -> Float[np.ndarray, " momentum"]:
    """Return the probabilities |<k|q>|² of the momenta 2πn/N of a wave, n in the order of `numpy.fft`."""
    return np.asarray(np.abs(np.fft.fft(q, norm="ortho")) ** 2)


def dispersion(sigma: Int[np.ndarray, " place"]) -> float:
    """Return max|H - H_k| of free movers, H_k = Σ_k ±k |k><k|, the sign that of the direction."""
    sites = len(sigma) // 2
    k = 2 * np.pi * np.fft.fftfreq(sites)
    # The momentum -π is that of π, whose energy is π.
    k = np.where(np.isclose(k, -np.pi), np.pi, k)
    x = np.arange(sites)
    modes: Complex[np.ndarray, "site momentum"] = np.exp(1j * np.outer(x, k)) / np.sqrt(sites)
    H = np.zeros((2 * sites, 2 * sites), dtype=complex)
    H[0::2, 0::2] = (modes * k) @ modes.conj().T
    H[1::2, 1::2] = (modes * np.where(k == np.pi, np.pi, -k)) @ modes.conj().T
    return float(np.abs(H - hamiltonian(sigma)).max())


def largest_gap(energies: Float[np.ndarray, " place"]) -> float:
    """Return the largest distance of neighbours among angles in ascending order, around the circle."""
    return float(np.diff(energies, append=energies[0] + 2 * np.pi).max())
