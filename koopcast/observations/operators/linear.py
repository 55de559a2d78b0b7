"""Linear combinations of cells, given by a matrix."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from pydantic import Field, field_validator
from torch import Tensor

from koopcast.grids import FieldsInfo
from koopcast.observations.base import Operator, OperatorSpec, Placed, Scene
from koopcast.spec import Problem

MOST_ENTRIES = 200_000
MOST_BYTES = 4 * 2**20


class LinearSpec(OperatorSpec):
    """y = M x with a given matrix; its observations have no place, so that they cannot be localised."""

    kind: Literal["linear"] = "linear"
    matrix: list[list[float]] = Field(min_length=1)
    """One row an observation, one column a cell of the whole frame (grid points in order, variables of a
    point side by side); or the path of a table of numbers, separated by commas or blanks, in the folder of
    the pipeline or below."""

    reference = "the linear observation operator of Kalman 1960"

    @field_validator("matrix", mode="before")
    @classmethod
    def _read(cls, given: Any, info: Any) -> Any:
        if not isinstance(given, str):
            return given
        return table(given, (info.context or {}).get("folder"))

    @field_validator("matrix")
    @classmethod
    def _is_a_matrix(cls, matrix: list[list[float]]) -> list[list[float]]:
        widths = {len(row) for row in matrix}
        if len(widths) > 1:
            raise ValueError(f"rows have {min(widths)} to {max(widths)} numbers; give all the same")
        if len(matrix) * len(matrix[0]) > MOST_ENTRIES:
            raise ValueError(f"{len(matrix)} x {len(matrix[0])} entries are above {MOST_ENTRIES}")
        return matrix

    @property
    def is_located(self) -> bool:
        """Return False."""
        return False

    def place(self, scene: Scene, generator: torch.Generator) -> Placed:
        """Return the product with the matrix."""
        return of_matrix(torch.tensor(self.matrix, dtype=torch.float64), scene)

    def num_observations(self, sites: int, channels: int, num_cells: int) -> int:
        """Return the number of rows."""
        return len(self.matrix)

    def check(self, fields: FieldsInfo) -> Iterator[Problem]:
        """Refuse a matrix of another width than the frame."""
        wanted, given = fields.num_cells * fields.num_channels, len(self.matrix[0])
        if given != wanted:
            yield Problem(
                ("matrix",),
                f"rows have {given} numbers, and a frame {wanted} (grid {fields.shape} times "
                f"{fields.num_channels} variables)",
            )


@dataclass(frozen=True)
class Product(Operator):
    """The same matrix at every time."""

    matrix: Float[Tensor, "obs cell"]

    def of(self, cells: Float[Tensor, "batch member cell"], time: int) -> Float[Tensor, "batch member obs"]:
        """Return M x."""
        return cells @ self.matrix.mT

    def at(self, times: Int[Tensor, " time"]) -> "Product":
        """Return itself."""
        return self


def of_matrix(matrix: Float[Tensor, "obs cell"], scene: Scene) -> Placed:
    """Return a product without a place."""
    index = torch.zeros(1, 1, matrix.shape[0], dtype=torch.int64)
    return Placed(index.expand(scene.batch, len(scene.record), -1), Product(matrix), 1)


def table(given: str, folder: Path | None) -> list[list[float]]:
    """Return the numbers of a file in a folder or below it.

    Raises:
        ValueError: It lies elsewhere, is not there, too large, or no table of numbers.
    """
    if folder is None:
        raise ValueError(f"'{given}' is a path, and there is no folder of a pipeline to start from")
    root = folder.resolve()
    path = (root / given).resolve()
    if not path.is_relative_to(root):
        raise ValueError(f"'{given}' lies outside of the folder of the pipeline; move it there")
    if not path.is_file():
        raise ValueError(f"there is no file '{given}' in the folder of the pipeline")
    if path.stat().st_size > MOST_BYTES:
        raise ValueError(f"'{given}' has more than {MOST_BYTES} bytes; give fewer rows")
    text = path.read_text(encoding="utf-8", errors="replace").replace(",", " ")
    try:
        rows = [[float(word) for word in line.split()] for line in text.splitlines() if line.split()]
    except ValueError as error:
        raise ValueError(f"'{given}' is no table of numbers ({error})") from None
    if not np.isfinite([number for row in rows for number in row]).all():
        raise ValueError(f"'{given}' holds numbers that are not finite")
    return rows
