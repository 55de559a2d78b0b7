"""Images of noise with one short signal at a random place, whose sign is the label."""

import math
from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt
from scipy.integrate import quad
from scipy.special import ndtr

from koopcast.grids import Axis, FieldsInfo, TimeAxis
from koopcast.rng import numpy_from, numpy_generator
from koopcast.systems.base import DrawnSpec


class DynamicSignalSpec(DrawnSpec):
    """Dynamic signal distribution: σ noise on k patches of d cells, plus the label times w in one of them.

    The label is -1 or 1 and the patch any, both uniform; w has length 1. Local filters that are shared find
    w from O(k + d) samples, local ones that are not from O(k(k + d)), dense layers from no fewer than k²d.
    """

    kind: Literal["dynamic_signal"] = "dynamic_signal"
    patches: PositiveInt = 8
    """Patches k."""
    patch_size: PositiveInt = 8
    """Cells d of a patch."""
    noise: PositiveFloat = Field(0.25, le=1e3)
    """Standard deviation σ of the noise in each cell."""
    signal_seed: NonNegativeInt = 0
    """Which direction w the signal has, uniform on the sphere: equal numbers give equal ones."""

    reference = "Lahoti et al. 2024, Role of locality and weight sharing in image-based tasks, ICLR"
    varied: ClassVar[tuple[str, ...]] = ("noise",)

    def describe(self) -> FieldsInfo:
        """Return the image `x` and the label, one number on every cell."""
        cells = self.patches * self.patch_size
        axis = Axis("x", cells, length=float(cells - 1))
        return FieldsInfo({"image": "1", "label": "1"}, (axis,), TimeAxis(1, 1.0))

    def signal(self) -> Float[np.ndarray, " cell"]:
        """Return w."""
        w = numpy_generator(self.signal_seed, "signal").standard_normal(self.patch_size)
        return np.asarray(w / np.linalg.norm(w))

    def draw(
        self, generator: torch.Generator, parameters: Mapping[str, float]
    ) -> dict[str, Float[np.ndarray, " x"]]:
        """Draw an image and its label."""
        stream, noise = numpy_from(generator), parameters.get("noise", self.noise)
        label, place = 2 * int(stream.integers(2)) - 1, int(stream.integers(self.patches))
        image = noise * stream.standard_normal((self.patches, self.patch_size))
        image[place] += label * self.signal()
        return {"image": image.ravel(), "label": np.full(image.size, float(label))}

    def matched_filter(self, images: Float[np.ndarray, "sample x"]) -> Float[np.ndarray, " sample"]:
        """Return the sign of w · x in the patch where it is largest in size: what knowing w achieves."""
        response = images.reshape(len(images), self.patches, self.patch_size) @ self.signal()
        largest = np.abs(response).argmax(axis=1)
        return np.asarray(np.sign(response[np.arange(len(images)), largest]))

    def matched_filter_accuracy(self) -> float:
        """Return how often that is the label: (1 + P₊ - P₋) / 2.

        P± = ∫_0^∞ n(u ∓ 1/σ) (2N(u) - 1)^{k-1} du is the probability that the patch of the signal responds
        most, with the right or the wrong sign; n and N are the normal density and distribution function.
        Where another patch responds most, its sign is right half the time.
        """

        def excess(u: float) -> float:
            both = _density(u - 1 / self.noise) - _density(u + 1 / self.noise)
            return float(both * (2 * ndtr(u) - 1) ** (self.patches - 1))

        centre = 1 / self.noise
        gain, _ = quad(excess, 0, centre + 12, points=[centre], epsabs=1e-12, limit=200)
        return 0.5 * (1 + float(gain))


def _density(u: float) -> float:
    """Return the density of the standard normal law."""
    return math.exp(-u * u / 2) / math.sqrt(2 * math.pi)
