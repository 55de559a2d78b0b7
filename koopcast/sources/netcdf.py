"""NetCDF files, classic and netCDF-4, with whatever time units and axes they carry."""

from pathlib import Path
from typing import Literal

import xarray as xr

from koopcast.errors import MissingFile
from koopcast.sources.gridded import GriddedSourceSpec


class NetCDFSpec(GriddedSourceSpec):
    """Fields in netCDF files, classic or netCDF-4; several files are joined along time."""

    kind: Literal["netcdf"] = "netcdf"

    reference = "Rew & Davis 1990; CF conventions 1.11"

    def open_file(self, file: Path) -> xr.Dataset:
        """Return the raw content of one file, lazily."""
        try:
            return xr.open_dataset(
                file,
                engine="netcdf4",
                decode_times=False,
                group=self.group,
                cache=False,
                decode_timedelta=False,
            )
        except (OSError, RuntimeError, ValueError) as error:
            raise MissingFile(
                f"'{file}' cannot be read as netCDF ({error})", "check file and group"
            ) from error
