"""Sources: readers of real files. Each gives a lazy dataset with named axes; `ingest` does the rest."""

from abc import abstractmethod
from pathlib import Path

import xarray as xr

from koopcast.spec import MethodSpec


class SourceSpec(MethodSpec):
    """Options of a reader."""

    @abstractmethod
    def files(self) -> list[Path]:
        """Return the files (or zarr directories) that are read: their digests enter the key of the step.

        Raises:
            MissingFile: A file that is named does not exist, or a pattern matches none.
        """

    @abstractmethod
    def open(self) -> xr.Dataset:
        """Return the dataset lazily: dims `time` and space axes by their own names, CF attributes where the file has them.

        Raises:
            MissingFile: The file is not there or not of this format.
            UnknownCalendar: The time axis has a calendar that CF does not define.
        """
