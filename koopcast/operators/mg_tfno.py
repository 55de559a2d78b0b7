"""Tensorised Fourier neural operator on patches with coarser views of their surroundings."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Literal

import torch
from pydantic import Field

from koopcast.layers.coordinates import num_positions
from koopcast.layers.factorised_weights import Factorization
from koopcast.layers.multigrid_patches import MultigridPatches
from koopcast.mapping import Signature
from koopcast.operators.fno_network import FNO
from koopcast.operators.fourier import FourierSpec
from koopcast.operators.mg_tfno_network import PatchedNetwork
from koopcast.spec import Problem, Spec


class DecompositionSpec(Spec):
    """How the domain is cut into patches."""

    levels: Annotated[int, Field(ge=0, le=4)] = 1
    """2^levels patches an axis, each with as many coarser views; 0: the whole domain, without padding."""
    padding: Annotated[float, Field(ge=0, le=0.5)] = 0.125
    """Points added on each side of a patch, as a fraction of the whole axis."""

    def patches(self) -> MultigridPatches:
        """Return what cuts and joins."""
        return MultigridPatches(self.levels, self.padding)

    def faults(self, signature: Signature) -> Iterator[Problem]:
        """Refuse grids that cannot be cut so."""
        patches = self.patches()
        for axis in signature.axes:
            if not axis.periodic:
                yield Problem(
                    (), f"axis '{axis.name}' is not periodic; patches wrap around, so take tfno with padding"
                )
            elif axis.size % patches.count:
                yield Problem(
                    ("levels",),
                    f"axis '{axis.name}' of {axis.size} points cannot be cut into {patches.count} equal "
                    "parts; lower levels",
                )
            elif patches.window(axis.size) > axis.size:
                yield Problem(
                    ("padding",),
                    f"{self.padding} makes patches of {patches.window(axis.size)} points on axis "
                    f"'{axis.name}' of {axis.size}; lower it",
                )


class MGTFNOSpec(FourierSpec):
    """A tensorised Fourier neural operator that sees a periodic domain patch by patch, in little memory."""

    kind: Literal["mg_tfno"] = "mg_tfno"
    factorization: Factorization = "tucker"
    """Form of the spectral weights: full tensors, or products of smaller ones (CP, Tucker, tensor train)."""
    decomposition: DecompositionSpec = DecompositionSpec()
    """Patches of the domain."""

    reference = (
        "Kossaifi, Kovachki, Azizzadenesheli, Anandkumar 2024; the network is given its place in the patch, "
        "and in the whole domain by waves; the loss is that of the joined field"
    )

    def seen_shape(self, signature: Signature) -> tuple[int, ...]:
        """Return the points of each axis of a patch."""
        return tuple(self.decomposition.patches().window(size) for size in signature.shape)

    def faults(self, signature: Signature) -> Iterator[Problem]:
        """Refuse domains that cannot be cut so, and what a Fourier neural operator refuses of a patch."""
        problems = [problem.below("decomposition") for problem in self.decomposition.faults(signature)]
        yield from problems if problems else super().faults(signature)

    def build(self, signature: Signature, generator: torch.Generator) -> PatchedNetwork:
        """Return the untrained network for fields like these."""
        patches = self.decomposition.patches()
        has_positions = self.positional == "grid" and patches.levels > 0
        positions = num_positions([True] * len(signature.axes)) if has_positions else 0
        chosen = replace(
            self.architecture(signature),
            channels_in=signature.channels_in * (1 + patches.levels) + positions,
        )
        return PatchedNetwork(FNO(chosen, generator), patches, has_positions=has_positions)
