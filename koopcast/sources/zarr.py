"""Zarr stores, formats 2 and 3."""

from pathlib import Path
from typing import Literal

import xarray as xr

from koopcast.errors import MissingFile
from koopcast.sources.gridded import GriddedSourceSpec


class ZarrSpec(GriddedSourceSpec):
    """Fields in zarr directories of format 2 or 3; several stores are joined along time."""

    kind: Literal["zarr"] = "zarr"

    reference = "Zarr specifications 2 and 3"

    def open_file(self, file: Path) -> xr.Dataset:
        """Return the raw content of one store, lazily."""
        try:
            return xr.open_dataset(
                file,
                engine="zarr",
                group=self.group,
                consolidated=self._is_consolidated(file),
                decode_times=False,
                decode_timedelta=False,
                cache=False,
            )
        except (OSError, ValueError, KeyError) as error:
            raise MissingFile(
                f"'{file}' cannot be read as zarr ({error})", "check directory and group"
            ) from error

    def _is_consolidated(self, file: Path) -> bool:
        root = file / (self.group or "")
        meta = root / "zarr.json"
        return (root / ".zmetadata").exists() or (
            meta.exists() and '"consolidated_metadata"' in meta.read_text()
        )
