"""The whole field."""

from typing import Literal

import torch

from koopcast.observations.base import OperatorSpec, Placed, Scene, enough_points, everywhere
from koopcast.observations.operators.index import at_points


class IdentitySpec(OperatorSpec):
    """Every cell of the observed variables; it takes no locations."""

    kind: Literal["identity"] = "identity"

    reference = "the usual set-up of twin experiments"

    @property
    def has_sites(self) -> bool:
        """Return False."""
        return False

    @property
    def is_of_cells(self) -> bool:
        """Return True."""
        return True

    def place(self, scene: Scene, generator: torch.Generator) -> Placed:
        """Return every cell that always holds data."""
        return at_points(everywhere(enough_points(scene.truth, 1), (scene.batch, len(scene.record))), scene)

    def num_observations(self, sites: int, channels: int, num_cells: int) -> int:
        """Return the number of cells."""
        return num_cells * channels
