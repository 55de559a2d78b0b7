"""The step that reads real files."""

from typing import ClassVar, Literal

from pydantic import Field

from koopcast.errors import MissingFile, OutsideRoots
from koopcast.ingest import describe
from koopcast.sources import AnySource
from koopcast.spec import Path
from koopcast.split import Split
from schemas.references import Dataset, Kind
from schemas.stages.base import Contract, Inputs, Step, split_parts


class IngestStep(Step):
    """Read real files into a dataset: units, mask, calendar and parts checked."""

    yields: ClassVar[type[Kind]] = Dataset
    task: Literal["ingest"] = "ingest"
    source: AnySource
    """Where the fields come from."""
    variables: list[str] = Field(min_length=1)
    """Names in the file; each becomes a channel."""
    units: dict[str, str] = {}
    """Convert these variables to these units (CF table)."""
    mask: Literal["auto", "none"] = "auto"
    """`auto`: cells that are NaN at every time are masked for ever, others per time; `none`: NaN is an
    error.
    """
    select: dict[str, tuple[float | str, float | str]] = {}
    """Keep the closed range of a coordinate: `{latitude: [-10, 10]}`."""
    periodic: list[str] = []
    """Space axes that close on themselves, their last point one spacing before the first; a longitude that
    goes round the globe is known to."""
    split: Split | None = None
    """Parts `train`, `valid` and `test`; without it the dataset stays whole."""

    def parts(self) -> dict[str, type[Kind]]:
        """Return the parts of the split."""
        return split_parts(self.split)

    def modules(self) -> tuple[str, ...]:
        """Return the reader."""
        return ("koopcast.ingest",)

    def outline(self, inputs: Inputs) -> Contract:
        """Read the metadata of the files, and no field."""
        self.source.files()
        return Contract(
            Dataset,
            describe(
                self.source,
                variables=self.variables,
                units=self.units,
                mask=self.mask,
                select=self.select,
                split=self.split,
                periodic=self.periodic,
            ),
        )

    def faulty_option(self, error: Exception) -> Path:
        """Return the files where they are missing, else what the message quotes, else the source."""
        return (
            ("source", "path")
            if isinstance(error, (MissingFile, OutsideRoots))
            else super().faulty_option(error) or ("source",)
        )
