"""Observations of several types in one cycle."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Any, Literal

import torch
from pydantic import Field

from koopcast.fields import FieldData
from koopcast.grids import FieldsInfo
from koopcast.observations.base import ObservationSet, ObservationsSpec, ObservationType, merged
from koopcast.observations.synthetic import SyntheticSpec
from koopcast.spec import Problem

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=40)]


class CombinedSpec(ObservationsSpec):
    """Several types side by side, each with its own sites, operator, error, reach, times and checks."""

    kind: Literal["combined"] = "combined"
    types: dict[Name, SyntheticSpec] = Field(min_length=1)
    """Name of a type -> its observations."""

    reference = "the observing systems of operational centres"

    def observe(self, truth: FieldData, repeats: int, generator: torch.Generator) -> ObservationSet:
        """Return the observations of all types; each draws from the generator in turn."""
        sets = []
        for name, spec in self.types.items():
            seen = spec.observe(truth, repeats, generator)
            sets.append(replace(seen, types=tuple(replace(kind, name=name) for kind in seen.types)))
        return merged(sets)

    def kinds(self) -> tuple[ObservationType, ...]:
        """Return the types."""
        return tuple(replace(kind, name=name) for name, spec in self.types.items() for kind in spec.kinds())

    def num_observations(self, fields: FieldsInfo) -> int:
        """Return the observations of all types together."""
        return sum(spec.num_observations(fields) for spec in self.types.values())

    def num_times(self, fields: FieldsInfo) -> int:
        """Return the number of times at which any type is observed."""
        return len({time for spec in self.types.values() for time in spec.records(fields)})

    def drawn(self) -> dict[str, Any]:
        """Return the options of all types that decide what is drawn."""
        return {"kind": self.kind, "types": {name: spec.drawn() for name, spec in self.types.items()}}

    def check(self, fields: FieldsInfo) -> Iterator[Problem]:
        """Yield what the types find wrong."""
        for name, spec in self.types.items():
            yield from (problem.below("types", name) for problem in spec.check(fields))
