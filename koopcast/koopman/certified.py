"""What models share that measure the residual of every eigenpair: which pairs forecast, what is certified."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field, NonNegativeFloat
from torch import Tensor

from koopcast.errors import DataError
from koopcast.koopman.certificates import Certificate, ModulusSpec, PlaneSpec, knee
from koopcast.koopman.choice import Ahead, ChoosingSpec, Fits
from koopcast.koopman.lifted import CoordinatePairs
from koopcast.koopman.measures import AnyMeasure
from koopcast.koopman.modal import MAX_STORED, Eigenpairs, Features, modal_basis, modal_tensors, pair_tensors
from koopcast.koopman.snapshots import Snapshots
from koopcast.numerics.galerkin import Galerkin

ANGLES = 361
"""At which the spectral density is evaluated."""


@dataclass(frozen=True)
class Decomposition:
    """A map of observables and its eigenpairs."""

    pairs: CoordinatePairs
    before: Float[Tensor, "pair observable"]
    """Observables of the states, times `root`."""
    after: Float[Tensor, "pair observable"]
    root: Float[Tensor, "pair 1"]
    """Roots of the weights, whose mean is 1."""
    galerkin: Galerkin
    eigenpairs: Eigenpairs


Decomposer: TypeAlias = Callable[[CoordinatePairs], tuple[Decomposition, Features]]
"""A decomposition of pairs, and the observables that its vectors combine."""


class CertifiedSpec(ChoosingSpec):
    """Options of models that measure the residual of every eigenpair."""

    modes: Literal["verified", "all", "knee"] = "verified"
    """Pairs in forecasts: those within the tolerance, all, or those before the knee of the sorted
    residuals."""
    tolerance: float = Field(0.05, gt=0, lt=1)
    """Largest residual of a verified pair."""
    algorithm: Literal["pairs", "pseudospectrum", "both"] = "pairs"
    """What the diagnostics hold beside the pairs: `pseudospectrum` and `both` add the smallest residual
    of any function at each point of `grid`."""
    grid: PlaneSpec = PlaneSpec()
    """Where the pseudospectrum is evaluated."""
    ridge: NonNegativeFloat = 1e-8
    """Penalty of the regression of fields on eigenfunctions, in units of their mean square."""
    modulus: ModulusSpec | None = None
    """What is known between the samples; null: nothing, and the certificate says so."""
    spectral_measure: AnyMeasure | None = None
    """How the spectral density of the leading component is estimated; null: not at all. It means something
    for systems that preserve a measure."""

    def assembled(self, found: Decomposition) -> dict[str, Tensor]:
        """Return the tensors of the model that forecasts with the pairs in `modes`.

        Raises:
            DataError: No pair is verified, and `modes` asks for those.
        """
        pairs = found.pairs
        certificate = Certificate.of(self.modulus, pairs.X)
        residuals = found.eigenpairs.residuals
        is_verified = certificate.verified(residuals, self.tolerance)
        components = pairs.snapshots.tensors["basis"]
        if self.modes == "all":
            latent = found.galerkin.transform, found.galerkin.K.mT
        else:
            latent = modal_basis(found.eigenpairs, self._kept(residuals, is_verified, certificate))
        past, future = (found.root * u[:, : components.shape[1]] for u in (pairs.X, pairs.Y))
        tensors, error = modal_tensors(found.before, found.after, future, components, latent, self.ridge)
        figures = [pairs.explained, torch.tensor(float(len(found.before))), error]
        return {
            **pairs.snapshots.tensors,
            **tensors,
            "figures": torch.stack(figures).to(torch.float64),
            **certificate.tensors(),
            **pair_tensors(found.eigenpairs, is_verified, found.before, past),
            **self._plane(found.galerkin),
            **self._density(found),
        }

    @abstractmethod
    def decomposer(
        self,
        states: Float[Tensor, "sample state_time coordinate"],
        is_state: Bool[Tensor, " state_time"],
        generator: torch.Generator,
    ) -> Decomposer:
        """Return how pairs are decomposed; what it takes from all states it takes here."""

    def fits(
        self,
        snapshots: Snapshots,
        states: Float[Tensor, "sample state_time coordinate"],
        is_state: Bool[Tensor, " state_time"],
        ridges: Sequence[float],
        generator: torch.Generator,
    ) -> Fits:
        """Return how forecasts are fitted to parts of the states, all penalties after one decomposition."""
        decomposed, everything = (
            self.decomposer(states, is_state, generator),
            torch.ones((), dtype=torch.float64),
        )
        plain = {"algorithm": "pairs", "spectral_measure": None}
        specs = [self.model_copy(update={"ridge": ridge, **plain}) for ridge in ridges]

        def fitted(fit: Bool[Tensor, "sample state_time"]) -> list[Ahead | None]:
            X, Y = states[:, :-1][fit[:, :-1]], states[:, 1:][fit[:, :-1]]
            found, features = decomposed(CoordinatePairs(X, Y, snapshots, everything))
            return [spec.ahead(found, features, states) for spec in specs]

        return fitted

    def ahead(
        self, found: Decomposition, features: Features, states: Float[Tensor, "sample state_time coordinate"]
    ) -> Ahead | None:
        """Return the forecast of components; None where no pair is verified and `modes` asks for those."""
        try:
            tensors = self.assembled(found)
        except DataError:
            return None
        encoder, K = tensors["encoder"], tensors["operator"]
        readout = tensors["components"].mT @ tensors["basis"]

        def forecast(start: Int[Tensor, "start 2"], lead: int) -> Float[Tensor, "start component"]:
            z = features(states[start[:, 0], start[:, 1]]) @ encoder
            for _ in range(lead):
                z = z @ K.mT
            return z @ readout.mT

        return forecast

    def _kept(
        self, residuals: Float[Tensor, " mode"], is_verified: Bool[Tensor, " mode"], certificate: Certificate
    ) -> Bool[Tensor, " mode"]:
        if self.modes == "knee":
            return torch.arange(len(residuals)) < knee(residuals)
        if not bool(is_verified.any()):
            widened = f" + {certificate.widening:.3g} of the modulus" if certificate.widening else ""
            raise DataError(
                f"no eigenpair is verified: the smallest residual is {float(residuals.min()):.3g}{widened}, "
                f"the tolerance {self.tolerance:g}",
                "raise `tolerance`, change the observables, train on more samples, or set `modes: all`",
            )
        return is_verified

    def _plane(self, galerkin: Galerkin) -> dict[str, Tensor]:
        if self.algorithm == "pairs":
            return {}
        re, im = self.grid.axes()
        tau = galerkin.tau(torch.complex(*torch.meshgrid(re, im, indexing="ij")).flatten())
        return {"re": re, "im": im, "pseudospectrum": tau.reshape(len(re), len(im))}

    def _density(self, found: Decomposition) -> dict[str, Tensor]:
        if self.spectral_measure is None:
            return {}
        functions = found.before @ found.galerkin.transform
        f = functions.mT @ (found.root[:, 0] * found.pairs.X[:, 0]) / len(functions)
        angle = torch.linspace(-torch.pi, torch.pi, ANGLES, dtype=torch.float64)
        series = found.pairs.snapshots.values[..., 0]
        density = self.spectral_measure.density(found.galerkin.K, f, series, angle)
        atoms = self.spectral_measure.atoms(series, found.eigenpairs.values[:MAX_STORED].angle())
        return {"angle": angle, "density": density} | ({} if atoms is None else {"atoms": atoms})
