"""A chain of movers that scatter: a probabilistic cellular automaton whose operators are known exactly."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
from jaxtyping import Complex, Float, Int
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator
from scipy import sparse
from torch import Tensor

from koopcast.dynamics import ON_CPU, Flow, Setting
from koopcast.errors import InvalidInput
from koopcast.grids import Axis, FieldsInfo, TimeAxis
from koopcast.numerics.permutations import (
    configurations,
    flip_matrix,
    is_permutation,
    numbered,
    spectrum,
    transfer_matrix,
)
from koopcast.rng import numpy_generator
from koopcast.spec import Spec
from koopcast.systems.automaton_states import AnyBits
from koopcast.systems.parameters import MapSpec, iterated, uniform

MOST_EXACT_BITS = 14
"""Bits up to which operators on all configurations are made."""
MOST_FULL_BITS = 11
"""Bits up to which they are with flips, and full."""
Rule = Literal["reflect", "colour_swap"] | tuple[NonNegativeInt, ...]


class ScatteringSpec(Spec):
    """Where movers scatter."""

    pattern: Literal["none", "all", "list", "random"] = "all"
    """Nowhere, at each site, at those in `sites`, or at each with probability `density`."""
    sites: tuple[NonNegativeInt, ...] = ()
    """Sites of the pattern `list`."""
    density: float = Field(0.5, ge=0, le=1)
    """Probability of the pattern `random`."""
    seed: NonNegativeInt = 0
    """Of the pattern `random`: equal numbers give equal patterns."""

    @model_validator(mode="after")
    def _sites_belong_to_a_list(self) -> "ScatteringSpec":
        if (self.pattern == "list") != bool(self.sites):
            raise ValueError(
                f"sites: {list(self.sites)} with pattern '{self.pattern}'; give `sites` with `list` alone"
            )
        return self


class PCAAutomatonSpec(MapSpec):
    """Movers on a circle of sites: each step takes right movers one site right and left movers one left, and
    then permutes the bits at scattering sites.

    A bit says whether a site holds a mover of one direction and colour. The update σ is a permutation of all
    configurations, so that probabilities move by p' = S p with an orthogonal S, observables by g∘σ = Sᵀ g,
    and all eigenvalues are roots of unity. Flips of bits make it a Markov chain. Configurations are numbered
    little endian, site by site: bit `site · species + species`.
    """

    kind: Literal["pca_automaton"] = "pca_automaton"
    sites: PositiveInt = Field(16, le=4096)
    """Sites on the circle."""
    colours: Literal[1, 2] = 1
    """Colours of movers; each has right and left movers."""
    scattering: ScatteringSpec = ScatteringSpec()
    """Where movers scatter."""
    rule: Rule = "reflect"
    """`reflect`: movers turn round; `colour_swap`: a right and a left mover of different colours, alone at
    their site, exchange colours; or a table: the number of the new local configuration for each old one."""
    noise: float = Field(0.0, ge=0, le=0.5)
    """Probability that a bit flips in a step."""
    beta: PositiveFloat | None = None
    """Instead of `noise`: weights e^{-β · bits that differ from the update}, normalised; the probability of
    a flip is 1 / (1 + e^β)."""
    initial_state: AnyBits = Field(default="product", validate_default=True)
    """Law of the first configuration."""

    reference = (
        "Wetterich 2020, The probabilistic world; random scattering: Kreuzkamp and Wetterich 2024. A finite "
        "β counts the bits that differ, which makes it a probability of flips"
    )

    @model_validator(mode="after")
    def _update_is_invertible(self) -> "PCAAutomatonSpec":
        if self.beta is not None and self.noise:
            raise ValueError(f"beta: {self.beta:g} beside noise {self.noise:g}; give one of them")
        if self.rule == "colour_swap" and self.colours != 2:
            raise ValueError("rule: colour_swap needs two colours; set colours: 2")
        if outside := [site for site in self.scattering.sites if site >= self.sites]:
            raise ValueError(
                f"scattering.sites: {outside[0]} is not below {self.sites}, the number of sites; lower it"
            )
        size = 2**self.num_species
        if not isinstance(self.rule, str) and (len(self.rule) != size or not is_permutation(self.rule)):
            raise ValueError(
                f"rule: {list(self.rule)} is no permutation of 0..{size - 1}, the configurations of a site, "
                "and the update must be invertible; name each of them once"
            )
        if fault := self.initial_state.fault(self.sites, self.num_species):
            raise ValueError(f"initial_state.{fault}")
        return self

    @property
    def num_species(self) -> int:
        """Bits of a site."""
        return 2 * self.colours

    @property
    def num_bits(self) -> int:
        """Bits m of a configuration."""
        return self.sites * self.num_species

    @property
    def flip_probability(self) -> float:
        """Probability that a bit flips in a step."""
        return self.noise if self.beta is None else float(1 / (1 + np.exp(self.beta)))

    def describe(self) -> FieldsInfo:
        """Return the circle of sites, and a variable for each direction and colour."""
        axis = Axis("x", self.sites, periodic=True, length=float(self.sites))
        keeps = frozenset({"measure_preserving"}) if self.flip_probability == 0 else frozenset()
        return FieldsInfo(dict.fromkeys(self.species(), "1"), (axis,), TimeAxis(1, 1.0), properties=keeps)

    def species(self) -> tuple[str, ...]:
        """Return the names of the bits of a site, in their order."""
        if self.colours == 1:
            return "right", "left"
        return tuple(f"{way}_{colour}" for colour in (1, 2) for way in ("right", "left"))

    def scatters(self) -> Int[np.ndarray, " scattering"]:
        """Return the sites at which movers scatter."""
        given = self.scattering
        if given.pattern == "random":
            draws = numpy_generator(given.seed, "scattering").random(self.sites)
            return np.flatnonzero(draws < given.density)
        return np.array(
            {"none": [], "all": range(self.sites)}.get(given.pattern, sorted(set(given.sites))), int
        )

    def local_rule(self) -> Int[np.ndarray, " local"]:
        """Return the number of the new configuration of a scattering site for each old one."""
        if not isinstance(self.rule, str):
            return np.array(self.rule)
        bits = configurations(self.num_species)
        if self.rule == "reflect":
            turned = bits.reshape(-1, self.colours, 2)[..., ::-1].reshape(bits.shape)
            return numbered(turned.astype(float))
        table = np.arange(len(bits))
        # Right mover of one colour and left mover of the other: bits 0 and 3, or bits 1 and 2.
        table[[0b1001, 0b0110]] = 0b0110, 0b1001
        return table

    def problem(self, setting: Setting = ON_CPU) -> Flow:
        """Return the update, without flips."""
        places = torch.from_numpy(self.scatters()).to(setting.device)
        outcome = torch.from_numpy(configurations(self.num_species)[self.local_rule()])
        outcome = outcome.to(setting.device, setting.dtype)
        weights = 2 ** torch.arange(self.num_species, device=setting.device)

        def once(state: Float[Tensor, "*batch state"]) -> Float[Tensor, "*batch state"]:
            bits = state.unflatten(-1, (self.sites, self.num_species))
            moved = torch.empty_like(bits)
            moved[..., 0::2] = bits[..., 0::2].roll(1, -2)
            moved[..., 1::2] = bits[..., 1::2].roll(-1, -2)
            if len(places):
                local = (moved[..., places, :] > 0.5).long() @ weights
                moved[..., places, :] = outcome[local]
            return moved.flatten(-2)

        return iterated(once)

    def disturbed(
        self, state: Float[Tensor, "*batch state"], generator: torch.Generator
    ) -> Float[Tensor, "*batch state"]:
        """Return the state after the flips of one step."""
        if self.flip_probability == 0:
            return state
        flips = uniform(*state.shape, generator=generator) < self.flip_probability
        return torch.where(flips.to(state.device), 1 - state, state)

    def is_disturbed(self) -> bool:
        """Return whether bits flip."""
        return self.flip_probability > 0

    def initial(self, count: int, generator: torch.Generator) -> Float[Tensor, "count x channel"]:
        """Draw configurations."""
        return self.initial_state.draw(count, self.sites, self.num_species, generator)

    def lyapunov_time(self) -> float:
        """Return the time once round the circle."""
        return float(self.sites)

    def invariants(
        self, fields: Float[Tensor, "batch x channel"], setting: Setting = ON_CPU
    ) -> Mapping[str, Float[Tensor, " batch"]]:
        """Return the number of movers, where nothing flips and the rule keeps it."""
        counts = configurations(self.num_species).sum(1)
        if self.flip_probability or bool((counts[self.local_rule()] != counts).any()):
            return {}
        return {"movers": fields.sum(dim=(1, 2))}

    def permutation(self) -> Int[np.ndarray, " configuration"]:
        """Return σ: the number of the configuration that follows each, without flips.

        Raises:
            InvalidInput: There are more than 2^14 configurations.
        """
        self._refuse_above(MOST_EXACT_BITS)
        states = torch.from_numpy(configurations(self.num_bits).astype(float))
        return numbered(self.problem().advance(states, 1.0).numpy())

    def transfer(self) -> sparse.csr_array:
        """Return the matrix T of p' = T p: the update, then flips, with which it is full.

        Raises:
            InvalidInput: There are more than 2^14 configurations, or 2^11 with flips.
        """
        update = transfer_matrix(self.permutation())
        if not self.is_disturbed():
            return update
        self._refuse_above(MOST_FULL_BITS)
        return sparse.csr_array(update.T @ flip_matrix(self.num_bits, self.flip_probability)).T.tocsr()

    def eigenvalues(self) -> Complex[np.ndarray, " configuration"]:
        """Return the exact spectrum: roots of unity without flips, else that of the matrix.

        Raises:
            InvalidInput: There are more than 2^14 configurations, or 2^11 with flips.
        """
        if not self.is_disturbed():
            return spectrum(self.permutation())
        return np.asarray(np.linalg.eigvals(self.transfer().toarray()), dtype=complex)

    def block_counts(self, first: int, stop: int) -> Int[np.ndarray, " configuration"]:
        """Return the movers on the sites `first` to `stop - 1` of each configuration: the diagonal of an
        observable, an occupation where the block is one site.

        Raises:
            InvalidInput: There are more than 2^14 configurations, or the block is not on the circle.
        """
        self._refuse_above(MOST_EXACT_BITS)
        if not 0 <= first < stop <= self.sites:
            raise InvalidInput(
                f"the block [{first}, {stop}) is no part of {self.sites} sites",
                "give 0 <= first < stop <= sites",
            )
        bits = configurations(self.num_bits).reshape(-1, self.sites, self.num_species)
        return np.asarray(bits[:, first:stop].sum(axis=(1, 2)))

    def one_mover(self) -> Int[np.ndarray, " place"]:
        """Return where a lone mover goes from each place `site · species + species`, without flips; of any
        number of sites.

        Raises:
            InvalidInput: The rule makes none or several of one.
        """
        places = self.num_bits
        moved = self.problem().advance(torch.eye(places, dtype=torch.float64), 1.0)
        if not bool((moved.sum(dim=1) == 1).all()):
            raise InvalidInput(
                f"rule: {self.rule} changes the number of movers, and one does not stay one",
                "choose reflect, colour_swap or a table that keeps it",
            )
        return moved.argmax(dim=1).numpy()

    def _refuse_above(self, most: int) -> None:
        if self.num_bits > most:
            raise InvalidInput(
                f"{self.num_bits} bits make 2^{self.num_bits} configurations, and exact operators are made "
                f"for at most {most} bits",
                "lower sites or colours, or sample trajectories",
            )
