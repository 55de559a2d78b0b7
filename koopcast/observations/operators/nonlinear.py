"""Functions of the field at a site."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field, field_validator, model_validator
from torch import Tensor

from koopcast.errors import InvalidInput
from koopcast.grids import FieldsInfo
from koopcast.numerics.formulas import Formula
from koopcast.observations.base import Operator, OperatorSpec, Placed, Scene, at_times
from koopcast.observations.operators.index import IndexSpec
from koopcast.observations.operators.interpolate import InterpolateSpec
from koopcast.spec import Problem

FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {"abs": torch.abs, "square": torch.square}


class NonlinearSpec(OperatorSpec):
    """A function of the variables at each site: |u| or u² of each, or one number by a formula."""

    kind: Literal["nonlinear"] = "nonlinear"
    function: Literal["abs", "square"] | None = None
    """Of each observed variable; this or `formula`. Default: abs."""
    formula: str | None = Field(None, min_length=1)
    """One number of all variables at the site, such as `sqrt(u**2 + v**2)`: numbers, names of variables,
    + - * / **, brackets, and abs, cos, exp, log, sin, sqrt."""
    interpolate: bool = False
    """Take the variables between grid points, at the coordinates of the site; else at its grid point."""

    reference = "e.g. |x| and x² of Carrassi et al. 2018, wind speed of its components"

    @field_validator("formula")
    @classmethod
    def _can_be_read(cls, text: str | None) -> str | None:
        if text is not None:
            try:
                Formula.parse(text)
            except InvalidInput as error:
                raise ValueError(str(error)) from None
        return text

    @model_validator(mode="after")
    def _is_given_once(self) -> "NonlinearSpec":
        if self.function is not None and self.formula is not None:
            raise ValueError("give one of function and formula, not both")
        return self

    @cached_property
    def _formula(self) -> Formula | None:
        return None if self.formula is None else Formula.parse(self.formula)

    def place(self, scene: Scene, generator: torch.Generator) -> Placed:
        """Return the function at the sites."""
        inner: OperatorSpec = InterpolateSpec() if self.interpolate else IndexSpec()
        if self._formula is None:
            placed = inner.place(scene, generator)
            operator = Applied(_below(placed), FUNCTIONS[self.function or "abs"])
            return Placed(placed.index, operator, placed.per_site, placed.present)
        info = scene.truth.info
        names = [list(info.variables).index(name) for name in self._formula.names]
        every = Scene(scene.truth, scene.locations, tuple(names), scene.record, scene.batch)
        placed = inner.place(every, generator)
        one = slice(None, None, placed.per_site)
        present = None if placed.present is None else placed.present[..., one]
        return Placed(placed.index[..., one], Combined(_below(placed), self._formula), 1, present)

    def num_observations(self, sites: int, channels: int, num_cells: int) -> int:
        """Return one a site by a formula, else one a variable too."""
        return sites if self.formula is not None else sites * channels

    def check(self, fields: FieldsInfo) -> Iterator[Problem]:
        """Refuse a formula with unknown variables, or none."""
        if self.interpolate:
            yield from InterpolateSpec().check(fields)
        if self._formula is None:
            return
        known = ", ".join(fields.variables)
        if not self._formula.names:
            yield Problem(("formula",), f"'{self.formula}' names no variable (known: {known})")
        for name in self._formula.names:
            if name not in fields.variables:
                place = self._formula.text.index(name) + 1
                yield Problem(("formula",), f"unknown variable '{name}' at position {place} (known: {known})")


@dataclass(frozen=True)
class Cells(Operator):
    """The cells of an index themselves."""

    index: Int[Tensor, "batch time obs"]

    def of(self, cells: Float[Tensor, "batch member cell"], time: int) -> Float[Tensor, "batch member obs"]:
        """Return their values."""
        return cells.gather(2, self.index[:, time, None].expand(-1, cells.shape[1], -1))

    def at(self, times: Int[Tensor, " time"]) -> "Cells":
        """Return the cells of these times."""
        return Cells(at_times(self.index, times))


@dataclass(frozen=True)
class Applied(Operator):
    """A function of each number that another operator sees."""

    below: Operator
    function: Callable[[Tensor], Tensor]

    def of(self, cells: Float[Tensor, "batch member cell"], time: int) -> Float[Tensor, "batch member obs"]:
        """Return the function of each."""
        return self.function(self.below.of(cells, time))

    def at(self, times: Int[Tensor, " time"]) -> "Applied":
        """Return the function at these times."""
        return Applied(self.below.at(times), self.function)


@dataclass(frozen=True)
class Combined(Operator):
    """A formula of the variables that another operator sees at each site, side by side."""

    below: Operator
    formula: Formula

    def of(self, cells: Float[Tensor, "batch member cell"], time: int) -> Float[Tensor, "batch member obs"]:
        """Return the value of the formula at each site."""
        names = self.formula.names
        seen = self.below.of(cells, time).unflatten(2, (-1, len(names)))
        return self.formula.of(dict(zip(names, seen.unbind(dim=3), strict=True)))

    def at(self, times: Int[Tensor, " time"]) -> "Combined":
        """Return the formula at these times."""
        return Combined(self.below.at(times), self.formula)


def _below(placed: Placed) -> Operator:
    return Cells(placed.index) if placed.operator is None else placed.operator
