"""Two systems with the same data and different spectra: what a certificate may say of them."""

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import torch
import xarray as xr
from jaxtyping import Complex, Float
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor

from koopcast.dynamics import Flow
from koopcast.fields import FieldData
from koopcast.generation.evolving import Run, describe
from koopcast.integrators.exact import ExactSpec
from koopcast.koopman.certificates import ModulusSpec
from koopcast.koopman.dictionaries.polynomial import PolynomialSpec
from koopcast.koopman.resdmd import ResDMDSpec
from koopcast.models import Model
from koopcast.numerics.galerkin import Galerkin
from koopcast.rng import torch_generator
from koopcast.studies.base import ALL, Findings, StudySpec
from koopcast.studies.residual_spectrum import trajectories
from koopcast.systems.annulus_shear import AnnulusShearSpec

PLAIN, SHEARED, WIDENED = "plain", "sheared", "widened"


class AdversarialPairSpec(StudySpec):
    """Half turns of a disc, with and without a shear on a ring that holds no sample.

    A model fitted to samples cannot tell the two, though i is √2 away from the spectrum of the one and in
    that of the other. With a modulus of continuity the certificate widens by what may happen in the ring.
    """

    kind: Literal["adversarial_pair"] = "adversarial_pair"
    system: AnnulusShearSpec = AnnulusShearSpec()
    """The disc and the ring."""
    samples: PositiveInt = 400
    """Starts, drawn on the disc without the ring."""
    steps: int = Field(3, ge=1)
    """Steps of each."""
    degree: int = Field(3, ge=2, le=8)
    """Of the polynomials that the fitted model has as dictionary."""
    constant: PositiveFloat = 2.0
    """Lipschitz constant of pointwise residuals, per unit of the normalised coordinates."""
    functions: PositiveInt = 600
    """Functions on the ring, each on a band where the shear changes by the same angle, in which the true
    residuals of both maps are measured."""

    reference = "Colbrook, Mezić & Stepanenko 2024, Limits and powers of Koopman learning"

    def metrics(self) -> Mapping[str, str]:
        """Return the true τ(i), how many pairs are verified, how many bytes of the fitted model differ from
        those of the plain map's, and by how much residuals are widened.
        """
        return dict.fromkeys(("true_tau", "verified", "difference", "widening"), "1")

    def subjects(self) -> Mapping[str, Sequence[int]]:
        """Return both maps, and the plain one with a modulus."""
        return dict.fromkeys((PLAIN, SHEARED, WIDENED), ())

    def run(self, seed: int) -> Findings:
        """Fit to samples of both maps, and measure true residuals with functions on the ring."""
        maps = {
            PLAIN: self.system.model_copy(update={"sheared": False}),
            SHEARED: self.system.model_copy(update={"sheared": True}),
        }
        models = {name: self._fitted(system, seed, None) for name, system in maps.items()}
        modulus = ModulusSpec(constant=self.constant)
        models[WIDENED] = self._fitted(maps[PLAIN], seed, modulus)
        plain = models[PLAIN].tensors()
        differing = {
            name: sum(
                _bytes_that_differ(tensor, plain[key]) for key, tensor in models[name].tensors().items()
            )
            for name in maps
        }
        scores = {
            "true_tau": {name: {ALL: self._true_tau(system)} for name, system in maps.items()},
            "verified": {n: {ALL: float(m.tensors()["verified"].sum())} for n, m in models.items()},
            "difference": {name: {ALL: float(count)} for name, count in differing.items()},
            "widening": {n: {ALL: float(m.tensors()["certificate"][0])} for n, m in models.items()},
        }
        return Findings(scores)

    def _fitted(self, system: AnnulusShearSpec, seed: int, modulus: ModulusSpec | None) -> Model:
        run = Run(system, ExactSpec(), self.samples, self.steps + 1)
        states = trajectories(run, torch_generator(seed, self.kind, "initial"))
        variables = {"X": (("sample", "time", "state"), states.numpy())}
        data = FieldData(xr.Dataset(variables), describe(run))
        spec = ResDMDSpec(
            coordinates="values", dictionary=PolynomialSpec(degree=self.degree), modes="all", modulus=modulus
        )
        return spec.fit(data, torch_generator(seed, self.kind, "fit"))

    def _true_tau(self, system: AnnulusShearSpec) -> float:
        """Return τ(i) of e^{-it} on bands of the rising half of the bump, with samples inside the ring."""
        edges = self._bands()
        inside = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
        radius = (edges[:-1, None] + inside * edges.diff()[:, None]).flatten()
        angle = math.pi / 2 * torch.arange(4, dtype=torch.float64)
        points = torch.stack([angle.cos(), angle.sin()], dim=1) * radius[:, None, None]
        flow = system.problem()
        assert isinstance(flow, Flow)
        before = points.flatten(0, 1)
        after = flow.advance(before, 1.0)
        weights = torch.full((len(before),), 1.0 / len(before), dtype=torch.float64)
        galerkin = Galerkin.of(_banded(before, edges), _banded(after, edges), weights)
        return float(galerkin.tau(torch.tensor([1j], dtype=torch.complex128))[0])

    def _bands(self) -> Float[Tensor, " edge"]:
        """Return radii between which φ grows by equal amounts, from the inner edge of the ring to its top."""
        share = torch.arange(1, self.functions + 1, dtype=torch.float64) / self.functions
        s = -(1 - 1 / (1 - share.log())).clamp_min(0).sqrt()
        inner, outer = self.system.ring
        s = torch.cat([-torch.ones(1, dtype=torch.float64), s])
        return (inner + outer) / 2 + s * (outer - inner) / 2


def _banded(
    points: Float[Tensor, "point 2"], edges: Float[Tensor, " edge"]
) -> Complex[Tensor, "point function"]:
    """Return e^{-it} times the indicator of each band."""
    radius = torch.hypot(points[:, 0], points[:, 1])
    band = torch.searchsorted(edges, radius) - 1
    phase = torch.complex(points[:, 0], -points[:, 1]) / radius
    one_hot = torch.nn.functional.one_hot(band.clamp(0, len(edges) - 2), len(edges) - 1)
    return phase[:, None] * one_hot


def _bytes_that_differ(one: Tensor, other: Tensor) -> int:
    first, second = (np.frombuffer(tensor.numpy().tobytes(), dtype=np.uint8) for tensor in (one, other))
    return int((first != second).sum()) if len(first) == len(second) else max(len(first), len(second))
